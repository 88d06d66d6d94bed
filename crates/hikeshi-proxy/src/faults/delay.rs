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
    /// How much of each length is the one before, in parts per million, as netem's: lengths come in runs. Faults on
    /// packets only.
    #[serde(default)]
    pub correlation: u32,
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
            correlation: 0,
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

    /// The length of delay number `n`, without regard to others.
    pub fn sample(&self, n: u64) -> Duration {
        self.at(percent::unit(self.seed, n))
    }

    /// The length of delay number `n` after one whose place in the distribution was `last`, and its own place.
    pub(super) fn sample_after(&self, n: u64, last: f64) -> (Duration, f64) {
        let share = f64::from(self.correlation) / f64::from(percent::WHOLE);
        let place = percent::unit(self.seed, n) * (1.0 - share) + last * share;
        (self.at(place), place)
    }

    /// The length at a place (0 to 1) of the distribution.
    fn at(&self, place: f64) -> Duration {
        match &self.length {
            DelayLength::Fixed { micros } => Duration::from_micros(*micros),
            DelayLength::Jitter { micros, jitter } => {
                let low = micros.saturating_sub(*jitter);
                let span = micros.saturating_add(*jitter) - low;
                Duration::from_micros(low + (place * span as f64) as u64)
            }
            DelayLength::Quantiles { points } => quantile(points, place),
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
            let delay = Delay { length: DelayLength::Jitter { micros, jitter }, to_total: false, seed, correlation: 0 };
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
            correlation: 0,
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
                seed: 0,
                correlation: 0,
            }
            .validate()
            .is_err()
        );
    }

    #[test]
    fn correlated_lengths_follow_each_other() {
        let delay = |correlation| Delay {
            length: DelayLength::Jitter {
                micros: 100,
                jitter: 100,
            },
            to_total: false,
            seed: 5,
            correlation,
        };
        let mean_step = |delay: Delay| {
            let mut last = 0.5;
            let mut steps = 0.0;
            for n in 0..2_000 {
                let (_, place) = delay.sample_after(n, last);
                steps += (place - last).abs();
                last = place;
            }
            steps / 2_000.0
        };
        let (free, bound) = (mean_step(delay(0)), mean_step(delay(900_000)));
        assert!(bound < free / 4.0, "steps of {bound} against {free}");
    }
}
