//! Access tokens: EdDSA JWTs. auth-service signs them; whoever verifies knows only the public keys, which auth-service
//! publishes as a JSON Web Key Set (RFC 7517) and rotates.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};

use crate::service::parse_env;
use crate::upstream::Upstream;

/// Where the public keys are published.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// What a token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The user's id.
    pub sub: String,
    pub name: String,
    /// Seconds since the epoch.
    pub exp: i64,
    /// [`ISSUER`] and [`AUDIENCE`].
    pub iss: String,
    pub aud: String,
}

/// Who signs, and for whom.
pub const ISSUER: &str = "chirpy-auth";
pub const AUDIENCE: &str = "chirpy";
/// The kind of token, by RFC 9068: no other that our key may sign passes for one.
pub const TYPE: &str = "at+jwt";

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Signed with a key that is not in the set: forged, or newer than the set.
    UnknownKey,
    /// Expired, altered, for somebody else, or no token at all.
    Invalid,
    /// Signed with a key that is not in the set, which could not be fetched: nobody knows.
    Unverifiable,
}

/// What a token says, and the key that says so.
#[derive(Debug)]
pub struct Verified {
    pub claims: Claims,
    /// The key's id.
    pub kid: String,
}

/// A set of public keys, ready to verify with.
#[derive(Default)]
pub struct PublicKeys {
    set: JwkSet,
    by_kid: HashMap<String, DecodingKey>,
}

impl PublicKeys {
    /// Keys of other algorithms are kept in the set, and verify nothing.
    pub fn new(set: JwkSet) -> Self {
        let usable = |key: &Jwk| Some((key.common.key_id.clone()?, DecodingKey::from_jwk(key).ok()?));
        let by_kid = set.keys.iter().filter_map(usable).collect();
        Self { set, by_kid }
    }

    /// The claims of a valid, unexpired token. This is all there is to verifying one: no I/O, no lock.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn verify(&self, token: &str) -> Result<Verified, Refused> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Invalid)?;
        // The algorithm is ours to say, not the token's.
        if header.alg != Algorithm::EdDSA {
            return Err(Refused::Invalid);
        }
        let kid = header.kid.ok_or(Refused::Invalid)?;
        let key = self.by_kid.get(&kid).ok_or(Refused::UnknownKey)?;
        if header.typ.as_deref() != Some(TYPE) {
            return Err(Refused::Invalid);
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        // Whoever signs and whoever verifies have the same clock, or near enough: the last second is not worth a minute.
        validation.leeway = 0;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let token = jsonwebtoken::decode::<Claims>(token, key, &validation).map_err(|_| Refused::Invalid)?;
        let claims = token.claims;
        Ok(Verified { claims, kid })
    }
}

/// Verifies with the keys auth-service publishes, as far as they are known.
pub struct Verifier {
    auth: Upstream,
    keys: RwLock<Arc<PublicKeys>>,
    /// When the keys were last asked for; held while asking, so that a hundred unknown keys ask once.
    asked: tokio::sync::Mutex<Option<Instant>>,
    /// The last fetch failed.
    failing: AtomicBool,
    refresh: Duration,
    cooldown: Duration,
}

impl Verifier {
    /// From `AUTH_SERVICE_URL`, `JWKS_REFRESH_S` (how often the keys are fetched anyway) and `JWKS_COOLDOWN_MS` (how long after
    /// one fetch an unknown key may cause the next).
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env() -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            auth: Upstream::from_env("auth-service", "Auth Service", 2500)?,
            keys: RwLock::default(),
            asked: tokio::sync::Mutex::default(),
            failing: AtomicBool::new(false),
            refresh: Duration::from_secs(parse_env("JWKS_REFRESH_S", 60_u64)?.max(1)),
            cooldown: Duration::from_millis(parse_env("JWKS_COOLDOWN_MS", 1000)?),
        }))
    }

    /// One that has these keys, and no auth-service to ask for others.
    #[cfg(test)]
    pub fn with(keys: PublicKeys) -> Arc<Self> {
        let nobody = Upstream::new("http://127.0.0.1:1", "Auth Service", Duration::from_secs(1));
        Arc::new(Self {
            auth: nobody.expect("an address"),
            keys: RwLock::new(Arc::new(keys)),
            asked: tokio::sync::Mutex::new(None),
            failing: AtomicBool::new(false),
            refresh: Duration::MAX,
            cooldown: Duration::MAX,
        })
    }

    /// The keys are others now.
    pub fn replace(&self, keys: PublicKeys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    fn known(&self) -> Arc<PublicKeys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys as they were last fetched.
    pub fn published(&self) -> JwkSet {
        self.known().set.clone()
    }

    /// The claims of a valid, unexpired token. A token with a key we do not know makes us ask for the keys, so that a
    /// rotation needs no restart; while auth-service is away the keys known so far go on being good.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn verify(&self, token: &str) -> Result<Verified, Refused> {
        match self.known().verify(token) {
            Err(Refused::UnknownKey) => {
                self.fetch(self.cooldown).await;
                match self.known().verify(token) {
                    Err(Refused::UnknownKey) if self.failing.load(Ordering::Relaxed) => {
                        Err(Refused::Unverifiable)
                    }
                    outcome => outcome,
                }
            }
            outcome => outcome,
        }
    }

    /// Whether this key still signs, or its tokens at least are still good.
    pub fn trusts(&self, kid: &str) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.by_kid.contains_key(kid)
    }

    /// Fetches the keys unless they were asked for within `cooldown`.
    async fn fetch(&self, cooldown: Duration) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < cooldown) {
            return;
        }
        match self.auth.get::<JwkSet>(JWKS_PATH).await {
            Ok(set) => {
                self.failing.store(false, Ordering::Relaxed);
                let known = self.known();
                if known.set != set {
                    tracing::info!(keys = set.keys.len(), "The signing keys changed");
                    self.replace(PublicKeys::new(set));
                }
            }
            Err(error) => {
                self.failing.store(true, Ordering::Relaxed);
                tracing::warn!(%error, "The signing keys cannot be fetched; those known go on");
            }
        }
        *asked = Some(Instant::now());
    }

    /// Fetches the keys from time to time, so that those withdrawn stop being good.
    pub async fn follow(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.refresh).await;
            self.fetch(Duration::ZERO).await;
        }
    }
}
