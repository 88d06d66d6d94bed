//! NetworkChaos -> faults on packets.

use hikeshi_chaos::network::{self, Action, Spec, correlation};
use hikeshi_chaos::quantity;
use hikeshi_proxy::faults::delay::DelayLength;
use hikeshi_proxy::faults::{
    Bandwidth, Delay, Fault, FaultKind, Flow, Loss, NetworkEffect, NetworkFault, Percent, PodSet,
};
use serde_json::Value;

use super::chaos::{Context, pod_set};

pub(super) fn compile(spec: &Value, context: &Context<'_>) -> Result<Vec<Fault>, String> {
    let spec: Spec = serde::Deserialize::deserialize(spec).map_err(|error| format!("spec: {error}"))?;
    let flows = flows(spec.direction.as_deref().unwrap_or_default(), context)?;
    let named = effects(&spec, context)?;
    let fault = |(name, effect): (&str, NetworkEffect)| Fault {
        id: format!("{}/{name}", context.id),
        until: None,
        kind: FaultKind::Network(NetworkFault {
            flows: flows.clone(),
            effect,
        }),
    };
    Ok(named.into_iter().map(fault).collect())
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
        "" | "to" => Ok(vec![to]),
        "from" => Ok(vec![from]),
        "both" => Ok(vec![to, from]),
        other => Err(format!("spec.direction: {other:?} is neither to, from nor both")),
    }
}

