//! auth-service's signing keys: in PostgreSQL, so that every replica signs with the same one, and rotated by age.
//!
//! A new key is published some time before anything is signed with it, and an old one until the last token it signed has
//! expired; in between whoever verifies has had time to fetch it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::{Object, Pool};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use tokio_postgres::Row;

use crate::database::within;
use crate::service::parse_env;
use crate::token::{AUDIENCE, Claims, ISSUER, TYPE};

/// An Ed25519 private key's PKCS #8 wrapping (RFC 8410): these bytes, then the 32 of the key itself.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The advisory lock of whoever makes a key. 81 is a migration's and 82 that of `take_post_numbers`, which every post takes.
const LOCK: i64 = 83;
/// How long a look at the table may take, a wait for the lock included.
const LOOK: Duration = Duration::from_secs(5);

/// How old keys may be, in seconds.
#[derive(Clone, Copy, Debug)]
struct Ages {
    /// A key older than this gets a successor.
    rotate: f64,
    /// A key is published for so long before it signs.
    ahead: f64,
    /// How long a token is good for.
    token: i64,
}

impl Ages {
    /// A key is withdrawn when its successor has signed for a token's lifetime; a minute for clocks that differ.
    fn withdraw(&self) -> f64 {
        self.rotate + self.ahead + self.token as f64 + 60.0
    }
}

/// What one look at the table gave.
struct Ring {
    signing: (String, EncodingKey),
    published: JwkSet,
}

/// Signs tokens with the current key.
pub struct Signer {
    database: Pool,
    ages: Ages,
    /// Between two looks at the table.
    refresh: Duration,
    ring: RwLock<Option<Arc<Ring>>>,
}

impl Signer {
    /// From `SIGNING_KEY_ROTATE_S` (a day), `SIGNING_KEY_PUBLISH_AHEAD_S` (five minutes; more than any verifier's time between
    /// fetches), `SIGNING_KEY_REFRESH_S` and `ACCESS_TOKEN_TTL_S` (a quarter of an hour: a token cannot be called back).
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env(database: Pool) -> anyhow::Result<Self> {
        Ok(Self {
            database,
            ages: Ages {
                rotate: parse_env("SIGNING_KEY_ROTATE_S", 86_400.0)?,
                ahead: parse_env("SIGNING_KEY_PUBLISH_AHEAD_S", 300.0)?,
                token: parse_env("ACCESS_TOKEN_TTL_S", 15 * 60)?,
            },
            refresh: Duration::from_secs_f64(
                parse_env("SIGNING_KEY_REFRESH_S", 10.0_f64)?.clamp(0.05, 3600.0),
            ),
            ring: RwLock::default(),
        })
    }

    /// Seconds a token is good for.
    pub fn lifetime(&self) -> i64 {
        self.ages.token
    }

