//! What became of an experiment, written into its status the way Chaos Mesh does.

use hikeshi_chaos::annotations::PAUSE;
use hikeshi_chaos::status::{fail, is_injected, records, set_condition, settle};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

/// What became of an experiment on one of those that its records name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in force.
    InForce,
    /// It cannot be honoured; the words name the field.
    Refused(String),
    /// It is not in force: not yet, no more, or nobody is there.
    Lifted,
}

/// The merge patch that makes the status true; `None` when it is already, or before the controller has selected pods.
/// `outcome` says what became of a record. The patch carries the object's resourceVersion, so that it never overwrites
/// what the controller has written since.
pub(crate) fn patch(
    object: &DynamicObject,
    outcome: impl Fn(&Value) -> Outcome,
    now: Timestamp,
) -> Option<Value> {
    let status = &object.data["status"];
    status["experiment"].get("desiredPhase")?;
    let before = records(status);
    let now = format!("{now:.0}");
    let (mut after, mut refusal) = (before.to_vec(), None);
    for record in &mut after {
        let outcome = outcome(record);
        settle(record, outcome == Outcome::InForce, &now);
        if let Outcome::Refused(message) = outcome {
            fail(record, &message, &now);
            refusal = Some(message);
        }
    }
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let injected = after.iter().filter(|record| is_injected(record)).count();
    let all = !after.is_empty() && injected == after.len();
    let paused = object.annotations().get(PAUSE).is_some_and(|text| text == "true");
    set_condition(
        &mut conditions,
        "AllInjected",
        all,
        refusal.as_deref().unwrap_or_default(),
    );
    set_condition(&mut conditions, "AllRecovered", injected == 0, "");
    set_condition(&mut conditions, "Paused", paused, "");
    if before == after && status["conditions"].as_array() == Some(&conditions) {
        return None;
    }
    Some(json!({
        "metadata": {"resourceVersion": object.resource_version()},
        "status": {"conditions": conditions, "experiment": {"containerRecords": after}},
    }))
}

#[cfg(test)]
mod tests {
    use super::super::chaos::tests::{experiment, pods};
    use super::super::chaos::{Kind, pod_of};
    use super::*;

    fn patch(object: &DynamicObject, outcome: &Outcome, now: Timestamp) -> Option<Value> {
        let of = |record: &Value| match outcome {
            Outcome::InForce if pod_of(record, &pods()).is_none() => Outcome::Lifted,
            outcome => outcome.clone(),
        };
        super::patch(object, of, now)
    }

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
        let injected = patch(&object, &Outcome::InForce, now).unwrap();
        assert_eq!(injected["metadata"]["resourceVersion"], "7");
        let records = &injected["status"]["experiment"]["containerRecords"];
        assert_eq!(records[1]["phase"], "Injected");
        assert_eq!(records[1]["injectedCount"], 1);
        assert_eq!(condition(&injected, "AllInjected"), "True");
        assert_eq!(condition(&injected, "AllRecovered"), "False");

        let object = after(&object, &injected);
        assert_eq!(patch(&object, &Outcome::InForce, now), None);
        let lifted = patch(&object, &Outcome::Lifted, now).unwrap();
        let records = &lifted["status"]["experiment"]["containerRecords"];
        assert_eq!(records[0]["phase"], "Not Injected");
        assert_eq!(
            (&records[0]["injectedCount"], &records[0]["recoveredCount"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(condition(&lifted, "AllRecovered"), "True");
        assert_eq!(patch(&after(&object, &lifted), &Outcome::Lifted, now), None);
    }

    #[test]
    fn a_pod_that_is_gone_is_not_injected() {
        let object = experiment(
            Kind::Network,
            json!({"action": "partition"}),
            &["redis-0", "gone"],
            &[],
        );
        let patch = patch(&object, &Outcome::InForce, Timestamp::UNIX_EPOCH).unwrap();
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
        let first = patch(&object, &refused, Timestamp::UNIX_EPOCH).unwrap();
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
            patch(&after(&object, &first), &refused, Timestamp::UNIX_EPOCH),
            None
        );
    }

    #[test]
    fn before_the_controller_has_spoken_there_is_nothing_to_say() {
        let mut object = experiment(Kind::Network, json!({"action": "partition"}), &[], &[]);
        object.data["status"] = json!({});
        assert_eq!(patch(&object, &Outcome::Lifted, Timestamp::UNIX_EPOCH), None);
    }
}
