//! Load profiles: YAML that says who comes, how often, and how good the answers must be. Pure: text in, values out.

use std::collections::BTreeMap;
use std::time::Duration;

use hikeshi_scenario::{Dur, Problem, Text, yaml};
use serde::{Deserialize, Deserializer, de};

use crate::journey::Journey;
use crate::schedule::{Arrivals, Mix, Schedule};
use crate::shape::{Piece, Shape};

/// More than this many requests a second, or people, no profile may ask for: it would be a slip of the pen.
const MOST_RATE: f64 = 1_000_000.0;
const MOST_PEOPLE: u32 = 100_000;

/// A profile as it is written. Rates of stages are multiples of `rate`, so that all of it scales with one number.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Profile {
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    #[serde(rename = "kind")]
    _kind: Kind,
    pub name: String,
    pub title: Text,
    #[serde(default)]
    pub arrivals: Arrivals,
    /// Requests per second of all journeys together.
    pub rate: Rate,
    /// Weights.
    pub journeys: Weights,
    #[serde(default)]
    pub hot: Hot,
    #[serde(default)]
    pub people: Crowd,
    pub stages: Stages,
    #[serde(default)]
    pub freshness: Freshness,
    #[serde(default)]
    pub expect: Expect,
}

#[derive(Clone, Debug, Deserialize)]
enum ApiVersion {
    #[serde(rename = "hikeshi.dev/v1")]
    V1,
}

#[derive(Clone, Debug, Deserialize)]
enum Kind {
    LoadProfile,
}

/// The account that many follow.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hot {
    pub account: String,
    /// Its share of the posts, and of the profiles that are read.
    pub share: Share,
}

impl Default for Hot {
    fn default() -> Self {
        Self {
            account: "tenki".into(),
            share: Share(0.22),
        }
    }
}

/// Who takes part: people that the system's seed has made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Crowd {
    pub count: Count,
    /// Their names are this and four digits.
    pub prefix: String,
    pub password: String,
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            count: Count(200),
            prefix: "person".into(),
            password: "chirpchirp".into(),
        }
    }
}

/// A stretch of the run.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "WrittenStage")]
pub struct Stage {
    pub lasts: Duration,
    /// Multiples of the profile's rate.
    pub from: f64,
    pub to: f64,
    /// Instead of the profile's.
    pub journeys: Option<Weights>,
    pub hot: Option<Share>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStage {
    #[serde(rename = "for")]
    lasts: Dur,
    at: Option<Times>,
    from: Option<Times>,
    to: Option<Times>,
    journeys: Option<Weights>,
    hot: Option<Share>,
}

impl TryFrom<WrittenStage> for Stage {
    type Error = String;

    fn try_from(written: WrittenStage) -> Result<Self, String> {
        let (from, to) = match (written.at, written.from, written.to) {
            (Some(at), None, None) => (at.0, at.0),
            (None, Some(from), Some(to)) => (from.0, to.0),
            _ => {
                return Err("a stage has a rate: `at: 2` for twice the profile's, or `from: 1` and `to: 2` for a slope".into());
            }
        };
        if written.lasts.get() < Duration::from_millis(100) {
            return Err("a stage lasts at least 100ms".into());
        }
        Ok(Self {
            lasts: written.lasts.get(),
            from,
            to,
            journeys: written.journeys,
            hot: written.hot,
        })
    }
}

/// Sampled posts must be in followers' timelines.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Freshness {
    /// So long after they were acknowledged.
    pub after: Dur,
    /// At least so long between two samples.
    pub every: Dur,
    /// Followers looked at; zero samples nothing.
    pub followers: usize,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            after: Dur::secs(5),
            every: Dur::secs(2),
            followers: 6,
        }
    }
}

/// How good it must be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Failed requests, of those that were due: at most.
    pub errors: Option<Share>,
    /// Requests that were due but never written: at most.
    pub short: Option<Share>,
    /// Sampled posts that were in timelines in time: at least.
    pub fresh: Option<Share>,
    /// The latency that 99 of 100 requests of a journey must not exceed.
    pub p99: BTreeMap<Journey, Dur>,
}

macro_rules! checked {
    ($(#[$doc:meta])* $name:ident($inner:ty): $written:ty, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let check: fn($written) -> Result<$inner, String> = $check;
                check(<$written>::deserialize(from)?).map($name).map_err(de::Error::custom)
            }
        }
    };
}

checked!(
    /// Requests per second.
    Rate(f64): f64,
    |rate| {
        let sound = rate > 0.0 && rate <= MOST_RATE;
        sound.then_some(rate).ok_or_else(|| format!("a rate is more than 0 and at most {MOST_RATE} requests a second"))
    }
);
checked!(
    /// A multiple of the profile's rate.
    Times(f64): f64,
    |times| {
        let sound = (0.0..=1000.0).contains(&times);
        sound.then_some(times).ok_or_else(|| "a stage's rate is 0 to 1000 times the profile's".to_owned())
    }
);
checked!(
    /// A share, 0 to 1; written as percent (`1%`) or as a number.
    Share(f64): Written,
    |written| {
        let share = match &written {
            Written::Number(share) => Some(*share),
            Written::Text(text) => text.strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok()).map(|n| n / 100.0),
        };
        share
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or_else(|| "a share is 0% to 100%, or a number between 0 and 1".to_owned())
    }
);
checked!(
    /// How many people.
    Count(u32): u32,
    |count| {
        let sound = (1..=MOST_PEOPLE).contains(&count);
        sound.then_some(count).ok_or_else(|| format!("1 to {MOST_PEOPLE} people can take part"))
    }
);
checked!(
    /// Weights by [`Journey::place`], at least one more than zero.
    Weights([f64; Journey::ALL.len()]): BTreeMap<Journey, f64>,
    |written| {
        let weights = Journey::ALL.map(|journey| written.get(&journey).copied().unwrap_or(0.0));
        let sound = weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
        (sound && weights.iter().sum::<f64>() > 0.0)
            .then_some(weights)
            .ok_or_else(|| "weights are 0 or more, and at least one is more than 0".to_owned())
    }
);
checked!(
    /// At least one.
    Stages(Vec<Stage>): Vec<Stage>,
    |stages| {
        let some = stages.iter().any(|stage| stage.from + stage.to > 0.0);
        some.then_some(stages).ok_or_else(|| "at least one stage must have a rate of more than 0".to_owned())
    }
);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Text(String),
}

