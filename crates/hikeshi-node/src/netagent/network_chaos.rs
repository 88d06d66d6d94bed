//! NetworkChaos -> faults on packets.

use std::collections::BTreeMap;

use hikeshi_proxy::faults::delay::DelayLength;
use hikeshi_proxy::faults::{
    Bandwidth, Delay, Fault, FaultKind, Flow, Loss, NetworkEffect, NetworkFault, Percent, PodSet,
};
use serde::Deserialize;
use serde_json::Value;

use super::chaos::{Context, pod_set};
use super::quantity;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    action: String,
    #[serde(default)]
    direction: Option<String>,
    delay: Option<DelaySpec>,
    loss: Option<LossSpec>,
    corrupt: Option<CorruptSpec>,
    bandwidth: Option<BandwidthSpec>,
    /// Everything else; what of it changes the fault is refused by name.
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct DelaySpec {
    latency: String,
    jitter: Option<String>,
    correlation: Option<String>,
    reorder: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct LossSpec {
    loss: String,
    correlation: Option<String>,
}

#[derive(Debug, Deserialize)]
struct CorruptSpec {
    corrupt: String,
    correlation: Option<String>,
}

#[derive(Debug, Deserialize)]
struct BandwidthSpec {
    rate: String,
    /// Bytes that may pass at once.
    buffer: u64,
    peakrate: Option<u64>,
    minburst: Option<u64>,
}

/// Fields that the data plane cannot honour.
const REFUSED: [&str; 6] = [
    "duplicate",
    "rate",
    "device",
    "targetDevice",
    "externalTargets",
    "remoteCluster",
];

pub(super) fn compile(spec: Value, context: &Context<'_>) -> Result<Vec<Fault>, String> {
    let spec: Spec = serde_json::from_value(spec).map_err(|error| format!("spec: {error}"))?;
    if let Some(field) = REFUSED
        .into_iter()
        .find(|field| spec.rest.get(*field).is_some_and(says_something))
    {
        return Err(format!("spec.{field}: cannot be honoured here"));
    }
    let flows = flows(spec.direction.as_deref().unwrap_or("to"), context)?;
    let named = effects(&spec, context.seed)?;
    let fault = |(name, effect): (&str, NetworkEffect)| Fault {
        id: format!("{}/{name}", context.id),
        kind: FaultKind::Network(NetworkFault {
            flows: flows.clone(),
            effect,
        }),
    };
    Ok(named.into_iter().map(fault).collect())
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    }
}

/// Whose packets: the selected pods' toward the target (`to`), the target's toward them (`from`), or both.
fn flows(direction: &str, context: &Context<'_>) -> Result<Vec<Flow>, String> {
    let selected = pod_set(&context.selection.selected);
    let target = context
        .selection
        .target
        .as_ref()
        .map_or(PodSet::Any, |pods| pod_set(pods));
    let to = Flow {
        from: selected.clone(),
        to: target.clone(),
    };
    let from = Flow {
        from: target,
        to: selected,
    };
    match direction {
        "to" => Ok(vec![to]),
        "from" => Ok(vec![from]),
        "both" => Ok(vec![to, from]),
        other => Err(format!("spec.direction: {other:?} is neither to, from nor both")),
    }
}

