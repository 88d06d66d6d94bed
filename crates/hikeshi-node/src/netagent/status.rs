//! What became of an experiment, written into its status the way Chaos Mesh does.

use hikeshi_proxy::PodLink;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::chaos::{Record, records};

const INJECTED: &str = "Injected";
const NOT_INJECTED: &str = "Not Injected";
const PAUSE: &str = "experiment.chaos-mesh.org/pause";

/// What the data plane did with an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its faults are in force.
    InForce,
    /// Its spec cannot be honoured; the words name the field.
    Refused(String),
    /// It has no faults (any more).
    Lifted,
}

/// The merge patch that makes the status true; `None` when it is already, or before the controller has selected pods.
/// It carries the object's resourceVersion, so that it never overwrites what the controller has written since.
pub(super) fn patch(
    object: &DynamicObject,
    outcome: &Outcome,
    pods: &[PodLink],
    now: Timestamp,
) -> Option<Value> {
    object.data["status"]["experiment"].get("desiredPhase")?;
    let before = records(object);
    let after: Vec<Record> = before
        .iter()
        .map(|record| next(record, outcome, pods, now))
        .collect();
    let (old, new) = (
        &object.data["status"]["conditions"],
        conditions(object, outcome, &after),
    );
    if before == after && *old == new {
        return None;
    }
    Some(json!({
        "metadata": {"resourceVersion": object.resource_version()},
        "status": {"conditions": new, "experiment": {"containerRecords": after}},
    }))
}

fn next(record: &Record, outcome: &Outcome, pods: &[PodLink], now: Timestamp) -> Record {
    let mut next = record.clone();
    let injected = *outcome == Outcome::InForce && record.is_there(pods);
    match (record.phase == INJECTED, injected) {
        (false, true) => next.injected_count += 1,
        (true, false) => next.recovered_count += 1,
        _ => {}
    }
    next.phase = if injected { INJECTED } else { NOT_INJECTED }.to_string();
    if let Outcome::Refused(message) = outcome {
        let told = record
            .events
            .last()
            .is_some_and(|event| event["message"] == message.as_str());
        if !told {
            next.events.push(json!({
                "type": "Failed", "operation": "Apply", "message": message, "timestamp": now.to_string(),
            }));
        }
    }
    next
}

/// Ours are replaced, others stay as they are.
fn conditions(object: &DynamicObject, outcome: &Outcome, records: &[Record]) -> Value {
    let injected = records.iter().filter(|record| record.phase == INJECTED).count();
    let paused = object.annotations().get(PAUSE).is_some_and(|text| text == "true");
    let mut conditions: Vec<Value> = object.data["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut set = |kind: &str, holds: bool, reason: &str| {
        let status = if holds { "True" } else { "False" };
        let condition = match reason {
            "" => json!({"type": kind, "status": status}),
            reason => json!({"type": kind, "status": status, "reason": reason}),
        };
        match conditions.iter_mut().find(|condition| condition["type"] == kind) {
            Some(known) => *known = condition,
            None => conditions.push(condition),
        }
    };
    let reason = match outcome {
        Outcome::Refused(message) => message.as_str(),
        Outcome::InForce | Outcome::Lifted => "",
    };
    set("Selected", !records.is_empty(), "");
    set(
        "AllInjected",
        !records.is_empty() && injected == records.len(),
        reason,
    );
    set("AllRecovered", injected == 0, "");
    set("Paused", paused, "");
    Value::Array(conditions)
}

#[cfg(test)]
mod tests {
    use super::super::chaos::Kind;
    use super::super::chaos::tests::{experiment, pods};
    use super::*;

    fn after(object: &DynamicObject, patch: &Value) -> DynamicObject {
        let mut object = object.clone();
        object.data["status"]["conditions"] = patch["status"]["conditions"].clone();
        object.data["status"]["experiment"]["containerRecords"] =
            patch["status"]["experiment"]["containerRecords"].clone();
        object
    }

    fn condition(patch: &Value, kind: &str) -> Value {
        let conditions = patch["status"]["conditions"].as_array().unwrap();
        conditions
            .iter()
            .find(|condition| condition["type"] == kind)
            .unwrap()["status"]
            .clone()
    }

    #[test]
    fn injection_and_recovery_are_counted_once() {
        let object = experiment(
            Kind::Network,
            json!({"action": "partition"}),
            &["redis-0", "redis-1"],
            &[],
        );
        let now = Timestamp::UNIX_EPOCH;
        let injected = patch(&object, &Outcome::InForce, &pods(), now).unwrap();
        assert_eq!(injected["metadata"]["resourceVersion"], "7");
        let records = &injected["status"]["experiment"]["containerRecords"];
        assert_eq!(records[1]["phase"], "Injected");
        assert_eq!(records[1]["injectedCount"], 1);
        assert_eq!(condition(&injected, "AllInjected"), "True");
        assert_eq!(condition(&injected, "AllRecovered"), "False");

        let object = after(&object, &injected);
        assert_eq!(patch(&object, &Outcome::InForce, &pods(), now), None);
        let lifted = patch(&object, &Outcome::Lifted, &pods(), now).unwrap();
        let records = &lifted["status"]["experiment"]["containerRecords"];
        assert_eq!(records[0]["phase"], "Not Injected");
        assert_eq!(
            (&records[0]["injectedCount"], &records[0]["recoveredCount"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(condition(&lifted, "AllRecovered"), "True");
        assert_eq!(
            patch(&after(&object, &lifted), &Outcome::Lifted, &pods(), now),
            None
        );
    }

    #[test]
    fn a_pod_that_is_gone_is_not_injected() {
        let object = experiment(
            Kind::Network,
            json!({"action": "partition"}),
            &["redis-0", "gone"],
            &[],
        );
        let patch = patch(&object, &Outcome::InForce, &pods(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            patch["status"]["experiment"]["containerRecords"][1]["phase"],
            "Not Injected"
        );
        assert_eq!(condition(&patch, "AllInjected"), "False");
    }

    #[test]
    fn a_refusal_says_why_and_only_once() {
        let object = experiment(Kind::Network, json!({"action": "duplicate"}), &["redis-0"], &[]);
        let refused = Outcome::Refused("spec.action: no".into());
        let first = patch(&object, &refused, &pods(), Timestamp::UNIX_EPOCH).unwrap();
        let event = &first["status"]["experiment"]["containerRecords"][0]["events"][0];
        assert_eq!(event["message"], "spec.action: no");
        assert!(
            first["status"]["conditions"]
                .as_array()
                .unwrap()
                .iter()
                .any(|c| c["reason"] == "spec.action: no")
        );
        assert_eq!(
            patch(&after(&object, &first), &refused, &pods(), Timestamp::UNIX_EPOCH),
            None
        );
    }

    #[test]
    fn before_the_controller_has_spoken_there_is_nothing_to_say() {
        let mut object = experiment(Kind::Network, json!({"action": "partition"}), &[], &[]);
        object.data["status"] = json!({});
        assert_eq!(
            patch(&object, &Outcome::Lifted, &pods(), Timestamp::UNIX_EPOCH),
            None
        );
    }
}
