//! Bandwidth: a token bucket that all connections of one sender share, as they share its network card.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What the kernel's windows would hold of a fast network with a long delay, in bytes.
pub(super) const WINDOW: usize = 4 * 1024 * 1024;

/// In seconds.
const CENTURY: f64 = 3.2e9;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Bytes per second.
    pub rate: u64,
    /// Bytes that may pass at once after a quiet time.
    pub burst: u64,
    /// Most bytes that wait for their turn; the sender waits then. Without it, a fifth of a second's worth.
    #[serde(default)]
    pub queue: Option<u64>,
}

impl Bandwidth {
    pub fn validate(&self) -> Result<(), String> {
        if self.rate == 0 {
            return Err("bandwidth.rate: must be more than 0 (use a partition to stop everything)".into());
        }
        Ok(())
    }

    /// At most a century, so that no sum of such times is too long for a clock.
    fn time_for(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64((bytes as f64 / self.rate as f64).min(CENTURY))
    }

    /// Largest piece to schedule at once in bytes: a fiftieth of a second's worth, so that slow links flow and do not gush.
    pub fn piece(&self) -> usize {
        usize::try_from(self.rate / 50)
            .unwrap_or(usize::MAX)
            .clamp(512, 64 * 1024)
    }

    /// Bytes that may queue before the sender waits: `queue`, or a fifth of a second's worth. At least one piece, for less
    /// would carry nothing.
    pub fn window(&self) -> usize {
        let usual = usize::try_from(self.rate / 5).unwrap_or(usize::MAX);
        match self.queue {
            Some(bytes) => usize::try_from(bytes)
                .unwrap_or(usize::MAX)
                .clamp(self.piece(), WINDOW),
            None => usual.clamp(16 * 1024, WINDOW),
        }
    }
}

/// When the last reserved byte will have passed.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    free_at: Option<Instant>,
}

impl Bucket {
    pub const NEW: Self = Self { free_at: None };

    /// Books `bytes` that are there at `now`; returns when they have passed.
    pub fn reserve(&mut self, limit: &Bandwidth, now: Instant, bytes: usize) -> Instant {
        let credit = now.checked_sub(limit.time_for(limit.burst)).unwrap_or(now);
        let start = self.free_at.map_or(credit, |free| free.max(credit));
        let done = start + limit.time_for(bytes as u64);
        self.free_at = Some(done);
        done.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_takes_its_time() {
        let limit = Bandwidth {
            rate: 1_000,
            burst: 500,
            queue: None,
        };
        let (mut bucket, now) = (Bucket::NEW, Instant::now());
        assert_eq!(bucket.reserve(&limit, now, 500), now);
        assert_eq!(bucket.reserve(&limit, now, 1_000), now + Duration::from_secs(1));
        assert_eq!(bucket.reserve(&limit, now, 1_000), now + Duration::from_secs(2));
        let later = now + Duration::from_secs(60);
        assert_eq!(bucket.reserve(&limit, later, 500), later);
    }
    #[test]
    fn a_burst_of_any_size_passes_at_once() {
        let limit = Bandwidth {
            rate: 1,
            burst: u64::MAX,
            queue: None,
        };
        let (mut bucket, now) = (Bucket::NEW, Instant::now());
        assert_eq!(bucket.reserve(&limit, now, 1_000_000), now);
    }
}
