//! ReplicaSets: keep that many pods.

mod plan;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use crate::object::{controller_reference, name_of, random_suffix};
use crate::pods::from_template;
use crate::runtime::{Context, Error, EventType, Key, Outcome, Reconciler, Wiring};

/// How many pods one run creates or deletes at most; the rest follows in the next run.
const BURST: usize = 500;

pub(crate) struct ReplicaSets;

impl Reconciler for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.own::<ReplicaSet>();
        wiring.owned::<Pod>("ReplicaSet");
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let Some(set) = context.tables.replica_sets.get(key) else {
            return Ok(None);
        };
        let now = Timestamp::now();
        let plan = plan::plan(&set, &context.tables.pods.in_namespace(&key.namespace), now);
        for (pod, patch) in &plan.ownership {
            context.patch::<Pod>(&Key::of(pod.as_ref()), patch).await?;
        }
        let mut outcome = Ok(());
        let created = join_all((0..plan.create.min(BURST)).map(|_| create(context, &set))).await;
        let deleted = join_all(
            plan.delete
                .iter()
                .take(BURST)
                .map(|pod| delete(context, &set, pod)),
        )
        .await;
        for result in created.into_iter().chain(deleted) {
            outcome = outcome.and(result);
        }
        let acted = plan.create > 0 || !plan.delete.is_empty() || !plan.ownership.is_empty();
        // Counted again: the caches already hold what was just written.
        let after = plan::plan(&set, &context.tables.pods.in_namespace(&key.namespace), now);
        if set.status.as_ref() != Some(&after.status) {
            let mut changed = set.as_ref().clone();
            changed.status = Some(after.status);
            context.replace_status(&changed).await?;
        }
        outcome?;
        Ok(if acted {
            Some(std::time::Duration::ZERO)
        } else {
            after.recheck
        })
    }
}

async fn create(context: &Context, set: &ReplicaSet) -> Result<(), Error> {
    let Some(template) = set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else {
        return Ok(());
    };
    let name = format!("{}-{}", name_of(set), random_suffix());
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let pod = from_template(template, namespace, name, controller_reference(set));
    match context.create(&pod).await {
        Ok(created) => {
            let message = format!("Created pod: {}", name_of(&created));
            context
                .event(set, EventType::Normal, "SuccessfulCreate", &message)
                .await;
            Ok(())
        }
        Err(error) => {
            let message = format!("Error creating: {error}");
            context
                .event(set, EventType::Warning, "FailedCreate", &message)
                .await;
            Err(error)
        }
    }
}

async fn delete(context: &Context, set: &ReplicaSet, pod: &Pod) -> Result<(), Error> {
    context.delete(pod, None).await?;
    let message = format!("Deleted pod: {}", name_of(pod));
    context
        .event(set, EventType::Normal, "SuccessfulDelete", &message)
        .await;
    Ok(())
}
