//! Marked incidents: what people wrote down, and the drills of this machine, which mark themselves.

use std::path::Path;

use hikeshi_drill::event::{Event, EventKind};
use hikeshi_scenario::Problem;
use hikeshi_server::store::{self, StoreError};
use hikeshi_slo::backtest::{Mark, MarkKind};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{self, Deserializer};

/// One incident as a person writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    from: Moment,
    to: Moment,
    #[serde(default)]
    kind: MarkKind,
    #[serde(default)]
    journeys: Vec<String>,
}

#[derive(Debug)]
struct Moment(i64);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at: Timestamp = text.parse().map_err(|_| {
            de::Error::custom(format!(
                "`{text}` is no time: write it as 2026-11-22T09:30:00+09:00"
            ))
        })?;
        Ok(Self(at.as_second()))
    }
}

/// Incidents that people wrote down in a file `name`: a YAML list of `{name, from, to, journeys}`.
///
/// # Errors
/// What is wrong with it, and where.
pub fn read(name: &str, text: &str) -> Result<Vec<Mark>, Vec<Problem>> {
    let lines: Vec<Line> = hikeshi_scenario::yaml::from_str(name, text)?;
    lines
        .into_iter()
        .map(|line| {
            if line.to.0 <= line.from.0 {
                return Err(vec![Problem {
                    file: name.to_owned(),
                    line: 1,
                    column: 1,
                    message: format!("`{}` ends before it begins", line.name),
                    suggestion: None,
                }]);
            }
            Ok(Mark {
                name: line.name,
                from: line.from.0,
                to: line.to.0,
                kind: line.kind,
                journeys: line.journeys,
            })
        })
        .collect()
}

/// Every drill in a folder that broke something. A log that cannot be read is no reason to tell no budget.
///
/// # Errors
/// When the folder cannot be read.
pub fn drills(folder: &Path) -> Result<Vec<Mark>, StoreError> {
    Ok(store::list(folder)?
        .iter()
        .filter_map(|drill| drill_mark(&drill.id, &store::read(folder, &drill.id).ok()?))
        .collect())
}

/// From the first fault on until all was well again: the last green look of the oracle, else the log's end. A rehearsal has a
/// system and a Prometheus of its own: it hurt nobody's budget.
pub fn drill_mark(id: &str, events: &[Event]) -> Option<Mark> {
    if matches!(
        events.first()?.kind,
        EventKind::DrillStarted { rehearsal: true, .. }
    ) {
        return None;
    }
    let first = events
        .iter()
        .find(|event| matches!(event.kind, EventKind::FaultInjected { .. }))?;
    let green = events.iter().rfind(|event| {
        matches!(event.kind, EventKind::OracleChecked { green: true, .. }) && event.at > first.at
    });
    let last = green.or_else(|| events.last())?;
    Some(mark(id, first.at, last.at))
}

/// A drill that is on, as those in it may see it: since when it was broken is what they are to find out, so it is marked from its
/// beginning, until now.
pub fn running_mark(id: &str, events: &[Event], now: Timestamp) -> Option<Mark> {
    let begun = events
        .iter()
        .find(|event| matches!(event.kind, EventKind::SystemReady { .. }))?;
    Some(mark(id, begun.at, now.max(begun.at)))
}

fn mark(id: &str, from: Timestamp, to: Timestamp) -> Mark {
    Mark {
        name: id.to_owned(),
        from: from.as_second(),
        // The second in which it ended is part of it.
        to: to.as_second() + 1,
        kind: MarkKind::Drill,
        journeys: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, at: i64, kind: EventKind) -> Event {
        Event {
            v: 1,
            seq,
            at: Timestamp::from_second(at).unwrap(),
            kind,
        }
    }

    #[test]
    fn a_drill_is_marked_from_its_fault_to_its_recovery() {
        let fault = || EventKind::FaultInjected {
            name: "f".to_owned(),
            object: "o".to_owned(),
        };
        let looked = |green| EventKind::OracleChecked {
            green,
            reasons: Vec::new(),
        };
        let ended = || EventKind::DrillEnded {
            reason: "done".to_owned(),
        };
        let log = [
            event(1, 10, looked(true)),
            event(2, 100, fault()),
            event(3, 160, looked(false)),
            event(4, 200, looked(true)),
            event(5, 900, ended()),
        ];
        let told = drill_mark("d", &log).unwrap();
        assert_eq!((told.from, told.to, told.kind), (100, 201, MarkKind::Drill));
        assert_eq!(drill_mark("d", &log[..3]).map(|m| m.to), Some(161));
        assert_eq!(drill_mark("d", &log[..1]), None);
        let started = |rehearsal| EventKind::DrillStarted {
            drill: "d".to_owned(),
            scenario: "s".to_owned(),
            system: "chirpy".to_owned(),
            slo_clock: 60.0,
            rehearsal,
            seed: 1,
        };
        for (rehearsal, marked) in [(true, false), (false, true)] {
            let whole: Vec<Event> = std::iter::once(event(0, 1, started(rehearsal)))
                .chain(log.clone())
                .collect();
            assert_eq!(drill_mark("d", &whole).is_some(), marked);
        }
    }

    #[test]
    fn a_drill_that_is_on_does_not_say_when_it_was_broken() {
        let log = [
            event(
                1,
                50,
                EventKind::SystemReady {
                    pods: 23,
                    seconds: 5.0,
                },
            ),
            event(
                2,
                100,
                EventKind::FaultInjected {
                    name: "f".to_owned(),
                    object: "o".to_owned(),
                },
            ),
        ];
        let now = Timestamp::from_second(160).unwrap();
        let told = running_mark("d", &log, now).unwrap();
        assert_eq!((told.from, told.to), (50, 161));
        assert_eq!(running_mark("d", &log, now), running_mark("d", &log[..1], now));
        assert_eq!(running_mark("d", &log[1..], now), None);
    }

    #[test]
    fn a_persons_file_is_read_with_places() {
        let good = "- {name: a, from: 2026-11-22T00:00:00Z, to: 2026-11-22T09:30:00+09:00, journeys: [x]}\n";
        let marks = read("marks.yaml", good).unwrap();
        assert_eq!(marks[0].to - marks[0].from, 1_800);
        for (text, said) in [
            (
                "- {name: a, from: noon, to: 2026-11-22T09:30:00+09:00}\n",
                "`noon` is no time",
            ),
            (
                "- {name: a, from: 2026-11-22T00:00:00Z, to: 2026-11-21T00:00:00Z}\n",
                "`a` ends before it begins",
            ),
        ] {
            let problems = read("marks.yaml", text).unwrap_err();
            let told = problems[0].to_string();
            assert!(told.starts_with("marks.yaml:1:") && told.contains(said), "{told}");
        }
    }
}
