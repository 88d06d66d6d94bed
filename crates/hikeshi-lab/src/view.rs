//! What the person's page is told while it is on: nothing that tells A from B.

use hikeshi_scenario::Text;
use serde::Serialize;

use crate::lab::{Lab, Mode, Slot, Who};
use crate::level::{Kind, Level};
use crate::verify::{Judged, judge};

/// A lab that is on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    pub id: String,
    pub kind: Kind,
    pub who: Who,
    pub mode: Mode,
    pub journeys: Vec<String>,
    /// Who sits in it.
    pub person: Option<String>,
    /// How many have been in it before.
    pub people_before: usize,
    pub trial: Option<TrialView>,
    /// Valid trials of this person so far, and of how many.
    pub done: u32,
    pub of: u32,
    /// Only where nothing is blind.
    pub felt: Option<FeltView>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrialView {
    pub journey: String,
    /// The slot that is on.
    pub on: Option<Slot>,
    /// How often A, B and X were used: as often as the person did it, whatever they got.
    pub used: [u64; 3],
    pub wanted: u32,
}

/// A level with its figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeltView {
    pub journey: String,
    pub level: Level,
    pub said: Text,
    pub judged: Judged,
}

/// The view. `uses` as in [`Lab::answer`]; `normal` as in [`judge`].
pub fn view(lab: &Lab, uses: crate::lab::UsesOf<'_>, normal: Option<f64>) -> View {
    let sitting = lab.sitting();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let trial = lab.trial().map(|trial| TrialView {
        journey: trial.journey.clone(),
        on: lab.on().and_then(|shown| shown.slot),
        used: lab.used().unwrap_or_default(),
        wanted: uses(&trial.journey),
    });
    let felt = lab
        .on()
        .filter(|_| lab.wish.mode == Mode::Feel)
        .map(|shown| FeltView {
            journey: shown.journey.clone(),
            level: shown.level,
            said: shown.level.said(),
            judged: judge(shown.level, normal, shown.delivered),
        });
    View {
        id: lab.id.clone(),
        kind: lab.wish.kind,
        who: lab.wish.who,
        mode: lab.wish.mode,
        journeys: lab.wish.journeys.clone(),
        person: sitting.map(|sitting| sitting.person.clone()),
        people_before: lab.people.iter().filter(|sitting| sitting.left.is_some()).count(),
        trial,
        done: sitting.map_or(0, |sitting| {
            count(sitting.trials.iter().filter(|trial| trial.counts()).count())
        }),
        of: lab.wish.trials * count(lab.wish.journeys.len()),
        felt,
    }
}
