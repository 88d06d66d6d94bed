//! HorizontalPodAutoscalers: as many replicas as the measured load asks for.

mod behavior;
mod metrics;
mod plan;
mod replicas;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus, MetricSpec,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::object::time;
use crate::runtime::{Context, Error, EventType, Key, Outcome, Reconciler, Wiring};
use behavior::History;
use metrics::{Reading, Target};
use plan::{Plan, plan, set};

/// How often an autoscaler looks (`--horizontal-pod-autoscaler-sync-period`).
const PERIOD: SignedDuration = SignedDuration::from_secs(15);

/// What is kept of one autoscaler between runs; lost with the process, as in Kubernetes.
#[derive(Clone, Default)]
struct Memory {
    uid: Option<String>,
    /// When it last looked, and at which generation.
    looked: Option<(Timestamp, Option<i64>)>,
    history: History,
}

#[derive(Default)]
pub(crate) struct Autoscalers {
    memory: Mutex<HashMap<Key, Memory>>,
}

impl Autoscalers {
    fn recall(&self, key: &Key, hpa: &HorizontalPodAutoscaler) -> Memory {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let known = memory.get(key).filter(|known| known.uid == hpa.metadata.uid);
        known.cloned().unwrap_or_else(|| Memory {
            uid: hpa.metadata.uid.clone(),
            ..Memory::default()
        })
    }

    fn remember(&self, key: &Key, memory: Option<Memory>) {
        let mut all = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        match memory {
            Some(memory) => all.insert(key.clone(), memory),
            None => all.remove(key),
        };
    }
}

impl Reconciler for Autoscalers {
    fn name(&self) -> &'static str {
        "horizontal-pod-autoscaler"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.own::<HorizontalPodAutoscaler>();
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let Some(hpa) = context.tables.autoscalers.get(key) else {
            self.remember(key, None);
            return Ok(None);
        };
        let now = Timestamp::now();
        let mut memory = self.recall(key, &hpa);
        // Its own status is a change like any other: only a new spec, or time, is a reason to look again.
        if let Some((when, generation)) = memory.looked
            && generation == hpa.metadata.generation
            && let Ok(wait) = Duration::try_from(PERIOD - now.duration_since(when))
            && !wait.is_zero()
        {
            return Ok(Some(wait));
        }
        memory.looked = Some((now, hpa.metadata.generation));
        let outcome = look(context, &hpa, &mut memory.history, now).await;
        self.remember(key, Some(memory));
        outcome?;
        Ok(Duration::try_from(PERIOD).ok())
    }
}

