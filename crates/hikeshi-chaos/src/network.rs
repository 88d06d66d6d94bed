//! NetworkChaos: what happens to packets between pods.

use serde::Deserialize;
use serde_json::Value;

use crate::check::Check;
use crate::external::External;
use crate::quantity;
use crate::selector::{self, COMMON, TARGET};
use crate::shape::{DURATION, Field, Fixed, PERCENT, Shape, may, must};
use crate::words::Words;

/// The part of a NetworkChaos' spec that says what happens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    pub action: Action,
    pub direction: Option<String>,
    /// The other end by address or name, beside those that `target` selects: see [`External::read`].
    pub external_targets: Option<Vec<String>>,
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
pub fn correlation(text: Option<&str>) -> Result<u32, Words> {
    text.filter(|text| !text.is_empty())
        .map_or(Ok(0), quantity::percent)
}

const DUPLICATES: Fixed = (
    "重複したパケットは TCP が取り除くため、プログラムには見えません",
    "TCP hides duplicates from programs",
);
const NO_RATE: Fixed = (
    "rate、limit、buffer を書ける bandwidth を使ってください",
    "use bandwidth, which says rate, limit and buffer",
);
const NO_CARDS: Fixed = (
    "Pod の通信は中継され、選べるネットワークカードはありません",
    "a pod's connections are relayed; it has no network card to choose",
);

const FIELDS: &[Field] = &[
    must(
        "action",
        Shape::ChoiceBut(
            &["netem", "delay", "loss", "corrupt", "partition", "bandwidth"],
            &[("duplicate", DUPLICATES), ("rate", NO_RATE)],
        ),
    ),
    may("direction", Shape::Choice(&["to", "from", "both"])),
    may("target", Shape::Object(TARGET)),
    may("externalTargets", Shape::Texts),
    may(
        "delay",
        Shape::Object(&[
            must("latency", DURATION),
            may("jitter", DURATION),
            may("correlation", PERCENT),
            may(
                "reorder",
                Shape::Refused((
                    "パケットの順序は TCP が元に戻すため、プログラムには見えません",
                    "TCP puts packets back in order before a program sees them",
                )),
            ),
        ]),
    ),
    may(
        "loss",
        Shape::Object(&[must("loss", PERCENT), may("correlation", PERCENT)]),
    ),
    may("duplicate", Shape::Refused(DUPLICATES)),
    may(
        "corrupt",
        Shape::Object(&[must("corrupt", PERCENT), may("correlation", PERCENT)]),
    ),
    may(
        "bandwidth",
        Shape::Object(&[
            must("rate", RATE),
            must("limit", Shape::Whole(u64::MAX)),
            must("buffer", Shape::Whole(u64::MAX)),
            may("peakrate", Shape::Whole(u64::MAX)),
            may("minburst", Shape::Whole(u64::MAX)),
        ]),
    ),
    may("rate", Shape::Refused(NO_RATE)),
    may("device", Shape::Refused(NO_CARDS)),
    may("targetDevice", Shape::Refused(NO_CARDS)),
];

const RATE: Shape = Shape::Parsed(
    ("1mbps や 512kbit のような速度", "a rate such as 1mbps or 512kbit"),
    |text| match quantity::rate(text)? {
        0 => Err(Words::new(
            "0 より大きくしてください。すべて止めるなら partition です",
            "must be more than 0; a partition stops everything",
        )),
        _ => Ok(()),
    },
);

pub(crate) fn check(check: &mut Check, at: &str, spec: &Value) {
    selector::check(check, at, spec);
    if spec["target"].is_object() {
        selector::check(check, &format!("{at}.target"), &spec["target"]);
    }
    if let Some(read) = check.read::<Spec>(at, spec, &[FIELDS, COMMON]) {
        values(check, at, &read);
    }
}