    fn ring(&self) -> anyhow::Result<Arc<Ring>> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner).clone();
        ring.context("the signing keys are not loaded yet")
    }

    /// The public halves of all keys that may have signed a token that is still good.
    ///
    /// # Errors
    /// Before the keys have been loaded.
    pub fn published(&self) -> anyhow::Result<JwkSet> {
        Ok(self.ring()?.published.clone())
    }

    /// A token for a user, good from now on.
    ///
    /// # Errors
    /// Before the keys have been loaded, or when signing fails.
    pub fn sign(&self, id: i64, name: &str) -> anyhow::Result<String> {
        let ring = self.ring()?;
        let claims = Claims {
            sub: id.to_string(),
            name: name.to_owned(),
            exp: jiff::Timestamp::now().as_second() + self.ages.token,
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
        };
        let (kid, key) = &ring.signing;
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(kid.clone());
        header.typ = Some(TYPE.to_owned());
        Ok(jsonwebtoken::encode(&header, &claims, key)?)
    }

    /// Makes a key when the newest is too old, removes those withdrawn, and takes what is there. PostgreSQL's clock decides,
    /// so replicas agree.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or a key is unreadable.
    pub async fn load(&self) -> anyhow::Result<()> {
        let rows = within(&self.database, LOOK, async |client| self.look(client).await).await?;
        let mut signing = None;
        let mut published = JwkSet::default();
        for row in &rows {
            let (kid, private): (String, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
            let public: Jwk = serde_json::from_str(&row.try_get::<_, String>(2)?)?;
            published.keys.push(public);
            let ripe: bool = row.try_get(3)?;
            if signing.as_ref().is_none_or(|(_, _, found)| !found) {
                signing = Some((kid, EncodingKey::from_ed_der(&private), ripe));
            }
        }
        let (kid, key, _) = signing.context("no signing key")?;
        let ring = Ring {
            signing: (kid, key),
            published,
        };
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(ring));
        Ok(())
    }

    /// Every key, the newest first, each with whether it was published long enough ago to sign.
    async fn look(&self, client: &mut Object) -> anyhow::Result<Vec<Row>> {
        let transaction = client.transaction().await?;
        let fresh =
            "SELECT 1 FROM signing_keys WHERE created_at > now() - make_interval(secs => $1::float8) LIMIT 1";
        if transaction
            .query_opt(fresh, &[&self.ages.rotate])
            .await?
            .is_none()
        {
            // One replica makes it; the others wait here, look again and find it.
            transaction
                .execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
                .await?;
            if transaction
                .query_opt(fresh, &[&self.ages.rotate])
                .await?
                .is_none()
            {
                let (private, public) = generate()?;
                let kid = public.common.key_id.clone().context("a key without an id")?;
                let public = serde_json::to_string(&public)?;
                transaction
                    .execute(
                        // Not the transaction's time: it may have waited for the lock.
                        "INSERT INTO signing_keys (kid, private_key, public_key, created_at)
                         VALUES ($1, $2, $3, clock_timestamp())",
                        &[&kid, &private.as_slice(), &public],
                    )
                    .await?;
                tracing::info!(kid, "A new signing key");
            }
        }
        // Not only when there is a new key: what is withdrawn may verify nothing from then on.
        transaction
            .execute(
                "DELETE FROM signing_keys WHERE created_at < now() - make_interval(secs => $1::float8)",
                &[&self.ages.withdraw()],
            )
            .await?;
        // The newest that was published long enough ago; the very first has to do at once.
        let rows = transaction
            .query(
                "SELECT kid, private_key, public_key,
                        created_at <= now() - make_interval(secs => $1::float8) AS ripe
                 FROM signing_keys ORDER BY created_at DESC, kid",
                &[&self.ages.ahead],
            )
            .await?;
        transaction.commit().await?;
        Ok(rows)
    }

    /// Looks at the table from time to time; while PostgreSQL is away the keys known go on.
    pub async fn follow(self: Arc<Self>) {
        let mut failing = false;
        loop {
            tokio::time::sleep(self.refresh).await;
            match self.load().await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(error = %format!("{error:#}"), "The signing keys cannot be looked at; those known go on");
                    }
                }
            }
        }
    }
}

