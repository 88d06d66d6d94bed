//! Waits until a system is ready, saying what it still waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use tokio::time::Instant;

use crate::failure::{Context, Failure};

/// What is not ready yet: object -> why.
pub type Waiting = BTreeMap<String, String>;

/// Everything in the cluster that should run and does not yet.
pub async fn waiting_for(client: &kube::Client) -> Result<Waiting, Failure> {
    let all = ListParams::default();
    let mut waiting = Waiting::new();
    let deployments = Api::<Deployment>::all(client.clone())
        .list(&all)
        .await
        .component("listing deployments")?;
    for deployment in deployments {
        let wanted = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1);
        let status = deployment.status.clone().unwrap_or_default();
        let ready = status.available_replicas.unwrap_or(0);
        let seen = status.observed_generation >= deployment.metadata.generation;
        if !seen || ready < wanted || status.updated_replicas.unwrap_or(0) < wanted {
            waiting.insert(
                format!("deployment/{}", deployment.name_any()),
                format!("{ready}/{wanted} available"),
            );
        }
    }
    let sets = Api::<StatefulSet>::all(client.clone())
        .list(&all)
        .await
        .component("listing statefulsets")?;
    for set in sets {
        let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let ready = set
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            .unwrap_or(0);
        if ready < wanted {
            waiting.insert(
                format!("statefulset/{}", set.name_any()),
                format!("{ready}/{wanted} ready"),
            );
        }
    }
    for job in Api::<Job>::all(client.clone())
        .list(&all)
        .await
        .component("listing jobs")?
    {
        let status = job.status.clone().unwrap_or_default();
        let wanted = job.spec.as_ref().and_then(|spec| spec.completions).unwrap_or(1);
        let done = status.succeeded.unwrap_or(0);
        if done < wanted {
            waiting.insert(format!("job/{}", job.name_any()), format!("{done}/{wanted} done"));
        }
    }
    Ok(waiting)
}

/// Polls until nothing is waited for; `progress` hears each change. Fails after `limit`, or as soon as a pod says
/// that its image's program is missing (waiting would not help).
pub async fn wait(
    client: &kube::Client,
    limit: Duration,
    mut progress: impl FnMut(String),
) -> Result<u32, Failure> {
    let deadline = Instant::now() + limit;
    let mut last = usize::MAX;
    loop {
        let waiting = waiting_for(client).await?;
        if waiting.is_empty() {
            let pods = Api::<Pod>::all(client.clone())
                .list(&ListParams::default())
                .await
                .component("listing pods")?;
            return Ok(u32::try_from(pods.items.len()).unwrap_or(u32::MAX));
        }
        if waiting.len() != last {
            last = waiting.len();
            let names: Vec<_> = waiting
                .keys()
                .take(6)
                .map(|name| name.rsplit('/').next().unwrap_or(name))
                .collect();
            let more = waiting.len().saturating_sub(names.len());
            let tail = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            progress(format!("waiting for {}{tail}", names.join(", ")));
        }
        if let Some(problem) = hopeless(client).await? {
            return Err(
                Failure::component(problem).hint("`hikeshi doctor` lists what is missing and how to get it")
            );
        }
        if Instant::now() > deadline {
            let list: Vec<_> = waiting
                .iter()
                .map(|(name, why)| format!("{name} ({why})"))
                .collect();
            return Err(Failure::component(format!(
                "the system was not ready within {} s: {}",
                limit.as_secs(),
                list.join(", ")
            ))
            .hint("look at `kubectl get pods -A` and `kubectl describe pod` with the kubeconfig that `hikeshi kubeconfig` prints"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn hopeless(client: &kube::Client) -> Result<Option<String>, Failure> {
    let pods = Api::<Pod>::all(client.clone())
        .list(&ListParams::default())
        .await
        .component("listing pods")?;
    Ok(pods.into_iter().find_map(|pod| {
        let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
        statuses.iter().find_map(|container| {
            let waiting = container.state.as_ref()?.waiting.as_ref()?;
            let reason = waiting.reason.as_deref()?;
            matches!(reason, "ErrImagePull" | "ImagePullBackOff").then(|| {
                format!(
                    "pod {}: {}",
                    pod.name_any(),
                    waiting.message.as_deref().unwrap_or(reason)
                )
            })
        })
    }))
}
