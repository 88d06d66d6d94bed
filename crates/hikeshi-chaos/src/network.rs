//! NetworkChaos: what happens to packets between pods.

use serde::Deserialize;
use serde_json::Value;

use crate::check::Check;
use crate::quantity;
use crate::selector::{self, COMMON, check_common};

/// The part of a NetworkChaos' spec that says what happens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    pub action: Action,
    pub direction: Option<String>,
    pub delay: Option<Delay>,
    pub loss: Option<Loss>,
    pub corrupt: Option<Corrupt>,
    pub bandwidth: Option<Bandwidth>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Netem,
    Delay,
    Loss,
    Corrupt,
    Partition,
    Bandwidth,
    Duplicate,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Delay {
    pub latency: String,
    pub jitter: Option<String>,
    pub correlation: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Loss {
    pub loss: String,
    pub correlation: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Corrupt {
    pub corrupt: String,
    pub correlation: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Bandwidth {
    pub rate: String,
    /// Most bytes that wait for their turn.
    pub limit: u64,
    /// Bytes that may pass at once.
    pub buffer: u64,
    /// Bytes per second at which the buffer itself may be emptied.
    pub peakrate: Option<u64>,
    /// Bytes that may pass at once at the peak rate.
    pub minburst: Option<u64>,
}

/// A correlation (a percentage as text, perhaps absent) in parts per million.
pub fn correlation(text: Option<&str>) -> Result<u32, String> {
    text.filter(|text| !text.is_empty())
        .map_or(Ok(0), quantity::percent)
}

const FIELDS: [&str; 13] = [
    "action",
    "direction",
    "target",
    "externalTargets",
    "delay",
    "loss",
    "duplicate",
    "corrupt",
    "bandwidth",
    "rate",
    "device",
    "targetDevice",
    "remoteCluster",
];

pub(crate) fn check(check: &mut Check, at: &str, spec: &Value) {
    check.fields(at, spec, &[&FIELDS[..], &COMMON].concat());
    check_common(check, at, spec);
    let no_cards = "a pod's connections are relayed; it has no network card to choose";
    check.refuse(at, spec, "device", no_cards);
    check.refuse(at, spec, "targetDevice", no_cards);
    check.refuse(
        at,
        spec,
        "rate",
        "use bandwidth, which says rate, limit and buffer",
    );
    check.refuse(at, spec, "duplicate", "TCP hides duplicates from programs");
    let pods_only = "pods reach nothing outside the cluster; name the pods with target";
    check.refuse(at, spec, "externalTargets", pods_only);
    for (name, known) in [
        ("target", &["selector", "mode", "value"][..]),
        ("delay", &["latency", "jitter", "correlation", "reorder"]),
        ("loss", &["loss", "correlation"]),
        ("corrupt", &["corrupt", "correlation"]),
        ("bandwidth", &["rate", "limit", "buffer", "peakrate", "minburst"]),
    ] {
        check.fields(&format!("{at}.{name}"), &spec[name], known);
    }
    check.refuse(
        &format!("{at}.delay"),
        &spec["delay"],
        "reorder",
        "TCP puts packets back in order before a program sees them",
    );
    if spec["target"].is_object() {
        selector::check(check, &format!("{at}.target"), &spec["target"]);
    }
    if let Some(read) = check.read::<Spec>(at, spec) {
        values(check, at, &read);
    }
}

fn values(check: &mut Check, at: &str, spec: &Spec) {
    match spec.direction.as_deref() {
        None | Some("" | "to" | "from" | "both") => {}
        Some(other) => check.add(
            format!("{at}.direction"),
            format!("{other:?} must be to, from or both"),
        ),
    }
    let needs = || format!("is missing; action {:?} needs it", spec.action).to_lowercase();
    match spec.action {
        Action::Delay if spec.delay.is_none() => check.add(format!("{at}.delay"), needs()),
        Action::Loss if spec.loss.is_none() => check.add(format!("{at}.loss"), needs()),
        Action::Corrupt if spec.corrupt.is_none() => check.add(format!("{at}.corrupt"), needs()),
        Action::Bandwidth if spec.bandwidth.is_none() => {
            check.add(format!("{at}.bandwidth"), needs());
        }
        Action::Duplicate => check.add(
            format!("{at}.action"),
            "duplicate cannot be honoured: TCP hides duplicates from programs",
        ),
        Action::Netem
            if spec.delay.is_none()
                && spec.loss.is_none()
                && spec.corrupt.is_none()
                && spec.bandwidth.is_none() =>
        {
            check.add(at, "says none of delay, loss, corrupt and bandwidth");
        }
        _ => {}
    }
    if let Some(delay) = &spec.delay {
        check.take(format!("{at}.delay.latency"), quantity::micros(&delay.latency));
        check.duration(format!("{at}.delay.jitter"), delay.jitter.as_deref());
        check.take(
            format!("{at}.delay.correlation"),
            correlation(delay.correlation.as_deref()),
        );
    }
    if let Some(loss) = &spec.loss {
        check.take(format!("{at}.loss.loss"), quantity::percent(&loss.loss));
        check.take(
            format!("{at}.loss.correlation"),
            correlation(loss.correlation.as_deref()),
        );
    }
    if let Some(corrupt) = &spec.corrupt {
        check.take(
            format!("{at}.corrupt.corrupt"),
            quantity::percent(&corrupt.corrupt),
        );
        check.take(
            format!("{at}.corrupt.correlation"),
            correlation(corrupt.correlation.as_deref()),
        );
    }
    if let Some(bandwidth) = &spec.bandwidth {
        rated(check, &format!("{at}.bandwidth"), bandwidth);
    }
}

fn rated(check: &mut Check, at: &str, bandwidth: &Bandwidth) {
    if check.take(format!("{at}.rate"), quantity::rate(&bandwidth.rate)) == Some(0) {
        check.add(
            format!("{at}.rate"),
            "must be more than 0; a partition stops everything",
        );
    }
    for (name, value) in [("limit", bandwidth.limit), ("buffer", bandwidth.buffer)] {
        if value == 0 {
            check.add(format!("{at}.{name}"), "must be at least 1 byte");
        }
    }
    let peak = bandwidth.peakrate.unwrap_or(0) > 0;
    if peak != (bandwidth.minburst.unwrap_or(0) > 0) {
        check.add(format!("{at}.peakrate"), "needs minburst, and minburst needs it");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::problems;

    fn found(spec: serde_json::Value) -> Vec<String> {
        let mut spec = spec;
        spec["selector"] = json!({});
        spec["mode"] = json!("all");
        let found = problems("NetworkChaos", &json!({"spec": spec}));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn good_specs_have_no_problems() {
        for spec in [
            json!({"action": "partition", "direction": "both",
                "target": {"selector": {"labelSelectors": {"a": "b"}}, "mode": "all"}}),
            json!({"action": "delay", "delay": {"latency": "90ms", "jitter": "10ms", "correlation": "25"}}),
            json!({"action": "loss", "loss": {"loss": "5", "correlation": "10"}}),
            json!({"action": "corrupt", "corrupt": {"corrupt": "5"}}),
            json!({"action": "netem", "delay": {"latency": "1ms"}, "loss": {"loss": "1"}}),
            json!({"action": "bandwidth", "bandwidth": {"rate": "1mbps", "limit": 20971520, "buffer": 10000,
                "peakrate": 2000000, "minburst": 1500}}),
        ] {
            assert_eq!(found(spec), Vec::<String>::new());
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        for (spec, words) in [
            (
                json!({"action": "duplicate", "duplicate": {"duplicate": "1"}}),
                "spec.duplicate: cannot be honoured",
            ),
            (
                json!({"action": "delay", "delay": {"latency": "1ms", "reorder": {"gap": 1}}}),
                "spec.delay.reorder: ",
            ),
            (
                json!({"action": "delay", "delay": {"latency": "fast"}}),
                "spec.delay.latency: ",
            ),
            (json!({"action": "delay"}), "spec.delay: is missing"),
            (
                json!({"action": "partition", "externalTargets": ["example.com"]}),
                "spec.externalTargets: ",
            ),
            (
                json!({"action": "partition", "direction": "up"}),
                "spec.direction: ",
            ),
            (json!({"action": "partition", "device": "eth0"}), "spec.device: "),
            (
                json!({"action": "loss", "loss": {"loss": "500"}}),
                "spec.loss.loss: ",
            ),
            (json!({"action": "break"}), "spec.action: "),
            (
                json!({"action": "bandwidth", "bandwidth": {"rate": "0bps", "limit": 1, "buffer": 1}}),
                "bandwidth.rate",
            ),
            (
                json!({"action": "bandwidth", "bandwidth": {"rate": "1bps", "limit": 1, "buffer": 1, "peakrate": 3}}),
                "minburst",
            ),
            (
                json!({"action": "partition", "target": {"selector": {}, "mode": "fixed", "value": "x"}}),
                "spec.target.value",
            ),
        ] {
            let found = found(spec.clone()).join("; ");
            assert!(found.contains(words), "{spec}: {found} does not say {words}");
        }
    }
}
