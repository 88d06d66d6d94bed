//! What is sent, when: a pure function of its parameters and the seed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::journey::Journey;
use crate::shape::Shape;

/// How arrivals are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Evenly.
    #[default]
    Constant,
    /// Independently of one another, as many people's are: exponential gaps.
    Poisson,
}

/// What arrivals of a stretch are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// Weights by [`Journey::place`]; at least one is more than zero.
    pub weights: [f64; Journey::ALL.len()],
    /// Share of the hot account's posts among the posts, and of its page among the profiles read.
    pub hot: f64,
}

/// One planned request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its number, from 0, over all who share the schedule.
    pub number: u64,
    /// Since the start of the run.
    pub at: Duration,
    pub journey: Journey,
    /// Picks the user: reduce it modulo the number of users.
    pub dice: u64,
    /// About the hot account.
    pub hot: bool,
}

/// A plan of arrivals.
///
/// The mix is exact, not a coin toss: of any `n` arrivals of a stretch each journey has its share of `n`, give or take
/// one, and likewise the hot account among the posts and among the profiles.
#[derive(Clone, Debug)]
pub struct Schedule {
    shape: Shape,
    /// One for each piece of the shape.
    mixes: Vec<Mix>,
    arrivals: Arrivals,
    /// Ours of so many: every `of`th arrival.
    share: (u64, u64),
    number: u64,
    /// Of the process of unit rate.
    count: f64,
    debts: [f64; Journey::ALL.len()],
    hot_debts: [f64; Journey::ALL.len()],
    kinds: fastrand::Rng,
    gaps: fastrand::Rng,
}

impl Schedule {
    /// `mixes` has one entry for each piece of `shape`; missing ones are the last again.
    pub fn new(shape: Shape, mixes: Vec<Mix>, arrivals: Arrivals, seed: u64) -> Self {
        let mut gaps = fastrand::Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15);
        let count = match arrivals {
            Arrivals::Constant => 0.0,
            Arrivals::Poisson => exponential(&mut gaps),
        };
        Self {
            shape,
            mixes,
            arrivals,
            share: (0, 1),
            number: 0,
            count,
            debts: [0.0; Journey::ALL.len()],
            hot_debts: [0.0; Journey::ALL.len()],
            kinds: fastrand::Rng::with_seed(seed),
            gaps,
        }
    }

    /// Only every `of`th arrival, from the `index`th on (`index < of`): together, all shares are the whole schedule.
    #[must_use]
    pub fn shared(mut self, index: u64, of: u64) -> Self {
        self.share = (index, of.max(1));
        self
    }

    /// How long it is; `None`: endless.
    pub fn length(&self) -> Option<Duration> {
        self.shape.length()
    }

    fn following(&mut self) -> Option<Arrival> {
        let (at, piece) = self.shape.when(self.count)?;
        let number = self.number;
        self.number += 1;
        self.count = match self.arrivals {
            // Not a sum: what is due after hours must not have drifted.
            Arrivals::Constant => self.number as f64,
            Arrivals::Poisson => self.count + exponential(&mut self.gaps),
        };
        let mix = self.mixes.get(piece).or(self.mixes.last())?;
        let journey = most_owed(&mut self.debts, &mix.weights)?;
        let place = journey.place();
        let about_account = matches!(journey, Journey::PostMessage | Journey::ReadProfile);
        let hot = about_account && owed(&mut self.hot_debts[place], mix.hot);
        Some(Arrival {
            number,
            at,
            journey,
            dice: self.kinds.u64(..),
            hot,
        })
    }
}

/// A gap of a Poisson process of unit rate.
fn exponential(random: &mut fastrand::Rng) -> f64 {
    // 1 - [0, 1) is never zero.
    -(1.0 - random.f64()).ln()
}

/// Smooth weighted round robin: everyone is owed their weight, whoever is owed most is taken and pays for all.
fn most_owed(debts: &mut [f64; Journey::ALL.len()], weights: &[f64; Journey::ALL.len()]) -> Option<Journey> {
    let total: f64 = weights.iter().sum();
    for (debt, weight) in debts.iter_mut().zip(weights) {
        *debt += weight / total;
    }
    let wanted = |journey: &Journey| weights[journey.place()] > 0.0;
    let most = Journey::ALL
        .into_iter()
        .filter(wanted)
        .max_by(|a, b| debts[a.place()].total_cmp(&debts[b.place()]))?;
    debts[most.place()] -= 1.0;
    Some(most)
}