fn effects(spec: &Spec, seed: u64) -> Result<Vec<(&'static str, NetworkEffect)>, String> {
    let missing = |field: &str| format!("spec.{field}: missing for action {}", spec.action);
    let delay = || {
        spec.delay
            .as_ref()
            .map(|delay| Ok(("delay", delay_effect(delay, seed)?)))
    };
    let loss = || {
        spec.loss.as_ref().map(|loss| {
            let percent = share("spec.loss", "loss", &loss.loss, loss.correlation.as_deref(), seed)?;
            Ok(("loss", NetworkEffect::Loss(Loss { percent })))
        })
    };
    // A corrupt packet fails its checksum and is dropped: to a program it is a lost one.
    let corrupt = || {
        spec.corrupt.as_ref().map(|corrupt| {
            let percent = share(
                "spec.corrupt",
                "corrupt",
                &corrupt.corrupt,
                corrupt.correlation.as_deref(),
                seed,
            )?;
            Ok(("corrupt", NetworkEffect::Loss(Loss { percent })))
        })
    };
    let bandwidth = || {
        spec.bandwidth
            .as_ref()
            .map(|bandwidth| Ok(("bandwidth", bandwidth_effect(bandwidth)?)))
    };
    match spec.action.as_str() {
        "partition" => Ok(vec![("partition", NetworkEffect::Partition)]),
        "delay" => Ok(vec![delay().ok_or_else(|| missing("delay"))??]),
        "loss" => Ok(vec![loss().ok_or_else(|| missing("loss"))??]),
        "corrupt" => Ok(vec![corrupt().ok_or_else(|| missing("corrupt"))??]),
        "bandwidth" => Ok(vec![bandwidth().ok_or_else(|| missing("bandwidth"))??]),
        "netem" => [delay(), loss(), corrupt(), bandwidth()]
            .into_iter()
            .flatten()
            .collect(),
        "duplicate" => Err("spec.action: duplicate cannot be honoured here (TCP hides duplicates)".into()),
        other => Err(format!("spec.action: {other:?} is not known")),
    }
}

fn delay_effect(spec: &DelaySpec, seed: u64) -> Result<NetworkEffect, String> {
    if spec.reorder.as_ref().is_some_and(says_something) {
        return Err("spec.delay.reorder: cannot be honoured here (TCP puts packets back in order)".into());
    }
    let micros = quantity::micros(&spec.latency).map_err(|error| format!("spec.delay.latency: {error}"))?;
    let jitter = spec.jitter.as_deref().map_or(Ok(0), quantity::micros);
    let length = match jitter.map_err(|error| format!("spec.delay.jitter: {error}"))? {
        0 => DelayLength::Fixed { micros },
        jitter => {
            no_correlation("spec.delay", spec.correlation.as_deref())?;
            DelayLength::Jitter { micros, jitter }
        }
    };
    Ok(NetworkEffect::Delay(Delay {
        length,
        to_total: false,
        seed,
    }))
}

fn share(at: &str, field: &str, text: &str, correlation: Option<&str>, seed: u64) -> Result<Percent, String> {
    no_correlation(at, correlation)?;
    let ppm = quantity::percent(text).map_err(|error| format!("{at}.{field}: {error}"))?;
    Ok(Percent { ppm, seed })
}

/// Exact shares and correlated ones exclude each other.
fn no_correlation(at: &str, correlation: Option<&str>) -> Result<(), String> {
    let ppm = correlation
        .filter(|text| !text.is_empty())
        .map_or(Ok(0), quantity::percent);
    match ppm.map_err(|error| format!("{at}.correlation: {error}"))? {
        0 => Ok(()),
        _ => Err(format!(
            "{at}.correlation: cannot be honoured here; leave it out or say \"0\""
        )),
    }
}

