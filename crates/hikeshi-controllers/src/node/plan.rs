//! What a node's silence and taints mean for the node and its pods.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};

use crate::object::time;
use crate::pods::{is_ready, is_terminating};
use crate::scheduler::fit::tolerates;

/// A kubelet that is silent for longer is lost (`--node-monitor-grace-period`).
pub(super) const SILENCE: SignedDuration = SignedDuration::from_secs(40);

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The conditions that a lost kubelet no longer vouches for.
const VOUCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// The node's conditions, if they are to change.
    pub conditions: Option<Vec<NodeCondition>>,
    /// The node's taints, if they are to change.
    pub taints: Option<Vec<Taint>>,
    /// Pods whose Ready condition is to say that nobody vouches for them.
    pub unready: Vec<Arc<Pod>>,
    /// Pods that do not tolerate the node (any longer).
    pub evict: Vec<Arc<Pod>>,
    pub recheck: Option<Duration>,
}

pub(super) fn ready(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready")
}

/// The conditions of a node whose kubelet is silent; `None` if they say so already.
fn silent(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    if ready(node).is_some_and(|ready| ready.status == "Unknown") {
        return None;
    }
    let before = node.status.as_ref().and_then(|status| status.conditions.clone());
    let mut conditions = before.unwrap_or_default();
    for type_ in VOUCHED {
        let known = conditions.iter().position(|condition| condition.type_ == type_);
        let index = known.unwrap_or_else(|| {
            conditions.push(NodeCondition {
                type_: type_.to_owned(),
                ..NodeCondition::default()
            });
            conditions.len() - 1
        });
        let condition = &mut conditions[index];
        // The heartbeat stays what it was: it says when the kubelet was last heard.
        condition.status = "Unknown".to_owned();
        condition.last_transition_time = Some(time(now));
        (condition.reason, condition.message) = if known.is_some() {
            (
                Some("NodeStatusUnknown".to_owned()),
                Some("Kubelet stopped posting node status.".to_owned()),
            )
        } else {
            (
                Some("NodeStatusNeverUpdated".to_owned()),
                Some("Kubelet never posted node status.".to_owned()),
            )
        };
    }
    Some(conditions)
}

/// The taints that go with a Ready condition of this status and with the cordon; `None` if they are there already.
fn taints(node: &Node, ready: &str, now: Timestamp) -> Option<Vec<Taint>> {
    let spec = node.spec.clone().unwrap_or_default();
    let before = spec.taints.unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    if spec.unschedulable == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    match ready {
        "True" => {}
        "False" => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        _ => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
    }
    let ours = |taint: &Taint| [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str());
    let is = |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let mut after: Vec<Taint> = before
        .iter()
        .filter(|taint| !ours(taint) || wanted.iter().any(|one| is(taint, *one)))
        .cloned()
        .collect();
    for one in wanted {
        if !after.iter().any(|taint| is(taint, one)) {
            after.push(Taint {
                key: one.0.to_owned(),
                effect: one.1.to_owned(),
                value: None,
                time_added: Some(time(now)),
            });
        }
    }
    (after != before).then_some(after)
}

/// When a pod must leave a node with these taints; `None`: never.
fn leaves_at(pod: &Pod, taints: &[Taint], now: Timestamp) -> Option<Timestamp> {
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or(&[]);
    let leaves = |taint: &Taint| {
        let mut used = tolerations.iter().filter(|one| tolerates(one, taint)).peekable();
        if used.peek().is_none() {
            return Some(now);
        }
        // The shortest of the tolerations that apply, as in Kubernetes; one without a length is for ever.
        let seconds = used.filter_map(|one| one.toleration_seconds).min()?;
        let since = taint.time_added.as_ref().map_or(now, |time| time.0);
        Some(
            since
                .saturating_add(SignedDuration::from_secs(seconds.max(0)))
                .unwrap_or(now),
        )
    };
    taints
        .iter()
        .filter(|taint| taint.effect == "NoExecute")
        .filter_map(leaves)
        .min()
}

