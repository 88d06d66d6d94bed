//! The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header): a retried post is posted once.
//!
//! The key is written in the post's own transaction, so there is no moment at which one of them exists alone. A second
//! request with the same key waits for the first to end, and then gets its answer.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, StatusCode};
use deadpool_postgres::Pool;
use deadpool_postgres::Transaction;
use sha2::{Digest as _, Sha256};

use crate::database::within;
use crate::service::ApiError;

/// The header's name.
pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest key, bytes.
const MAX_KEY: usize = 255;
/// Between two removals of keys that have expired.
const PRUNE_EVERY: Duration = Duration::from_secs(300);
/// Keys removed by one statement, which must end before its time is over.
const PORTION: i64 = 2000;
const PRUNE_WITHIN: Duration = Duration::from_secs(10);

/// The key of a request: a quoted string as the draft has it, or the bare word most clients send.
///
/// # Errors
/// 400 when the header is there and holds no usable key.
pub fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("").trim();
    let key = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text);
    let usable = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(usable) {
        return Err(ApiError::bad_request(format!(
            "Idempotency-Key is 1 to {MAX_KEY} visible ASCII characters without quotes, for example a UUID"
        )));
    }
    Ok(Some(key.to_owned()))
}

/// What tells one request's content from another's: hex SHA-256 over its parts, each with its length before it.
pub fn fingerprint(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Whether a request with this key has been answered.
pub enum Seen {
    /// No: the key is now this transaction's, and [`answered`] must be called before it commits.
    First,
    /// Yes, with this text.
    Before(String),
}

/// Takes the key for `user`, waiting while another transaction holds it. Keys older than `lifetime` count as new.
///
/// # Errors
/// 422 when the key was used for something else.
pub async fn take(
    transaction: &Transaction<'_>,
    user: i64,
    key: &str,
    fingerprint: &str,
    lifetime: Duration,
) -> Result<Seen, ApiError> {
    let insert = "INSERT INTO idempotency_keys AS held (user_id, key, fingerprint) VALUES ($1, $2, $3)
                  ON CONFLICT (user_id, key) DO UPDATE
                      SET fingerprint = excluded.fingerprint, answer = NULL, created_at = now()
                      WHERE held.created_at < now() - make_interval(secs => $4::float8)
                  RETURNING 1";
    let statement = transaction.prepare(insert).await?;
    let taken = transaction
        .query_opt(&statement, &[&user, &key, &fingerprint, &lifetime.as_secs_f64()])
        .await?;
    if taken.is_some() {
        return Ok(Seen::First);
    }
    let row = transaction
        .query_one(
            "SELECT fingerprint, answer FROM idempotency_keys WHERE user_id = $1 AND key = $2",
            &[&user, &key],
        )
        .await?;
    let (first, answer): (String, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
    if first != fingerprint {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "this Idempotency-Key was used for another request; take a new key for a new post",
        ));
    }
    let missing = || anyhow::anyhow!("the key {key} of user {user} was committed without an answer");
    Ok(Seen::Before(answer.ok_or_else(missing)?))
}

/// Keeps the first answer, to be given again.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn answered(
    transaction: &Transaction<'_>,
    user: i64,
    key: &str,
    answer: &str,
) -> Result<(), ApiError> {
    transaction
        .execute(
            "UPDATE idempotency_keys SET answer = $3 WHERE user_id = $1 AND key = $2",
            &[&user, &key, &answer],
        )
        .await?;
    Ok(())
}

/// Removes a database's expired keys now and then, for as long as the process lives.
pub async fn prune(pool: Pool, lifetime: Duration) {
    let mut tick = tokio::time::interval(PRUNE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick is at once, when the schema may not be there yet.
    tick.tick().await;
    loop {
        tick.tick().await;
        let pruned = async {
            let delete = "DELETE FROM idempotency_keys WHERE (user_id, key) IN (
                              SELECT user_id, key FROM idempotency_keys
                              WHERE created_at < now() - make_interval(secs => $1::float8) LIMIT $2)";
            let (age, mut keys) = (lifetime.as_secs_f64(), 0);
            loop {
                let portion = within(&pool, PRUNE_WITHIN, async |client| {
                    anyhow::Ok(client.execute(delete, &[&age, &PORTION]).await?)
                });
                let removed = portion.await?;
                keys += removed;
                if removed < PORTION.unsigned_abs() {
                    return anyhow::Ok(keys);
                }
            }
        };
        match pruned.await {
            Ok(0) => {}
            Ok(keys) => tracing::debug!(keys, "Expired idempotency keys removed"),
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "Expired idempotency keys were not removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn of(value: &str) -> Result<Option<String>, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_str(value).expect("a header"));
        key(&headers)
    }

    #[test]
    fn keys_are_quoted_or_bare() {
        assert_eq!(key(&HeaderMap::new()).expect("none is fine"), None);
        assert_eq!(
            of("\"8e03978e-40d5\"").expect("a key").as_deref(),
            Some("8e03978e-40d5")
        );
        assert_eq!(
            of("8e03978e-40d5").expect("a key").as_deref(),
            Some("8e03978e-40d5")
        );
        for bad in ["", "\"\"", "a b", "a\"b", &"k".repeat(MAX_KEY + 1)] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fingerprint_knows_where_its_parts_end() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        // SHA-256 of the part's length as eight bytes and of the part: keys are remembered for a day, so it may not change.
        assert_eq!(
            fingerprint(&["火"]),
            "f1c34b4fb8e082e9c5edee81315e7bfbdaed8a1904b914d651ad13883cf7167c"
        );
    }
}
