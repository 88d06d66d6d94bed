//! A pod's volumes as folders of the host, ready to be bound into it.

mod part;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{KeyToPath, Pod, Volume, VolumeProjection};

use self::part::{sub_folder, sub_path};
use super::PodAccount;
use super::pods::{self, ConfigSource, field};
use super::step::one_step;
use crate::shim::launch::give_to_pods;
use crate::shim::protocol::Bind;

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN_VOLUME: &str = "kube-api-access";

/// What volumes need from outside.
pub struct Sources<'a> {
    pub config: &'a dyn ConfigSource,
    /// `volumes/` of the state folder: one folder per claim.
    pub claims: &'a Path,
    pub ca_pem: &'a str,
    /// A pod's token for its service account.
    pub token_for: &'a super::TokenFor,
}

/// Why a volume is not ready; shown as a FailedMount event.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("MountVolume.SetUp failed for volume {volume:?}: {reason}")]
    NotReady { volume: String, reason: String },
    #[error("volume {volume:?}: {source}")]
    Io { volume: String, source: io::Error },
}

/// A file of a volume: contents and mode.
type Files = BTreeMap<PathBuf, (Vec<u8>, u32)>;

/// Makes the folders of every volume and returns what to bind where.
pub fn prepare(pod: &Pod, pod_dir: &Path, sources: &Sources<'_>) -> Result<Vec<Bind>, VolumeError> {
    let spec = pod.spec.as_ref();
    let volumes = spec.and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let mut folders = BTreeMap::new();
    for volume in volumes {
        let folder = make(pod, volume, pod_dir, sources)?;
        folders.insert(volume.name.clone(), (folder, is_published(volume)));
    }
    let mut binds: Vec<Bind> = Vec::new();
    for container in pods::init_containers(pod).iter().chain(pods::containers(pod)) {
        for mount in container.volume_mounts.iter().flatten() {
            let Some((folder, published)) = folders.get(&mount.name) else {
                let reason = format!(
                    "container {:?} mounts a volume that the pod does not have",
                    container.name
                );
                return Err(VolumeError::NotReady {
                    volume: mount.name.clone(),
                    reason,
                });
            };
            let target = PathBuf::from(&mount.mount_path);
            let sub_path = sub_path(pod, container, mount, sources)?;
            if let Some(sub_path) = &sub_path {
                sub_folder(&mount.name, folder, sub_path)?;
            }
            let bind = Bind {
                source: folder.clone(),
                sub_path: sub_path.map(PathBuf::from),
                target,
                read_only: *published || mount.read_only.unwrap_or(false),
            };
            match binds.iter_mut().find(|known| known.target == bind.target) {
                None => binds.push(bind),
                // Whoever may write there can do so.
                Some(known) if (&known.source, &known.sub_path) == (&bind.source, &bind.sub_path) => {
                    known.read_only &= bind.read_only;
                }
                Some(_) => {
                    let reason = format!(
                        "container {:?} mounts it at {}, where another container of the pod mounts something else: \
                         a pod's containers share one file system here, use another mountPath",
                        container.name, mount.mount_path
                    );
                    return Err(VolumeError::NotReady {
                        volume: mount.name.clone(),
                        reason,
                    });
                }
            }
        }
    }
    if spec.and_then(|spec| spec.automount_service_account_token) != Some(false)
        && !binds.iter().any(|bind| bind.target == Path::new(TOKEN_PATH))
    {
        let folder = pod_dir.join("volumes").join(TOKEN_VOLUME);
        publish(&folder, &token_files(pod, sources)).map_err(|source| io_error(TOKEN_VOLUME, source))?;
        binds.push(Bind {
            source: folder,
            sub_path: None,
            target: TOKEN_PATH.into(),
            read_only: true,
        });
    }
    // Outer mounts first: a later one would hide what lies inside it.
    binds.sort_by_key(|bind| bind.target.components().count());
    Ok(binds)
}

/// Writes changed ConfigMaps, Secrets, labels and tokens into the volumes of a running pod.
pub fn refresh(pod: &Pod, pod_dir: &Path, sources: &Sources<'_>) -> Result<(), VolumeError> {
    for volume in pod
        .spec
        .as_ref()
        .and_then(|spec| spec.volumes.as_deref())
        .unwrap_or_default()
    {
        if let Some(files) = contents(pod, volume, sources)? {
            publish(&folder_of(pod_dir, volume)?, &files).map_err(|source| io_error(&volume.name, source))?;
        }
    }
    let token = pod_dir.join("volumes").join(TOKEN_VOLUME);
    if token.is_dir() {
        publish(&token, &token_files(pod, sources)).map_err(|source| io_error(TOKEN_VOLUME, source))?;
    }
    Ok(())
}

