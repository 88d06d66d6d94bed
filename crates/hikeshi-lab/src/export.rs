//! A recommendation into `cujs.yaml`; everything else in it stays as it was.

use hikeshi_scenario::{Dur, Text};
use hikeshi_slo::history::{SetError, set_objective};
use hikeshi_slo::within::set_within;
use hikeshi_slo::{Cujs, Sli};

use crate::journey::indented;
use crate::result::Change;
use crate::words::text;

/// The file's text with the change; a journey that is not in it is added first, from `add` (see [`crate::Journey`]).
///
/// # Errors
/// Why not, in both languages.
pub fn export(
    cujs: &Cujs,
    file: &str,
    journey: &str,
    add: Option<&str>,
    change: &Change,
) -> Result<String, Text> {
    let with;
    let added;
    let (cujs, file) = if cujs.cujs.iter().any(|cuj| cuj.name == journey) {
        (cujs, file)
    } else {
        let add = add.ok_or_else(|| {
            failed(&SetError::NoJourney {
                name: journey.to_owned(),
                known: Vec::new(),
            })
        })?;
        let add = match change {
            Change::Within { from_ms, to_ms, .. } => with_bound(add, *from_ms, *to_ms),
            Change::Objective { .. } => add.to_owned(),
        };
        with = appended(file, &add);
        added = hikeshi_slo::parse("cujs.yaml", &with).map_err(|problems| {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            text(
                format!("ジャーニー {journey} を cujs.yaml に書き加えられませんでした: {first}"),
                format!("the journey {journey} could not be added to cujs.yaml: {first}"),
            )
        })?;
        (&added, with.as_str())
    };
    let changed = match change {
        Change::Objective { slo, to, .. } => set_objective(cujs, file, journey, slo, *to),
        Change::Within { to_ms, slo, .. } if is_within(cujs, journey, slo, *to_ms) => {
            return Ok(file.to_owned());
        }
        Change::Within { slo, to_ms, .. } => {
            let to = Dur(std::time::Duration::from_millis(*to_ms));
            set_within(cujs, file, journey, slo, to)
        }
    };
    changed.map_err(|error| failed(&error))
}

/// A described journey with another threshold: where it is said, and in its queries' bucket.
fn with_bound(add: &str, from_ms: u64, to_ms: u64) -> String {
    let length = |ms: u64| Dur(std::time::Duration::from_millis(ms)).to_string();
    let bucket = |ms: u64| format!("le=\"{:?}\"", std::time::Duration::from_millis(ms).as_secs_f64());
    add.replace(
        &format!("within: {}", length(from_ms)),
        &format!("within: {}", length(to_ms)),
    )
    .replace(&bucket(from_ms), &bucket(to_ms))
}

fn is_within(cujs: &Cujs, journey: &str, slo: &str, ms: u64) -> bool {
    let cuj = cujs.cujs.iter().find(|cuj| cuj.name == journey);
    let slo = cuj.and_then(|cuj| cuj.slos.iter().find(|other| other.label() == slo));
    let to = Dur(std::time::Duration::from_millis(ms));
    slo.is_some_and(|slo| matches!(slo.sli, Sli::Latency(within) if within.within == to))
}

/// `cujs` is the last key of a file as people write it; where it is not, reading the result says so.
fn appended(file: &str, add: &str) -> String {
    format!("{}\n{}", file.trim_end(), indented(add))
}

fn failed(error: &SetError) -> Text {
    text(
        format!("cujs.yaml を書き換えられませんでした: {error}"),
        error.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUJS: &str = include_str!("../../../systems/chirpy/cujs.yaml");
    const LAB: &str = include_str!("../../../systems/chirpy/lab.yaml");

    #[test]
    fn a_journey_that_is_not_there_is_added_with_what_was_agreed() {
        let cujs = hikeshi_slo::parse("c", CUJS).unwrap();
        let lab = crate::LabFile::parse("l", LAB, &cujs).unwrap();
        let add = lab.journey("edit-message").unwrap().add.clone();
        let change = Change::Objective {
            slo: "availability".into(),
            from: 99.9,
            to: 99.5,
        };
        let text = export(&cujs, CUJS, "edit-message", add.as_deref(), &change).unwrap();
        assert!(
            text.starts_with(CUJS.trim_end()),
            "what was there stands as it stood"
        );
        let read = hikeshi_slo::parse("c", &text).unwrap();
        let edit = read.cujs.last().unwrap();
        assert_eq!(
            (edit.name.as_str(), edit.slos[0].objective),
            ("edit-message", 99.5)
        );
        let change = Change::Within {
            slo: "latency".into(),
            from_ms: 1_000,
            to_ms: 500,
        };
        let text = export(&cujs, CUJS, "edit-message", add.as_deref(), &change).unwrap();
        assert!(
            text.contains("within: 500ms}") && text.contains("le=\"0.5\"") && !text.contains("le=\"1.0\""),
            "{text}"
        );
        assert!(
            export(&cujs, CUJS, "edit-message", None, &change)
                .unwrap_err()
                .en
                .contains("edit-message")
        );
    }
}