/// A new Ed25519 key: PKCS #8, and the public half named by its thumbprint (RFC 7638).
fn generate() -> anyhow::Result<(Vec<u8>, Jwk)> {
    let mut secret = [0_u8; 32];
    getrandom::fill(&mut secret).map_err(|error| anyhow::anyhow!("the system's randomness: {error}"))?;
    let private = [PKCS8_PREFIX.as_slice(), &secret].concat();
    let mut public = Jwk::from_encoding_key(&EncodingKey::from_ed_der(&private), Algorithm::EdDSA)?;
    public.common.key_id = Some(public.thumbprint(ThumbprintHash::SHA256)?);
    public.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok((private, public))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::token::{PublicKeys, Refused};

    fn good_until(exp: i64) -> Claims {
        Claims {
            sub: "7".into(),
            name: "ai".into(),
            exp,
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
        }
    }

    fn signed(private: &[u8], kid: &str, exp: i64) -> String {
        signed_as(private, kid, TYPE, &good_until(exp))
    }

    /// A token of user 7 that is good for ten minutes, and the set with the one key that made it.
    pub fn token_and_keys() -> (String, PublicKeys) {
        let (private, public) = generate().expect("a key");
        let kid = public.common.key_id.clone().expect("an id");
        let later = jiff::Timestamp::now().as_second() + 600;
        let keys = PublicKeys::new(JwkSet { keys: vec![public] });
        (signed(&private, &kid, later), keys)
    }

    fn signed_as(private: &[u8], kid: &str, kind: &str, claims: &Claims) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(kid.to_owned());
        header.typ = Some(kind.to_owned());
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(private)).expect("signed")
    }

    #[test]
    fn what_one_key_signs_no_other_verifies() {
        let ((private, public), (other, _)) = (generate().expect("a key"), generate().expect("a key"));
        let kid = public.common.key_id.clone().expect("an id");
        let json = serde_json::to_value(&public).expect("JSON");
        assert_eq!(
            (&json["kty"], &json["crv"], &json["use"]),
            (&"OKP".into(), &"Ed25519".into(), &"sig".into())
        );
        assert!(json.get("d").is_none(), "the private half stays here: {json}");

        let keys = PublicKeys::new(JwkSet { keys: vec![public] });
        let later = jiff::Timestamp::now().as_second() + 600;
        let verified = keys.verify(&signed(&private, &kid, later)).expect("valid");
        let claims = verified.claims;
        assert_eq!(verified.kid, kid);
        assert_eq!((claims.sub.as_str(), claims.name.as_str()), ("7", "ai"));
        assert_eq!(
            keys.verify(&signed(&other, &kid, later)).err(),
            Some(Refused::Invalid)
        );
        assert_eq!(
            keys.verify(&signed(&other, "another", later)).err(),
            Some(Refused::UnknownKey)
        );
        assert_eq!(
            keys.verify(&signed(&private, &kid, jiff::Timestamp::now().as_second() - 2))
                .err(),
            Some(Refused::Invalid),
            "no grace"
        );
        let elsewhere = [
            ("JWT", good_until(later)),
            (
                TYPE,
                Claims {
                    iss: "another".into(),
                    ..good_until(later)
                },
            ),
            (
                TYPE,
                Claims {
                    aud: "another".into(),
                    ..good_until(later)
                },
            ),
        ];
        for (kind, claims) in elsewhere {
            let token = signed_as(&private, &kid, kind, &claims);
            assert_eq!(
                keys.verify(&token).err(),
                Some(Refused::Invalid),
                "{kind} {claims:?}"
            );
        }
        assert_eq!(keys.verify("forged").err(), Some(Refused::Invalid));
    }

    #[test]
    fn a_token_may_not_choose_its_algorithm() {
        let (_, public) = generate().expect("a key");
        let kid = public.common.key_id.clone().expect("an id");
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(kid);
        header.typ = Some(TYPE.into());
        let claims = good_until(4_000_000_000);
        let secret = EncodingKey::from_secret(serde_json::to_string(&public).expect("JSON").as_bytes());
        let forged = jsonwebtoken::encode(&header, &claims, &secret).expect("signed");
        let keys = PublicKeys::new(JwkSet { keys: vec![public] });
        assert_eq!(keys.verify(&forged).err(), Some(Refused::Invalid));
    }

    #[test]
    fn making_a_key_holds_nobody_back_who_posts() {
        let schema = include_str!("schema/shards.sql");
        assert!(schema.contains("pg_advisory_lock("));
        assert!(!schema.contains(&format!("pg_advisory_lock({LOCK})")));
    }

    #[test]
    fn a_key_outlives_the_tokens_it_signed() {
        let ages = Ages {
            rotate: 100.0,
            ahead: 10.0,
            token: 50,
        };
        assert!(ages.withdraw() > 100.0 + 10.0 + 50.0);
    }
}
