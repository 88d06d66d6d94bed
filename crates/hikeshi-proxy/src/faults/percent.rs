//! A share of events, exactly: 1.5 % is 15 of every 1,000, at places nobody can guess.

use serde::{Deserialize, Serialize};

/// One whole, in parts per million.
pub const WHOLE: u32 = 1_000_000;

/// A share in parts per million, and the seed that places the hits.
///
/// Events are cut into strata of `1,000,000 / ppm` events, and each stratum has one hit at a seeded place. So after N
/// events the count is within one of `N * ppm / 1,000,000`, without the regular beat of "every 67th".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percent {
    pub ppm: u32,
    pub seed: u64,
}

impl Percent {
    /// Every event.
    pub const ALL: Self = Self { ppm: WHOLE, seed: 0 };

    pub fn validate(&self) -> Result<(), String> {
        if self.ppm > WHOLE {
            return Err(format!(
                "percent: {} parts per million is more than all",
                self.ppm
            ));
        }
        Ok(())
    }

    /// Whether event number `n` (from 0) is hit.
    pub fn hits(&self, n: u64) -> bool {
        if self.ppm == 0 || self.ppm >= WHOLE {
            return self.ppm != 0;
        }
        let (whole, ppm, n) = (u128::from(WHOLE), u128::from(self.ppm), u128::from(n));
        // The stratum of n is the largest k whose first event, ceil(k * whole / ppm), is at or before n.
        let stratum = n * ppm / whole;
        let first = |k: u128| (k * whole).div_ceil(ppm);
        let (start, end) = (first(stratum), first(stratum + 1));
        let place = u128::from(mix(self.seed, stratum as u64)) % (end - start);
        n == start + place
    }
}

/// A well-mixed number from a seed and an index (splitmix64's finalizer).
pub(crate) fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// As [`mix`], in [0, 1).
pub(crate) fn unit(seed: u64, index: u64) -> f64 {
    (mix(seed, index) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_and_a_half_percent_is_fifteen_of_every_thousand() {
        let percent = Percent { ppm: 15_000, seed: 7 };
        for block in 0..20u64 {
            let hits = (block * 1000..(block + 1) * 1000)
                .filter(|n| percent.hits(*n))
                .count();
            assert_eq!(hits, 15, "block {block}");
        }
    }

    #[test]
    fn another_seed_hits_other_requests() {
        let places = |seed| {
            (0..1000)
                .filter(|n| Percent { ppm: 15_000, seed }.hits(*n))
                .collect::<Vec<_>>()
        };
        assert_ne!(places(1), places(2));
    }

    proptest! {
        #[test]
        fn the_count_is_never_off_by_more_than_one(ppm in 0u32..=WHOLE, seed: u64, events in 1u64..5000) {
            let percent = Percent { ppm, seed };
            let hits = (0..events).filter(|n| percent.hits(*n)).count() as f64;
            let expected = events as f64 * f64::from(ppm) / f64::from(WHOLE);
            prop_assert!((hits - expected).abs() <= 1.0, "{hits} hits, {expected} expected");
        }
    }
}
