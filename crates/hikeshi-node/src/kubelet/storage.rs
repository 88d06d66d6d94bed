//! Ephemeral storage: what a pod may write to its logs, its emptyDir volumes and its root, and what happens when it writes
//! more.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{pods, quantity};

const RESOURCE: &str = "ephemeral-storage";

/// What a pod has written, in bytes on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// By emptyDir volume.
    pub volumes: BTreeMap<String, u64>,
    /// Logs, by container.
    pub logs: BTreeMap<String, u64>,
    /// Outside volumes, by all containers together: they share one root, so that none alone can be held to it.
    pub root: u64,
}

/// The limit of one container, as written and in bytes.
fn limit(container: &Container) -> Option<(&str, u64)> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    let text = limits.get(RESOURCE)?.0.as_str();
    Some((text, quantity::units(text)?))
}

/// The emptyDir volumes of a pod that lie on the disk, with their limits as written.
fn empty_dirs(pod: &Pod) -> impl Iterator<Item = (&str, Option<&str>)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let dir = volume.empty_dir.as_ref()?;
        let limit = dir.size_limit.as_ref().map(|limit| limit.0.as_str());
        Some((volume.name.as_str(), limit))
    })
}

/// Whether anything of the pod is limited.
pub fn is_limited(pod: &Pod) -> bool {
    pods::probed(pod).any(|container| limit(container).is_some())
        || empty_dirs(pod).any(|(_, limit)| limit.is_some())
}

/// Kubernetes' message for what is written beyond a limit; `None` when nothing is.
pub fn excess(pod: &Pod, written: &Written) -> Option<String> {
    for (name, text) in empty_dirs(pod) {
        let Some(text) = text else { continue };
        let most = quantity::units(text).filter(|most| *most > 0);
        if most.is_some_and(|most| written.volumes.get(name).is_some_and(|used| *used > most)) {
            return Some(format!(
                "Usage of EmptyDir volume {name:?} exceeds the limit {text:?}. "
            ));
        }
    }
    let containers: Vec<&Container> = pods::probed(pod).collect();
    let kept = written.volumes.values().chain(written.logs.values());
    let total: u64 = kept.chain([&written.root]).sum();
    let limits: Vec<_> = containers.iter().filter_map(|one| limit(one)).collect();
    // The pod as a whole is limited only when each of its containers is.
    if limits.len() == containers.len() && !limits.is_empty() {
        let most: u64 = limits.iter().map(|(_, most)| most).sum();
        if total > most {
            let text = match limits.as_slice() {
                [(text, _)] => (*text).to_owned(),
                _ => most.to_string(),
            };
            return Some(format!(
                "Pod ephemeral local storage usage exceeds the total limit of containers {text}. "
            ));
        }
    }
    for container in containers {
        let name = &container.name;
        if let Some((text, most)) = limit(container)
            && written.logs.get(name).is_some_and(|used| *used > most)
        {
            return Some(format!(
                "Container {name} exceeded its local ephemeral storage limit {text:?}. "
            ));
        }
    }
    None
}

/// Measures a pod's folder; `root`: what its init tells of the root. Files that vanish meanwhile count as nothing.
pub fn measure(pod: &Pod, pod_dir: &Path, root: u64) -> Written {
    let volumes =
        empty_dirs(pod).map(|(name, _)| (name.to_owned(), size(&pod_dir.join("volumes").join(name))));
    let logs = pods::probed(pod).map(|one| (one.name.clone(), size(&pod_dir.join("logs").join(&one.name))));
    Written {
        volumes: volumes.collect(),
        logs: logs.collect(),
        root,
    }
}

/// Bytes on the disk below a folder. Links are not followed: they would lead out of the pod.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.path().symlink_metadata() {
            Ok(found) if found.is_dir() => size(&entry.path()),
            Ok(found) => found.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(limits: &[Option<&str>], size: Option<&str>) -> Pod {
        let containers: Vec<_> = limits
            .iter()
            .enumerate()
            .map(|(n, limit)| {
                let limits = limit.map_or(json!({}), |limit| json!({"ephemeral-storage": limit}));
                json!({"name": format!("c{n}"), "resources": {"limits": limits}})
            })
            .collect();
        let volumes = json!([{"name": "data", "emptyDir": {"sizeLimit": size}}]);
        serde_json::from_value(json!({"spec": {"containers": containers, "volumes": volumes}})).unwrap()
    }

    fn written(volume: u64, logs: &[u64]) -> Written {
        let logs = logs
            .iter()
            .enumerate()
            .map(|(n, bytes)| (format!("c{n}"), *bytes));
        Written {
            volumes: [("data".to_owned(), volume)].into(),
            logs: logs.collect(),
            root: 0,
        }
    }

    #[test]
    fn each_limit_has_kubernetes_message() {
        const MIB: u64 = 1 << 20;
        let of = |limits: &[Option<&str>], size, volume, logs: &[u64]| {
            excess(&pod(limits, size), &written(volume, logs))
        };
        assert_eq!(
            of(&[None], Some("1Mi"), MIB + 1, &[0]).unwrap(),
            "Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\". "
        );
        assert_eq!(of(&[None], Some("1Mi"), MIB, &[9 * MIB]), None);
        assert_eq!(
            of(&[Some("2Mi")], None, MIB, &[MIB + 1]).unwrap(),
            "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
        );
        assert_eq!(
            of(&[Some("2Mi"), None], None, 9 * MIB, &[3 * MIB, 0]).unwrap(),
            "Container c0 exceeded its local ephemeral storage limit \"2Mi\". "
        );
        assert_eq!(of(&[Some("2Mi"), None], None, 9 * MIB, &[MIB, 9 * MIB]), None);
        let outside = Written {
            root: 3 * MIB,
            ..written(0, &[0])
        };
        assert_eq!(
            excess(&pod(&[Some("2Mi")], None), &outside).unwrap(),
            "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
        );
        assert!(is_limited(&pod(&[None], Some("1Mi"))) && is_limited(&pod(&[Some("1Mi")], None)));
        assert!(!is_limited(&pod(&[None], None)));
    }

    #[test]
    fn a_folder_is_measured_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("volumes/data/sub");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("file"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/usr", data.join("link")).unwrap();
        let used = measure(&pod(&[None], None), dir.path(), 0).volumes["data"];
        assert!((100_000..1_000_000).contains(&used), "{used}");
    }
}
