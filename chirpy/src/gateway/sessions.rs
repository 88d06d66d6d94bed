//! Who a token belongs to, remembered for a moment: a signature is checked once, not with every request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, header};

use crate::service::ApiError;
use crate::token::{Claims, Refused, Verifier};

/// So long a verified token is trusted without another look: what its keys say may change.
const TRUSTED: Duration = Duration::from_secs(30);
/// Past this many tokens all are forgotten.
const MANY: usize = 50_000;

/// The verifier and what it said lately.
pub struct Sessions {
    keys: Arc<Verifier>,
    known: Mutex<HashMap<String, (Instant, Arc<Claims>)>>,
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
        let claims = self.keys.claims(token).await.map_err(|refused| match refused {
            Refused::Unverifiable => ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the token cannot be checked just now",
            ),
            Refused::UnknownKey | Refused::Invalid => invalid(),
        })?;
        let claims = Arc::new(claims);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MANY {
            known.clear();
        }
        known.insert(token.to_owned(), (Instant::now(), claims.clone()));
        Ok(Some(claims))
    }

    fn remembered(&self, token: &str) -> Option<Arc<Claims>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, claims) = known.get(token)?;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .ok()?
            .as_secs();
        let unexpired = u64::try_from(claims.exp).is_ok_and(|exp| now < exp);
        (at.elapsed() < TRUSTED && unexpired).then(|| claims.clone())
    }
}
