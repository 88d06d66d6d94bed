//! An experiment's status as Chaos Mesh writes it: records of who is hit, and conditions.

use serde_json::{Value, json};

pub const INJECTED: &str = "Injected";
pub const NOT_INJECTED: &str = "Not Injected";
/// Most events that a record keeps, the newest.
const MOST_EVENTS: usize = 20;

/// A record that nothing has been done about yet. `id` is `NS/POD` or `NS/POD/CONTAINER`.
pub fn record(id: &str, selector_key: &str) -> Value {
    json!({"id": id, "selectorKey": selector_key, "phase": NOT_INJECTED, "injectedCount": 0, "recoveredCount": 0})
}

/// A text field of a record or a condition; empty when it is not there.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

pub fn is_injected(record: &Value) -> bool {
    text(record, "phase") == INJECTED
}

/// Namespace, pod and (in a record of a container) container of a record's id.
pub fn parts(id: &str) -> (&str, &str, Option<&str>) {
    let mut parts = id.splitn(3, '/');
    let (one, two) = (parts.next().unwrap_or_default(), parts.next());
    match two {
        Some(pod) => (one, pod, parts.next()),
        None => ("", one, None),
    }
}

/// The records of a status.
pub fn records(status: &Value) -> &[Value] {
    let records = status.pointer("/experiment/containerRecords");
    records.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Moves a record to a phase, counting and telling it once. `now` is a time as RFC 3339 writes it.
pub fn settle(record: &mut Value, injected: bool, now: &str) {
    let phase = if injected { INJECTED } else { NOT_INJECTED };
    if text(record, "phase") == phase {
        return;
    }
    record["phase"] = json!(phase);
    let (counter, operation) = if injected {
        ("injectedCount", "Apply")
    } else {
        ("recoveredCount", "Recover")
    };
    record[counter] = json!(record[counter].as_i64().unwrap_or(0) + 1);
    tell(
        record,
        json!({"type": "Succeeded", "operation": operation, "timestamp": now}),
    );
}

/// Notes in a record that applying failed, unless that is what was said last.
pub fn fail(record: &mut Value, message: &str, now: &str) {
    let last = record["events"].as_array().and_then(|events| events.last());
    if last.is_none_or(|last| text(last, "message") != message) {
        let event = json!({"type": "Failed", "operation": "Apply", "message": message, "timestamp": now});
        tell(record, event);
    }
}

fn tell(record: &mut Value, event: Value) {
    let mut events = record["events"].as_array().cloned().unwrap_or_default();
    events.push(event);
    let excess = events.len().saturating_sub(MOST_EVENTS);
    record["events"] = Value::Array(events.split_off(excess));
}

/// Sets one condition and leaves the others as they are.
pub fn set_condition(conditions: &mut Vec<Value>, kind: &str, holds: bool, reason: &str) {
    let mut next = json!({"type": kind, "status": if holds { "True" } else { "False" }});
    if !reason.is_empty() {
        next["reason"] = json!(reason);
    }
    let known = conditions
        .iter_mut()
        .find(|condition| text(condition, "type") == kind);
    match known {
        Some(condition) => *condition = next,
        None => conditions.push(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_counted_and_told_once() {
        let mut record = record("ns/pod/c", ".");
        settle(&mut record, true, "2026-01-01T00:00:00Z");
        settle(&mut record, true, "2026-01-01T00:00:01Z");
        assert_eq!(
            (is_injected(&record), &record["injectedCount"]),
            (true, &json!(1))
        );
        settle(&mut record, false, "2026-01-01T00:00:02Z");
        assert_eq!(record["recoveredCount"], 1);
        fail(&mut record, "no", "2026-01-01T00:00:03Z");
        fail(&mut record, "no", "2026-01-01T00:00:04Z");
        let told: Vec<_> = record["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| text(event, "operation"))
            .collect();
        assert_eq!(told, ["Apply", "Recover", "Apply"]);
        assert_eq!(parts("ns/pod/c"), ("ns", "pod", Some("c")));
        assert_eq!(parts("ns/pod"), ("ns", "pod", None));
    }
}
