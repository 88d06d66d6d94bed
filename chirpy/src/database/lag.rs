//! How far a replica is behind, from positions in the write-ahead log: pure.
//!
//! The replica's own clock cannot tell: when nothing is written, the last replayed transaction grows old and nothing is
//! missing. So the primary's position is noted each time it is looked at, and the lag is the age of the oldest noted position
//! that the replica has not reached.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A position in the write-ahead log, bytes.
pub type Position = i64;

/// Positions of the primary, the oldest first, that the replica had not reached when it was last asked.
#[derive(Default)]
pub struct Lag {
    ahead: VecDeque<(Instant, Position)>,
    /// When the replica last answered.
    heard: Option<Instant>,
}

/// As many looks as are remembered; with one each half second, half an hour.
const REMEMBERED: usize = 3600;

impl Lag {
    /// The primary was at `position` when it was asked at `at`.
    pub fn primary(&mut self, at: Instant, position: Position) {
        // After a failover the new primary may be behind where the old one was: what is not there cannot be reached.
        while self.ahead.back().is_some_and(|(_, last)| *last > position) {
            self.ahead.pop_back();
        }
        if self.ahead.back().is_some_and(|(_, last)| *last == position) {
            return;
        }
        // The oldest stays: the lag is counted from it.
        if self.ahead.len() == REMEMBERED {
            self.ahead.pop_back();
        }
        self.ahead.push_back((at, position));
    }

    /// The replica has replayed up to `position`, it said at `at`.
    pub fn replica(&mut self, at: Instant, position: Position) {
        self.heard = Some(at);
        while self.ahead.front().is_some_and(|(_, noted)| *noted <= position) {
            self.ahead.pop_front();
        }
    }

    /// The replica did not answer.
    pub fn lost(&mut self) {
        self.heard = None;
    }

    /// How old what the replica shows may be; none while it does not answer.
    pub fn behind(&self, now: Instant) -> Option<Duration> {
        self.heard?;
        let oldest = self.ahead.front().map_or(now, |(at, _)| *at);
        Some(now.saturating_duration_since(oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_written_is_no_lag() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        assert_eq!(lag.behind(start), None, "not heard of yet");
        lag.primary(start, 100);
        lag.replica(start, 100);
        let later = start + Duration::from_secs(3600);
        lag.primary(later, 100);
        lag.replica(later, 100);
        assert_eq!(lag.behind(later), Some(Duration::ZERO));
    }

    #[test]
    fn it_is_the_age_of_the_oldest_position_not_reached() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        let second = |n| start + Duration::from_secs(n);
        lag.replica(start, 50);
        for n in 0..10 {
            lag.primary(second(n), 100 + i64::try_from(n).unwrap_or_default());
        }
        assert_eq!(lag.behind(second(10)), Some(Duration::from_secs(10)));
        lag.replica(second(10), 104);
        assert_eq!(lag.behind(second(10)), Some(Duration::from_secs(5)));
        lag.replica(second(10), 109);
        assert_eq!(lag.behind(second(10)), Some(Duration::ZERO));
    }

    #[test]
    fn what_a_failed_primary_had_alone_is_not_waited_for() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        let second = |n| start + Duration::from_secs(n);
        lag.replica(start, 90);
        lag.primary(second(1), 100);
        lag.primary(second(2), 200);
        lag.primary(second(3), 120);
        lag.replica(second(4), 120);
        assert_eq!(lag.behind(second(4)), Some(Duration::ZERO));
    }

    #[test]
    fn a_replica_that_does_not_answer_has_no_lag_but_none() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        lag.primary(start, 1);
        lag.replica(start, 1);
        lag.lost();
        assert_eq!(lag.behind(start), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_keeps_the_oldest() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        lag.replica(start, 0);
        for n in 0..10_000_u32 {
            lag.primary(start + Duration::from_secs(u64::from(n)), i64::from(n) + 1);
        }
        assert_eq!(lag.ahead.len(), REMEMBERED);
        assert_eq!(
            lag.behind(start + Duration::from_secs(10_000)),
            Some(Duration::from_secs(10_000))
        );
    }
}
