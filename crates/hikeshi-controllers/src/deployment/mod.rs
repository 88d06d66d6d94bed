//! Deployments: one ReplicaSet per pod template, and the way from the old ones to the new.

mod plan;
mod rolling;
mod sets;
mod status;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::object::{controller_uid, is_controlled_by, name_of};
use crate::pods::is_finished;
use crate::runtime::{Context, Error, EventType, Key, Outcome, Reconciler, Wiring};
use plan::{Action, Observed};
pub(crate) use sets::resolve;

/// More steps than this in one run mean that the plan does not settle; go on in a later run.
const STEPS: usize = 16;

pub(crate) struct Deployments;

impl Reconciler for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.own::<Deployment>();
        wiring.owned::<ReplicaSet>("Deployment");
        // Recreate waits for the last old pod to be gone.
        wiring.mapped::<Pod>(|tables, pod| {
            let Some(owner) = controller_uid(&pod.metadata) else {
                return Vec::new();
            };
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let name = pod
                .metadata
                .owner_references
                .iter()
                .flatten()
                .find(|o| o.uid == owner)
                .map(|o| o.name.clone());
            name.and_then(|name| tables.replica_sets.get(&Key::new(namespace, name)))
                .and_then(|set| {
                    let owners = set.metadata.owner_references.as_ref()?;
                    owners
                        .iter()
                        .find(|o| o.kind == "Deployment")
                        .map(|o| Key::new(namespace, &o.name))
                })
                .into_iter()
                .collect()
        });
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        for _ in 0..STEPS {
            let Some(deployment) = context.tables.deployments.get(key) else {
                return Ok(None);
            };
            let observed = observe(context, deployment);
            let actions = plan::plan(&observed)?;
            if actions.is_empty() {
                return settle_status(context, &observed).await;
            }
            for action in actions {
                carry_out(context, &observed, action).await?;
            }
        }
        Ok(Some(Duration::ZERO))
    }
}

fn observe(context: &Context, deployment: Arc<Deployment>) -> Observed {
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let uid = deployment.metadata.uid.as_ref();
    let sets: Vec<_> = context
        .tables
        .replica_sets
        .in_namespace(namespace)
        .into_iter()
        .filter(|set| is_controlled_by(&set.metadata, uid))
        .collect();
    let pod_owners = context
        .tables
        .pods
        .in_namespace(namespace)
        .iter()
        .filter(|pod| !is_finished(pod))
        .filter_map(|pod| controller_uid(&pod.metadata).map(str::to_owned))
        .filter(|owner| sets.iter().any(|set| set.metadata.uid.as_deref() == Some(owner)))
        .collect();
    Observed {
        deployment,
        sets,
        pod_owners,
        now: Timestamp::now(),
    }
}

async fn settle_status(context: &Context, observed: &Observed) -> Outcome {
    let (status, recheck) = status::status(observed)?;
    if observed.deployment.status.as_ref() != Some(&status) {
        let mut changed = observed.deployment.as_ref().clone();
        changed.status = Some(status);
        context.replace_status(&changed).await?;
    }
    Ok(recheck)
}

async fn carry_out(context: &Context, observed: &Observed, action: Action) -> Result<(), Error> {
    let deployment = observed.deployment.as_ref();
    match action {
        Action::Create(set) => create(context, observed, *set).await,
        Action::Scale {
            set,
            replicas,
            annotations,
        } => {
            let before = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
            let patch = json!({"metadata": {"resourceVersion": set.metadata.resource_version, "annotations": annotations},
                "spec": {"replicas": replicas}});
            context
                .patch::<ReplicaSet>(&Key::of(set.as_ref()), &patch)
                .await?;
            if before != replicas {
                let direction = if replicas > before { "up" } else { "down" };
                let message = format!(
                    "Scaled {direction} replica set {} from {before} to {replicas}",
                    name_of(set.as_ref())
                );
                context
                    .event(deployment, EventType::Normal, "ScalingReplicaSet", &message)
                    .await;
            }
            Ok(())
        }
        Action::Delete(set) => context.delete(set.as_ref(), None).await,
        Action::Annotate(annotations) => {
            let patch = json!({"metadata": {"annotations": annotations}});
            context.patch::<Deployment>(&Key::of(deployment), &patch).await?;
            Ok(())
        }
    }
}

async fn create(context: &Context, observed: &Observed, set: ReplicaSet) -> Result<(), Error> {
    let deployment = observed.deployment.as_ref();
    match context.create(&set).await {
        Ok(created) => {
            let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
            if replicas > 0 {
                let message = format!("Scaled up replica set {} from 0 to {replicas}", name_of(&created));
                context
                    .event(deployment, EventType::Normal, "ScalingReplicaSet", &message)
                    .await;
            }
            Ok(())
        }
        Err(error) if error.is_conflict() => {
            // The name is taken by a set that is not ours or of another template: count up, which changes the hash.
            let mut changed = deployment.clone();
            let status = changed.status.get_or_insert_default();
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            context.replace_status(&changed).await?;
            Err(error)
        }
        Err(error) => {
            let message = format!("Failed to create new replica set {:?}: {error}", name_of(&set));
            context
                .event(deployment, EventType::Warning, "ReplicaSetCreateError", &message)
                .await;
            Err(error)
        }
    }
}