fn values(check: &mut Check, at: &str, spec: &Spec) {
    external(check, &format!("{at}.externalTargets"), spec);
    let parts = [
        ("delay", Action::Delay, spec.delay.is_some()),
        ("loss", Action::Loss, spec.loss.is_some()),
        ("corrupt", Action::Corrupt, spec.corrupt.is_some()),
        ("bandwidth", Action::Bandwidth, spec.bandwidth.is_some()),
    ];
    for (name, action, there) in parts {
        if spec.action == action && !there {
            let words = Words::new(
                format!("必要ですが、ありません (action {name})"),
                format!("is missing; action {name} needs it"),
            );
            check.add(format!("{at}.{name}"), words);
        }
        // As in Chaos Mesh, parts of netem may stand together under the name of any of them.
        let fits = match spec.action {
            Action::Netem => true,
            Action::Delay | Action::Loss | Action::Corrupt => action != Action::Bandwidth,
            _ => spec.action == action,
        };
        if there && !fits {
            let words = Words::new(
                "この action では使われません。組み合わせるなら action を netem にしてください",
                "is not read with this action; netem combines them",
            );
            check.add(format!("{at}.{name}"), words);
        }
    }
    if spec.action == Action::Netem && parts.iter().all(|(_, _, there)| !there) {
        let words = (
            "これでは何も起こりません。delay、loss、corrupt、bandwidth のどれかを書いてください",
            "does nothing: give it one of delay, loss, corrupt and bandwidth",
        );
        check.add(at, words);
    }
    if let Some(bandwidth) = &spec.bandwidth {
        rated(check, &format!("{at}.bandwidth"), bandwidth);
    }
}

fn external(check: &mut Check, at: &str, spec: &Spec) {
    let entries = spec.external_targets.as_deref().unwrap_or_default();
    for (index, entry) in entries.iter().enumerate() {
        check.take(format!("{at}[{index}]"), External::read(entry));
    }
    // As in Chaos Mesh: the rules that it makes from addresses are about packets that leave.
    let direction = spec.direction.as_deref().unwrap_or_default();
    if !entries.is_empty() && !matches!(direction, "" | "to") {
        let words = Words::new(
            format!("direction が to のときだけ使えます。{direction} では target を使ってください"),
            format!("works with direction to only; with {direction}, use target"),
        );
        check.add(at, words);
    }
}

fn rated(check: &mut Check, at: &str, bandwidth: &Bandwidth) {
    for (name, value) in [("limit", bandwidth.limit), ("buffer", bandwidth.buffer)] {
        if value == 0 {
            let words = ("1 バイト以上にしてください", "must be at least 1 byte");
            check.add(format!("{at}.{name}"), words);
        }
    }
    let peak = bandwidth.peakrate.unwrap_or(0) > 0;
    if peak != (bandwidth.minburst.unwrap_or(0) > 0) {
        let words = (
            "peakrate と minburst は両方書いてください",
            "needs minburst, and minburst needs it",
        );
        check.add(format!("{at}.peakrate"), words);
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
            json!({"action": "partition", "externalTargets": ["postgres.chirpy", "127.64.0.0/24"]}),
            json!({"action": "loss", "loss": {"loss": "5", "correlation": "10"}}),
            json!({"action": "corrupt", "corrupt": {"corrupt": "5"}}),
            json!({"action": "netem", "delay": {"latency": "1ms"}, "loss": {"loss": "1"}}),
            json!({"action": "delay", "delay": {"latency": "1ms"}, "loss": {"loss": "1"}, "corrupt": {"corrupt": "1"}}),
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
                json!({"action": "partition", "externalTargets": ["postgres", "203.0.113.9"]}),
                "spec.externalTargets[1]: 203.0.113.9 is outside the cluster",
            ),
            (
                json!({"action": "partition", "direction": "both", "externalTargets": ["postgres"]}),
                "spec.externalTargets: works with direction to only",
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
                json!({"action": "partition", "delay": {"latency": "1ms"}}),
                "spec.delay: is not read with this action",
            ),
            (
                json!({"action": "bandwidth", "bandwidth": {"rate": "1bps", "limit": 1, "buffer": 1},
                    "loss": {"loss": "1"}}),
                "spec.loss: is not read with this action",
            ),
            (
                json!({"action": "delay", "delay": {"latency": "1ms"},
                    "bandwidth": {"rate": "1bps", "limit": 1, "buffer": 1}}),
                "spec.bandwidth: is not read with this action",
            ),
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
