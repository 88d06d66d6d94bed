//! How long a container that keeps ending waits before it is started again.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// A run this long clears the record.
const GOOD_RUN: Duration = Duration::from_secs(600);

/// One container's record: the first restart is at once, then 10 s, 20 s, ... up to 5 min.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    next: Option<Duration>,
}

impl Backoff {
    /// The record of a container that has been restarted `restarts` times already.
    pub fn after(restarts: u32) -> Self {
        let mut backoff = Self::default();
        for _ in 0..restarts.min(8) {
            backoff.delay(Duration::ZERO);
        }
        backoff
    }

    /// The wait after a run that lasted `ran`.
    pub fn delay(&mut self, ran: Duration) -> Duration {
        if ran >= GOOD_RUN {
            self.next = None;
        }
        let delay = self.next.unwrap_or(Duration::ZERO);
        self.next = Some(self.next.map_or(FIRST, |now| (now * 2).min(LONGEST)));
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_five_minutes_and_forgives_after_ten() {
        let mut backoff = Backoff::default();
        let seconds: Vec<u64> = (0..8)
            .map(|_| backoff.delay(Duration::from_secs(1)).as_secs())
            .collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.delay(Duration::from_secs(600)), Duration::ZERO);
        assert_eq!(backoff.delay(Duration::from_secs(599)), FIRST);
        assert_eq!(Backoff::after(2).delay(Duration::ZERO).as_secs(), 20);
    }
}