/// One look at the target: measures, decides, scales, writes the status.
async fn look(
    context: &Context,
    hpa: &HorizontalPodAutoscaler,
    history: &mut History,
    now: Timestamp,
) -> Result<(), Error> {
    let spec = hpa.spec.clone().unwrap_or_default();
    let namespace = hpa.metadata.namespace.as_deref().unwrap_or_default();
    let api = target_api(context, namespace, &spec.scale_target_ref);
    let name = &spec.scale_target_ref.name;
    let scale = match api.get_scale(name).await {
        Ok(scale) => scale,
        Err(error) => {
            let message = format!("the HPA controller was unable to get the target's current scale: {error}");
            let mut status = hpa.status.clone().unwrap_or_default();
            set(
                &mut status,
                ("AbleToScale", "False", "FailedGetScale", message),
                now,
            );
            context
                .event(hpa, EventType::Warning, "FailedGetScale", &error.to_string())
                .await;
            return write(context, hpa, status).await;
        }
    };
    let Plan {
        rescale,
        mut status,
        news,
    } = match observe(context, namespace, &scale, spec.metrics.as_deref().unwrap_or(&[])).await? {
        Some((target, readings)) => plan(hpa, &target, &readings, history, now),
        None => {
            let message = "the HPA target's scale is missing a selector".to_owned();
            let mut status = hpa.status.clone().unwrap_or_default();
            set(
                &mut status,
                ("ScalingActive", "False", "InvalidSelector", message.clone()),
                now,
            );
            Plan {
                rescale: None,
                status,
                news: vec![(EventType::Warning, "SelectorRequired", message)],
            }
        }
    };
    for (kind, reason, message) in &news {
        context.event(hpa, *kind, reason, message).await;
    }
    if let Some((replicas, reason)) = rescale {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        match api.patch_scale(name, &PatchParams::default(), &patch).await {
            Ok(_) => {
                let message = format!("New size: {replicas}; reason: {reason}");
                context
                    .event(hpa, EventType::Normal, "SuccessfulRescale", &message)
                    .await;
                let message = format!("the HPA controller was able to update the target scale to {replicas}");
                set(
                    &mut status,
                    ("AbleToScale", "True", "SucceededRescale", message),
                    now,
                );
                history.scaled(status.current_replicas.unwrap_or(replicas), replicas, now);
                status.desired_replicas = replicas;
                status.last_scale_time = Some(time(now));
            }
            Err(error) => {
                let message = format!("New size: {replicas}; reason: {reason}; error: {error}");
                context
                    .event(hpa, EventType::Warning, "FailedRescale", &message)
                    .await;
                let message = format!("the HPA controller was unable to update the target scale: {error}");
                set(
                    &mut status,
                    ("AbleToScale", "False", "FailedUpdateScale", message),
                    now,
                );
            }
        }
    }
    write(context, hpa, status).await
}

/// The target's pods and the answers to its metrics; `None` when the target selects no pods.
async fn observe(
    context: &Context,
    namespace: &str,
    scale: &Scale,
    metrics: &[MetricSpec],
) -> Result<Option<(Target, Vec<Result<Reading, String>>)>, Error> {
    let status = scale.status.as_ref();
    let Some(selector) = status
        .and_then(|status| status.selector.as_deref())
        .filter(|s| !s.is_empty())
    else {
        return Ok(None);
    };
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let target = Target {
        current: scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0),
        running: status.map_or(0, |status| status.replicas),
        pods: pods.list(&ListParams::default().labels(selector)).await?.items,
    };
    let mut readings = Vec::new();
    for metric in metrics {
        readings.push(measure(context, metric, namespace, selector).await);
    }
    Ok(Some((target, readings)))
}

async fn measure(
    context: &Context,
    metric: &MetricSpec,
    namespace: &str,
    selector: &str,
) -> Result<Reading, String> {
    let path = metrics::path(metric, namespace, selector)?;
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| format!("spec.metrics: no address can be made of the metric's name: {error}"))?;
    let answer: Value = context
        .client
        .request(request)
        .await
        .map_err(|error| match error {
            kube::Error::Api(status) => format!("unable to fetch metrics: {}", status.message),
            other => format!("unable to fetch metrics: {other}"),
        })?;
    metrics::read(metric, &answer)
}

fn target_api(
    context: &Context,
    namespace: &str,
    target: &CrossVersionObjectReference,
) -> Api<DynamicObject> {
    let version = target.api_version.as_deref().unwrap_or("apps/v1");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &target.kind));
    Api::namespaced_with(context.client.clone(), namespace, &resource)
}

async fn write(
    context: &Context,
    hpa: &HorizontalPodAutoscaler,
    status: HorizontalPodAutoscalerStatus,
) -> Result<(), Error> {
    if hpa.status.as_ref() == Some(&status) {
        return Ok(());
    }
    // As a merge: the spec may have changed while the metrics were read, and the status is this controller's alone.
    let api: Api<HorizontalPodAutoscaler> =
        context.api(hpa.metadata.namespace.as_deref().unwrap_or_default());
    let name = hpa.metadata.name.as_deref().unwrap_or_default();
    let patch = Patch::Merge(json!({"status": status}));
    let written = api.patch_status(name, &PatchParams::default(), &patch).await?;
    context.tables.autoscalers.apply(&context.tables, written);
    Ok(())
}
