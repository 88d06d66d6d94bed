//! The psi method (L. Kontsevich and C. Tyler, "Bayesian adaptive estimation of psychometric slope and threshold", Vision
//! Research 39, 1999): each trial is at the level from whose answer most is to be learnt, and what is known at any time is a
//! distribution over thresholds. A 1-up-2-down staircase needs some fifty trials for what this finds in a dozen, and only guesses its
//! own interval; people have patience for a dozen.
//!
//! A person's answers follow `guess + (1 - guess - lapse) / (1 + exp(-slope * (x - threshold)))`, x the logarithm (to 10) of
//! the level. The threshold is thus where the person notices half the time (of A/B/X trials: is right three times in four), or
//! where they would not bear it half the time.

use serde::{Deserialize, Serialize};

/// Steps of the thresholds thought possible, over the range of levels and half a decade beyond either end.
const STEPS: usize = 61;
const BEYOND: f64 = 0.5;
/// Slopes thought possible, per decade: from people whose judgement wavers over tenfold to those who have a sharp edge.
const SLOPES: [f64; 4] = [3.0, 6.0, 12.0, 24.0];
/// How often somebody answers without regard to what they felt.
const LAPSE: f64 = 0.03;
/// Levels that are weighed for the next trial.
const CANDIDATES: u32 = 25;

/// What is asked after each trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Which of two X is: one in two is right by guessing.
    Noticed,
    /// Whether it would be too much for every day: nobody says so by guessing.
    TooMuch,
}

/// What is known about one threshold.
#[derive(Debug, Clone)]
pub struct Psi {
    low: f64,
    high: f64,
    guess: f64,
    /// Probability of each threshold and slope; sums to 1.
    known: Vec<[f64; SLOPES.len()]>,
}

/// A threshold with its 95 % interval, as logarithms (to 10) of seconds or of a share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub at: f64,
    pub low: f64,
    pub high: f64,
    /// Where it lies, as far as the levels that could be tried tell.
    pub found: Found,
}

/// Where a threshold lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// Among the levels.
    Within,
    /// Below the lowest: already that one was over it.
    Below,
    /// Above the highest: even that one was under it.
    Above,
}

