//! StatefulSets: pods with stable names, in order, each with its own volumes.

mod identity;
mod plan;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use crate::object::{is_controlled_by, name_of};
use crate::revision::{REVISION_LABEL, history, sync, truncate};
use crate::runtime::{Context, Error, EventType, Key, Outcome, Reconciler, Wiring};
use plan::{Action, Observed};

pub(crate) struct StatefulSets;

impl Reconciler for StatefulSets {
    fn name(&self) -> &'static str {
        "statefulset-controller"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.own::<StatefulSet>();
        wiring.owned::<Pod>("StatefulSet");
        wiring.owned::<ControllerRevision>("StatefulSet");
        wiring.custom(|tables, _| vec![tables.claims.synced()]);
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let Some(set) = context.tables.stateful_sets.get(key) else {
            return Ok(None);
        };
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let Some(spec) = set.spec.as_ref() else {
            return Ok(None);
        };
        let unsupported = plan::unsupported(&set);
        if !unsupported.is_empty() {
            let message = format!(
                "not supported here, no pod will be changed: {}",
                unsupported.join(", ")
            );
            context
                .event(set.as_ref(), EventType::Warning, "UnsupportedField", &message)
                .await;
            return Ok(None);
        }
        let collisions = set
            .status
            .as_ref()
            .and_then(|status| status.collision_count)
            .unwrap_or(0);
        let update = sync(context, set.as_ref(), &spec.template, collisions).await?;
        let observed = observe(context, set.clone(), update);
        let plan = plan::plan(&observed);
        let mut outcome = Ok(());
        for action in plan.actions {
            outcome = carry_out(context, &set, action).await;
            if outcome.is_err() {
                break;
            }
        }
        // Counted again: the caches already hold what was just written.
        let after = plan::plan(&observe(context, set.clone(), observed.update.clone()));
        if set.status.as_ref() != Some(&after.status) {
            let mut changed = set.as_ref().clone();
            changed.status = Some(after.status);
            context.replace_status(&changed).await?;
        }
        outcome?;
        let mut live: Vec<String> = observed
            .pods
            .iter()
            .filter_map(|pod| crate::object::label(&pod.metadata, REVISION_LABEL).map(str::to_owned))
            .collect();
        live.extend([
            name_of(observed.update.as_ref()).to_owned(),
            name_of(observed.current.as_ref()).to_owned(),
        ]);
        truncate(context, set.as_ref(), &live, spec.revision_history_limit).await?;
        Ok(after.recheck)
    }
}

fn observe(context: &Context, set: Arc<StatefulSet>, update: Arc<ControllerRevision>) -> Observed {
    let namespace = set.metadata.namespace.clone().unwrap_or_default();
    let current_name = set
        .status
        .as_ref()
        .and_then(|status| status.current_revision.clone());
    let current = current_name
        .and_then(|name| {
            history(context, set.as_ref())
                .into_iter()
                .find(|revision| name_of(revision.as_ref()) == name)
        })
        .unwrap_or_else(|| update.clone());
    let uid = set.metadata.uid.as_ref();
    let pods = context
        .tables
        .pods
        .in_namespace(&namespace)
        .into_iter()
        .filter(|pod| is_controlled_by(&pod.metadata, uid) || identity::is_orphan_of(pod, &set))
        .collect();
    let claims = context
        .tables
        .claims
        .in_namespace(&namespace)
        .iter()
        .map(|claim| name_of(claim.as_ref()).to_owned())
        .collect();
    Observed {
        set,
        pods,
        claims,
        current,
        update,
        now: Timestamp::now(),
    }
}

async fn carry_out(context: &Context, set: &StatefulSet, action: Action) -> Result<(), Error> {
    let (verb, reason, what, result) = match &action {
        Action::CreateClaim(claim) => {
            let what = format!("Claim {}", name_of(claim.as_ref()));
            (
                "create",
                "Create",
                what,
                context.create::<PersistentVolumeClaim>(claim).await.map(drop),
            )
        }
        Action::CreatePod(pod) => {
            let what = format!("Pod {}", name_of(pod.as_ref()));
            (
                "create",
                "Create",
                what,
                context.create::<Pod>(pod).await.map(drop),
            )
        }
        Action::DeletePod(pod) => {
            let what = format!("Pod {}", name_of(pod.as_ref()));
            ("delete", "Delete", what, context.delete(pod.as_ref(), None).await)
        }
        Action::Adopt(pod, patch) => {
            context.patch::<Pod>(&Key::of(pod.as_ref()), patch).await?;
            return Ok(());
        }
    };
    match &result {
        Ok(()) => {
            let message = format!("{verb} {what} in StatefulSet {} successful", name_of(set));
            context
                .event(set, EventType::Normal, &format!("Successful{reason}"), &message)
                .await;
        }
        Err(error) => {
            let message = format!(
                "{verb} {what} in StatefulSet {} failed error: {error}",
                name_of(set)
            );
            context
                .event(set, EventType::Warning, &format!("Failed{reason}"), &message)
                .await;
        }
    }
    result
}
