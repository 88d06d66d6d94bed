//! What a generator has measured: counts and latencies per journey. Several generators' measurements add up to one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::journey::Journey;
use crate::latency::Latencies;

/// Kinds of error that are told apart; an error message may hold anything.
const MOST_KINDS: usize = 20;
/// Stretches that a run's course is told in, at most.
const MOST_STRETCHES: u32 = 240;

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that were due.
    pub offered: u64,
    /// Those that were written to a connection.
    pub sent: u64,
    pub ok: u64,
    pub error: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.sent += other.sent;
        self.ok += other.ok;
        self.error += other.error;
    }
}

/// A journey in one stretch of time: what was due in it, however late it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stretch {
    pub counts: Counts,
    /// Of what was answered well.
    pub latency: Latencies,
}

/// One journey.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tally {
    pub counts: Counts,
    /// Sampled posts that were, and were not, in their followers' timelines in time.
    pub fresh: u64,
    pub stale: u64,
    pub errors: BTreeMap<String, u64>,
    /// Of what was answered well: a refusal is fast, and must not make the others look so.
    pub latency: Latencies,
    /// Until what failed had failed.
    #[serde(default = "Latencies::fine")]
    pub failed: Latencies,
    pub stretches: Vec<Stretch>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            fresh: 0,
            stale: 0,
            errors: BTreeMap::new(),
            latency: Latencies::fine(),
            failed: Latencies::fine(),
            stretches: vec![],
        }
    }
}

impl Tally {
    /// Counts an error by its kind.
    pub fn fail(&mut self, kind: &str, times: u64) {
        let known = self.errors.len() < MOST_KINDS || self.errors.contains_key(kind);
        *self
            .errors
            .entry(if known { kind } else { "other" }.to_owned())
            .or_default() += times;
    }
}

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Seconds of a stretch; zero when the course is not kept.
    pub stretch: f64,
    /// Processor seconds of the generators themselves.
    pub cpu: f64,
    /// How long after it was due a request was written: our own delay, and the wait for a connection.
    pub late: Latencies,
    pub journeys: BTreeMap<Journey, Tally>,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            stretch: 0.0,
            cpu: 0.0,
            late: Latencies::fine(),
            journeys: BTreeMap::new(),
        }
    }
}

impl Measured {
    /// Keeps the course of a run of this length, in stretches of a second or, of a long one, as many seconds as make
    /// [`MOST_STRETCHES`] of it.
    pub fn with_course(length: Duration) -> Self {
        Self {
            stretch: (length.as_secs_f64() / f64::from(MOST_STRETCHES)).ceil().max(1.0),
            ..Self::default()
        }
    }

    pub fn journey(&mut self, journey: Journey) -> &mut Tally {
        self.journeys.entry(journey).or_default()
    }

    /// The totals, and the stretch in which something was due `at` after the start, are changed alike.
    pub fn count(&mut self, journey: Journey, at: Duration, change: impl Fn(&mut Counts, &mut Latencies)) {
        let stretch = self.stretch;
        let tally = self.journey(journey);
        change(&mut tally.counts, &mut tally.latency);
        if stretch > 0.0 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "cut to what is kept"
            )]
            let place = ((at.as_secs_f64() / stretch) as usize).min(MOST_STRETCHES as usize);
            while tally.stretches.len() <= place {
                tally.stretches.push(Stretch {
                    counts: Counts::default(),
                    latency: Latencies::coarse(),
                });
            }
            let stretch = &mut tally.stretches[place];
            change(&mut stretch.counts, &mut stretch.latency);
        }
    }

    /// Adds what another generator of the same run has measured.
    pub fn add(&mut self, other: &Self) {
        self.stretch = self.stretch.max(other.stretch);
        self.cpu += other.cpu;
        self.late.add(&other.late);
        for (journey, theirs) in &other.journeys {
            let ours = self.journey(*journey);
            ours.counts.add(&theirs.counts);
            ours.fresh += theirs.fresh;
            ours.stale += theirs.stale;
            ours.latency.add(&theirs.latency);
            ours.failed.add(&theirs.failed);
            for (kind, times) in &theirs.errors {
                ours.fail(kind, *times);
            }
            for (place, stretch) in theirs.stretches.iter().enumerate() {
                match ours.stretches.get_mut(place) {
                    Some(known) => {
                        known.counts.add(&stretch.counts);
                        known.latency.add(&stretch.latency);
                    }
                    None => ours.stretches.push(stretch.clone()),
                }
            }
        }
    }

    /// A copy without the stretches before this one: a run's whole course is much to copy every second.
    pub fn since(&self, place: usize) -> Self {
        let journeys = self.journeys.iter().map(|(journey, tally)| {
            let recent = Tally {
                counts: tally.counts,
                fresh: tally.fresh,
                stale: tally.stale,
                errors: tally.errors.clone(),
                latency: tally.latency.clone(),
                failed: tally.failed.clone(),
                stretches: tally.stretches.get(place..).unwrap_or_default().to_vec(),
            };
            (*journey, recent)
        });
        Self {
            stretch: self.stretch,
            cpu: self.cpu,
            late: self.late.clone(),
            journeys: journeys.collect(),
        }
    }

    /// The counts of all journeys.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.journeys.values().for_each(|tally| total.add(&tally.counts));
        total
    }

    /// The latencies of all journeys' good answers.
    pub fn latency(&self) -> Latencies {
        let mut all = Latencies::fine();
        self.journeys.values().for_each(|tally| all.add(&tally.latency));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_whole_and_the_course_to_the_totals() {
        let mut parts = [
            Measured::with_course(Duration::from_secs(10)),
            Measured::with_course(Duration::from_secs(10)),
        ];
        for n in 0..100_u64 {
            let at = Duration::from_millis(n * 100);
            let part = &mut parts[(n % 2) as usize];
            part.count(Journey::ReadTimeline, at, |counts, latency| {
                counts.offered += 1;
                counts.ok += 1;
                latency.record(Duration::from_millis(n));
            });
        }
        parts[0].journey(Journey::ReadTimeline).fail("timeout", 2);
        parts[1].journey(Journey::ReadTimeline).fail("timeout", 1);
        let text = serde_json::to_string(&parts[1]).expect("text");
        let [mut whole, _] = parts;
        whole.add(&serde_json::from_str(&text).expect("as written"));
        let tally = &whole.journeys[&Journey::ReadTimeline];
        assert_eq!(
            (tally.counts.offered, tally.counts.ok, tally.errors["timeout"]),
            (100, 100, 3)
        );
        assert_eq!(tally.stretches.len(), 10);
        let recent = whole.since(8);
        assert_eq!(
            (
                recent.total(),
                recent.journeys[&Journey::ReadTimeline].stretches.len()
            ),
            (whole.total(), 2)
        );
        assert!(
            whole.since(99).journeys[&Journey::ReadTimeline]
                .stretches
                .is_empty()
        );
        assert!(
            tally
                .stretches
                .iter()
                .all(|stretch| stretch.counts.ok == 10 && stretch.latency.len() == 10)
        );
        assert_eq!(whole.total().ok, whole.latency().len());
    }

    #[test]
    fn a_long_run_has_few_stretches_and_kinds_of_errors_are_bounded() {
        assert_eq!(Measured::with_course(Duration::from_secs(3600)).stretch, 15.0);
        let mut tally = Tally::default();
        for n in 0..100 {
            tally.fail(&format!("kind {n}"), 1);
        }
        assert_eq!((tally.errors.len(), tally.errors["other"]), (21, 80));
    }
}
