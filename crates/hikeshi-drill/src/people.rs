//! Scripted people: who speaks when, and what counts as a word to them.

use std::time::Duration;

use hikeshi_scenario::{Milestone, Person, Say, Scenario};
use jiff::{SignedDuration, Timestamp};

use crate::event::{Actor, EventKind};
use crate::state::{PersonState, State};

/// `NAME/INDEX` of a line.
pub(crate) fn cue(name: &str, index: usize) -> String {
    format!("{name}/{index}")
}

pub(crate) fn cue_parts(cue: &str) -> Option<(&str, usize)> {
    let (name, index) = cue.rsplit_once('/')?;
    Some((name, index.parse().ok()?))
}

/// `@mina3pm` or the bare handle as a word of its own.
pub fn mentions(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric();
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !name.is_empty() && !before.is_some_and(word) && !after.is_some_and(word)
    })
}

/// The person as an actor.
pub fn actor(person: &Person) -> Actor {
    Actor {
        name: person.name.clone(),
        seat: person.seat.clone(),
        npc: true,
    }
}

/// `at + d`, or the end of time: a scenario may say any duration.
pub(crate) fn later(at: Timestamp, d: Duration) -> Timestamp {
    SignedDuration::try_from(d)
        .ok()
        .and_then(|d| at.checked_add(d).ok())
        .unwrap_or(Timestamp::MAX)
}

/// What scripted people say now: at most one line each.
pub(crate) fn due(state: &State, scenario: &Scenario, now: Timestamp) -> Vec<EventKind> {
    let mut out = Vec::new();
    for person in &scenario.people {
        let next = lines_due(state, person)
            .filter(|(due, ..)| *due <= now)
            .min_by_key(|(due, index, _)| (*due, *index));
        if let Some((_, index, say)) = next {
            out.push(EventKind::Message {
                actor: actor(person),
                text: say.text.en.clone(),
                text_ja: Some(say.text.ja.clone()),
                cue: Some(cue(&person.name, index)),
            });
        }
    }
    out
}

/// The next moment at which somebody may speak, if nothing else happens.
pub(crate) fn next_due(state: &State, scenario: &Scenario) -> Option<Timestamp> {
    scenario
        .people
        .iter()
        .flat_map(|p| lines_due(state, p).map(|(due, ..)| due))
        .min()
}

fn lines_due<'a>(state: &'a State, person: &'a Person) -> impl Iterator<Item = (Timestamp, usize, &'a Say)> {
    let known = state.people.get(&person.name);
    person
        .say
        .iter()
        .enumerate()
        .filter_map(move |(i, say)| Some((line_due(state, known, i, say)?, i, say)))
}

fn line_due(state: &State, person: Option<&PersonState>, index: usize, say: &Say) -> Option<Timestamp> {
    let ready = state.reached(Milestone::Ready)?;
    if say.unless.is_some_and(|m| state.reached(m).is_some()) {
        return None;
    }
    let trigger = match say.after {
        Some(milestone) => state.reached(milestone)?,
        None => ready,
    };
    let mut start = trigger;
    if let Some(at) = say.at {
        start = start.max(later(ready, at.get()));
    }
    let last = person.and_then(|p| p.last_said_cue.get(&index).copied());
    if let Some(last) = last {
        // Said already: only a line that repeats is said again.
        start = start.max(later(last, say.repeat?.get()));
    }
    let Some(silence) = say.silence else {
        return Some(start);
    };
    // Silence toward this person: since the trigger, a word to them, or their own last question.
    let heard = [
        Some(trigger),
        person.and_then(|p| p.last_heard),
        person.and_then(|p| p.last_said),
        state.last_status,
    ];
    let since = heard.into_iter().flatten().max().unwrap_or(trigger);
    Some(start.max(later(since, silence.get())))
}