/// The folder of a claim: `NAMESPACE_CLAIM`.
fn claim_folder(claims: &Path, namespace: &str, claim: &str) -> io::Result<PathBuf> {
    Ok(claims.join(one_step(&format!("{namespace}_{claim}"))?))
}

fn io_error(volume: &str, source: io::Error) -> VolumeError {
    VolumeError::Io {
        volume: volume.to_owned(),
        source,
    }
}

fn folder_of(pod_dir: &Path, volume: &Volume) -> Result<PathBuf, VolumeError> {
    let name = one_step(&volume.name).map_err(|source| io_error(&volume.name, source))?;
    Ok(pod_dir.join("volumes").join(name))
}

/// Whether the volume is files that the kubelet writes: nobody else may, for the kubelet follows what it finds there.
fn is_published(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

fn make(pod: &Pod, volume: &Volume, pod_dir: &Path, sources: &Sources<'_>) -> Result<PathBuf, VolumeError> {
    let failed = |source| io_error(&volume.name, source);
    let writable = |folder: PathBuf| -> Result<PathBuf, VolumeError> {
        if !folder.is_dir() {
            fs::create_dir_all(&folder).map_err(failed)?;
            fs::set_permissions(&folder, Permissions::from_mode(0o777)).map_err(failed)?;
            give_to_pods(&folder).map_err(failed)?;
        }
        Ok(folder)
    };
    if let Some(files) = contents(pod, volume, sources)? {
        let folder = folder_of(pod_dir, volume)?;
        publish(&folder, &files).map_err(failed)?;
        return Ok(folder);
    }
    if volume.empty_dir.is_some() {
        return writable(folder_of(pod_dir, volume)?);
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let folder = claim_folder(sources.claims, namespace, &claim.claim_name).map_err(failed)?;
        return writable(folder);
    }
    if let Some(host) = &volume.host_path {
        return Ok(PathBuf::from(&host.path));
    }
    let reason = "this kind of volume is not supported (supported: configMap, secret, emptyDir, persistentVolumeClaim, projected, downwardAPI, hostPath)";
    Err(VolumeError::NotReady {
        volume: volume.name.clone(),
        reason: reason.to_owned(),
    })
}

fn token_files(pod: &Pod, sources: &Sources<'_>) -> Files {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let account = field(pod, "spec.serviceAccountName").unwrap_or_default();
    let token = (sources.token_for)(PodAccount {
        namespace: &namespace,
        account: &account,
        pod: pod.metadata.name.as_deref().unwrap_or_default(),
        pod_uid: pod.metadata.uid.as_deref().unwrap_or_default(),
    });
    Files::from([
        ("token".into(), (token.into_bytes(), 0o644)),
        ("ca.crt".into(), (sources.ca_pem.as_bytes().to_vec(), 0o644)),
        ("namespace".into(), (namespace.into_bytes(), 0o644)),
    ])
}

fn mode(value: Option<i32>) -> u32 {
    value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0o644) & 0o777
}

/// The files of a volume that is made of files; `None` for a plain folder.
fn contents(pod: &Pod, volume: &Volume, sources: &Sources<'_>) -> Result<Option<Files>, VolumeError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let not_ready = |reason: String| VolumeError::NotReady {
        volume: volume.name.clone(),
        reason,
    };
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let map = sources.config.config_map(namespace, &source.name);
        let optional = source.optional == Some(true);
        add_map(
            &mut files,
            map,
            "configmap",
            &source.name,
            source.items.as_deref(),
            source.default_mode,
            optional,
        )
        .map_err(not_ready)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let map = sources.config.secret(namespace, name);
        let optional = source.optional == Some(true);
        add_map(
            &mut files,
            map,
            "secret",
            name,
            source.items.as_deref(),
            source.default_mode,
            optional,
        )
        .map_err(not_ready)?;
    } else if let Some(source) = &volume.downward_api {
        for item in source.items.iter().flatten() {
            let value = item
                .field_ref
                .as_ref()
                .and_then(|reference| field(pod, &reference.field_path));
            let value = value.ok_or_else(|| not_ready(format!("{:?} has no usable fieldRef", item.path)))?;
            files.insert(
                item.path.clone().into(),
                (value.into_bytes(), mode(item.mode.or(source.default_mode))),
            );
        }
    } else if let Some(source) = &volume.projected {
        for projection in source.sources.iter().flatten() {
            project(&mut files, pod, projection, source.default_mode, sources).map_err(not_ready)?;
        }
    } else {
        return Ok(None);
    }
    Ok(Some(files))
}