/// `heard`: when the kubelet was last heard, on the clock of `now`. `pods` are those bound to the node.
pub(super) fn plan(node: &Node, pods: &[Arc<Pod>], heard: Timestamp, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let due = heard.saturating_add(SILENCE).unwrap_or(now);
    let mut soonest: Option<Timestamp> = None;
    let mut at =
        |when: Timestamp| soonest = Some(soonest.map_or(when, |soonest: Timestamp| soonest.min(when)));
    if due <= now {
        plan.conditions = silent(node, now);
    } else {
        at(due);
    }
    // Nothing yet, of a new node.
    let said = if due <= now {
        Some("Unknown")
    } else {
        ready(node).map(|ready| ready.status.as_str())
    };
    plan.taints = taints(node, said.unwrap_or("Unknown"), now);
    let present = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let taints = plan.taints.as_ref().unwrap_or(&present);
    for pod in pods.iter().filter(|pod| !is_terminating(pod)) {
        // A new node has vouched for nothing that it could take back: what its pods say of themselves is the latest.
        if said.is_some_and(|status| status != "True") && is_ready(pod) {
            plan.unready.push(pod.clone());
        }
        match leaves_at(pod, taints, now) {
            Some(when) if when <= now => plan.evict.push(pod.clone()),
            Some(when) => at(when),
            None => {}
        }
    }
    plan.recheck = soonest.and_then(|when| Duration::try_from(when.duration_since(now)).ok());
    plan
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::object::name_of;
    use crate::pods::testing::{merge, pod, ready};

    fn at(seconds: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time") + SignedDuration::from_secs(seconds)
    }

    fn node(ready: &str, spec: &Value) -> Node {
        let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "lastHeartbeatTime": "2026-01-01T00:00:00Z"});
        let base = json!({"metadata": {"name": "n1"}, "spec": spec, "status": {"conditions": [
            condition("MemoryPressure", "False"), condition("DiskPressure", "False"), condition("PIDPressure", "False"),
            condition("Ready", ready)]}});
        serde_json::from_value(base).expect("a node")
    }

    fn member(name: &str, tolerations: &Value) -> Arc<Pod> {
        let mut extra = ready("2026-01-01T00:00:00Z");
        merge(&mut extra, &json!({"spec": {"tolerations": tolerations}}));
        Arc::new(pod(name, "rs", &extra))
    }

    fn tolerates_for(seconds: i64) -> Value {
        json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}])
    }

    fn tainted(taints: &[Taint]) -> Vec<String> {
        taints
            .iter()
            .map(|taint| format!("{}:{}", taint.key, taint.effect))
            .collect()
    }

    #[test]
    fn a_heard_node_is_left_alone_until_it_may_be_lost() {
        let seen = plan(
            &node("True", &json!({})),
            &[member("a", &json!([]))],
            at(0),
            at(10),
        );
        let rest = Plan {
            recheck: Some(Duration::from_secs(30)),
            ..Plan::default()
        };
        assert_eq!(seen, rest);
    }

    #[test]
    fn a_silent_node_is_unknown_tainted_and_its_pods_unready_but_not_yet_evicted() {
        let pods = [member("a", &tolerates_for(300))];
        let seen = plan(&node("True", &json!({})), &pods, at(0), at(40));
        let conditions = seen.conditions.expect("changed");
        assert!(conditions.iter().all(|condition| condition.status == "Unknown"));
        assert_eq!(
            conditions[3].message.as_deref(),
            Some("Kubelet stopped posting node status.")
        );
        assert_eq!(
            tainted(&seen.taints.expect("changed")),
            [
                format!("{UNREACHABLE}:NoSchedule"),
                format!("{UNREACHABLE}:NoExecute")
            ]
        );
        assert_eq!((seen.unready.len(), seen.evict.len()), (1, 0));
        assert_eq!(seen.recheck, Some(Duration::from_secs(300)));
    }

    #[test]
    fn a_node_of_which_nothing_is_known_yet_leaves_its_pods_as_they_are() {
        let mut new = node("True", &json!({}));
        new.status = None;
        let pods = [member("a", &tolerates_for(300))];
        let seen = plan(&new, &pods, at(0), at(1));
        assert_eq!(seen.unready, Vec::<Arc<Pod>>::new());
        assert_eq!(
            tainted(&seen.taints.expect("changed")).len(),
            2,
            "no new pod is placed there"
        );
        assert_eq!(plan(&new, &pods, at(0), at(40)).unready.len(), 1);
    }

    #[test]
    fn pods_leave_when_their_tolerance_is_over() {
        let spec = json!({"taints": [{"key": UNREACHABLE, "effect": "NoSchedule"},
            {"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:40Z"}]});
        let pods = [
            member("brief", &tolerates_for(10)),
            member("usual", &tolerates_for(300)),
            member("none", &json!([])),
            member(
                "daemon",
                &json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute"}]),
            ),
        ];
        let seen = plan(&node("Unknown", &spec), &pods, at(0), at(60));
        let gone: Vec<_> = seen.evict.iter().map(|pod| name_of(pod.as_ref())).collect();
        assert_eq!(gone, ["brief", "none"]);
        assert_eq!(seen.recheck, Some(Duration::from_secs(280)));
        assert_eq!(
            (seen.conditions, seen.taints),
            (None, None),
            "nothing is written twice"
        );
        let late = plan(&node("Unknown", &spec), &pods, at(0), at(340));
        assert_eq!(late.evict.len(), 3);
    }

    #[test]
    fn a_node_that_is_back_loses_its_taints() {
        let spec = json!({"taints": [{"key": "mine", "effect": "NoSchedule"},
            {"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:40Z"}]});
        let seen = plan(
            &node("True", &spec),
            &[member("a", &tolerates_for(1))],
            at(100),
            at(101),
        );
        assert_eq!(tainted(&seen.taints.expect("changed")), ["mine:NoSchedule"]);
        assert!(seen.evict.is_empty());
    }

    #[test]
    fn a_cordon_is_a_taint_that_evicts_nobody_and_a_persons_taint_evicts() {
        let seen = plan(
            &node("True", &json!({"unschedulable": true})),
            &[member("a", &json!([]))],
            at(0),
            at(1),
        );
        assert_eq!(
            tainted(&seen.taints.expect("changed")),
            [format!("{UNSCHEDULABLE}:NoSchedule")]
        );
        assert!(seen.evict.is_empty());
        let spec = json!({"taints": [{"key": "maintenance", "effect": "NoExecute"}]});
        let pods = [
            member("a", &json!([])),
            member("b", &json!([{"operator": "Exists"}])),
        ];
        let seen = plan(&node("True", &spec), &pods, at(0), at(1));
        assert_eq!(seen.evict.len(), 1);
    }
}