/// Whether a share's next member is due.
fn owed(debt: &mut f64, share: f64) -> bool {
    *debt += share;
    // Sums of a decimal share end a hair below the whole number.
    let due = *debt >= 1.0 - 1e-9;
    if due {
        *debt -= 1.0;
    }
    due
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            let arrival = self.following()?;
            if arrival.number % self.share.1 == self.share.0 {
                return Some(arrival);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Piece;
    use proptest::prelude::*;

    fn mix(post: f64, hot: f64) -> Mix {
        Mix {
            weights: [post, 1.0 - post, 0.0, 0.0],
            hot,
        }
    }

    fn steady(rate: f64, post: f64, hot: f64, arrivals: Arrivals, seed: u64) -> Schedule {
        Schedule::new(Shape::constant(rate), vec![mix(post, hot)], arrivals, seed)
    }

    proptest! {
        #[test]
        fn the_rate_and_the_shares_are_exact(rate in 1.0..500.0, share in 0.0..1.0, hot in 0.0..1.0, seed: u64, n in 1_usize..3000) {
            let arrivals: Vec<_> = steady(rate, share, hot, Arrivals::Constant, seed).take(n).collect();
            let due = (n - 1) as f64 / rate;
            prop_assert!((arrivals[n - 1].at.as_secs_f64() - due).abs() < 1e-6);
            prop_assert!(arrivals.windows(2).all(|pair| pair[0].at <= pair[1].at));
            let posts = arrivals.iter().filter(|arrival| arrival.journey == Journey::PostMessage).count();
            prop_assert!((posts as f64 - n as f64 * share).abs() <= 1.0);
            let hots = arrivals.iter().filter(|arrival| arrival.hot).count();
            prop_assert!((hots as f64 - posts as f64 * hot).abs() <= 1.0);
        }

        #[test]
        fn the_same_seed_gives_the_same_plan_and_shares_make_up_the_whole(seed: u64, of in 1_u64..7) {
            let plan = || steady(50.0, 1.0 / 11.0, 0.2, Arrivals::Poisson, seed);
            let whole: Vec<_> = plan().take(700).collect();
            prop_assert!(plan().take(700).eq(whole.iter().copied()));
            let mut parts: Vec<_> = (0..of)
                .flat_map(|index| plan().shared(index, of).take_while(|arrival| arrival.number < 700))
                .collect();
            parts.sort_by_key(|arrival| arrival.number);
            prop_assert_eq!(parts, whole);
        }
    }

    #[test]
    fn gaps_of_a_poisson_process_have_the_mean_and_the_spread_of_one() {
        let arrivals: Vec<_> = steady(100.0, 0.0, 0.0, Arrivals::Poisson, 7)
            .take(100_001)
            .collect();
        let gaps: Vec<f64> = arrivals
            .windows(2)
            .map(|pair| (pair[1].at - pair[0].at).as_secs_f64())
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 100.0 - 1.0).abs() < 0.02, "{mean}");
        // Of an exponential distribution the deviation is the mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "{variance}");
    }

    #[test]
    fn a_spike_has_ten_times_as_many_arrivals_and_its_own_mix() {
        let piece = |seconds, rate| Piece {
            seconds,
            from: rate,
            to: rate,
        };
        let shape = Shape::new([piece(10.0, 20.0), piece(5.0, 200.0), piece(10.0, 20.0)]);
        let crowd = Mix {
            weights: [0.0, 1.0, 3.0, 0.0],
            hot: 1.0,
        };
        let calm = mix(0.5, 0.0);
        let arrivals: Vec<_> =
            Schedule::new(shape, vec![calm.clone(), crowd, calm], Arrivals::Constant, 1).collect();
        assert_eq!(arrivals.len(), 1400);
        let spike = |arrival: &&Arrival| (10..15).contains(&arrival.at.as_secs());
        assert_eq!(arrivals.iter().filter(spike).count(), 1000);
        let hot = arrivals.iter().filter(|arrival| arrival.hot).count();
        assert!((749..=751).contains(&hot), "{hot}");
        assert!(
            arrivals
                .iter()
                .filter(|a| a.hot)
                .all(|a| spike(&a) && a.journey == Journey::ReadProfile)
        );
    }
}
