//! When each request is due, and which journey it belongs to: pure, seeded.

use std::time::Duration;

/// A journey a user takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Journey {
    /// Write a message.
    Post,
    /// Read one's own home timeline.
    Read,
}

impl Journey {
    /// All journeys.
    pub const ALL: [Self; 2] = [Self::Post, Self::Read];

    /// The journey's name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Post => "post-message",
            Self::Read => "read-timeline",
        }
    }
}

/// One planned request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Since the start of the run.
    pub at: Duration,
    pub journey: Journey,
    /// Picks the user: reduce it modulo the number of users.
    pub dice: u64,
    /// A post by the hot account.
    pub hot: bool,
}

/// An endless plan of arrivals at a constant rate.
///
/// Shares are exact, not a coin toss: of any `n` arrivals, `n * post_share` (rounded) are posts, and likewise the hot
/// account's among the posts.
#[derive(Clone, Debug)]
pub struct Schedule {
    rate: f64,
    post_share: f64,
    hot_share: f64,
    next: u64,
    posts: u64,
    random: fastrand::Rng,
}

impl Schedule {
    /// `rate` in requests per second (more than zero); the shares in 0..=1.
    pub fn new(rate: f64, post_share: f64, hot_share: f64, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self {
            rate: rate.max(f64::MIN_POSITIVE),
            post_share,
            hot_share,
            next: 0,
            posts: 0,
            random,
        }
    }
}

/// Whether the `n`th (0, 1, ...) of a sequence belongs to a stratified share of it.
fn takes(n: u64, share: f64) -> bool {
    ((n + 1) as f64 * share).floor() > (n as f64 * share).floor()
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let n = self.next;
        self.next += 1;
        let journey = if takes(n, self.post_share) {
            Journey::Post
        } else {
            Journey::Read
        };
        let hot = journey == Journey::Post && {
            self.posts += 1;
            takes(self.posts - 1, self.hot_share)
        };
        Some(Arrival {
            at: Duration::from_secs_f64(n as f64 / self.rate),
            journey,
            dice: self.random.u64(..),
            hot,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_rate_and_the_shares_are_exact(rate in 1.0..500.0, share in 0.0..1.0, hot in 0.0..1.0, seed: u64, n in 1_usize..3000) {
            let arrivals: Vec<_> = Schedule::new(rate, share, hot, seed).take(n).collect();
            let due = Duration::from_secs_f64((n - 1) as f64 / rate);
            prop_assert_eq!(arrivals[n - 1].at, due);
            prop_assert!(arrivals.windows(2).all(|pair| pair[0].at <= pair[1].at));
            let posts = arrivals.iter().filter(|arrival| arrival.journey == Journey::Post).count();
            prop_assert!((posts as f64 - n as f64 * share).abs() <= 1.0);
            let hots = arrivals.iter().filter(|arrival| arrival.hot).count();
            prop_assert!((hots as f64 - posts as f64 * hot).abs() <= 1.0);
        }

        #[test]
        fn the_same_seed_gives_the_same_plan(seed: u64) {
            let plan = || Schedule::new(50.0, 1.0 / 11.0, 0.2, seed).take(500);
            prop_assert!(plan().eq(plan()));
        }
    }
}
