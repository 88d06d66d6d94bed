//! What Chaos Mesh's status says of the pods that were selected.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::TargetRecord;

const INJECTED: &str = "Injected";

/// Brings what is known of each pod up to what the objects' records say now. A pod that no record names any more is not
/// injected.
pub(super) fn merge(known: &mut Vec<TargetRecord>, objects: &[&Value], now: Timestamp) {
    // A pod may be in several records: it is hit while any of them says so.
    let mut current: BTreeMap<(String, String), State> = BTreeMap::new();
    for object in objects {
        for record in records(object) {
            let mut parts = record["id"].as_str().unwrap_or_default().splitn(3, '/');
            let (namespace, pod) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            // A target only says where traffic goes; the fault is not in it.
            if record["selectorKey"] == ".Target" || pod.is_empty() {
                continue;
            }
            let key = (
                format!("{namespace}/{pod}"),
                parts.next().unwrap_or_default().to_owned(),
            );
            let injected = record["phase"] == INJECTED;
            let message = record["events"]
                .as_array()
                .and_then(|events| events.last())
                .filter(|event| event["type"] == "Failed" && !injected)
                .and_then(|event| event["message"].as_str())
                .unwrap_or_default();
            let recovered = record["events"]
                .as_array()
                .into_iter()
                .flatten()
                .rfind(|event| event["type"] == "Succeeded" && event["operation"] == "Recover")
                .and_then(|event| event["timestamp"].as_str()?.parse().ok());
            let state = current.entry(key).or_default();
            state.recovered = state.recovered.max(recovered);
            state.injected |= injected;
            state.ever |= injected || record["injectedCount"].as_u64().is_some_and(|count| count > 0);
            if state.message.is_empty() {
                message.clone_into(&mut state.message);
            }
        }
    }
    for record in known.iter_mut() {
        let state = current.remove(&(record.pod.clone(), record.container.clone()));
        set(record, state.unwrap_or_default(), now);
    }
    for ((pod, container), state) in current {
        let mut record = TargetRecord {
            pod,
            container,
            phase: "Not Injected".to_owned(),
            injected_at: None,
            recovered_at: None,
            message: String::new(),
        };
        set(&mut record, state, now);
        known.push(record);
    }
}

/// What the records say of one pod.
#[derive(Default)]
struct State {
    injected: bool,
    /// Now or at any time: a fault may come and go between two looks.
    ever: bool,
    /// When it was last recovered, to the second.
    recovered: Option<Timestamp>,
    message: String,
}

fn set(record: &mut TargetRecord, state: State, now: Timestamp) {
    let was = record.phase == INJECTED;
    let first = state.ever && record.injected_at.is_none();
    if first || (state.injected && !was) {
        record.injected_at.get_or_insert(now);
        record.recovered_at = None;
    }
    if !state.injected && (was || first) {
        // To the second it may seem to be over before it was seen to begin.
        let seen = record.injected_at.unwrap_or(now);
        record.recovered_at = Some(state.recovered.map_or(now, |at| at.clamp(seen.min(now), now)));
    }
    record.phase = if state.injected { INJECTED } else { "Not Injected" }.to_owned();
    record.message = state.message;
}

/// Whether any pod is hit now.
pub(super) fn any_injected(known: &[TargetRecord]) -> bool {
    known.iter().any(|record| record.phase == INJECTED)
}

fn records(object: &Value) -> &[Value] {
    object
        .pointer("/status/experiment/containerRecords")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Why the object cannot be honoured, in its conditions' words.
pub(super) fn refusal(object: &Value) -> Option<&str> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions
        .iter()
        .find(|condition| {
            condition["status"] == "False"
                && (condition["type"] == "Supported"
                    || condition["type"] == "AllInjected"
                        && condition["reason"].as_str().is_some_and(|r| !r.is_empty()))
        })
        .map(|condition| condition["reason"].as_str().unwrap_or("it is not supported"))
}
