//! PodDisruptionBudgets: keeps the figures that evictions are judged by.

mod plan;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::ObjectMeta;

use crate::object::name_of;
use crate::runtime::{Context, EventType, Key, Outcome, Reconciler, Tables, Wiring};
use crate::selector::matches;
use plan::Owner;

pub(crate) struct Disruptions;

fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    budget.metadata.namespace == pod.metadata.namespace
        && selector.is_some_and(|selector| matches(selector, pod.metadata.labels.as_ref()))
}

/// The budgets of a namespace; a change of scale there may matter to each.
fn budgets_of<K: Resource>(tables: &Tables, object: &K) -> Vec<Key> {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let budgets = tables.budgets.in_namespace(namespace);
    budgets.iter().map(|budget| Key::of(budget.as_ref())).collect()
}

impl Reconciler for Disruptions {
    fn name(&self) -> &'static str {
        "controllermanager"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.own::<PodDisruptionBudget>();
        wiring.mapped::<Pod>(|tables, pod| {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let mut budgets = tables.budgets.in_namespace(namespace);
            budgets.retain(|budget| selects(budget, pod));
            budgets.iter().map(|budget| Key::of(budget.as_ref())).collect()
        });
        wiring.mapped::<Deployment>(budgets_of);
        wiring.mapped::<ReplicaSet>(budgets_of);
        wiring.mapped::<StatefulSet>(budgets_of);
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let tables = &context.tables;
        let Some(budget) = tables.budgets.get(key) else {
            return Ok(None);
        };
        if budget.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let mut pods = tables.pods.in_namespace(&key.namespace);
        pods.retain(|pod| selects(&budget, pod));
        let pods: Vec<_> = pods
            .into_iter()
            .map(|pod| (pod.clone(), owner(tables, &pod)))
            .collect();
        let plan = plan::plan(&budget, &pods, Timestamp::now());
        if let Some(failure) = &plan.failure {
            let message = format!("Failed to calculate the number of expected pods: {failure}");
            context
                .event(
                    budget.as_ref(),
                    EventType::Warning,
                    "CalculateExpectedPodCountFailed",
                    &message,
                )
                .await;
        } else if pods.is_empty() {
            context
                .event(
                    budget.as_ref(),
                    EventType::Normal,
                    "NoPods",
                    "No matching pods found",
                )
                .await;
        }
        if budget.status.as_ref() != Some(&plan.status) {
            let mut changed = budget.as_ref().clone();
            changed.status = Some(plan.status);
            context.replace_status(&changed).await?;
        }
        Ok(plan.recheck)
    }
}

fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = meta.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true))
}

/// What the pod counts for: the Deployment over its ReplicaSet, its ReplicaSet, or its StatefulSet.
fn owner(tables: &Tables, pod: &Arc<Pod>) -> Result<Owner, String> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let none = || format!("found no controller ref for pod {:?}", name_of(pod.as_ref()));
    let reference = controller(&pod.metadata).ok_or_else(none)?;
    let key = Key::new(namespace.clone(), &reference.name);
    let sized = |uid: &str, replicas: Option<i32>| Owner {
        uid: uid.to_owned(),
        replicas: replicas.unwrap_or(1),
    };
    match reference.kind.as_str() {
        "ReplicaSet" => {
            let set = tables.replica_sets.get(&key).ok_or_else(none)?;
            let deployment = controller(&set.metadata)
                .filter(|owner| owner.kind == "Deployment")
                .and_then(|owner| tables.deployments.get(&Key::new(namespace, &owner.name)));
            Ok(match deployment {
                Some(deployment) => {
                    let spec = deployment.spec.as_ref();
                    let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
                    sized(uid, spec.and_then(|spec| spec.replicas))
                }
                None => sized(&reference.uid, set.spec.as_ref().and_then(|spec| spec.replicas)),
            })
        }
        "StatefulSet" => {
            let set = tables.stateful_sets.get(&key).ok_or_else(none)?;
            Ok(sized(
                &reference.uid,
                set.spec.as_ref().and_then(|spec| spec.replicas),
            ))
        }
        kind => Err(format!(
            "{} {:?} of pod {:?} does not implement the scale subresource: use a number for minAvailable",
            kind.to_lowercase(),
            reference.name,
            name_of(pod.as_ref())
        )),
    }
}
