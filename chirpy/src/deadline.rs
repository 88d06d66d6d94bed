//! How long a request may take: each hop's own limit, and what is left of the time that whoever asked is willing to wait. It
//! travels as a header, so that nobody works for an answer that nobody waits for.

use std::future::Future;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use crate::service::parse_env;

/// Milliseconds that whoever asks will still wait.
pub static HEADER: HeaderName = HeaderName::from_static("x-deadline-ms");

/// What a hop waits that was given no deadline: longer than anybody will.
pub const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

tokio::task_local! {
    static UNTIL: Instant;
}

/// One hop's limit: the variable's milliseconds, or `default_ms`. `UPSTREAM_DEADLINE_MS` bounds every hop; 0 takes all
/// deadlines away, and a dependency that does not answer is waited for as long as it likes.
///
/// # Errors
/// When a variable does not parse.
pub fn of_hop(variable: &str, default_ms: u64) -> anyhow::Result<Duration> {
    let own = parse_env(variable, default_ms)?;
    let most: Option<u64> = match std::env::var_os("UPSTREAM_DEADLINE_MS") {
        Some(_) => Some(parse_env("UPSTREAM_DEADLINE_MS", 0)?),
        None => None,
    };
    Ok(limit(own, most))
}

fn limit(own_ms: u64, most_ms: Option<u64>) -> Duration {
    match most_ms {
        Some(0) => FOREVER,
        Some(most) => Duration::from_millis(own_ms.min(most)),
        None => Duration::from_millis(own_ms),
    }
}

/// A hop's limit, or what is left for the request in whose name it is made.
pub fn left(hop: Duration) -> Duration {
    let left = UNTIL.try_with(|until| until.saturating_duration_since(Instant::now()));
    left.map_or(hop, |left| left.min(hop))
}

/// The header's value for a hop that waits so long; none when it waits for ever.
pub fn value(waits: Duration) -> Option<String> {
    (waits < FOREVER).then(|| waits.as_millis().to_string())
}

/// Until when whoever sent this request waits, if its header says so.
pub fn told(headers: &HeaderMap) -> Option<Instant> {
    let left = headers.get(&HEADER)?.to_str().ok()?.parse().ok()?;
    Instant::now().checked_add(Duration::from_millis(left))
}

/// Does `work`, which somebody waits for until then; none: for as long as each hop allows.
pub async fn until<T>(at: Option<Instant>, work: impl Future<Output = T>) -> T {
    match at {
        Some(at) => UNTIL.scope(at, work).await,
        None => work.await,
    }
}

/// [`until`] what a request told, as a layer.
pub async fn layer(request: Request, next: Next) -> Response {
    until(told(request.headers()), next.run(request)).await
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_hop_is_bounded_and_zero_is_for_ever() {
        assert_eq!(limit(2000, None), Duration::from_secs(2));
        assert_eq!(limit(2000, Some(500)), Duration::from_millis(500));
        assert_eq!(limit(200, Some(500)), Duration::from_millis(200));
        assert_eq!(limit(2000, Some(0)), FOREVER);
        assert_eq!(value(FOREVER), None);
        assert_eq!(value(Duration::from_millis(1500)).as_deref(), Some("1500"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_shrinks_from_hop_to_hop() {
        let hop = Duration::from_secs(2);
        assert_eq!(left(hop), hop, "nobody said how long they wait");
        let mut headers = HeaderMap::new();
        headers.insert(&HEADER, HeaderValue::from_static("1500"));
        until(told(&headers), async {
            assert_eq!(left(hop), Duration::from_millis(1500));
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(left(hop), Duration::from_millis(500));
            assert_eq!(left(Duration::from_millis(100)), Duration::from_millis(100));
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(left(hop), Duration::ZERO);
        })
        .await;
    }
}
