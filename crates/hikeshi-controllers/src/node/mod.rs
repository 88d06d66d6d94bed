//! Nodes: a kubelet that is silent makes its node unreachable; taints turn away the pods that do not tolerate them.

mod plan;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::object::{name_of, time};
use crate::runtime::{Context, Error, EventType, Key, Outcome, Reconciler, Wiring};
use plan::{Plan, plan, ready};

/// Where kubelets renew their leases.
const LEASES: &str = "kube-node-lease";

#[derive(Default)]
pub(crate) struct Nodes {
    /// Each node's last sign of life, and when it was noticed here: clocks of kubelets are not compared with ours, and
    /// a manager that was away for an hour does not take every node for lost.
    heard: Mutex<HashMap<Key, (Option<Timestamp>, Timestamp)>>,
}

impl Nodes {
    /// When the kubelet was last heard.
    fn heard(&self, context: &Context, key: &Key, node: &Node, now: Timestamp) -> Timestamp {
        let lease = context.tables.leases.get(&Key::new(LEASES, &key.name));
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
        let beat = ready(node).and_then(|ready| ready.last_heartbeat_time.as_ref().map(|time| time.0));
        // A condition that was written by this controller is no sign of life: it keeps the kubelet's heartbeat.
        let sign = renewed.max(beat);
        let mut all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(key.clone()).or_insert((sign, now));
        if known.0 != sign {
            *known = (sign, now);
        }
        known.1
    }
}

fn node_key(pod: &Pod) -> Option<Key> {
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    Some(Key::new("", node))
}

impl Reconciler for Nodes {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.own::<Node>();
        wiring.mapped::<Lease>(|_, lease| {
            let ours = lease.metadata.namespace.as_deref() == Some(LEASES);
            ours.then(|| Key::new("", name_of(lease))).into_iter().collect()
        });
        wiring.mapped::<Pod>(|tables, pod| {
            // A pod matters to its node's taints only.
            let tainted = |key: &Key| {
                let node = tables.nodes.get(key);
                node.is_some_and(|node| {
                    node.spec
                        .as_ref()
                        .is_some_and(|spec| spec.taints.as_ref().is_some_and(|taints| !taints.is_empty()))
                })
            };
            node_key(pod).filter(tainted).into_iter().collect()
        });
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let Some(node) = context.tables.nodes.get(key) else {
            let mut all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            all.remove(key);
            return Ok(None);
        };
        let now = Timestamp::now();
        let heard = self.heard(context, key, &node, now);
        let mut pods = context.tables.pods.all();
        pods.retain(|pod| node_key(pod).as_ref() == Some(key));
        let plan = plan(&node, &pods, heard, now);
        let recheck = plan.recheck;
        act(context, &node, plan, now).await?;
        Ok(recheck)
    }
}

async fn act(context: &Context, node: &Node, plan: Plan, now: Timestamp) -> Result<(), Error> {
    let api: Api<Node> = Api::all(context.client.clone());
    let (name, params) = (name_of(node), PatchParams::default());
    if let Some(conditions) = plan.conditions {
        let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
        let written = api.patch_status(name, &params, &patch).await?;
        context.tables.nodes.apply(&context.tables, written);
        let message = format!("Node {name} status is now: NodeNotReady");
        context
            .event(node, EventType::Normal, "NodeNotReady", &message)
            .await;
    }
    if let Some(taints) = plan.taints {
        // Only onto the node as it was seen: a taint set by somebody else meanwhile must not be lost.
        let version = context
            .tables
            .nodes
            .get(&Key::of(node))
            .and_then(|node| node.metadata.resource_version.clone());
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
        let written = api.patch(name, &params, &Patch::Merge(&patch)).await?;
        context.tables.nodes.apply(&context.tables, written);
    }
    for pod in &plan.unready {
        unready(context, pod, now).await?;
        context
            .event(
                pod.as_ref(),
                EventType::Warning,
                "NodeNotReady",
                "Node is not ready",
            )
            .await;
    }
    for pod in &plan.evict {
        let message = format!("Marking for deletion Pod {}", Key::of(pod.as_ref()));
        context
            .event(pod.as_ref(), EventType::Normal, "TaintManagerEviction", &message)
            .await;
        let message = "Taint manager: deleting due to NoExecute taint";
        disrupted(context, pod, "DeletionByTaintManager", message, now).await?;
        context.delete(pod.as_ref(), None).await?;
    }
    Ok(())
}

/// The pod's conditions with one of them set.
fn with_condition(pod: &Pod, condition: Value) -> Vec<Value> {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let mut all: Vec<Value> = conditions
        .unwrap_or(&[])
        .iter()
        .filter(|one| condition["type"] != one.type_.as_str())
        .filter_map(|one| serde_json::to_value(one).ok())
        .collect();
    all.push(condition);
    all
}

/// Nobody vouches for the pod any more: it leaves its Services.
async fn unready(context: &Context, pod: &Pod, now: Timestamp) -> Result<(), Error> {
    let condition = json!({"type": "Ready", "status": "False", "reason": "NodeNotReady", "lastTransitionTime": time(now)});
    write(context, pod, with_condition(pod, condition)).await
}

async fn disrupted(
    context: &Context,
    pod: &Pod,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": time(now)});
    write(context, pod, with_condition(pod, condition)).await
}

async fn write(context: &Context, pod: &Pod, conditions: Vec<Value>) -> Result<(), Error> {
    let api: Api<Pod> = context.api(pod.metadata.namespace.as_deref().unwrap_or_default());
    let patch =
        Patch::Merge(json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": conditions}}));
    match api
        .patch_status(name_of(pod), &PatchParams::default(), &patch)
        .await
    {
        Ok(written) => context.tables.pods.apply(&context.tables, written),
        // Gone meanwhile.
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