impl Profile {
    /// Reads a profile. `file` is how errors name it.
    ///
    /// # Errors
    /// Every slip with its place.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        yaml::from_str(file, text)
    }

    /// How long it is as written.
    pub fn length(&self) -> Duration {
        self.stages.0.iter().map(|stage| stage.lasts).sum()
    }

    /// The schedule, at another rate or stretched to another length if so asked.
    pub fn schedule(&self, rate: Option<f64>, length: Option<Duration>, seed: u64) -> Schedule {
        let rate = rate.unwrap_or(self.rate.0);
        let stretch = length.map_or(1.0, |length| length.as_secs_f64() / self.length().as_secs_f64());
        let stages = &self.stages.0;
        let shape = Shape::new(stages.iter().map(|stage| Piece {
            seconds: stage.lasts.as_secs_f64() * stretch,
            from: stage.from * rate,
            to: stage.to * rate,
        }));
        let mixes = stages.iter().map(|stage| Mix {
            weights: stage.journeys.as_ref().unwrap_or(&self.journeys).0,
            hot: stage.hot.as_ref().unwrap_or(&self.hot.share).0,
        });
        Schedule::new(shape, mixes.collect(), self.arrivals, seed)
    }

    /// The journeys that occur.
    pub fn occurring(&self) -> Vec<Journey> {
        let stages = self.stages.0.iter();
        let all: Vec<&Weights> = stages
            .map(|stage| stage.journeys.as_ref().unwrap_or(&self.journeys))
            .collect();
        Journey::ALL
            .into_iter()
            .filter(|journey| all.iter().any(|weights| weights.0[journey.place()] > 0.0))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
apiVersion: hikeshi.dev/v1
kind: LoadProfile
name: x
title: {ja: 試し, en: A try}
arrivals: poisson
rate: 20
journeys: {post-message: 1, read-timeline: 10}
hot: {account: tenki, share: 22%}
stages:
  - {for: 10s, at: 1}
  - {for: 10s, from: 1, to: 3, journeys: {read-profile: 1}, hot: 1.0}
expect: {errors: 0.1%, p99: {read-timeline: 100ms}}
";

    fn problems(from: &str, to: &str) -> Vec<String> {
        assert!(TEXT.contains(from), "{from}");
        let problems = Profile::parse("x.yaml", &TEXT.replacen(from, to, 1)).expect_err("wrong");
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_profile_scales_with_one_number_and_stretches() {
        let profile = Profile::parse("x.yaml", TEXT).expect("right");
        assert_eq!(profile.length(), Duration::from_secs(20));
        let occurring = [Journey::PostMessage, Journey::ReadTimeline, Journey::ReadProfile];
        assert_eq!(profile.occurring(), occurring);
        let expected = |rate, seconds: f64| {
            let schedule = profile.schedule(rate, Some(Duration::from_secs_f64(seconds)), 1);
            schedule.count() as f64
        };
        // 20/s for half the time, then 40/s on average; of a Poisson process, three deviations at most.
        assert!((expected(None, 20.0) - 600.0).abs() < 75.0);
        assert!((expected(Some(200.0), 10.0) - 3000.0).abs() < 165.0);
    }

    #[test]
    fn slips_have_a_place_and_say_how_to_mend_them() {
        for (from, to, place, says) in [
            ("rate: 20", "rate: 0", "x.yaml:6:7:", "more than 0"),
            ("rate: 20", "rat: 20", "x.yaml:6:1:", "did you mean `rate`?"),
            ("poisson", "poison", "x.yaml:5:11:", "did you mean `poisson`?"),
            ("LoadProfile", "Profile", "x.yaml:2:7:", "LoadProfile"),
            (
                "read-timeline: 10",
                "read-timelin: 10",
                "x.yaml:7:",
                "did you mean `read-timeline`?",
            ),
            (
                "read-timeline: 10",
                "read-timeline: -1",
                "x.yaml:7:",
                "weights are",
            ),
            ("22%", "122%", "x.yaml:8:", "0% to 100%"),
            ("at: 1", "", "x.yaml:10:", "a stage has a rate"),
            ("10s, at: 1", "ten, at: 1", "x.yaml:10:", "not a duration"),
            ("0.1%", "-1%", "x.yaml:12:", "0% to 100%"),
            ("100ms", "100", "x.yaml:12:", "duration"),
        ] {
            let found = problems(from, to);
            assert!(
                found[0].starts_with(place) && found[0].contains(says),
                "{to}: {found:?}"
            );
        }
    }
}
