//! Rate limits per user.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A token bucket per user: so many requests a second, twice that in a burst. Zero means no limit.
pub struct Limits {
    rate: f64,
    buckets: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Limits {
    /// Past this many users the full buckets are forgotten.
    const MANY: usize = 10_000;

    pub fn new(rate: f64) -> Self {
        Self {
            rate,
            buckets: Mutex::default(),
        }
    }

    /// Whether `who` may send one more request at `now`; it is counted when so.
    pub fn admit(&self, who: &str, now: Instant) -> bool {
        if self.rate <= 0.0 {
            return true;
        }
        let burst = self.rate * 2.0;
        let refilled = |(tokens, at): (f64, Instant)| {
            (tokens + now.saturating_duration_since(at).as_secs_f64() * self.rate).min(burst)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(who) {
            let tokens = refilled(*bucket);
            let admitted = tokens >= 1.0;
            *bucket = (if admitted { tokens - 1.0 } else { tokens }, now);
            return admitted;
        }
        if buckets.len() > Self::MANY {
            buckets.retain(|_, bucket| refilled(*bucket) < burst);
        }
        buckets.insert(who.to_owned(), (burst - 1.0, now));
        burst >= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_is_admitted_then_the_rate() {
        let (limits, start) = (Limits::new(10.0), Instant::now());
        let admitted = |at| (0..100).filter(|_| limits.admit("a", at)).count();
        assert_eq!(admitted(start), 20);
        assert_eq!(admitted(start + Duration::from_secs(1)), 10);
        assert!(limits.admit("b", start), "others are not held back");
    }
}
