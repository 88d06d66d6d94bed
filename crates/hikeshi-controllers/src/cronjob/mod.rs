//! CronJobs: a Job at each time of a schedule.

mod plan;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};

use crate::object::{is_controlled_by, name_of};
use crate::runtime::{Context, EventType, Key, Outcome, Reconciler, Wiring};

pub(crate) struct CronJobs;

impl Reconciler for CronJobs {
    fn name(&self) -> &'static str {
        "cronjob-controller"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.own::<CronJob>();
        wiring.owned::<Job>("CronJob");
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let Some(cron) = context.tables.cron_jobs.get(key) else {
            return Ok(None);
        };
        if cron.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let plan = plan::plan(&cron, &jobs_of(context, &cron), Timestamp::now());
        for (kind, reason, message) in &plan.news {
            context.event(cron.as_ref(), *kind, reason, message).await;
        }
        let say = |reason: &'static str, message: String| {
            let cron = cron.clone();
            async move {
                context
                    .event(cron.as_ref(), EventType::Normal, reason, &message)
                    .await
            }
        };
        let mut status = plan.status;
        for job in &plan.forget {
            context.delete(job.as_ref(), None).await?;
            say(
                "SuccessfulDelete",
                format!("Deleted job {}", name_of(job.as_ref())),
            )
            .await;
        }
        for job in &plan.replace {
            context.delete(job.as_ref(), None).await?;
            say(
                "SuccessfulDelete",
                format!("Deleted job {}", name_of(job.as_ref())),
            )
            .await;
            if let Some(active) = &mut status.active {
                active.retain(|known| known.uid != job.metadata.uid);
            }
        }
        if let Some(job) = &plan.create {
            match context.create(job.as_ref()).await {
                Ok(created) => {
                    say("SuccessfulCreate", format!("Created job {}", name_of(&created))).await;
                    status
                        .active
                        .get_or_insert_default()
                        .push(plan::reference(&created));
                }
                Err(error) => {
                    let message = format!("Error creating job: {error}");
                    context
                        .event(cron.as_ref(), EventType::Warning, "FailedCreate", &message)
                        .await;
                    return Err(error);
                }
            }
        }
        status.active = status.active.filter(|active| !active.is_empty());
        if cron
            .status
            .as_ref()
            .map_or(status != Default::default(), |known| *known != status)
        {
            let mut changed = cron.as_ref().clone();
            changed.status = Some(status);
            context.replace_status(&changed).await?;
        }
        Ok(plan.recheck)
    }
}

fn jobs_of(context: &Context, cron: &CronJob) -> Vec<Arc<Job>> {
    let mut jobs = context
        .tables
        .jobs
        .in_namespace(cron.metadata.namespace.as_deref().unwrap_or_default());
    jobs.retain(|job| {
        is_controlled_by(&job.metadata, cron.metadata.uid.as_ref())
            && job.metadata.deletion_timestamp.is_none()
    });
    jobs
}
