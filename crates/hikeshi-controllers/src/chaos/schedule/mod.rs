//! Schedules: an experiment or a workflow at each time of a schedule.

mod plan;

use std::sync::Arc;

use hikeshi_chaos::EXPERIMENTS;
use hikeshi_chaos::annotations::PAUSE;
use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::json;

use crate::object::{is_controlled_by, name_of};
use crate::runtime::{Context, Error, EventType, Key, Outcome, Reconciler, Wiring};

pub(crate) struct Schedules;

/// What can be scheduled.
fn kinds() -> impl Iterator<Item = &'static str> {
    EXPERIMENTS.into_iter().map(|(kind, _)| kind).chain(["Workflow"])
}

impl Reconciler for Schedules {
    fn name(&self) -> &'static str {
        "schedule-controller"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.own_chaos("Schedule");
        for kind in kinds() {
            wiring.owned_chaos(kind, "Schedule");
        }
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let Some(schedule) = context.tables.chaos("Schedule").get(key) else {
            return Ok(None);
        };
        if schedule.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let Some(kind) = schedule.data["spec"]["type"].as_str() else {
            return Ok(None);
        };
        let Some(kind) = kinds().find(|known| *known == kind) else {
            return Ok(None);
        };
        let children = children(context, kind, &schedule);
        let plan = plan::plan(&schedule, kind, &children, Timestamp::now());
        let mut status = plan.status;
        for child in &plan.forget {
            context.delete_chaos(kind, child).await?;
        }
        for (child, paused) in &plan.pause {
            let patch = json!({"metadata": {"annotations": {PAUSE: paused.to_string()}}});
            match context
                .patch_chaos(kind, &Key::of(child.as_ref()), None, &patch)
                .await
            {
                // Gone meanwhile.
                Err(Error::Api(kube::Error::Api(status))) if status.code == 404 => {}
                result => result.map(drop)?,
            }
        }
        if let Some(child) = &plan.create {
            match context.create_chaos(kind, child).await {
                Ok(made) => {
                    let message = format!("Create new object: {}", name_of(&made));
                    context
                        .event_chaos("Schedule", &schedule, EventType::Normal, "Spawned", &message)
                        .await;
                    if let Some(active) = status["active"].as_array_mut() {
                        active.push(plan::reference(kind, &made));
                    }
                }
                // Made by a run whose status was not written.
                Err(Error::Api(kube::Error::Api(status))) if status.code == 409 => {}
                Err(error) => return Err(error),
            }
        }
        if schedule.data["status"] != status {
            let patch = json!({"metadata": {"resourceVersion": schedule.metadata.resource_version}, "status": status});
            context
                .patch_chaos("Schedule", key, Some("status"), &patch)
                .await?;
            for (kind, reason, message) in &plan.news {
                context
                    .event_chaos("Schedule", &schedule, *kind, reason, message)
                    .await;
            }
        }
        Ok(plan.recheck)
    }
}

fn children(context: &Context, kind: &str, schedule: &DynamicObject) -> Vec<Arc<DynamicObject>> {
    let namespace = schedule.metadata.namespace.as_deref().unwrap_or_default();
    let mut found = context.tables.chaos(kind).in_namespace(namespace);
    found.retain(|child| {
        is_controlled_by(&child.metadata, schedule.metadata.uid.as_ref())
            && child.metadata.deletion_timestamp.is_none()
    });
    found
}
