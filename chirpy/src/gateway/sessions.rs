//! Who a token belongs to, remembered: a signature is checked once, not with every request. It stays good until the token
//! expires or the key that made it is withdrawn, so there is no moment at which everybody's is checked again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, StatusCode, header};

use crate::service::ApiError;
use crate::token::{Claims, Refused, Verifier};

/// Past this many tokens those that have expired are forgotten, and if there are none, all.
const MANY: usize = 50_000;

/// The verifier and what it said lately.
pub struct Sessions {
    keys: Arc<Verifier>,
    known: Mutex<HashMap<String, Known>>,
}

struct Known {
    claims: Arc<Claims>,
    /// The key that signed them.
    kid: String,
}

impl Known {
    fn is_unexpired(&self) -> bool {
        jiff::Timestamp::now().as_second() < self.claims.exp
    }
}

impl Sessions {
    pub fn new(keys: Arc<Verifier>) -> Self {
        Self {
            keys,
            known: Mutex::default(),
        }
    }

    /// Whose request this is; none without a token.
    ///
    /// # Errors
    /// 401 when there is a token and it is not valid, 503 when nobody can tell.
    pub async fn claims(&self, headers: &HeaderMap) -> Result<Option<Arc<Claims>>, ApiError> {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Ok(None);
        };
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix("Bearer "));
        let invalid = || ApiError::new(StatusCode::UNAUTHORIZED, "the token is not valid or has expired");
        let token = token.ok_or_else(invalid)?;
        if let Some(claims) = self.remembered(token) {
            return Ok(Some(claims));
        }
        let verified = self.keys.verify(token).await.map_err(|refused| match refused {
            Refused::Unverifiable => ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the token cannot be checked just now",
            ),
            Refused::UnknownKey | Refused::Invalid => invalid(),
        })?;
        let claims = Arc::new(verified.claims);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MANY {
            known.retain(|_, one| one.is_unexpired());
            if known.len() >= MANY {
                known.clear();
            }
        }
        let one = Known {
            claims: claims.clone(),
            kid: verified.kid,
        };
        known.insert(token.to_owned(), one);
        Ok(Some(claims))
    }

    fn remembered(&self, token: &str) -> Option<Arc<Claims>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let one = known.get(token)?;
        (one.is_unexpired() && self.keys.trusts(&one.kid)).then(|| one.claims.clone())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::signing::tests::token_and_keys;
    use crate::token::PublicKeys;

    #[tokio::test]
    async fn a_token_is_good_until_its_key_is_withdrawn_and_is_looked_at_once() {
        let (token, published) = token_and_keys();
        let keys = Verifier::with(published);
        let sessions = Sessions::new(keys.clone());
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
        headers.insert(header::AUTHORIZATION, value);
        let first = sessions.claims(&headers).await.expect("valid").expect("a token");
        assert_eq!(first.sub, "7");
        let again = sessions.claims(&headers).await.expect("valid").expect("a token");
        assert!(Arc::ptr_eq(&first, &again), "remembered");

        keys.replace(PublicKeys::default());
        let refused = sessions.claims(&headers).await.expect_err("its key is gone");
        assert_eq!(
            refused.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "nobody can be asked"
        );
    }
}
