//! What of an experiment's spec cannot be honoured here. Nothing is ever silently left out.

use serde_json::{Map, Value};

use super::{duration, selector};

const COMMON: [&str; 4] = ["selector", "mode", "value", "duration"];
const HTTP: [&str; 11] = [
    "target",
    "port",
    "path",
    "method",
    "code",
    "request_headers",
    "response_headers",
    "abort",
    "delay",
    "replace",
    "patch",
];
const NETWORK: [&str; 9] = [
    "action",
    "direction",
    "target",
    "externalTargets",
    "delay",
    "loss",
    "bandwidth",
    "rate",
    "netem",
];
const POD: [&str; 2] = ["action", "gracePeriod"];
const TARGET: [&str; 3] = ["selector", "mode", "value"];

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    // A null or an empty string is Go's zero value: a field that was not given.
    value
        .as_object()
        .into_iter()
        .flat_map(Map::iter)
        .filter(|(_, value)| !value.is_null() && *value != "")
}

/// The problems of a spec, each naming its field.
pub(super) fn problems(kind: &str, spec: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let own: &[&str] = match kind {
        "HTTPChaos" => &HTTP,
        "NetworkChaos" => &NETWORK,
        _ => &POD,
    };
    for (name, _) in
        fields(spec).filter(|(name, _)| !COMMON.contains(&name.as_str()) && !own.contains(&name.as_str()))
    {
        found.push(format!("spec.{name} is not supported"));
    }
    found.extend(selector::problems("spec", spec));
    if let Some(text) = spec.get("duration").filter(|value| !value.is_null())
        && text
            .as_str()
            .is_none_or(|text| !text.is_empty() && duration::parse(text).is_none())
    {
        found.push(format!(
            "spec.duration {text} is not a duration such as 40s or 1h30m"
        ));
    }
    let action = spec.get("action").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "HTTPChaos" => http(spec, &mut found),
        "NetworkChaos" => network(spec, action, &mut found),
        _ => pod(spec, action, &mut found),
    }
    found
}

fn http(spec: &Value, found: &mut Vec<String>) {
    if !matches!(
        spec.get("target").and_then(Value::as_str),
        Some("Request" | "Response")
    ) {
        found.push("spec.target must be Request or Response".to_owned());
    }
    if !spec
        .get("port")
        .and_then(Value::as_i64)
        .is_some_and(|port| (1..=65_535).contains(&port))
    {
        found.push("spec.port must be a port number".to_owned());
    }
    if let Some(delay) = spec.get("delay").filter(|delay| !delay.is_null() && *delay != "")
        && delay.as_str().and_then(duration::parse).is_none()
    {
        found.push(format!("spec.delay {delay} is not a duration such as 300ms"));
    }
    let does_nothing = ["abort", "delay", "replace", "patch"]
        .iter()
        .all(|name| spec.get(name).is_none_or(Value::is_null));
    if does_nothing {
        found.push("spec has none of abort, delay, replace, patch".to_owned());
    }
}

fn network(spec: &Value, action: &str, found: &mut Vec<String>) {
    // Traffic is relayed, not forwarded packet by packet: nothing can be sent twice or damaged unseen by TCP.
    let possible = ["netem", "delay", "loss", "partition", "bandwidth"];
    if !possible.contains(&action) {
        found.push(format!(
            "spec.action {action:?} is not supported; it can be {}",
            possible.join(", ")
        ));
    }
    if spec
        .pointer("/delay/reorder")
        .is_some_and(|reorder| !reorder.is_null())
    {
        found.push("spec.delay.reorder is not supported".to_owned());
    }
    if !matches!(
        spec.get("direction").and_then(Value::as_str),
        None | Some("" | "to" | "from" | "both")
    ) {
        found.push("spec.direction must be to, from or both".to_owned());
    }
    if let Some(target) = spec.get("target").filter(|target| !target.is_null()) {
        for (name, _) in fields(target).filter(|(name, _)| !TARGET.contains(&name.as_str())) {
            found.push(format!("spec.target.{name} is not supported"));
        }
        found.extend(selector::problems("spec.target", target));
    }
}

fn pod(spec: &Value, action: &str, found: &mut Vec<String>) {
    if action != "pod-kill" {
        found.push(format!(
            "spec.action {action:?} is not supported; it can be pod-kill"
        ));
    }
    if spec
        .get("gracePeriod")
        .is_some_and(|grace| !grace.is_null() && grace.as_u64().is_none())
    {
        found.push("spec.gracePeriod must be a number of seconds".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_good_spec_has_no_problems() {
        let http = json!({"selector": {"namespaces": ["a"]}, "mode": "all", "target": "Request", "port": 80,
            "delay": "1s", "duration": "40s", "method": null, "value": ""});
        assert!(problems("HTTPChaos", &http).is_empty());
        let network = json!({"selector": {}, "mode": "fixed-percent", "value": "50", "action": "partition",
            "direction": "both", "target": {"selector": {"labelSelectors": {"a": "b"}}, "mode": "all"}});
        assert!(problems("NetworkChaos", &network).is_empty());
        assert!(
            problems(
                "PodChaos",
                &json!({"selector": {}, "mode": "one", "action": "pod-kill"})
            )
            .is_empty()
        );
    }

    #[test]
    fn every_field_that_is_not_honoured_is_named() {
        let http = json!({"selector": {"nods": []}, "mode": "some", "target": "Both", "tls": {}, "duration": "soon"});
        assert_eq!(
            problems("HTTPChaos", &http),
            [
                "spec.tls is not supported",
                "spec.selector.nods is not supported",
                "spec.mode \"some\" must be one, all, fixed, fixed-percent or random-max-percent",
                "spec.duration \"soon\" is not a duration such as 40s or 1h30m",
                "spec.target must be Request or Response",
                "spec.port must be a port number",
                "spec has none of abort, delay, replace, patch",
            ]
        );
        let network = json!({"selector": {}, "mode": "all", "action": "corrupt", "corrupt": {"corrupt": "5"},
            "target": {"selector": {}, "mode": "fixed", "value": "x", "device": "eth0"}});
        assert_eq!(
            problems("NetworkChaos", &network),
            [
                "spec.corrupt is not supported",
                "spec.action \"corrupt\" is not supported; it can be netem, delay, loss, partition, bandwidth",
                "spec.target.device is not supported",
                "spec.target.value \"x\" must be a number",
            ]
        );
        let pod = json!({"selector": {}, "mode": "one", "action": "pod-failure"});
        assert_eq!(
            problems("PodChaos", &pod),
            ["spec.action \"pod-failure\" is not supported; it can be pod-kill"]
        );
    }
}
