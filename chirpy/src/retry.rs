//! How long to wait before trying again.

use std::time::Duration;

/// A pause between attempts: fixed, or growing with full jitter up to a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// The first pause, and every pause when `max` is zero.
    pub base: Duration,
    /// Ceiling of the exponential growth; zero means a fixed pause.
    pub max: Duration,
}

impl Pauses {
    /// The pause after the `attempt`th failure (1, 2, ...). `random` is uniform in 0..1.
    pub fn after(&self, attempt: u32, random: f64) -> Duration {
        if self.max.is_zero() {
            return self.base;
        }
        let grown = self
            .base
            .saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        // Full jitter, but never zero: two who failed together must not meet again at once.
        grown.min(self.max).mul_f64(random.clamp(0.05, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_stay_between_nothing_and_the_ceiling(base in 1_u64..1000, max in 1_u64..60_000, n in 1_u32..200, r in 0.0..1.0) {
            let pauses = Pauses { base: Duration::from_millis(base), max: Duration::from_millis(max) };
            let pause = pauses.after(n, r);
            prop_assert!(pause <= pauses.max);
            prop_assert!(!pause.is_zero());
        }

        #[test]
        fn a_fixed_pause_is_fixed(base in 0_u64..1000, n in 1_u32..200, r in 0.0..1.0) {
            let pauses = Pauses { base: Duration::from_millis(base), max: Duration::ZERO };
            prop_assert_eq!(pauses.after(n, r), pauses.base);
        }
    }
}
