//! Reading pods: fields that other parts ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};

/// Where ConfigMaps and Secrets come from. Values are bytes, by key.
pub trait ConfigSource: Send + Sync {
    fn config_map(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, Vec<u8>>>;
    fn secret(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, Vec<u8>>>;
}

/// Whether the pod's Ready condition is True.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Succeeded or Failed: it will not run again.
pub fn is_over(pod: &Pod) -> bool {
    matches!(
        pod.status.as_ref().and_then(|status| status.phase.as_deref()),
        Some("Succeeded" | "Failed")
    )
}

/// Whether `one` is an older state of the pod than `other`: resource versions of a kind can be compared (Kubernetes 1.35,
/// KEP-5504).
pub fn is_before(one: &Pod, other: &Pod) -> bool {
    let version = |pod: &Pod| pod.metadata.resource_version.as_ref()?.parse::<u64>().ok();
    version(one)
        .zip(version(other))
        .is_some_and(|(one, other)| one < other)
}

/// The host name inside the pod: `spec.hostname`, else the pod's name, cut to what a host name may be.
pub fn hostname(pod: &Pod) -> String {
    let given = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.hostname.as_deref())
        .filter(|name| !name.is_empty());
    let name = given.or(pod.metadata.name.as_deref()).unwrap_or("pod");
    name.chars()
        .take(63)
        .collect::<String>()
        .trim_end_matches(['-', '.'])
        .to_owned()
}

/// Seconds from SIGTERM to SIGKILL when nothing else is said (Kubernetes' default).
const DEFAULT_GRACE: i64 = 30;
/// Nobody waits longer for a pod to end, and times that far away can still be added up.
const LONGEST_GRACE: i64 = 366 * 24 * 3600;

/// How long the pod's programs may take to end: what its deletion says, else its spec.
pub fn grace(pod: &Pod) -> Duration {
    let spec = pod.spec.as_ref();
    let seconds = pod
        .metadata
        .deletion_grace_period_seconds
        .or(spec.and_then(|spec| spec.termination_grace_period_seconds))
        .filter(|seconds| *seconds >= 0)
        .unwrap_or(DEFAULT_GRACE);
    Duration::from_secs(seconds.min(LONGEST_GRACE).cast_unsigned())
}

pub fn init_containers(pod: &Pod) -> &[Container] {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.init_containers.as_deref())
        .unwrap_or_default()
}

/// An init container that runs on beside the containers.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The containers that run as long as the pod: sidecars first, in their order of starting.
pub fn probed(pod: &Pod) -> impl Iterator<Item = &Container> {
    let sidecars = init_containers(pod).iter().filter(|one| is_sidecar(one));
    sidecars.chain(containers(pod))
}

pub fn containers(pod: &Pod) -> &[Container] {
    pod.spec
        .as_ref()
        .map(|spec| spec.containers.as_slice())
        .unwrap_or_default()
}

/// A field as the downward API names it; `None`: not one of those.
pub fn field(pod: &Pod, path: &str) -> Option<String> {
    let metadata = &pod.metadata;
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let text = |value: Option<&String>| Some(value.cloned().unwrap_or_default());
    let keyed = |prefix: &str, map: &Option<BTreeMap<String, String>>| {
        let key = path
            .strip_prefix(prefix)?
            .strip_prefix("['")?
            .strip_suffix("']")?;
        Some(
            map.as_ref()
                .and_then(|map| map.get(key))
                .cloned()
                .unwrap_or_default(),
        )
    };
    let listed = |map: &Option<BTreeMap<String, String>>| {
        let lines = map
            .iter()
            .flatten()
            .map(|(key, value)| format!("{key}={value:?}"));
        Some(lines.collect::<Vec<_>>().join("\n"))
    };
    match path {
        "metadata.name" => text(metadata.name.as_ref()),
        "metadata.namespace" => text(metadata.namespace.as_ref()),
        "metadata.uid" => text(metadata.uid.as_ref()),
        "metadata.labels" => listed(&metadata.labels),
        "metadata.annotations" => listed(&metadata.annotations),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => Some(
            spec.and_then(|spec| spec.service_account_name.clone())
                .unwrap_or_else(|| "default".to_owned()),
        ),
        "status.podIP" | "status.podIPs" => text(status.and_then(|status| status.pod_ip.as_ref())),
        "status.hostIP" | "status.hostIPs" => Some(super::nodes::HOST_IP.to_owned()),
        _ => keyed("metadata.labels", &metadata.labels)
            .or_else(|| keyed("metadata.annotations", &metadata.annotations)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn pod(deletion: Option<i64>, spec: Option<i64>) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.deletion_grace_period_seconds = deletion;
        pod.spec.get_or_insert_default().termination_grace_period_seconds = spec;
        pod
    }

    #[test]
    fn an_older_state_of_a_pod_is_known_by_its_version() {
        let at = |version: &str| {
            let mut pod = Pod::default();
            pod.metadata.resource_version = Some(version.to_owned());
            pod
        };
        assert!(is_before(&at("9"), &at("10")));
        assert!(!is_before(&at("10"), &at("9")));
        assert!(!is_before(&at("10"), &at("10")));
        assert!(!is_before(&at("9"), &Pod::default()), "nothing to compare");
    }

    #[test]
    fn the_grace_is_the_deletion_s_then_the_spec_s_and_can_always_be_waited_for() {
        let seconds = |deletion, spec| grace(&pod(deletion, spec)).as_secs();
        assert_eq!(seconds(None, None), 30);
        assert_eq!(seconds(None, Some(5)), 5);
        assert_eq!(seconds(Some(0), Some(5)), 0);
        assert_eq!(seconds(Some(-1), Some(5)), 30);
        assert!(
            Instant::now()
                .checked_add(grace(&pod(None, Some(i64::MAX))))
                .is_some()
        );
    }
}
