//! Schedule: an experiment again and again.

use serde::Deserialize;
use serde_json::Value;

use crate::check::Check;
use crate::shape::{Field, MISSING, Shape, may, must};
use crate::words::Words;
use crate::{EXPERIMENTS, experiment, workflow};

/// The part of a Schedule's spec that says when.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Cron, `@every 30s`, `@hourly` and their like.
    pub schedule: String,
    /// A run that is later than this is missed.
    pub starting_deadline_seconds: Option<u64>,
    /// Forbid (no run beside one that still runs) without it.
    #[serde(default)]
    pub concurrency_policy: Policy,
    /// How many runs that are over are kept; 1 without it.
    pub history_limit: Option<u32>,
    /// The kind of the embedded experiment.
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Policy {
    #[default]
    Forbid,
    Allow,
}

/// What a Schedule's spec may say; the embedded specs are their kinds' to check.
pub(crate) const FIELDS: &[Field] = &[
    must(
        "schedule",
        Shape::Parsed(
            (
                "*/5 * * * * や @every 90s のような cron の行",
                "a cron line such as */5 * * * * or @every 90s",
            ),
            |text| {
                crate::cron::Schedule::parse(text, None)
                    .map(drop)
                    .map_err(|problem| problem.words())
            },
        ),
    ),
    may("startingDeadlineSeconds", Shape::Whole(u64::MAX)),
    may("concurrencyPolicy", Shape::Choice(&["Forbid", "Allow"])),
    may("historyLimit", Shape::Whole(u32::MAX as u64)),
    must(
        "type",
        Shape::Choice(&[
            "HTTPChaos",
            "NetworkChaos",
            "PodChaos",
            "StressChaos",
            "TimeChaos",
            "Workflow",
        ]),
    ),
    may("httpChaos", Shape::Any),
    may("networkChaos", Shape::Any),
    may("podChaos", Shape::Any),
    may("stressChaos", Shape::Any),
    may("timeChaos", Shape::Any),
    may("workflow", Shape::Any),
];

/// The field that embeds what is run.
pub fn embedded_field(kind: &str) -> Option<&'static str> {
    if kind == "Workflow" {
        return Some("workflow");
    }
    crate::embedded_field(kind)
}

pub(crate) fn check(check: &mut Check, at: &str, spec: &Value) {
    // What is embedded is checked whatever else is wrong: a person mends all at once.
    let kind = spec["type"].as_str().unwrap_or_default();
    let own = embedded_field(kind);
    if let Some(field) = own {
        let here = format!("{at}.{field}");
        match &spec[field] {
            Value::Null => check.add(here, needed_by(("type", "type"), kind)),
            embedded if kind == "Workflow" => workflow::check(check, &here, embedded),
            embedded => experiment(check, kind, &here, embedded),
        }
        let fields = EXPERIMENTS.iter().map(|(_, field)| *field).chain(["workflow"]);
        for other in fields.filter(|other| *other != field && !spec[*other].is_null()) {
            let words = Words::new(
                format!("type {kind} では使われません"),
                format!("is not of type {kind}"),
            );
            check.add(format!("{at}.{other}"), words);
        }
    }
    check.object(at, spec, &[FIELDS]);
}

/// `is missing; type PodChaos needs it`.
pub(crate) fn needed_by((ja, en): (&str, &str), kind: &str) -> Words {
    Words::new(
        format!("{} ({ja} {kind})", MISSING.0),
        format!("{}; {en} {kind} needs it", MISSING.1),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::problems;

    #[test]
    fn what_is_embedded_is_checked_too() {
        let kill = json!({"action": "pod-kill", "mode": "one", "selector": {}});
        let good = json!({"schedule": "@every 30s", "type": "PodChaos", "podChaos": kill, "concurrencyPolicy": "Forbid"});
        for (change, words) in [
            (json!({}), ""),
            (json!({"concurrencyPolicy": ""}), ""),
            (
                json!({"concurrencyPolicy": "Replace"}),
                "spec.concurrencyPolicy: ",
            ),
            (json!({"type": "IOChaos"}), "spec.type: must be one of"),
            (
                json!({"podChaos": {"action": "pod-melt", "mode": "one", "selector": {}}}),
                "spec.podChaos.action: ",
            ),
            (json!({"type": "TimeChaos"}), "spec.timeChaos: is missing"),
            (
                json!({"timeChaos": {}}),
                "spec.timeChaos: is not of type PodChaos",
            ),
            (json!({"historyLimits": 1}), "did you mean historyLimit?"),
            (json!({"schedule": ""}), "spec.schedule: is missing"),
            (
                json!({"schedule": "61 * * * *"}),
                "spec.schedule: unparseable schedule",
            ),
        ] {
            let mut spec = good.clone();
            for (name, value) in change.as_object().into_iter().flatten() {
                spec[name] = value.clone();
            }
            let found = problems("Schedule", &json!({"spec": spec}));
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.is_empty(), words.is_empty(), "{change}: {found:?}");
            assert!(
                found.join("; ").contains(words),
                "{change}: {found:?} does not say {words}"
            );
        }
    }
}
