//! Who changed an objective, from what to what, and why: lines that are only ever added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cujs::{Cujs, Sli};
use crate::read::places;
use crate::spec::specs;

/// One change of one objective.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// RFC 3339, UTC.
    pub at: String,
    pub who: String,
    pub system: String,
    /// `read-timeline-freshness`.
    pub slo: String,
    /// `99.9 % over 30d`; none: it was not there before, or is no more.
    pub from: Option<String>,
    pub to: Option<String>,
    pub why: String,
}

/// What a history says of each objective, by its id: `99.9 % within 500ms over 30d`.
pub fn said(cujs: &Cujs) -> BTreeMap<String, String> {
    specs(cujs)
        .into_iter()
        .map(|spec| {
            let within = match spec.kind {
                Sli::Latency(within) => format!(" within {}", within.within),
                _ => String::new(),
            };
            let promise = format!("{} %{within} over {}", spec.objective, spec.period);
            (spec.id, promise)
        })
        .collect()
}

/// What differs between a file and what its history says last, as changes by `who` at `at`.
pub fn unrecorded(past: &[Change], cujs: &Cujs, at: &str, who: &str, why: &str) -> Vec<Change> {
    let mut known: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for change in past.iter().filter(|change| change.system == cujs.system) {
        known.insert(&change.slo, change.to.as_deref());
    }
    let now = said(cujs);
    let change = |slo: &str, from: Option<&str>, to: Option<&str>| Change {
        at: at.to_owned(),
        who: who.to_owned(),
        system: cujs.system.clone(),
        slo: slo.to_owned(),
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        why: why.to_owned(),
    };
    let mut changes: Vec<Change> = now
        .iter()
        .filter_map(|(slo, to)| {
            let from = known.get(slo.as_str()).copied().flatten();
            (from != Some(to.as_str())).then(|| change(slo, from, Some(to)))
        })
        .collect();
    changes.extend(known.iter().filter_map(|(slo, from)| {
        let gone = from.is_some() && !now.contains_key(*slo);
        gone.then(|| change(slo, *from, None))
    }));
    changes
}

/// Lines of a history; a last line that was torn by a crash is left out.
///
/// # Errors
/// The number of a line (from 1) that is damaged though others follow it.
pub fn read(text: &str) -> Result<Vec<Change>, usize> {
    let lines: Vec<&str> = text.lines().collect();
    let mut changes = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        match serde_json::from_str(line) {
            Ok(change) => changes.push(change),
            Err(_) if index + 1 == lines.len() && !text.ends_with('\n') => {}
            Err(_) => return Err(index + 1),
        }
    }
    Ok(changes)
}

/// Why an objective was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("no journey is called `{name}`")]
    NoJourney { name: String, known: Vec<String> },
    #[error("{journey} has no SLO of `{name}`")]
    NoSlo {
        journey: String,
        name: String,
        known: Vec<String>,
    },
    /// The file's number is not written where it could be found, e.g. by an alias.
    #[error("the objective could not be found in the file's text; change it there")]
    NotFound,
}

/// The places of a journey and of one of its SLOs.
pub(crate) fn located(cujs: &Cujs, journey: &str, slo: &str) -> Result<(usize, usize), SetError> {
    let c = cujs.cujs.iter().position(|cuj| cuj.name == journey);
    let c = c.ok_or_else(|| SetError::NoJourney {
        name: journey.to_owned(),
        known: cujs.cujs.iter().map(|cuj| cuj.name.clone()).collect(),
    })?;
    let slos = &cujs.cujs[c].slos;
    let s = slos.iter().position(|other| other.label() == slo);
    let s = s.ok_or_else(|| SetError::NoSlo {
        journey: journey.to_owned(),
        name: slo.to_owned(),
        known: slos.iter().map(|slo| slo.label().to_owned()).collect(),
    })?;
    Ok((c, s))
}

