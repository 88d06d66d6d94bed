//! The virtual nodes: objects that the scheduler places pods on. All are this machine.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Error};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::NodeTemplate;

/// Every node's address: ports of pods do not exist outside their namespaces.
pub const HOST_IP: &str = "127.0.0.1";
const HEARTBEAT: Duration = Duration::from_secs(10);

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

/// Keeps the node objects there and Ready until `shutdown`.
pub async fn run(client: Client, templates: Vec<NodeTemplate>, shutdown: CancellationToken) {
    let nodes: Api<Node> = Api::all(client);
    let since = Timestamp::now();
    let mut beat = tokio::time::interval(HEARTBEAT);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = shutdown.cancelled() => return,
        }
        for node in &templates {
            let patch = Patch::Merge(json!({"status": status(since)}));
            let outcome = match nodes
                .patch_status(&node.name, &PatchParams::default(), &patch)
                .await
            {
                // Deleted by hand, or the first time.
                Err(Error::Api(status)) if status.code == 404 => match register(&nodes, node).await {
                    Ok(()) => nodes
                        .patch_status(&node.name, &PatchParams::default(), &patch)
                        .await
                        .map(drop),
                    Err(error) => Err(error),
                },
                other => other.map(drop),
            };
            if let Err(error) = outcome {
                tracing::warn!(node = node.name, %error, "the node's status was not written");
            }
        }
    }
}