fn bandwidth_effect(spec: &BandwidthSpec) -> Result<NetworkEffect, String> {
    if spec.peakrate.is_some_and(|rate| rate > 0) || spec.minburst.is_some_and(|burst| burst > 0) {
        return Err("spec.bandwidth.peakrate and minburst: cannot be honoured here".into());
    }
    let rate = quantity::rate(&spec.rate).map_err(|error| format!("spec.bandwidth.rate: {error}"))?;
    Ok(NetworkEffect::Bandwidth(Bandwidth {
        rate,
        burst: spec.buffer,
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::chaos::tests::{experiment, pods};
    use super::super::chaos::{Kind, compile};
    use super::*;

    fn compiled(spec: Value, selected: &[&str], target: &[&str]) -> Result<Vec<Fault>, String> {
        compile(
            Kind::Network,
            &experiment(Kind::Network, spec, selected, target),
            &pods(),
        )
    }

    fn set(names: &[&str]) -> PodSet {
        PodSet::Pods(names.iter().map(|name| format!("uid-{name}")).collect())
    }

    fn network(fault: &Fault) -> &NetworkFault {
        match &fault.kind {
            FaultKind::Network(network) => network,
            FaultKind::Http(_) => panic!("an HTTP fault"),
        }
    }

    #[test]
    fn a_delay_is_on_what_the_selected_pods_send() {
        let faults = compiled(
            json!({"action": "delay", "delay": {"latency": "90ms", "correlation": "25"}}),
            &["redis-0"],
            &[],
        )
        .unwrap();
        assert_eq!(faults[0].id, "networkchaos/chirpy/exp/delay");
        let fault = network(&faults[0]);
        assert_eq!(
            fault.flows,
            [Flow {
                from: set(&["redis-0"]),
                to: PodSet::Any
            }]
        );
        let NetworkEffect::Delay(delay) = &fault.effect else {
            panic!("{fault:?}")
        };
        assert_eq!(delay.sample(0), Duration::from_millis(90));
    }

    #[test]
    fn a_partition_both_ways_has_a_flow_each_way() {
        let spec = json!({"action": "partition", "direction": "both", "target": {"mode": "all"}});
        let faults = compiled(spec, &["redis-0"], &["redis-1", "web-0"]).unwrap();
        let (one, two) = (set(&["redis-0"]), set(&["redis-1", "web-0"]));
        let flows = [
            Flow {
                from: one.clone(),
                to: two.clone(),
            },
            Flow { from: two, to: one },
        ];
        assert_eq!(network(&faults[0]).flows, flows);
    }

    #[test]
    fn a_target_that_selects_nobody_is_not_everybody() {
        let faults = compiled(
            json!({"action": "partition", "target": {"mode": "all"}}),
            &["redis-0"],
            &[],
        )
        .unwrap();
        assert_eq!(network(&faults[0]).flows[0].to, set(&[]));
    }

    #[test]
    fn netem_composes() {
        let spec = json!({"action": "netem", "delay": {"latency": "1ms"}, "loss": {"loss": "1.5", "correlation": "0"},
            "bandwidth": {"rate": "1mbps", "limit": 1, "buffer": 10000}});
        let faults = compiled(spec, &["redis-0"], &[]).unwrap();
        assert_eq!(faults.len(), 3);
        let NetworkEffect::Loss(loss) = &network(&faults[1]).effect else {
            panic!("{faults:?}")
        };
        assert_eq!(loss.percent.ppm, 15_000);
        let NetworkEffect::Bandwidth(limit) = &network(&faults[2]).effect else {
            panic!("{faults:?}")
        };
        assert_eq!((limit.rate, limit.burst), (1_000_000, 10_000));
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        for (spec, field) in [
            (
                json!({"action": "duplicate", "duplicate": {"duplicate": "1"}}),
                "spec.duplicate",
            ),
            (
                json!({"action": "delay", "delay": {"latency": "1ms", "reorder": {"gap": 1}}}),
                "spec.delay.reorder",
            ),
            (
                json!({"action": "delay", "delay": {"latency": "fast"}}),
                "spec.delay.latency",
            ),
            (json!({"action": "delay"}), "spec.delay"),
            (
                json!({"action": "loss", "loss": {"loss": "5", "correlation": "10"}}),
                "spec.loss.correlation",
            ),
            (
                json!({"action": "partition", "externalTargets": ["example.com"]}),
                "spec.externalTargets",
            ),
            (
                json!({"action": "partition", "direction": "up"}),
                "spec.direction",
            ),
        ] {
            let error = compiled(spec, &["redis-0"], &[]).unwrap_err();
            assert!(error.contains(field), "{error} does not name {field}");
        }
    }
}
