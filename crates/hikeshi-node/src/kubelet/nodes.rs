//! The virtual nodes: objects that the scheduler places pods on. All are this machine, yet each can be lost.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Error;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Kubelet, NodeTemplate};

/// Every node's address: ports of pods do not exist outside their namespaces.
pub const HOST_IP: &str = "127.0.0.1";
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often a status that has not changed is written again.
const STATUS_PERIOD: Duration = Duration::from_secs(300);
const LEASES: &str = "kube-node-lease";
/// `kubectl annotate node NODE hikeshi.dev/power=off` switches a virtual node off as a power cut would: its pods' processes
/// die, its kubelet falls silent, its disk stays. Without the annotation it is on.
const POWER: &str = "hikeshi.dev/power";

/// CPUs and bytes of memory of this machine.
pub fn machine() -> (usize, u64) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .split_ascii_whitespace()
            .next()?
            .parse()
            .ok()
    });
    (cpus, total.unwrap_or(0u64) * 1024)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn os_image() -> String {
    let release = read("/etc/os-release");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn status(since: Timestamp) -> Value {
    let (cpus, memory) = machine();
    let size = json!({
        "cpu": cpus.to_string(), "memory": format!("{}Ki", memory / 1024), "pods": "110", "ephemeral-storage": "50Gi",
    });
    let now = Timestamp::now();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
               "lastHeartbeatTime": format!("{now:.0}"), "lastTransitionTime": format!("{since:.0}")})
    };
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "capacity": size,
        "allocatable": size,
        "addresses": [{"type": "InternalIP", "address": HOST_IP}],
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "nodeInfo": {
            "machineID": read("/etc/machine-id"), "systemUUID": "", "bootID": read("/proc/sys/kernel/random/boot_id"),
            "kernelVersion": read("/proc/sys/kernel/osrelease"), "osImage": os_image(),
            "containerRuntimeVersion": concat!("hikeshi://", env!("CARGO_PKG_VERSION")),
            "kubeletVersion": concat!("v1.33.0-hikeshi.", env!("CARGO_PKG_VERSION")), "kubeProxyVersion": "",
            "operatingSystem": "linux", "architecture": architecture,
        },
    })
}

/// Makes the node if it is not there; labels that people have set stay.
async fn register(nodes: &Api<Node>, node: &NodeTemplate) -> Result<(), Error> {
    let labels = json!({
        "kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": node.zone, "topology.kubernetes.io/region": "local",
    });
    let found = nodes.get_opt(&node.name).await?;
    if found.is_none() {
        let object: Node = serde_json::from_value(json!({"metadata": {"name": node.name, "labels": labels}}))
            .map_err(Error::SerdeError)?;
        match nodes.create(&Default::default(), &object).await {
            Err(Error::Api(status)) if status.code == 409 => {}
            other => {
                other?;
            }
        }
    }
    Ok(())
}

/// Says that the node's kubelet lives: its lease, which the node controller watches.
async fn renew(leases: &Api<Lease>, node: &str) -> Result<(), Error> {
    let renewed = json!({"spec": {"holderIdentity": node, "leaseDurationSeconds": 40,
        "renewTime": format!("{:.6}", Timestamp::now())}});
    match leases
        .patch(node, &PatchParams::default(), &Patch::Merge(&renewed))
        .await
    {
        Err(Error::Api(status)) if status.code == 404 => {
            let mut lease = renewed;
            lease["metadata"] = json!({"name": node});
            let lease: Lease = serde_json::from_value(lease).map_err(Error::SerdeError)?;
            leases.create(&Default::default(), &lease).await.map(drop)
        }
        other => other.map(drop),
    }
}

/// Writes the node's whole status; makes the node if it is not there.
async fn write(nodes: &Api<Node>, node: &NodeTemplate, since: Timestamp) -> Result<(), Error> {
    let patch = Patch::Merge(json!({"status": status(since)}));
    let parameters = PatchParams::default();
    match nodes.patch_status(&node.name, &parameters, &patch).await {
        // Deleted by hand, or the first time.
        Err(Error::Api(status)) if status.code == 404 => {
            register(nodes, node).await?;
            nodes
                .patch_status(&node.name, &parameters, &patch)
                .await
                .map(drop)
        }
        other => other.map(drop),
    }
}

/// Whether somebody switched the node off.
pub fn is_off(node: &Node) -> bool {
    let annotations = node.metadata.annotations.as_ref();
    annotations.is_some_and(|all| all.get(POWER).is_some_and(|value| value == "off"))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What is known of one node between beats.
struct Beat {
    /// Since when it has been on.
    since: Timestamp,
    /// When its status was last written; `None` while it is off.
    written: Option<Instant>,
}

impl Kubelet {
    /// Whether pods of this node have a machine to run on.
    pub(super) fn is_on(&self, node: &str) -> bool {
        self.caches.node(node).is_none_or(|node| !is_off(&node))
    }

    /// Whether the API shows the pod's node as ready.
    pub(super) fn has_ready_node(&self, pod: &Pod) -> bool {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        node.and_then(|node| self.caches.node(node))
            .is_some_and(|node| is_ready(&node))
    }

    /// Keeps the nodes that are on alive in the API until `shutdown`; of those that are off nothing is heard.
    pub(super) async fn keep_nodes(self: Arc<Self>, shutdown: CancellationToken) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASES);
        let mut beats: HashMap<String, Beat> = HashMap::new();
        let mut changed = self.caches.pods_changed();
        let mut ticks = tokio::time::interval(HEARTBEAT);
        loop {
            let all = tokio::select! {
                _ = ticks.tick() => true,
                outcome = changed.changed() => if outcome.is_err() { return } else { false },
                () = shutdown.cancelled() => return,
            };
            for node in &self.config.nodes {
                let now = Timestamp::now();
                let beat = beats.entry(node.name.clone()).or_insert(Beat {
                    since: now,
                    written: None,
                });
                if !self.is_on(&node.name) {
                    beat.written = None;
                    continue;
                }
                if beat.written.is_some() && !all {
                    continue;
                }
                let known = self.caches.node(&node.name);
                let told = known.is_some_and(|node| is_ready(&node));
                let due = beat
                    .written
                    .is_none_or(|written| written.elapsed() >= STATUS_PERIOD);
                let work = async {
                    renew(&leases, &node.name).await?;
                    if due || !told {
                        if beat.written.is_none() {
                            beat.since = now;
                        }
                        write(&nodes, node, beat.since).await?;
                        beat.written = Some(Instant::now());
                    }
                    Ok::<_, Error>(())
                };
                if let Err(error) = work.await {
                    tracing::warn!(node = node.name, %error, "the node's heartbeat was not written");
                }
            }
        }
    }
}
