//! DaemonSets: one pod on every node that admits it.

mod plan;
mod pod;
mod rolling;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::object::{is_controlled_by, name_of};
use crate::revision::{sync, truncate};
use crate::runtime::{Context, EventType, Key, Outcome, Reconciler, Wiring};
use pod::pod_for;

pub(crate) struct DaemonSets;

impl Reconciler for DaemonSets {
    fn name(&self) -> &'static str {
        "daemonset-controller"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.own::<DaemonSet>();
        wiring.owned::<Pod>("DaemonSet");
        wiring.owned::<ControllerRevision>("DaemonSet");
        wiring.mapped::<Node>(|tables, _| {
            tables
                .daemon_sets
                .all()
                .iter()
                .map(|set| Key::of(set.as_ref()))
                .collect()
        });
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let Some(set) = context.tables.daemon_sets.get(key) else {
            return Ok(None);
        };
        let Some(spec) = set
            .spec
            .as_ref()
            .filter(|_| set.metadata.deletion_timestamp.is_none())
        else {
            return Ok(None);
        };
        let revision = sync(context, set.as_ref(), &spec.template, 0).await?;
        let revision = name_of(revision.as_ref()).to_owned();
        let look = || {
            let mut pods = context.tables.pods.in_namespace(&key.namespace);
            pods.retain(|pod| is_controlled_by(&pod.metadata, set.metadata.uid.as_ref()));
            plan::plan(
                &set,
                &context.tables.nodes.all(),
                &pods,
                &revision,
                Timestamp::now(),
            )
        };
        let plan = look();
        let create = plan.create.iter().map(|node| async {
            let created = context.create(&pod_for(&set, node, &revision)).await?;
            let message = format!("Created pod: {}", name_of(&created));
            context
                .event(set.as_ref(), EventType::Normal, "SuccessfulCreate", &message)
                .await;
            Ok::<(), crate::runtime::Error>(())
        });
        let mut outcome = Ok(());
        for result in join_all(create).await {
            outcome = outcome.and(result);
        }
        for pod in &plan.delete {
            context.delete(pod.as_ref(), None).await?;
            let message = format!("Deleted pod: {}", name_of(pod.as_ref()));
            context
                .event(set.as_ref(), EventType::Normal, "SuccessfulDelete", &message)
                .await;
        }
        let plan::Plan { status, recheck, .. } = look();
        if set.status.as_ref() != Some(&status) {
            let mut changed = set.as_ref().clone();
            changed.status = Some(status);
            context.replace_status(&changed).await?;
        }
        outcome?;
        truncate(context, set.as_ref(), &[revision], spec.revision_history_limit).await?;
        Ok(recheck)
    }
}
