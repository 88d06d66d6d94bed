//! The scheduler: gives every pending pod a node, or says why there is none.

pub(crate) mod fit;
mod plan;
mod spread;
mod wishes;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use kube::api::{ObjectMeta, PostParams};
use serde_json::json;

use crate::object::{annotation, name_of, time};
use crate::pods::is_active;
use crate::runtime::{Context, EventType, Key, Outcome, Reconciler, Wiring};
use plan::Decision;

/// A pod that fits nowhere is tried again after this long even if no change was seen.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// Where a claim's data lies; written by the kubelet that first used it.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

pub(crate) struct Scheduler;

fn waits(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    is_active(pod)
        && spec.is_some_and(|spec| {
            spec.node_name.is_none()
                && matches!(
                    spec.scheduler_name.as_deref(),
                    None | Some("default-scheduler" | "")
                )
                && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
        })
}

impl Reconciler for Scheduler {
    fn name(&self) -> &'static str {
        "default-scheduler"
    }

    /// One pod at a time: each placement must see the ones before it.
    fn concurrency(&self) -> usize {
        1
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.custom(|tables, queue| {
            let waiting = queue.clone();
            tables.pods.listen(Box::new(move |tables, old, new| {
                if let Some(pod) = new
                    && waits(pod)
                {
                    waiting.add(Key::of(pod));
                }
                // A pod that left its node makes room for those that wait.
                let left = old
                    .is_some_and(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()))
                    && new.is_none_or(|pod| !is_active(pod));
                if left {
                    wake_waiting(tables, &waiting);
                }
            }));
            let waiting = queue.clone();
            tables.nodes.listen(Box::new(move |tables, old, new| {
                // Heartbeats change nothing here.
                let changed = match (old, new) {
                    (Some(old), Some(new)) => plan::placement_facts(old) != plan::placement_facts(new),
                    _ => true,
                };
                if changed {
                    wake_waiting(tables, &waiting);
                }
            }));
            vec![
                tables.pods.synced(),
                tables.nodes.synced(),
                tables.claims.synced(),
            ]
        });
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let Some(pod) = context.tables.pods.get(key).filter(|pod| waits(pod)) else {
            return Ok(None);
        };
        let mut nodes = context.tables.nodes.all();
        nodes.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let homes = homes(context, &pod);
        match plan::decide(&pod, &nodes, &context.tables.pods.all(), &homes) {
            Decision::Bind(node) => {
                bind(context, &pod, &node).await?;
                Ok(None)
            }
            Decision::Unschedulable(message) => {
                report(context, &pod, &message).await?;
                Ok(Some(TRY_AGAIN))
            }
        }
    }
}

/// The nodes where the pod's claims lie: a claim is a folder of the node on which it was first used.
fn homes(context: &Context, pod: &Pod) -> Vec<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| {
            let claim = &volume.persistent_volume_claim.as_ref()?.claim_name;
            let claim = context.tables.claims.get(&Key::new(namespace, claim))?;
            annotation(&claim.metadata, SELECTED_NODE).map(str::to_owned)
        })
        .collect()
}

fn wake_waiting(tables: &crate::runtime::Tables, queue: &crate::runtime::Queue) {
    for pod in tables.pods.all().iter().filter(|pod| waits(pod)) {
        queue.add(Key::of(pod.as_ref()));
    }
}

async fn bind(context: &Context, pod: &Pod, node: &Node) -> Result<(), crate::runtime::Error> {
    let key = Key::of(pod);
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: node.metadata.name.clone(),
            ..ObjectReference::default()
        },
    };
    let api = context.api::<Pod>(&key.namespace);
    let _: serde_json::Value = api
        .create_subresource("binding", &key.name, &PostParams::default(), &binding)
        .await?;
    // The reply is a Status: read the pod, so that the next placement counts this one.
    if let Some(bound) = api.get_opt(&key.name).await? {
        context.tables.pods.apply(&context.tables, bound);
    }
    let message = format!("Successfully assigned {key} to {}", name_of(node));
    context.event(pod, EventType::Normal, "Scheduled", &message).await;
    Ok(())
}

async fn report(context: &Context, pod: &Pod, message: &str) -> Result<(), crate::runtime::Error> {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let known = conditions.iter().any(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.message.as_deref() == Some(message)
    });
    context
        .event(pod, EventType::Warning, "FailedScheduling", message)
        .await;
    if known {
        return Ok(());
    }
    let mut changed = pod.clone();
    let status = changed.status.get_or_insert_default();
    status.phase.get_or_insert_with(|| "Pending".to_owned());
    let mut conditions = conditions;
    let since = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .and_then(|condition| condition.last_transition_time.clone());
    conditions.retain(|condition| condition.type_ != "PodScheduled");
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        "lastTransitionTime": since.unwrap_or_else(|| time(Timestamp::now()))});
    conditions.push(serde_json::from_value(condition)?);
    status.conditions = Some(conditions);
    context.replace_status(&changed).await?;
    Ok(())
}
