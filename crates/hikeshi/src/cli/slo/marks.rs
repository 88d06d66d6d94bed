//! Marked incidents: a person's file, and the drills of this machine.

use std::path::Path;

use hikeshi_drill::event::{Event, EventKind};
use hikeshi_server::store;
use hikeshi_slo::backtest::{Mark, MarkKind};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::file::refusal;
use crate::failure::{Context, Failure};
use crate::paths::Paths;

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

/// Incidents of a file, and every drill on this machine that broke something.
pub fn all(file: Option<&Path>) -> Result<Vec<Mark>, Failure> {
    let mut marks = match file {
        Some(file) => read(file)?,
        None => Vec::new(),
    };
    marks.extend(drills()?);
    marks.sort_by_key(|mark| (mark.from, mark.to));
    Ok(marks)
}

fn read(file: &Path) -> Result<Vec<Mark>, Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let lines: Vec<Line> =
        hikeshi_scenario::yaml::from_str(&name, &text).map_err(|problems| refusal(&problems))?;
    lines
        .into_iter()
        .map(|line| {
            if line.to.0 <= line.from.0 {
                return Err(Failure::usage(format!(
                    "{name}: `{}` ends before it begins",
                    line.name
                )));
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

fn drills() -> Result<Vec<Mark>, Failure> {
    let folder = Paths::from_environment()?.drills();
    let listed = store::list(&folder).component("listing drills")?;
    // A log that cannot be read is no reason to tell no budget; `hikeshi drill show` says what is wrong with it.
    Ok(listed
        .iter()
        .filter_map(|drill| mark(&drill.id, &store::read(&folder, &drill.id).ok()?))
        .collect())
}

/// From the first fault on until all was well again: the last green look of the oracle, else the log's end.
fn mark(id: &str, events: &[Event]) -> Option<Mark> {
    let first = events
        .iter()
        .find(|event| matches!(event.kind, EventKind::FaultInjected { .. }))?;
    let green = events.iter().rfind(|event| {
        matches!(event.kind, EventKind::OracleChecked { green: true, .. }) && event.at > first.at
    });
    let last = green.or_else(|| events.last())?;
    Some(Mark {
        name: id.to_owned(),
        from: first.at.as_second(),
        // The second in which it ended is part of it.
        to: last.at.as_second() + 1,
        kind: MarkKind::Drill,
        journeys: Vec::new(),
    })
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
        let told = mark("d", &log).unwrap();
        assert_eq!((told.from, told.to, told.kind), (100, 201, MarkKind::Drill));
        assert_eq!(mark("d", &log[..3]).map(|m| m.to), Some(161));
        assert_eq!(mark("d", &log[..1]), None);
    }

    #[test]
    fn a_persons_file_is_read_with_places() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("marks.yaml");
        std::fs::write(
            &file,
            "- {name: a, from: 2026-11-22T00:00:00Z, to: 2026-11-22T09:30:00+09:00, journeys: [x]}\n",
        )
        .unwrap();
        let marks = read(&file).unwrap();
        assert_eq!(marks[0].to - marks[0].from, 1_800);
        std::fs::write(&file, "- {name: a, from: noon, to: 2026-11-22T09:30:00+09:00}\n").unwrap();
        let said = read(&file).unwrap_err().message;
        assert!(
            said.contains("marks.yaml:1:") && said.contains("`noon` is no time"),
            "{said}"
        );
    }
}
