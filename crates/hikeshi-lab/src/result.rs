//! What came out: the just-noticeable and the just-tolerable level of each journey, and what to agree on, with reasons.

mod advice;

use std::collections::BTreeSet;

use hikeshi_scenario::Text;
use hikeshi_slo::{Cuj, Period};
use jiff::Timestamp;
use serde::Serialize;

pub use advice::{Change, Recommendation, advise};

use crate::lab::{Answer, Lab, Shown, Slot, Trial, known};
use crate::level::{Kind, Level};
use crate::psi::{Estimate, Found, Question};
use crate::stats::{by_guessing, wilson};
use crate::verify::{Judged, judge};
use crate::words::text;

/// All of a lab, when it is over.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    pub id: String,
    pub kind: Kind,
    pub at: Timestamp,
    pub ended: Option<Text>,
    pub by: String,
    pub normal: Text,
    pub people: Vec<String>,
    pub journeys: Vec<OfJourney>,
    /// What was felt with its figures beside it, where nothing was blind.
    pub felt: Vec<Felt>,
}

/// A level that was felt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Felt {
    pub journey: String,
    pub said: Text,
    pub judged: Judged,
}

/// One journey, everybody's trials pooled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OfJourney {
    pub journey: String,
    pub title: Text,
    pub trials: Vec<Told>,
    pub valid: u32,
    pub void: u32,
    /// How often X was found out, of the valid trials.
    pub right: u32,
    /// Wilson's 95 % interval of the share of right answers, 0 to 1.
    pub right_interval: (f64, f64),
    /// How likely so many right answers are by guessing.
    pub by_guessing: f64,
    /// None without a valid trial.
    pub noticeable: Option<Threshold>,
    pub tolerable: Option<Threshold>,
    /// Each by themselves, where there are several.
    pub each: Vec<OfPerson>,
    pub recommendation: Recommendation,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OfPerson {
    pub person: String,
    pub noticeable: Threshold,
    pub tolerable: Threshold,
}

/// A threshold in seconds or as a share, with its 95 % interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Threshold {
    pub at: f64,
    pub low: f64,
    pub high: f64,
    pub found: Found,
    /// `1.2 s (0.8 to 1.7 s)`.
    pub words: Text,
}

/// A trial, now that everything may be said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    pub person: String,
    pub level: Level,
    pub said: Text,
    /// Where it was.
    pub level_was: Slot,
    pub x_was: Slot,
    pub answer: Option<Answer>,
    pub right: Option<bool>,
    /// Asked for and delivered: A, B, X.
    pub judged: Vec<Judged>,
    pub void: Option<Text>,
}

impl Threshold {
    fn new(kind: Kind, estimate: Estimate) -> Self {
        let (low_end, high_end) = kind.range();
        let (at, low, high) = (
            kind.said(estimate.at),
            kind.said(estimate.low),
            kind.said(estimate.high),
        );
        let words = match estimate.found {
            Found::Within => text(
                format!("{}（{}〜{}）", at.ja, low.ja, high.ja),
                format!("{} ({} to {})", at.en, low.en, high.en),
            ),
            Found::Below => {
                let end = kind.said(low_end);
                text(format!("{} 未満", end.ja), format!("below {}", end.en))
            }
            Found::Above => {
                let end = kind.said(high_end);
                text(format!("{} より上", end.ja), format!("above {}", end.en))
            }
        };
        let value = |x: f64| 10_f64.powf(x);
        Self {
            at: value(estimate.at),
            low: value(estimate.low),
            high: value(estimate.high),
            found: estimate.found,
            words,
        }
    }
}

