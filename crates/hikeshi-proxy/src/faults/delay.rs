//! Delay: bytes or requests arrive later. Two delays on the same traffic add.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::percent;

/// How long. All times in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delay {
    pub length: DelayLength,
    /// HTTP answers only: count from the request's arrival, so that the whole exchange takes `length` when the system
    /// alone would have been quicker, and is not touched when it was slower.
    #[serde(default)]
    pub to_total: bool,
    pub seed: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DelayLength {
    Fixed {
        micros: u64,
    },
    /// Uniform within `micros` +- `jitter` (not below 0).
    Jitter {
        micros: u64,
        jitter: u64,
    },
    /// Points of the distribution, e.g. (0.5, 80,000) and (0.99, 1,000,000); straight lines between, flat outside.
    Quantiles {
        points: Vec<(f64, u64)>,
    },
}

impl Delay {
    pub fn fixed(length: Duration) -> Self {
        let micros = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        Self {
            length: DelayLength::Fixed { micros },
            to_total: false,
            seed: 0,
        }
    }

    pub fn validate(&self) -> Result<(), String> {
        let DelayLength::Quantiles { points } = &self.length else {
            return Ok(());
        };
        let rising = points
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        if points.is_empty() || !rising || points.iter().any(|(p, _)| !(0.0..=1.0).contains(p)) {
            return Err("delay: quantiles must rise, and lie between 0 and 1".into());
        }
        Ok(())
    }

    /// The length of delay number `n`.
    pub fn sample(&self, n: u64) -> Duration {
        match &self.length {
            DelayLength::Fixed { micros } => Duration::from_micros(*micros),
            DelayLength::Jitter { micros, jitter } => {
                let low = micros.saturating_sub(*jitter);
                let span = micros.saturating_add(*jitter) - low;
                Duration::from_micros(low + (percent::unit(self.seed, n) * span as f64) as u64)
            }
            DelayLength::Quantiles { points } => quantile(points, percent::unit(self.seed, n)),
        }
    }
}

fn quantile(points: &[(f64, u64)], at: f64) -> Duration {
    let above = points.iter().position(|(p, _)| *p >= at);
    let micros = match above {
        Some(0) => points[0].1,
        Some(i) => {
            let ((p0, v0), (p1, v1)) = (points[i - 1], points[i]);
            v0 + ((v1 - v0) as f64 * (at - p0) / (p1 - p0)) as u64
        }
        None => points.last().map_or(0, |(_, v)| *v),
    };
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn jitter_stays_in_its_band(micros in 0u64..10_000_000, jitter in 0u64..10_000_000, seed: u64, n: u64) {
            let delay = Delay { length: DelayLength::Jitter { micros, jitter }, to_total: false, seed };
            let got = delay.sample(n).as_micros() as u64;
            prop_assert!(got >= micros.saturating_sub(jitter) && got <= micros + jitter);
        }
    }

    #[test]
    fn quantiles_are_met() {
        let points = vec![(0.5, 80_000), (0.99, 1_000_000)];
        let delay = Delay {
            length: DelayLength::Quantiles { points },
            to_total: false,
            seed: 3,
        };
        let mut all: Vec<_> = (0..20_000).map(|n| delay.sample(n).as_millis()).collect();
        all.sort_unstable();
        assert_eq!(all[9_000], 80);
        assert!((950..=1000).contains(&all[19_750]), "p98.75 is {}", all[19_750]);
    }

    #[test]
    fn falling_quantiles_are_refused() {
        let points = vec![(0.5, 80), (0.4, 90)];
        assert!(
            Delay {
                length: DelayLength::Quantiles { points },
                to_total: false,
                seed: 0
            }
            .validate()
            .is_err()
        );
    }
}
