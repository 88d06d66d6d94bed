//! Chaos Mesh experiments: who is hit, whether the fault should be on, and pod kills.
//!
//! Pods are killed here. Every other fault is applied by the node's agents: they read `status.experiment.desiredPhase` and
//! the records, patch each record's `phase`, and keep the conditions AllInjected and AllRecovered. Everything else of the
//! status is written here. Both write with the resource version they read, so neither undoes the other.

mod lifecycle;
mod plan;
mod schedule;
mod selector;
mod workflow;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::object::name_of;
use crate::runtime::{Context, Error, EventType, Key, Outcome, Reconciler, Tables, Wiring};
use plan::{Observed, Victim};
pub(crate) use schedule::Schedules;
pub(crate) use workflow::Workflows;

/// The reconciler of one kind of experiment.
pub(crate) struct ChaosController {
    kind: &'static str,
    name: &'static str,
}

/// One reconciler for each kind.
pub(crate) fn controllers() -> [ChaosController; 5] {
    [
        ("HTTPChaos", "httpchaos-controller"),
        ("NetworkChaos", "networkchaos-controller"),
        ("PodChaos", "podchaos-controller"),
        ("StressChaos", "stresschaos-controller"),
        ("TimeChaos", "timechaos-controller"),
    ]
    .map(|(kind, name)| ChaosController { kind, name })
}

impl Reconciler for ChaosController {
    fn name(&self) -> &'static str {
        self.name
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        let kind = self.kind;
        wiring.own_chaos(kind);
        // A pod that appears, goes, or changes its labels or phase may change who is selected.
        wiring.custom(|tables, queue| {
            let queue = queue.clone();
            tables.pods.listen(Box::new(move |tables, old, new| {
                let facts = |pod: Option<&Pod>| {
                    pod.map(|pod| {
                        let meta = &pod.metadata;
                        let status = pod.status.as_ref();
                        (
                            (meta.uid.clone(), meta.labels.clone(), meta.annotations.clone()),
                            (
                                meta.deletion_timestamp.is_some(),
                                status.and_then(|status| status.phase.clone()),
                            ),
                            pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
                        )
                    })
                };
                let experiments = tables.chaos(kind).all();
                if !experiments.is_empty() && facts(old) != facts(new) {
                    for experiment in experiments {
                        queue.add(Key::of(experiment.as_ref()));
                    }
                }
            }));
            vec![
                tables.pods.synced(),
                tables.nodes.synced(),
                tables.stateful_sets.synced(),
            ]
        });
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let Some(object) = context.tables.chaos(self.kind).get(key) else {
            return Ok(None);
        };
        let now = Timestamp::now();
        let plan = plan::plan(&observe(&context.tables, self.kind, &object, now));
        if let Some(finalizers) = &plan.finalizers {
            let patch = json!({"metadata": {"resourceVersion": object.metadata.resource_version, "finalizers": finalizers}});
            match context.patch_chaos(self.kind, key, None, &patch).await {
                // The last finalizer gone, the object may be gone too.
                Err(Error::Api(kube::Error::Api(status))) if status.code == 404 => return Ok(None),
                result => result.map(drop)?,
            }
            return Ok(Some(std::time::Duration::ZERO));
        }
        for victim in &plan.kill {
            kill(context, &object, victim).await?;
        }
        if object.data.get("status") != Some(&plan.status) {
            let patch = json!({"metadata": {"resourceVersion": object.metadata.resource_version}, "status": plan.status});
            context
                .patch_chaos(self.kind, key, Some("status"), &patch)
                .await?;
            for (kind, reason, message) in &plan.events {
                context
                    .event_chaos(self.kind, &object, *kind, reason, message)
                    .await;
            }
        }
        Ok(plan.recheck)
    }
}

fn observe<'a>(
    tables: &Tables,
    kind: &'static str,
    object: &'a DynamicObject,
    now: Timestamp,
) -> Observed<'a> {
    let sets: HashMap<Key, Arc<StatefulSet>> = tables
        .stateful_sets
        .all()
        .into_iter()
        .map(|set| (Key::of(set.as_ref()), set))
        .collect();
    let comes_back = move |namespace: &str, pod: &str| {
        let Some((set, ordinal)) = pod.rsplit_once('-') else {
            return false;
        };
        let Some(set) = sets.get(&Key::new(namespace, set)) else {
            return false;
        };
        let Some(spec) = set
            .spec
            .as_ref()
            .filter(|_| set.metadata.deletion_timestamp.is_none())
        else {
            return false;
        };
        let first = spec
            .ordinals
            .as_ref()
            .and_then(|ordinals| ordinals.start)
            .unwrap_or(0);
        let end = first.saturating_add(spec.replicas.unwrap_or(1));
        ordinal
            .parse::<i32>()
            .is_ok_and(|ordinal| (first..end).contains(&ordinal))
    };
    let nodes: HashMap<String, Arc<Node>> = tables
        .nodes
        .all()
        .into_iter()
        .map(|node| (name_of(node.as_ref()).to_owned(), node))
        .collect();
    Observed {
        kind,
        object,
        pods: tables.pods.all(),
        nodes,
        comes_back: Box::new(comes_back),
        now,
    }
}

/// Deletes a pod for a pod-kill. Whoever has its name under another uid is the replacement of one already killed.
async fn kill(context: &Context, experiment: &DynamicObject, victim: &Victim) -> Result<(), Error> {
    let Some((namespace, name)) = victim.id.split_once('/') else {
        return Ok(());
    };
    let pod = context.tables.pods.get(&Key::new(namespace, name));
    let Some(pod) = pod.filter(|pod| {
        pod.metadata.uid.as_ref() == Some(&victim.uid) && pod.metadata.deletion_timestamp.is_none()
    }) else {
        return Ok(());
    };
    let grace = experiment
        .data
        .pointer("/spec/gracePeriod")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    context
        .delete(pod.as_ref(), Some(u32::try_from(grace).unwrap_or(u32::MAX)))
        .await?;
    let message = format!("Successfully apply chaos for {}", victim.id);
    context
        .event_chaos("PodChaos", experiment, EventType::Normal, "Applied", &message)
        .await;
    Ok(())
}
