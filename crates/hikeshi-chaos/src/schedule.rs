//! Schedule: an experiment again and again.

use serde::Deserialize;
use serde_json::Value;

use crate::check::{Check, nearest};
use crate::{EXPERIMENTS, experiment, known_experiments, workflow};

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

const FIELDS: [&str; 5] = [
    "schedule",
    "startingDeadlineSeconds",
    "concurrencyPolicy",
    "historyLimit",
    "type",
];

/// The field that embeds what is run.
pub fn embedded_field(kind: &str) -> Option<&'static str> {
    if kind == "Workflow" {
        return Some("workflow");
    }
    crate::embedded_field(kind)
}

pub(crate) fn check(check: &mut Check, at: &str, spec: &Value) {
    let embedded: Vec<&str> = EXPERIMENTS
        .iter()
        .map(|(_, field)| *field)
        .chain(["workflow"])
        .collect();
    check.fields(at, spec, &[&FIELDS[..], &embedded].concat());
    // Chaos Mesh takes an empty policy for Forbid.
    let mut plain = spec.clone();
    if plain["concurrencyPolicy"] == ""
        && let Some(fields) = plain.as_object_mut()
    {
        fields.remove("concurrencyPolicy");
    }
    let Some(read) = check.read::<Spec>(at, &plain) else {
        return;
    };
    if read.schedule.trim().is_empty() {
        check.add(
            format!("{at}.schedule"),
            "is empty; say a cron line or @every 30s",
        );
    } else if let Err(problem) = crate::cron::Schedule::parse(&read.schedule, None) {
        check.add(format!("{at}.schedule"), problem.to_string());
    }
    let Some(field) = embedded_field(&read.kind) else {
        let kinds: Vec<&str> = EXPERIMENTS
            .iter()
            .map(|(kind, _)| *kind)
            .chain(["Workflow"])
            .collect();
        let near = nearest(&read.kind, &kinds).map(|near| format!(" (did you mean {near}?)"));
        check.add(
            format!("{at}.type"),
            format!(
                "{:?} cannot be scheduled; {}{}",
                read.kind,
                known_experiments(),
                near.unwrap_or_default()
            ),
        );
        return;
    };
    let here = format!("{at}.{field}");
    match (&spec[field], read.kind.as_str()) {
        (Value::Null, kind) => check.add(here, format!("is missing; type {kind} needs it")),
        (embedded, "Workflow") => workflow::check(check, &here, embedded),
        (embedded, kind) => experiment(check, kind, &here, embedded),
    }
    for other in embedded
        .iter()
        .filter(|other| **other != field && !spec[**other].is_null())
    {
        check.add(format!("{at}.{other}"), format!("is not of type {}", read.kind));
    }
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
            (
                json!({"type": "IOChaos"}),
                "spec.type: \"IOChaos\" cannot be scheduled",
            ),
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
            (json!({"schedule": ""}), "spec.schedule: is empty"),
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
