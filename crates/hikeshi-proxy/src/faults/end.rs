//! When a fault ends by itself, whatever becomes of those who asked for it.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub wall: SystemTime,
    pub steady: Instant,
}

impl Now {
    pub fn read() -> Self {
        Self {
            wall: SystemTime::now(),
            steady: Instant::now(),
        }
    }
}

/// The end of a fault's time, by whichever clock comes there first: the wall's goes on while the machine sleeps, and
/// nobody sets the steady one back.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub until: SystemTime,
    /// `None` lies beyond what the clock can say.
    steady: Option<Instant>,
}

impl End {
    /// As a fault that is posted `now` has it.
    pub fn of(until: SystemTime, now: Now) -> Self {
        let left = until.duration_since(now.wall).unwrap_or_default();
        Self {
            until,
            steady: now.steady.checked_add(left),
        }
    }

    /// How much of its time is left; zero when it is over.
    pub fn left(&self, now: Now) -> Duration {
        let wall = self.until.duration_since(now.wall).unwrap_or_default();
        let steady = self.steady.map(|end| end.saturating_duration_since(now.steady));
        steady.map_or(wall, |steady| steady.min(wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn neither_sleep_nor_a_clock_that_is_set_prolongs_a_fault() {
        let now = Now::read();
        let end = End::of(now.wall + 60 * SECOND, now);
        let at = |wall: SystemTime, steady: u32| Now {
            wall,
            steady: now.steady + steady * SECOND,
        };
        assert_eq!(end.left(at(now.wall + 20 * SECOND, 20)), 40 * SECOND);
        let slept = at(now.wall + 3600 * SECOND, 1);
        assert_eq!(end.left(slept), Duration::ZERO);
        let set_back = at(now.wall - 3600 * SECOND, 60);
        assert_eq!(end.left(set_back), Duration::ZERO);
    }
}
