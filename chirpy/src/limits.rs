//! How much one user may ask for: a token bucket per user and class of request.
//!
//! The buckets are this process's own. Shared ones would put a store into every request's way, and its failure into every
//! request; so with n gateways a user may get up to n times the rate, which is meant to hold back a runaway client, not to
//! bill anyone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::service::{ApiError, parse_env};

/// The `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What a request costs us, roughly: each class has a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Read,
    Write,
    Search,
    /// Logging in and the like; these hash passwords.
    Login,
}

impl Class {
    const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Search, Self::Login];

    /// The class of a request, by its method and path.
    pub fn of(method: &Method, path: &str) -> Self {
        match path {
            "/api/login" | "/api/register" | "/api/refresh" | "/api/oauth/token" => Self::Login,
            _ if method != Method::GET && method != Method::HEAD => Self::Write,
            _ if path.starts_with("/api/search") || path == "/api/trends" => Self::Search,
            _ => Self::Read,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Search => "search",
            Self::Login => "login",
        }
    }
}

/// Requests a second by class; zero: no limit.
#[derive(Clone, Copy, Debug)]
pub struct Rates([f64; 4]);

/// A refusal: how long until the next request would be admitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TooMany {
    class: Class,
    rate: f64,
    seconds: f64,
}

/// The buckets.
pub struct Limits {
    rates: Rates,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    by_user: HashMap<(Class, String), Bucket>,
    /// When the full ones were last forgotten.
    swept: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// What is in it by now.
    fn filled(&self, rate: f64, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + passed * rate).min(burst(rate))
    }
}

/// What a full bucket holds.
fn burst(rate: f64) -> f64 {
    (rate * BURST_SECONDS).max(1.0)
}

/// A full bucket holds so many seconds' worth.
const BURST_SECONDS: f64 = 2.0;
/// Past this many buckets the full ones are forgotten, now and then.
const MANY: usize = 10_000;

impl Limits {
    /// From `RATE_LIMIT_PER_SECOND` (reads, and what the others are when they are not set), `RATE_LIMIT_WRITES_PER_SECOND`,
    /// `RATE_LIMIT_SEARCHES_PER_SECOND` and `RATE_LIMIT_LOGINS_PER_SECOND` (of everyone who is not logged in, together).
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env() -> anyhow::Result<Self> {
        let general: f64 = parse_env("RATE_LIMIT_PER_SECOND", 50.0)?;
        Ok(Self::new(Rates([
            general,
            parse_env("RATE_LIMIT_WRITES_PER_SECOND", general)?,
            parse_env("RATE_LIMIT_SEARCHES_PER_SECOND", general)?,
            parse_env("RATE_LIMIT_LOGINS_PER_SECOND", general)?,
        ])))
    }

    /// Requests a second of a class; zero: no limit.
    fn rate(&self, class: Class) -> f64 {
        let place = Class::ALL.iter().position(|other| *other == class);
        self.rates.0[place.unwrap_or_default()]
    }

    fn new(rates: Rates) -> Self {
        Self {
            rates,
            buckets: Mutex::default(),
        }
    }

    /// Takes a token from a user's bucket, or says how long until there is one.
    ///
    /// # Errors
    /// See [`TooMany`].
    pub fn admit(&self, class: Class, who: &str, now: Instant) -> Result<(), TooMany> {
        let rate = self.rate(class);
        if rate <= 0.0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let swept = buckets
            .swept
            .map(|at| now.saturating_duration_since(at).as_secs_f64());
        if buckets.by_user.len() > MANY && swept.is_none_or(|ago| ago >= BURST_SECONDS) {
            buckets.swept = Some(now);
            // A full bucket is as good as a new one; any other remembers what its user has had.
            buckets.by_user.retain(|(class, _), bucket| {
                let rate = self.rate(*class);
                bucket.filled(rate, now) < burst(rate)
            });
        }
        let bucket = buckets.by_user.entry((class, who.to_owned())).or_insert(Bucket {
            tokens: burst(rate),
            at: now,
        });
        bucket.tokens = bucket.filled(rate, now);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(TooMany {
            class,
            rate,
            seconds: (1.0 - bucket.tokens) / rate,
        })
    }
}

