//! Jobs: pods that run to their end.

mod plan;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::object::{controller_reference, is_controlled_by, name_of, random_suffix};
use crate::pods::from_template;
use crate::runtime::{Context, Error, EventType, Key, Outcome, Reconciler, Wiring};
use plan::Plan;

pub(crate) struct Jobs;

impl Reconciler for Jobs {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.own::<Job>();
        wiring.owned::<Pod>("Job");
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let Some(job) = context.tables.jobs.get(key) else {
            return Ok(None);
        };
        if job.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let unsupported = plan::unsupported(&job);
        if !unsupported.is_empty() {
            let message = format!("not supported here, nothing will run: {}", unsupported.join(", "));
            context
                .event(job.as_ref(), EventType::Warning, "UnsupportedField", &message)
                .await;
            return Ok(None);
        }
        let now = Timestamp::now();
        let plan = plan::plan(&job, &pods_of(context, &job), now);
        let mut outcome = act(context, &job, &plan).await;
        let after = plan::plan(&job, &pods_of(context, &job), now);
        if job.status.as_ref() != Some(&after.status) {
            let mut changed = job.as_ref().clone();
            changed.status = Some(after.status.clone());
            context.replace_status(&changed).await?;
            if let Some((kind, reason, message)) = plan::news(&job, &after.status) {
                context.event(job.as_ref(), kind, &reason, &message).await;
            }
        }
        if plan.remove_job {
            outcome = outcome.and(context.delete(job.as_ref(), None).await);
        }
        outcome?;
        Ok(after.recheck)
    }
}

fn pods_of(context: &Context, job: &Job) -> Vec<Arc<Pod>> {
    let mut pods = context
        .tables
        .pods
        .in_namespace(job.metadata.namespace.as_deref().unwrap_or_default());
    pods.retain(|pod| is_controlled_by(&pod.metadata, job.metadata.uid.as_ref()));
    pods
}

async fn act(context: &Context, job: &Job, plan: &Plan) -> Result<(), Error> {
    for pod in &plan.delete {
        let mark = json!({"metadata": {"uid": pod.metadata.uid, "annotations": {plan::STOPPED: "true"}}});
        context.patch::<Pod>(&Key::of(pod.as_ref()), &mark).await?;
        context.delete(pod.as_ref(), None).await?;
        context
            .event(
                job,
                EventType::Normal,
                "SuccessfulDelete",
                &format!("Deleted pod: {}", name_of(pod.as_ref())),
            )
            .await;
    }
    for index in &plan.create {
        let pod = new_pod(job, *index);
        match context.create(&pod).await {
            Ok(created) => {
                let message = format!("Created pod: {}", name_of(&created));
                context
                    .event(job, EventType::Normal, "SuccessfulCreate", &message)
                    .await;
            }
            Err(error) => {
                let message = format!("Error creating: {error}");
                context
                    .event(job, EventType::Warning, "FailedCreate", &message)
                    .await;
                return Err(error);
            }
        }
    }
    Ok(())
}

fn new_pod(job: &Job, index: Option<i32>) -> Pod {
    let template = job
        .spec
        .as_ref()
        .map(|spec| spec.template.clone())
        .unwrap_or_default();
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let name = match index {
        Some(index) => format!("{}-{index}-{}", name_of(job), random_suffix()),
        None => format!("{}-{}", name_of(job), random_suffix()),
    };
    let mut pod = from_template(&template, namespace, name, controller_reference(job));
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let labels = pod.metadata.labels.get_or_insert_default();
    for (label, value) in [
        ("job-name", name_of(job)),
        ("batch.kubernetes.io/job-name", name_of(job)),
        ("controller-uid", uid.as_str()),
        ("batch.kubernetes.io/controller-uid", uid.as_str()),
    ] {
        labels.insert(label.to_owned(), value.to_owned());
    }
    if let Some(index) = index {
        labels.insert(plan::INDEX.to_owned(), index.to_string());
        pod.metadata
            .annotations
            .get_or_insert_default()
            .insert(plan::INDEX.to_owned(), index.to_string());
        let spec = pod.spec.get_or_insert_default();
        spec.hostname = Some(format!("{}-{index}", name_of(job)));
        for container in spec
            .containers
            .iter_mut()
            .chain(spec.init_containers.iter_mut().flatten())
        {
            container
                .env
                .get_or_insert_default()
                .push(k8s_openapi::api::core::v1::EnvVar {
                    name: "JOB_COMPLETION_INDEX".to_owned(),
                    value: Some(index.to_string()),
                    value_from: None,
                });
        }
    }
    pod
}