impl Psi {
    /// Nothing known yet about thresholds for levels between these logarithms.
    pub fn new((low, high): (f64, f64), question: Question) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let even = 1.0 / (STEPS * SLOPES.len()) as f64;
        Self {
            low,
            high,
            guess: match question {
                Question::Noticed => 0.5,
                Question::TooMuch => 0.0,
            },
            known: vec![[even; SLOPES.len()]; STEPS],
        }
    }

    /// The threshold of a step.
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    fn threshold(&self, step: usize) -> f64 {
        let (low, high) = (self.low - BEYOND, self.high + BEYOND);
        low + (high - low) * step as f64 / (STEPS - 1) as f64
    }

    /// How likely the answer is yes (right, or too much) at level `x`.
    fn likely(&self, x: f64, threshold: f64, slope: f64) -> f64 {
        let felt = 1.0 / (1.0 + (-slope * (x - threshold)).exp());
        // Somebody who lapses is right half the time, and says "too much" as often as not.
        LAPSE / 2.0 + (1.0 - LAPSE) * (self.guess + (1.0 - self.guess) * felt)
    }

    /// Learns from an answer at level `x`.
    pub fn learn(&mut self, x: f64, yes: bool) {
        let mut sum = 0.0;
        for step in 0..STEPS {
            let threshold = self.threshold(step);
            for (place, slope) in SLOPES.iter().enumerate() {
                let p = self.likely(x, threshold, *slope);
                let known = self.known[step][place] * if yes { p } else { 1.0 - p };
                self.known[step][place] = known;
                sum += known;
            }
        }
        for row in &mut self.known {
            for known in row {
                *known /= sum;
            }
        }
    }

    /// The level whose answer is expected to leave the least in doubt (the entropy of what is known, expected over both
    /// answers, is least).
    pub fn next(&self) -> f64 {
        let step = |n: u32| self.low + (self.high - self.low) * f64::from(n) / f64::from(CANDIDATES - 1);
        // The last step may come out a rounding beyond the end.
        let candidate = |n: u32| step(n).clamp(self.low, self.high);
        let doubt = |x: f64| {
            // H(known | answer) = H(known) + H(answer | known) - H(answer), and the first is the same for all x.
            let (mut yes, mut given) = (0.0, 0.0);
            for step in 0..STEPS {
                let threshold = self.threshold(step);
                for (place, slope) in SLOPES.iter().enumerate() {
                    let (known, p) = (self.known[step][place], self.likely(x, threshold, *slope));
                    yes += known * p;
                    given += known * entropy(p);
                }
            }
            given - entropy(yes)
        };
        let all = (0..CANDIDATES).map(candidate);
        all.map(|x| (x, doubt(x)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(self.low, |(x, _)| x)
    }

    /// The threshold, with the interval that holds it with 95 % of what is known.
    pub fn estimate(&self) -> Estimate {
        let marginal: Vec<f64> = self.known.iter().map(|row| row.iter().sum()).collect();
        let width = self.threshold(1) - self.threshold(0);
        let quantile = |share: f64| {
            let mut below = 0.0;
            for (step, known) in marginal.iter().enumerate() {
                if below + known >= share {
                    let within = if *known > 0.0 {
                        (share - below) / known
                    } else {
                        0.5
                    };
                    return self.threshold(step) + (within - 0.5) * width;
                }
                below += known;
            }
            self.threshold(STEPS - 1)
        };
        let (at, low, high) = (quantile(0.5), quantile(0.025), quantile(0.975));
        let found = if at < self.low {
            Found::Below
        } else if at > self.high {
            Found::Above
        } else {
            Found::Within
        };
        Estimate { at, low, high, found }
    }
}

/// Of a coin that falls so with probability `p`, in nats.
fn entropy(p: f64) -> f64 {
    let part = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    part(p) + part(1.0 - p)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::level::Kind;
    use crate::stats::mixed;

    #[expect(clippy::cast_precision_loss, reason = "53 bits")]
    fn dice(seed: u64, n: u64) -> f64 {
        (mixed(seed, n) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A person with a threshold and a slope of their own, who follows the method for so many trials.
    fn searched(
        kind: Kind,
        question: Question,
        threshold: f64,
        slope: f64,
        seed: u64,
        trials: u64,
    ) -> Estimate {
        let mut psi = Psi::new(kind.range(), question);
        for n in 0..trials {
            let x = psi.next();
            let felt = 1.0 / (1.0 + (-slope * (x - threshold)).exp());
            let noticed = dice(seed, 2 * n) < felt;
            let yes = match question {
                Question::Noticed => noticed || dice(seed, 2 * n + 1) < 0.5,
                Question::TooMuch => noticed,
            };
            psi.learn(x, yes);
        }
        psi.estimate()
    }

    /// A 95 % interval is wrong one time in twenty; of 200 people at most 20 is beyond bad luck (p < 0.002 if it is true).
    #[test]
    fn the_interval_holds_the_threshold_as_often_as_it_says() {
        for (kind, question) in [
            (Kind::Latency, Question::Noticed),
            (Kind::Latency, Question::TooMuch),
            (Kind::Availability, Question::Noticed),
            (Kind::Availability, Question::TooMuch),
        ] {
            let (low, high) = kind.range();
            let people = 200_u64;
            let missed = (0..people)
                .filter(|seed| {
                    let threshold = low + (high - low) * (0.1 + 0.8 * dice(*seed, 1_000));
                    let slope = 4.0 + 12.0 * dice(*seed, 1_001);
                    let found = searched(kind, question, threshold, slope, *seed, 14);
                    !(found.low..=found.high).contains(&threshold)
                })
                .count();
            assert!(missed <= 20, "{kind:?} {question:?}: {missed} of {people} missed");
        }
    }

    /// Twelve trials leave less than a factor of three between the ends, for half of the people with a sharp edge.
    #[test]
    fn a_dozen_trials_say_something() {
        let mut widths: Vec<f64> = (0..40)
            .map(|seed| searched(Kind::Latency, Question::TooMuch, 0.0, 12.0, seed, 12))
            .map(|found| found.high - found.low)
            .collect();
        widths.sort_by(f64::total_cmp);
        assert!(
            widths[20] < 3_f64.log10(),
            "half of the intervals are wider than {}",
            widths[20]
        );
    }

    #[test]
    fn who_feels_nothing_or_everything_is_told_so() {
        let mut nothing = Psi::new(Kind::Latency.range(), Question::TooMuch);
        let mut everything = nothing.clone();
        for _ in 0..12 {
            let (x, y) = (nothing.next(), everything.next());
            nothing.learn(x, false);
            everything.learn(y, true);
        }
        assert_eq!(nothing.estimate().found, Found::Above);
        assert_eq!(everything.estimate().found, Found::Below);
    }

    proptest! {
        #[test]
        fn what_is_known_stays_a_distribution(answers in prop::collection::vec((0.0_f64..1.0, any::<bool>()), 0..60)) {
            let kind = Kind::Availability;
            let (low, high) = kind.range();
            let mut psi = Psi::new(kind.range(), Question::Noticed);
            for (at, yes) in answers {
                psi.learn(low + (high - low) * at, yes);
            }
            let sum: f64 = psi.known.iter().flatten().sum();
            prop_assert!((sum - 1.0).abs() < 1e-6);
            let found = psi.estimate();
            prop_assert!(found.low <= found.at && found.at <= found.high);
            let next = psi.next();
            prop_assert!((low..=high).contains(&next));
        }
    }
}