/// What came out of a lab. `described` gives a journey with its objectives; `uses` how often it was done each time.
pub fn outcome<'a>(
    lab: &Lab,
    described: impl Fn(&str) -> Option<Cuj>,
    period: impl Fn(&Cuj) -> Period,
    uses: crate::lab::UsesOf<'a>,
) -> Outcome {
    let of = |journey: &String| {
        let cuj = described(journey);
        of_journey(lab, journey, cuj.as_ref(), &period, uses(journey))
    };
    let people: BTreeSet<&String> = lab.people.iter().map(|sitting| &sitting.person).collect();
    Outcome {
        id: lab.id.clone(),
        kind: lab.wish.kind,
        at: lab.at,
        ended: lab.ended.as_ref().map(|ended| ended.why.clone()),
        by: lab.by.clone(),
        normal: lab.wish.normal.said(),
        people: people.into_iter().cloned().collect(),
        journeys: lab.wish.journeys.iter().map(of).collect(),
        felt: lab.felt.iter().map(|shown| felt(lab, shown)).collect(),
    }
}

fn felt(lab: &Lab, shown: &Shown) -> Felt {
    Felt {
        journey: shown.journey.clone(),
        said: shown.level.said(),
        judged: judge(shown.level, lab.wish.normal.mean(), shown.delivered),
    }
}

fn of_journey(
    lab: &Lab,
    journey: &str,
    cuj: Option<&Cuj>,
    period: &impl Fn(&Cuj) -> Period,
    uses: u32,
) -> OfJourney {
    let kind = lab.wish.kind;
    let trials: Vec<(&str, &Trial)> = lab
        .people
        .iter()
        .flat_map(|sitting| {
            sitting
                .trials
                .iter()
                .map(|trial| (sitting.person.as_str(), trial))
        })
        .filter(|(_, trial)| trial.journey == journey && !trial.is_open())
        .collect();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let valid: Vec<&(&str, &Trial)> = trials.iter().filter(|(_, trial)| trial.counts()).collect();
    let right = count(valid.iter().filter(|(_, trial)| trial.is_right()).count());
    let of = |question, person: Option<&str>| {
        let own = valid
            .iter()
            .filter(|(who, _)| person.is_none_or(|person| person == *who));
        Threshold::new(
            kind,
            known(kind, question, own.map(|(_, trial)| *trial)).estimate(),
        )
    };
    let any = !valid.is_empty();
    let noticeable = any.then(|| of(Question::Noticed, None));
    let tolerable = any.then(|| of(Question::TooMuch, None));
    let people: BTreeSet<&str> = valid.iter().map(|(who, _)| *who).collect();
    let each = people.iter().map(|person| OfPerson {
        person: (*person).to_owned(),
        noticeable: of(Question::Noticed, Some(person)),
        tolerable: of(Question::TooMuch, Some(person)),
    });
    let recommendation = advise(&advice::Given {
        kind,
        journey,
        cuj,
        period: cuj.map(period).unwrap_or_default(),
        noticeable: noticeable.as_ref(),
        tolerable: tolerable.as_ref(),
        people: people.len(),
        valid: valid.len(),
        uses,
    });
    OfJourney {
        journey: journey.to_owned(),
        title: cuj.map_or_else(|| text(journey, journey), |cuj| cuj.title.clone()),
        valid: count(valid.len()),
        void: count(trials.len() - valid.len()),
        right,
        right_interval: wilson(right, count(valid.len())),
        by_guessing: by_guessing(right, count(valid.len())),
        noticeable,
        tolerable,
        each: if people.len() > 1 {
            each.collect()
        } else {
            Vec::new()
        },
        recommendation,
        trials: trials.iter().map(|(person, trial)| told(person, trial)).collect(),
    }
}

fn told(person: &str, trial: &Trial) -> Told {
    Told {
        person: person.to_owned(),
        level: trial.level,
        said: trial.level.said(),
        level_was: if trial.a_is_level { Slot::A } else { Slot::B },
        x_was: if trial.x_is_a { Slot::A } else { Slot::B },
        answer: trial.answer.clone(),
        right: trial.answer.as_ref().map(|_| trial.is_right()),
        judged: trial.judged.clone(),
        void: trial.void.clone(),
    }
}

#[cfg(test)]
mod tests;
