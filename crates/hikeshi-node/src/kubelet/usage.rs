//! What pods and nodes use, measured every few seconds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use jiff::Timestamp;

use crate::shim::InitClient;
use crate::shim::protocol::{Request, UsageReply};

/// CPU and memory of one pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodUsage {
    pub namespace: String,
    pub name: String,
    pub node: String,
    pub containers: Vec<ContainerUsage>,
    pub at: Timestamp,
    pub window_seconds: f64,
}

/// CPU and memory of one container. A whole core is 1,000,000,000 nanocores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUsage {
    pub name: String,
    pub cpu_nanocores: u64,
    pub memory_bytes: u64,
}

/// CPU and memory of one node: the sum of its pods.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeUsage {
    pub name: String,
    pub cpu_nanocores: u64,
    pub memory_bytes: u64,
    pub at: Timestamp,
    pub window_seconds: f64,
}

/// How often usage is measured, and so the window of a rate.
pub const WINDOW: Duration = Duration::from_secs(5);

/// Pods asked at the same time.
const AT_ONCE: usize = 64;
/// A pod whose init takes longer is left out.
const PATIENCE: Duration = Duration::from_secs(2);

/// A pod to be measured.
pub struct Measured {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub node: String,
    pub dir: std::path::PathBuf,
}

#[derive(Default)]
pub struct Meter {
    previous: HashMap<String, (Instant, UsageReply)>,
}

impl Meter {
    /// Asks every init; a pod appears once two measurements of it exist.
    pub async fn measure(&mut self, pods: Vec<Measured>) -> Vec<PodUsage> {
        let mut present = HashMap::new();
        let mut usages = Vec::new();
        // Side by side: one that does not answer keeps nobody waiting.
        let answers = stream::iter(pods.into_iter().map(ask)).buffer_unordered(AT_ONCE);
        let answers: Vec<_> = answers.filter_map(std::future::ready).collect().await;
        for (pod, now, reply) in answers {
            if let Some((then, before)) = self.previous.get(&pod.uid) {
                let window = (now - *then).as_secs_f64();
                usages.push(PodUsage {
                    namespace: pod.namespace,
                    name: pod.name,
                    node: pod.node,
                    containers: rates(before, &reply, window),
                    at: Timestamp::now(),
                    window_seconds: window,
                });
            }
            present.insert(pod.uid, (now, reply));
        }
        self.previous = present;
        usages
    }
}

/// What an init says, and when it said it.
async fn ask(pod: Measured) -> Option<(Measured, Instant, UsageReply)> {
    let mut init = InitClient::connect(&pod.dir).ok()?;
    let reply = tokio::time::timeout(PATIENCE, init.call::<UsageReply>(&Request::Usage)).await;
    let reply = reply.ok()?.ok()?;
    Some((pod, Instant::now(), reply))
}

fn rates(before: &UsageReply, now: &UsageReply, seconds: f64) -> Vec<ContainerUsage> {
    let containers = now.containers.iter().map(|container| {
        let past = before
            .containers
            .iter()
            .find(|past| past.name == container.name)
            .map_or(0, |past| past.cpu_nanos);
        ContainerUsage {
            name: container.name.clone(),
            cpu_nanocores: (container.cpu_nanos.saturating_sub(past) as f64 / seconds.max(1e-3)) as u64,
            memory_bytes: container.memory_bytes,
        }
    });
    containers.collect()
}

/// Sums by node; every node appears.
pub fn by_node(nodes: impl IntoIterator<Item = String>, pods: &[PodUsage]) -> Vec<NodeUsage> {
    let sums = nodes.into_iter().map(|name| {
        let mine = || pods.iter().filter(|pod| pod.node == name);
        let containers = || mine().flat_map(|pod| &pod.containers);
        NodeUsage {
            cpu_nanocores: containers().map(|container| container.cpu_nanocores).sum(),
            memory_bytes: containers().map(|container| container.memory_bytes).sum(),
            at: mine().map(|pod| pod.at).max().unwrap_or_else(Timestamp::now),
            window_seconds: mine()
                .map(|pod| pod.window_seconds)
                .next()
                .unwrap_or(WINDOW.as_secs_f64()),
            name,
        }
    });
    sums.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::protocol::ContainerUsage as Raw;

    #[test]
    fn a_rate_is_cpu_time_over_the_window() {
        let reply = |cpu_nanos| UsageReply {
            root_bytes: 0,
            containers: vec![Raw {
                name: "c".into(),
                cpu_nanos,
                memory_bytes: 7,
            }],
        };
        let usage = rates(&reply(1_000_000_000), &reply(2_000_000_000), 4.0);
        assert_eq!(
            usage,
            [ContainerUsage {
                name: "c".into(),
                cpu_nanocores: 250_000_000,
                memory_bytes: 7
            }]
        );
    }
}
