//! A budget for retries: what may be tried again is a share of what goes well, so that retries cannot become the load.

use std::sync::{Mutex, PoisonError};

/// Retries that may be made at once after a calm time.
const MOST: f64 = 50.0;
/// What each request adds.
const SHARE: f64 = 0.1;

/// Retries left; a tenth of the requests may be one.
pub struct Budget(Mutex<f64>);

impl Default for Budget {
    fn default() -> Self {
        Self(Mutex::new(MOST))
    }
}

impl Budget {
    /// A first attempt is made.
    pub fn attempt(&self) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *left = (*left + SHARE).min(MOST);
    }

    /// Whether another attempt may be made; it is paid for then.
    pub fn retry(&self) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *left < 1.0 {
            return false;
        }
        *left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_a_tenth_of_the_requests_may_be_tried_again() {
        let budget = Budget::default();
        let burst = (0..1000).filter(|_| budget.retry()).count();
        assert_eq!(burst, 50);
        let mut granted = 0;
        for _ in 0..1000 {
            budget.attempt();
            granted += usize::from(budget.retry());
        }
        assert!((95..=100).contains(&granted), "{granted}");
    }
}