type Named = (&'static str, NetworkEffect);

/// Every effect that is given: those that do not fit the action have been refused.
fn effects(spec: &Spec, context: &Context<'_>) -> Result<Vec<Named>, String> {
    let mut found = Vec::new();
    if spec.action == Action::Partition {
        found.push(("partition", NetworkEffect::Partition));
    }
    if let Some(delay) = &spec.delay {
        found.push(("delay", delayed(delay, context.seed("delay"))?));
    }
    if let Some(loss) = &spec.loss {
        let (at, correlation) = ("spec.loss.loss", loss.correlation.as_deref());
        let effect = lost(at, &loss.loss, correlation, context.seed("loss"))?;
        found.push(("loss", effect));
    }
    // A corrupt packet fails its checksum and is dropped: to a program it is a lost one.
    if let Some(corrupt) = &spec.corrupt {
        let (at, correlation) = ("spec.corrupt.corrupt", corrupt.correlation.as_deref());
        let effect = lost(at, &corrupt.corrupt, correlation, context.seed("corrupt"))?;
        found.push(("corrupt", effect));
    }
    if let Some(bandwidth) = &spec.bandwidth {
        found.extend(limited(bandwidth)?);
    }
    if found.is_empty() {
        return Err(format!("spec: says nothing for action {:?}", spec.action).to_lowercase());
    }
    Ok(found)
}

fn delayed(spec: &network::Delay, seed: u64) -> Result<NetworkEffect, String> {
    let micros = quantity::micros(&spec.latency).map_err(|error| format!("spec.delay.latency: {error}"))?;
    let jitter = spec.jitter.as_deref().filter(|text| !text.is_empty());
    let jitter = jitter.map_or(Ok(0), quantity::micros);
    let correlation = correlation(spec.correlation.as_deref());
    Ok(NetworkEffect::Delay(Delay {
        length: match jitter.map_err(|error| format!("spec.delay.jitter: {error}"))? {
            0 => DelayLength::Fixed { micros },
            jitter => DelayLength::Jitter { micros, jitter },
        },
        to_total: false,
        seed,
        correlation: correlation.map_err(|error| format!("spec.delay.correlation: {error}"))?,
    }))
}

fn lost(at: &str, share: &str, text: Option<&str>, seed: u64) -> Result<NetworkEffect, String> {
    let ppm = quantity::percent(share).map_err(|error| format!("{at}: {error}"))?;
    Ok(NetworkEffect::Loss(Loss {
        percent: Percent { ppm, seed },
        correlation: correlation(text).map_err(|error| format!("{at}, its correlation: {error}"))?,
    }))
}

/// As in tc's token bucket: the rate, and with a peak rate a second, smaller bucket before it.
fn limited(spec: &network::Bandwidth) -> Result<Vec<Named>, String> {
    let rate = quantity::rate(&spec.rate).map_err(|error| format!("spec.bandwidth.rate: {error}"))?;
    let limit = |rate, burst| {
        NetworkEffect::Bandwidth(Bandwidth {
            rate,
            burst,
            queue: Some(spec.limit),
        })
    };
    let peak = spec.peakrate.filter(|rate| *rate > 0);
    let peak = peak.map(|rate| ("bandwidth-peak", limit(rate, spec.minburst.unwrap_or(1))));
    Ok([("bandwidth", limit(rate, spec.buffer))]
        .into_iter()
        .chain(peak)
        .collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hikeshi_chaos::annotations::SEED;
    use kube::ResourceExt;
    use serde_json::json;

    use super::super::chaos::tests::{experiment, pods};
    use super::super::chaos::{Kind, compile};
    use super::super::names::Names;
    use super::*;

    fn compiled(spec: Value, selected: &[&str], target: &[&str]) -> Result<Vec<Fault>, String> {
        let mut object = experiment(Kind::Network, spec, selected, target);
        object.data["spec"]["selector"] = json!({});
        object.data["spec"]["mode"] = json!("all");
        compile(Kind::Network, &object, &pods(), &Names::default())
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
        let spec =
            json!({"action": "partition", "direction": "both", "target": {"mode": "all", "selector": {}}});
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
            json!({"action": "partition", "target": {"mode": "all", "selector": {}}}),
            &["redis-0"],
            &[],
        )
        .unwrap();
        assert_eq!(network(&faults[0]).flows[0].to, set(&[]));
    }

    #[test]
    fn from_has_the_packets_that_come_in() {
        let spec = json!({"action": "delay", "direction": "from", "delay": {"latency": "1ms"}});
        let faults = compiled(spec, &["redis-0"], &[]).unwrap();
        let flow = Flow {
            from: PodSet::Any,
            to: set(&["redis-0"]),
        };
        assert_eq!(network(&faults[0]).flows, [flow]);
    }

    #[test]
    fn what_is_named_is_aimed_at_beside_what_is_selected() {
        let names = Names::behind([("chirpy", "web", "127.96.0.3", &["127.64.0.3"])]);
        let flows = |external: Value, target: Value, chosen: &[&str]| {
            let mut object = experiment(
                Kind::Network,
                json!({"action": "partition", "selector": {}, "mode": "all", "externalTargets": external, "target": target}),
                &["redis-0"],
                chosen,
            );
            object.data["spec"]["mode"] = json!("all");
            let faults = compile(Kind::Network, &object, &pods(), &names).unwrap();
            network(&faults[0]).flows[0].to.clone()
        };
        assert_eq!(flows(json!(["web"]), Value::Null, &[]), set(&["web-0"]));
        assert_eq!(
            flows(json!(["127.96.0.3", "127.64.0.2"]), Value::Null, &[]),
            set(&["web-0", "redis-1"])
        );
        let target = json!({"mode": "all", "selector": {}});
        assert_eq!(
            flows(json!(["web.chirpy.svc"]), target, &["redis-1"]),
            set(&["redis-1", "web-0"])
        );
        assert_eq!(
            flows(json!(["nobody"]), Value::Null, &[]),
            set(&[]),
            "nobody is not everybody"
        );
    }

    #[test]
    fn netem_composes() {
        let spec = json!({"action": "netem", "delay": {"latency": "1ms"}, "loss": {"loss": "1.5", "correlation": "25"},
            "bandwidth": {"rate": "1mbps", "limit": 50000, "buffer": 10000, "peakrate": 2_000_000, "minburst": 1500}});
        let faults = compiled(spec, &["redis-0"], &[]).unwrap();
        assert_eq!(faults.len(), 4, "a peak rate is a second bucket");
        let NetworkEffect::Loss(loss) = &network(&faults[1]).effect else {
            panic!("{faults:?}")
        };
        assert_eq!((loss.percent.ppm, loss.correlation), (15_000, 250_000));
        let NetworkEffect::Bandwidth(limit) = &network(&faults[2]).effect else {
            panic!("{faults:?}")
        };
        assert_eq!(
            (limit.rate, limit.burst, limit.queue),
            (1_000_000, 10_000, Some(50_000))
        );
    }
    #[test]
    fn what_stands_beside_the_action_happens_too() {
        let spec = json!({"action": "delay", "delay": {"latency": "1ms"}, "loss": {"loss": "1"}});
        let ids = compiled(spec, &["redis-0"], &[]).unwrap();
        let ids: Vec<&str> = ids.iter().map(|fault| fault.id.as_str()).collect();
        assert_eq!(
            ids,
            ["networkchaos/chirpy/exp/delay", "networkchaos/chirpy/exp/loss"]
        );
    }

    #[test]
    fn effects_and_experiments_hit_independently_and_again_the_same() {
        let hits = |name: &str, effect: usize| -> Vec<u64> {
            let spec = json!({"action": "netem", "mode": "all", "selector": {},
                "loss": {"loss": "10"}, "corrupt": {"corrupt": "10"}});
            let mut object = experiment(Kind::Network, spec, &["redis-0"], &[]);
            object.metadata.name = Some(name.into());
            object.annotations_mut().insert(SEED.into(), "7".into());
            if name.starts_with("made-") {
                let owner = json!([{"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "Schedule",
                    "name": "made", "uid": "u", "controller": true}]);
                object.metadata.owner_references = serde_json::from_value(owner).unwrap();
            }
            let faults = compile(Kind::Network, &object, &pods(), &Names::default()).unwrap();
            let NetworkEffect::Loss(loss) = &network(&faults[effect]).effect else {
                panic!("{faults:?}")
            };
            (0..1_000).filter(|n| loss.hits(*n, false)).collect()
        };
        let (lost, corrupt, other) = (hits("exp", 0), hits("exp", 1), hits("other", 0));
        assert_eq!(lost, hits("exp", 0), "not to be replayed");
        assert_eq!(
            hits("made-1", 0),
            hits("made-2", 0),
            "a Schedule's not to be replayed"
        );
        for one in [&corrupt, &other] {
            let both = lost.iter().filter(|n| one.contains(n)).count();
            // Of 100 hits each, independent ones meet about 10 times.
            assert!(both < 30, "{both} of 100 hit the same packets");
        }
    }
}