/// The file with another objective (percent); everything else, comments too, as it was.
///
/// # Errors
/// See [`SetError`].
pub fn set_objective(
    cujs: &Cujs,
    text: &str,
    journey: &str,
    slo: &str,
    objective: f64,
) -> Result<String, SetError> {
    let (c, s) = located(cujs, journey, slo)?;
    let tree = places(text).ok_or(SetError::NotFound)?;
    let (line, column) = tree.place(&[
        "cujs".into(),
        c.into(),
        "slos".into(),
        s.into(),
        "objective".into(),
    ]);
    let line = usize::try_from(line)
        .ok()
        .and_then(|l| l.checked_sub(1))
        .ok_or(SetError::NotFound)?;
    let skip = usize::try_from(column)
        .ok()
        .and_then(|c| c.checked_sub(1))
        .ok_or(SetError::NotFound)?;
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let old = lines.get(line).ok_or(SetError::NotFound)?;
    let before: String = old.chars().take(skip).collect();
    let rest = &old[before.len()..];
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || ".eE+-_".contains(c)))
        .unwrap_or(rest.len());
    let written: Option<f64> = rest[..end].parse().ok();
    if written != Some(cujs.cujs[c].slos[s].objective) {
        return Err(SetError::NotFound);
    }
    lines[line] = format!("{before}{objective}{}", &rest[end..]);
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::parse;

    const SHIPPED: &str = include_str!("../../../systems/chirpy/cujs.yaml");

    #[test]
    fn an_objective_is_set_where_it_stands() {
        let cujs = parse("f", SHIPPED).unwrap();
        let text = set_objective(&cujs, SHIPPED, "read-timeline", "latency", 97.5).unwrap();
        let changed: Vec<(&str, &str)> = SHIPPED
            .lines()
            .zip(text.lines())
            .filter(|(a, b)| a != b)
            .collect();
        assert_eq!(changed.len(), 1);
        assert_eq!(
            changed[0].1,
            "      - {sli: {latency: {within: 500ms}}, objective: 97.5}"
        );
        assert!(matches!(
            set_objective(&cujs, SHIPPED, "read", "latency", 97.5),
            Err(SetError::NoJourney { .. })
        ));
        assert!(matches!(
            set_objective(&cujs, SHIPPED, "post-message", "freshness", 97.5),
            Err(SetError::NoSlo { known, .. }) if known == ["availability", "latency"]
        ));
    }

    #[test]
    fn what_nobody_recorded_is_found() {
        let cujs = parse("f", SHIPPED).unwrap();
        let first = unrecorded(&[], &cujs, "t1", "pika", "agreed");
        assert_eq!(first.len(), 5);
        assert_eq!(first[1].to.as_deref(), Some("98 % within 500ms over 30d"));
        assert_eq!(unrecorded(&first, &cujs, "t2", "pika", ""), []);
        let text = SHIPPED.replacen("objective: 98", "objective: 98.5", 1);
        let text = text.replace("      - {sli: freshness, objective: 99}", "");
        let after = unrecorded(&first, &parse("f", &text).unwrap(), "t3", "mofu", "lab");
        let told: Vec<(&str, Option<&str>)> =
            after.iter().map(|c| (c.slo.as_str(), c.to.as_deref())).collect();
        assert_eq!(
            told,
            [
                ("post-message-latency", Some("98.5 % within 500ms over 30d")),
                ("read-timeline-freshness", None)
            ]
        );
        assert_eq!(after[0].from.as_deref(), Some("98 % within 500ms over 30d"));
    }

    #[test]
    fn a_torn_end_is_no_damage_and_a_torn_middle_is() {
        let line = serde_json::to_string(&Change {
            at: "t".to_owned(),
            who: "w".to_owned(),
            system: "s".to_owned(),
            slo: "o".to_owned(),
            from: None,
            to: None,
            why: "y".to_owned(),
        })
        .unwrap();
        assert_eq!(
            read(&format!("{line}\n{line}\n{{\"at\":")).map(|c| c.len()),
            Ok(2)
        );
        assert_eq!(read(&format!("{line}\n{{\n{line}\n")), Err(2));
    }
}
