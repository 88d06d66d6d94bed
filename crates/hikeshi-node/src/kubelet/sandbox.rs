//! A pod's world: its folder, its address and its init, made new or found again.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

use super::KubeletConfig;
use super::hosts;
use super::pods;
use super::volumes::{self, Sources, VolumeError};
use crate::chaosagent::clock;
use crate::images::{self, NativeImage};
use crate::shim::launch::{self, LaunchError, is_alive, kill_recorded, read_record};
use crate::shim::protocol::{Bind, PodSpecFile, PodUser, Request, Tmpfs};
use crate::shim::{InitClient, InitError};

/// `kubelet.json` in the pod's folder: what a later kubelet must know to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxRecord {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub ip: Ipv4Addr,
    pub started_at: Timestamp,
}

impl SandboxRecord {
    pub fn read(pod_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(pod_dir.join("kubelet.json")).ok()?).ok()
    }
}

/// A pod's running world.
pub struct Sandbox {
    pub record: SandboxRecord,
    pub init: InitClient,
}

/// Why there is no world yet; tried again later.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("{0}")]
    Launch(#[from] LaunchError),
    #[error("{0}")]
    Init(#[from] InitError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("every pod address is taken")]
    NoAddress,
}

/// Connects to the init of a pod's folder if it is alive.
pub fn find(pod_dir: &Path) -> Option<Sandbox> {
    let record = SandboxRecord::read(pod_dir)?;
    if !read_record(pod_dir).is_some_and(|init| is_alive(&init)) {
        return None;
    }
    let init = InitClient::connect(pod_dir).ok()?;
    Some(Sandbox { record, init })
}

/// Makes the folder, the volumes and the init of a pod.
pub async fn make(
    pod: &Pod,
    pod_dir: &Path,
    image: Option<&NativeImage>,
    ip: Ipv4Addr,
    hosts_text: &str,
    config: &KubeletConfig,
    sources: &Sources<'_>,
) -> Result<Sandbox, SandboxError> {
    // What an attempt left that failed half-way: never two inits of one pod.
    end(pod_dir).await;
    fs::create_dir_all(pod_dir)?;
    // Secrets lie below: only the pods' user (and root) may look.
    fs::set_permissions(pod_dir, fs::Permissions::from_mode(0o700))?;
    launch::give_to_pods(pod_dir)?;
    hosts::write_in_place(&pod_dir.join("hosts"), hosts_text)?;
    let mut binds = volumes::prepare(pod, pod_dir, sources)?;
    let files = config.state_dir.join("images");
    if files.is_dir() {
        binds.push(Bind {
            source: files,
            target: images::FILES_DIR.into(),
            read_only: true,
            sub_path: None,
        });
    }
    let clocks = clock::folder(pod_dir);
    fs::create_dir_all(&clocks)?;
    fs::set_permissions(&clocks, fs::Permissions::from_mode(0o755))?;
    binds.push(Bind {
        source: clocks,
        target: clock::FOLDER.into(),
        read_only: true,
        sub_path: None,
    });
    let read_only = has_read_only_root(pod);
    let metadata = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let spec = PodSpecFile {
        namespace: text(&metadata.namespace),
        name: text(&metadata.name),
        uid: text(&metadata.uid),
        hostname: pods::hostname(pod),
        user: user(pod, image),
        bin_dir: Some(config.state_dir.join("bin")).filter(|folder| folder.is_dir()),
        binds,
        tmpfs: if read_only {
            vec![shared_memory()]
        } else {
            Vec::new()
        },
        read_only_root: read_only,
        lifeline: None,
        nice: nice(pod),
    };
    let record = SandboxRecord {
        namespace: spec.namespace.clone(),
        name: spec.name.clone(),
        uid: spec.uid.clone(),
        ip,
        started_at: Timestamp::now(),
    };
    fs::write(
        pod_dir.join("kubelet.json"),
        serde_json::to_vec(&record).map_err(io::Error::other)?,
    )?;
    let lifeline = config.lifeline.as_ref().map(|fd| fd.as_fd());
    launch::launch(&config.init_program, pod_dir, &spec, lifeline).await?;
    let init = InitClient::connect(pod_dir)?;
    Ok(Sandbox { record, init })
}

/// The containers share one root: it is read-only when each of them wants it so.
fn has_read_only_root(pod: &Pod) -> bool {
    let mut containers = pods::init_containers(pod).iter().chain(pods::containers(pod));
    containers.all(|container| {
        let context = container.security_context.as_ref();
        context.and_then(|context| context.read_only_root_filesystem) == Some(true)
    })
}

/// Which a container has to itself even where its root is read-only.
fn shared_memory() -> Tmpfs {
    Tmpfs {
        target: "/dev/shm".into(),
        size_bytes: None,
    }
}

/// Workloads step back for control and the data plane; what the cluster itself leans on does not. A fault that burns all
/// the CPU must not blind those who look for it.
fn nice(pod: &Pod) -> i32 {
    if is_critical(pod) { 0 } else { WORKLOAD_NICE }
}

/// Whether the cluster itself leans on it, as its priority class says.
pub(super) fn is_critical(pod: &Pod) -> bool {
    let class = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.priority_class_name.as_deref());
    class.is_some_and(|class| class.starts_with("system-"))
}

/// About a third of the CPU time of a process that is not nice.
const WORKLOAD_NICE: i32 = 5;

/// The image's user, unless the pod's security context names another id. One mapping for the whole pod.
pub(super) fn user(pod: &Pod, image: Option<&NativeImage>) -> PodUser {
    let spec = pod.spec.as_ref();
    let context = spec.and_then(|spec| spec.security_context.as_ref());
    let first = pods::containers(pod)
        .first()
        .and_then(|container| container.security_context.as_ref());
    let id = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
    let uid = id(first
        .and_then(|context| context.run_as_user)
        .or(context.and_then(|context| context.run_as_user)));
    let gid = id(first
        .and_then(|context| context.run_as_group)
        .or(context.and_then(|context| context.run_as_group)));
    let (image_uid, image_gid, name, home) = match image {
        Some(image) => (
            image.user.uid,
            image.user.gid,
            image.user.name.clone(),
            image.workdir.display().to_string(),
        ),
        None => (0, 0, "root".to_owned(), "/root".to_owned()),
    };
    let uid = uid.unwrap_or(image_uid);
    let name = if uid == image_uid {
        name
    } else {
        format!("user{uid}")
    };
    PodUser {
        uid,
        gid: gid.unwrap_or(image_gid),
        name,
        home,
    }
}

/// Ends a pod's init, politely and then not, and waits until it is gone. The folder stays.
pub async fn end(pod_dir: &Path) {
    let Some(record) = read_record(pod_dir) else {
        return;
    };
    if let Ok(mut init) = InitClient::connect(pod_dir) {
        let _ = tokio::time::timeout(Duration::from_secs(2), init.command(&Request::Shutdown)).await;
    }
    let start = Instant::now();
    while is_alive(&record) {
        if start.elapsed() > Duration::from_secs(1) {
            kill_recorded(&record);
        }
        if start.elapsed() > Duration::from_secs(10) {
            tracing::error!(pid = record.pid, folder = %pod_dir.display(), "an init does not die");
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
