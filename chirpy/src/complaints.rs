//! Logging of what fails many times a second: the first at once, then one line a second that says how many it stands for.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines.
const EVERY: Duration = Duration::from_secs(1);

/// One kind of failure.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    logged: Option<Instant>,
    /// Since then, and not logged.
    silent: u64,
}

impl Complaints {
    pub const fn new() -> Self {
        Self(Mutex::new(State {
            logged: None,
            silent: 0,
        }))
    }

    /// It failed again: whether that is to be logged, and how many failures before it were not.
    pub fn again(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .logged
            .is_some_and(|logged| now.saturating_duration_since(logged) < EVERY)
        {
            state.silent += 1;
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_logged_and_then_one_a_second_with_the_count_of_the_others() {
        let (complaints, start) = (Complaints::new(), Instant::now());
        let at = |ms| complaints.again(start + Duration::from_millis(ms));
        assert_eq!(
            [at(0), at(1), at(999), at(1000), at(1500), at(9000)],
            [Some(0), None, None, Some(2), None, Some(1)]
        );
    }
}
