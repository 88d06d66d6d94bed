//! Kinds that are seen through more than one API version.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::registry::Resource;

/// The stored object as this resource's version shows it.
pub(crate) fn from_stored(resource: &Resource, stored: &Arc<Value>) -> Arc<Value> {
    let version = resource.api_version();
    if stored["apiVersion"] == version.as_str() {
        return Arc::clone(stored);
    }
    let mut object = (**stored).clone();
    match (&*resource.kind, version.as_str()) {
        ("HorizontalPodAutoscaler", "autoscaling/v1") => hpa_v2_to_v1(&mut object),
        ("Event", "events.k8s.io/v1") => rename(&mut object, false),
        _ => {}
    }
    object["apiVersion"] = version.into();
    Arc::new(object)
}

/// The object as it is stored.
pub(crate) fn to_stored(resource: &Resource, mut object: Value) -> Value {
    match (&*resource.kind, &*resource.group, &*resource.version) {
        ("HorizontalPodAutoscaler", _, "v1") => {
            hpa_v1_to_v2(&mut object);
            object["apiVersion"] = "autoscaling/v2".into();
        }
        ("Event", "events.k8s.io", _) => {
            rename(&mut object, true);
            object["apiVersion"] = "v1".into();
        }
        _ => {}
    }
    object
}

const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(event: &mut Value, to_core: bool) {
    let Some(event) = event.as_object_mut() else {
        return;
    };
    for (core, new) in EVENT_FIELDS {
        let (from, to) = if to_core { (new, core) } else { (core, new) };
        if let Some(value) = event.remove(from) {
            event.insert(to.into(), value);
        }
    }
}

fn hpa_v1_to_v2(hpa: &mut Value) {
    let Some(spec) = hpa.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(percent) = spec
        .remove("targetCPUUtilizationPercentage")
        .filter(|p| p.as_i64() > Some(0))
    {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        spec.insert(
            "metrics".into(),
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
        );
    }
}

fn hpa_v2_to_v1(hpa: &mut Value) {
    let percent = |metrics: &Value, at: &str| {
        let list = metrics.as_array().into_iter().flatten();
        list.filter(|m| m["resource"]["name"] == "cpu")
            .find_map(|m| m["resource"][at]["averageUtilization"].as_i64())
    };
    let (target, current) = (
        percent(&hpa["spec"]["metrics"], "target"),
        percent(&hpa["status"]["currentMetrics"], "current"),
    );
    if let Some(spec) = hpa.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("metrics");
        spec.extend(target.map(|t| ("targetCPUUtilizationPercentage".to_owned(), t.into())));
    }
    if let Some(status) = hpa.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("currentMetrics");
        status.remove("conditions");
        status.extend(current.map(|c| ("currentCPUUtilizationPercentage".to_owned(), c.into())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::find;

    #[test]
    fn autoscalers_and_events_round_trip() {
        let v1 = find("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
        let object = json!({"apiVersion": "autoscaling/v1", "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70}});
        let stored = to_stored(&v1, object.clone());
        assert_eq!(
            stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
            70
        );
        assert_eq!(*from_stored(&v1, &Arc::new(stored)), object);
        let new = find("events.k8s.io", "v1", "events").unwrap();
        let event = json!({"apiVersion": "events.k8s.io/v1", "note": "hello", "regarding": {"name": "x"}});
        let stored = to_stored(&new, event.clone());
        assert_eq!(stored["message"], "hello");
        assert_eq!(*from_stored(&new, &Arc::new(stored)), event);
    }
}
