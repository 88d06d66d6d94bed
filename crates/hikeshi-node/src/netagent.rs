//! The network agent: watches what the data plane must know (pods, Services, EndpointSlices, network and HTTP faults),
//! keeps it told, and writes back into each fault's status what became of it.
//!
//! [`world`], [`ingress`], [`network_chaos`], [`http_chaos`] and [`status`] are pure; [`agent`] does the talking.

mod agent;
pub(crate) mod chaos;
mod entrance;
mod http_chaos;
mod ingress;
mod names;
mod network_chaos;
pub(crate) mod status;
pub(crate) mod stores;
mod world;
mod writes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// An entrance from the host's loopback to a Service's port, or to what the Ingress objects say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostListenerSpec {
    /// Names it in [`NetAgentConfig::on_bound`] and as `source` in the edge metrics.
    pub name: String,
    /// Port 0 asks for a free one.
    pub listen: SocketAddr,
    pub namespace: String,
    /// Empty: this is the entrance that Ingress objects are served at; a request no rule is about is answered with 404.
    pub service: String,
    pub port: u16,
}

impl HostListenerSpec {
    fn is_ingress(&self) -> bool {
        self.service.is_empty()
    }
}

/// What the agent needs besides the API.
#[derive(Debug, Clone)]
pub struct NetAgentConfig {
    /// Pods' inits listen at `state_dir/pods/UID/init.sock`.
    pub state_dir: PathBuf,
    /// The data plane's folder. The agent does not start the process; it connects, and connects again.
    pub dataplane_dir: PathBuf,
    pub host_listeners: Vec<HostListenerSpec>,
    /// Where Prometheus finds the edge metrics; its bound address is told as [`METRICS`].
    pub metrics_listen: Option<SocketAddr>,
    /// Told the address of every host listener by name, whenever that changes.
    pub on_bound: watch::Sender<BTreeMap<String, SocketAddr>>,
}

/// The metrics listener's name in [`NetAgentConfig::on_bound`].
pub const METRICS: &str = "metrics";

/// Runs until `shutdown`. Every fault is lifted then, for the data plane's connection closes.
pub async fn run(client: kube::Client, config: NetAgentConfig, shutdown: CancellationToken) {
    agent::Agent::new(client, config).run(shutdown).await;
}