impl TooMany {
    /// 429, with when to come again (whole seconds, at least one, as HTTP has them).
    pub fn response(self) -> Response {
        let seconds = self.seconds.ceil().max(1.0);
        let message = format!("too many requests at once; try again in {seconds} s");
        let mut response = ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).into_response();
        let class = self.class.name();
        let burst = burst(self.rate).floor();
        let put = |headers: &mut HeaderMap, name, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        };
        let headers = response.headers_mut();
        put(headers, header::RETRY_AFTER, format!("{seconds}"));
        put(headers, RATE_LIMIT, format!("\"{class}\";r=0;t={seconds}"));
        put(
            headers,
            POLICY,
            format!("\"{class}\";q={burst};w={BURST_SECONDS}"),
        );
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_admitted_then_the_rate() {
        let (limits, start) = (Limits::new(Rates([10.0; 4])), Instant::now());
        let admitted = |class, at| (0..100).filter(|_| limits.admit(class, "a", at).is_ok()).count();
        assert_eq!(admitted(Class::Read, start), 20);
        assert_eq!(admitted(Class::Read, start + Duration::from_secs(1)), 10);
        assert_eq!(admitted(Class::Write, start), 20, "another class has its own");
        assert!(
            limits.admit(Class::Read, "b", start).is_ok(),
            "others are not held back"
        );
    }

    #[test]
    fn a_refusal_says_when_to_come_again() {
        let (limits, start) = (Limits::new(Rates([0.25; 4])), Instant::now());
        assert!(limits.admit(Class::Write, "a", start).is_ok());
        let refused = limits
            .admit(Class::Write, "a", start)
            .expect_err("one in four seconds");
        assert_eq!(refused.seconds, 4.0);
        let response = refused.response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "4");
        assert_eq!(response.headers()[RATE_LIMIT], "\"write\";r=0;t=4");
        assert_eq!(response.headers()[POLICY], "\"write\";q=1;w=2");
        assert!(
            limits
                .admit(Class::Write, "a", start + Duration::from_secs(4))
                .is_ok()
        );
        assert!(
            Limits::new(Rates([0.0; 4]))
                .admit(Class::Read, "a", start)
                .is_ok()
        );
    }

    #[test]
    fn many_users_are_swept_now_and_then_and_only_full_buckets_are_forgotten() {
        // A login in ten seconds: a bucket is full after ten, not after the burst's two.
        let (limits, start) = (Limits::new(Rates([0.1; 4])), Instant::now());
        let admit = |who: usize, at| limits.admit(Class::Read, &who.to_string(), at);
        assert!((0..=MANY).all(|who| admit(who, start).is_ok()));
        let known = || limits.buckets.lock().expect("whole").by_user.len();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(admit(0, at(3)).is_err(), "its bucket was swept too early");
        assert_eq!(known(), MANY + 1);
        assert!(admit(MANY + 1, at(12)).is_ok());
        assert_eq!(known(), 1, "the full ones are forgotten");
        assert!((0..=MANY).all(|who| admit(who + 2 * MANY, at(13)).is_ok()));
        let before = known();
        assert!(admit(5 * MANY, at(13)).is_ok());
        assert_eq!(known(), before + 1, "not swept again so soon");
    }

    #[test]
    fn requests_have_classes() {
        for (method, path, class) in [
            (Method::GET, "/api/timeline", Class::Read),
            (Method::POST, "/api/posts", Class::Write),
            (Method::DELETE, "/api/posts/1", Class::Write),
            (Method::GET, "/api/search", Class::Search),
            (Method::GET, "/api/search/people", Class::Search),
            (Method::POST, "/api/login", Class::Login),
        ] {
            assert_eq!(Class::of(&method, path), class, "{path}");
        }
    }
}
