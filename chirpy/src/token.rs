//! Access tokens: HS256 JWTs signed with a secret that auth-service and gateway share.

use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::service::{parse_env, text_env};

/// What a token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The user's id.
    pub sub: String,
    pub name: String,
    /// Seconds since the epoch.
    pub exp: i64,
}

/// Signs and verifies.
#[derive(Clone)]
pub struct Keys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    /// Seconds a token is good for.
    pub lifetime: i64,
}

impl Keys {
    /// From `JWT_SECRET` and `ACCESS_TOKEN_TTL_S`.
    ///
    /// # Errors
    /// When the secret is missing or empty, or the lifetime does not parse.
    pub fn from_env() -> anyhow::Result<Self> {
        let secret = text_env("JWT_SECRET", "");
        anyhow::ensure!(!secret.is_empty(), "JWT_SECRET is not set");
        Ok(Self {
            encoding: EncodingKey::from_secret(secret.as_bytes()),
            decoding: DecodingKey::from_secret(secret.as_bytes()),
            lifetime: parse_env("ACCESS_TOKEN_TTL_S", 4 * 3600)?,
        })
    }

    /// A token for a user, good from now on.
    ///
    /// # Errors
    /// When signing fails.
    pub fn sign(&self, id: i64, name: &str) -> anyhow::Result<String> {
        let exp = jiff::Timestamp::now().as_second() + self.lifetime;
        let claims = Claims {
            sub: id.to_string(),
            name: name.to_owned(),
            exp,
        };
        Ok(jsonwebtoken::encode(&Header::default(), &claims, &self.encoding)?)
    }

    /// The claims of a valid, unexpired token.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        jsonwebtoken::decode::<Claims>(token, &self.decoding, &Validation::default())
            .ok()
            .map(|token| token.claims)
    }
}