fn project(
    files: &mut Files,
    pod: &Pod,
    projection: &VolumeProjection,
    default_mode: Option<i32>,
    sources: &Sources<'_>,
) -> Result<(), String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(source) = &projection.config_map {
        let map = sources.config.config_map(namespace, &source.name);
        let optional = source.optional == Some(true);
        add_map(
            files,
            map,
            "configmap",
            &source.name,
            source.items.as_deref(),
            default_mode,
            optional,
        )?;
    }
    if let Some(source) = &projection.secret {
        let map = sources.config.secret(namespace, &source.name);
        let optional = source.optional == Some(true);
        add_map(
            files,
            map,
            "secret",
            &source.name,
            source.items.as_deref(),
            default_mode,
            optional,
        )?;
    }
    if let Some(source) = &projection.service_account_token
        && let Some((token, _)) = token_files(pod, sources).remove(Path::new("token"))
    {
        files.insert(source.path.clone().into(), (token, mode(default_mode)));
    }
    for item in projection
        .downward_api
        .iter()
        .flat_map(|source| source.items.iter().flatten())
    {
        let value = item
            .field_ref
            .as_ref()
            .and_then(|reference| field(pod, &reference.field_path));
        let value = value.ok_or_else(|| format!("{:?} has no usable fieldRef", item.path))?;
        files.insert(
            item.path.clone().into(),
            (value.into_bytes(), mode(item.mode.or(default_mode))),
        );
    }
    Ok(())
}

fn add_map(
    files: &mut Files,
    map: Option<BTreeMap<String, Vec<u8>>>,
    kind: &str,
    name: &str,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: bool,
) -> Result<(), String> {
    let Some(mut map) = map else {
        return if optional {
            Ok(())
        } else {
            Err(format!("{kind} {name:?} not found"))
        };
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        files.extend(
            map.into_iter()
                .map(|(key, value)| (key.into(), (value, mode(default_mode)))),
        );
        return Ok(());
    };
    for item in items {
        match map.remove(&item.key) {
            Some(value) => {
                files.insert(
                    item.path.clone().into(),
                    (value, mode(item.mode.or(default_mode))),
                );
            }
            None if optional => {}
            None => return Err(format!("references non-existent config key: {}", item.key)),
        }
    }
    Ok(())
}

/// Replaces all files of the folder at once, as the kubelet does: `..data` points to a folder that never changes.
fn publish(folder: &Path, files: &Files) -> io::Result<()> {
    if let Some(path) = files.keys().find(|path| !is_inside(path)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("not a path inside a volume: {}", path.display()),
        ));
    }
    let data = folder.join("..data");
    let old = fs::read_link(&data)
        .ok()
        .filter(|link| is_stamp(link))
        .map(|link| folder.join(link))
        .filter(|old| fs::symlink_metadata(old).is_ok_and(|kind| kind.is_dir()));
    if let Some(old) = &old
        && count_files(old)? == files.len()
        && files
            .iter()
            .all(|(path, (bytes, _))| fs::read(old.join(path)).is_ok_and(|now| now == *bytes))
    {
        return Ok(());
    }
    let stamp = format!("..{}", Timestamp::now().as_nanosecond());
    let fresh = folder.join(&stamp);
    fs::create_dir_all(&fresh)?;
    for made in [folder, &fresh] {
        fs::set_permissions(made, Permissions::from_mode(0o755))?;
        give_to_pods(made)?;
    }
    let mut names = Vec::new();
    for (path, (bytes, mode)) in files {
        let file = fresh.join(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
            give_to_pods(parent)?;
        }
        fs::write(&file, bytes)?;
        fs::set_permissions(&file, Permissions::from_mode(*mode))?;
        give_to_pods(&file)?;
        names.extend(path.components().next().map(|first| first.as_os_str().to_owned()));
    }
    let swap = folder.join("..data_tmp");
    let _ = fs::remove_file(&swap);
    symlink(&stamp, &swap)?;
    fs::rename(&swap, &data)?;
    for name in &names {
        let link = folder.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(name), &link)?;
        }
    }
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("..") && !names.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    if let Some(old) = old {
        fs::remove_dir_all(old)?;
    }
    Ok(())
}

fn is_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Whether a link leads to a folder that [`publish`] made, beside it: `..` and a time. No other is looked into or removed.
fn is_stamp(link: &Path) -> bool {
    link.to_str()
        .and_then(|name| name.strip_prefix(".."))
        .is_some_and(|time| !time.is_empty() && time.bytes().all(|c| c.is_ascii_digit()))
}

fn count_files(folder: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() {
            count_files(&entry.path())?
        } else {
            1
        };
    }
    Ok(count)
}

#[cfg(test)]
mod tests;
