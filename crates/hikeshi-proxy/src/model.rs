//! What control tells the data plane, and what it hears back.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::faults::Fault;

/// The whole world as the data plane should make it. A later snapshot replaces an earlier one entirely.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Chosen by control, echoed in [`Applied`].
    pub version: u64,
    pub pods: Vec<PodLink>,
    pub services: Vec<Service>,
    pub host_listeners: Vec<HostListener>,
    pub faults: Vec<Fault>,
    /// Where Prometheus finds the edge metrics (`GET /metrics`); port 0 asks for a free one.
    pub metrics_listen: Option<SocketAddr>,
}

/// A running pod and the way into its network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodLink {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    /// The name metrics use: the Deployment's, StatefulSet's or Job's, else the pod's own.
    pub workload: String,
    pub node: String,
    pub ip: Ipv4Addr,
    /// The socket of the pod's init, see [`crate::podlink`].
    pub init_sock: PathBuf,
    /// Every port other pods may reach on this pod's address.
    pub ports: Vec<PodPort>,
}

/// A port that a pod declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPort {
    pub name: Option<String>,
    pub port: u16,
    pub protocol_hint: AppProtocol,
}

/// How the data plane reads a connection's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppProtocol {
    /// HTTP/1.1: balanced, measured and faulted per request.
    Http,
    /// Anything else: balanced per connection.
    #[default]
    Tcp,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    /// `None` for a headless Service: only an ingress listener can name it.
    pub cluster_ip: Option<Ipv4Addr>,
    pub port: u16,
    pub app_protocol: AppProtocol,
    /// Ready endpoints only.
    pub backends: Vec<Backend>,
}

/// Where a Service's connections go: a pod's address, or (when no pod has it) an address of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Backend {
    pub addr: Ipv4Addr,
    pub port: u16,
}

impl Backend {
    pub fn socket_addr(self) -> SocketAddrV4 {
        SocketAddrV4::new(self.addr, self.port)
    }
}

/// An entrance from the host (the ingress): a loopback address of the host that leads to Services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostListener {
    /// Names the listener in [`Applied::bound`], and is the `source` of its edges in the metrics.
    pub name: String,
    /// Port 0 asks for a free one.
    pub listen: SocketAddr,
    /// Where a request goes that no rule is about, and every connection of a listener without rules. With an empty
    /// `service` such a request is answered with 404.
    pub namespace: String,
    pub service: String,
    pub port: u16,
    /// Looked at per request, in the order of [`IngressRule`]'s words, whatever their order here. A listener with rules
    /// speaks HTTP. Changing them keeps the listener and its connections.
    #[serde(default)]
    pub rules: Vec<IngressRule>,
}

/// Where requests for a host and path go. Of several that match, the more exact host wins (a name before `*.` before
/// none), then the longer path, then `Exact` before `Pattern` before `Prefix`, then one with conditions, then the one that
/// stands first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressRule {
    /// A name, compared without its case and without the request's port, or `*.example.com` (exactly one label in the
    /// star's place, as the Ingress API has it). `None` is every host.
    pub host: Option<String>,
    /// Begins with `/`.
    pub path: String,
    pub kind: PathKind,
    /// All must hold.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// A request goes to one of them by weight. Without any weight above 0 it is answered with 503.
    pub backends: Vec<IngressBackend>,
}

/// How a rule's path is compared, without the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// The whole path, its case included.
    Exact,
    /// Element by element: `/a` covers `/a`, `/a/` and `/a/b`, not `/ab`.
    Prefix,
    /// The whole path, where `*` is any number of characters (slashes too) and `?` exactly one.
    Pattern,
}

/// What else a request must be for a rule to be about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// One of these, in upper case.
    Method(Vec<String>),
    /// A header (its name in any case) with a value that fits one of these patterns (`*`, `?`).
    Header { name: String, values: Vec<String> },
}

/// A Service's port and its share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressBackend {
    pub namespace: String,
    pub service: String,
    pub port: u16,
    /// 0 to 1,000, in proportion to the rule's other weights. Shares are exact: 1 beside 999 is one request in any 1,000
    /// in a row.
    pub weight: u16,
}

/// The answer to a snapshot: everything is in force except what `problems` lists. The next apply tries those again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub version: u64,
    /// Host listeners by name, with the address each one got.
    pub bound: BTreeMap<String, SocketAddr>,
    pub metrics: Option<SocketAddr>,
    pub problems: Vec<Problem>,
}

/// One thing of a snapshot that is not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `pod/NS/NAME`, `listener/NAME`, `fault/ID` or `metrics`.
    pub subject: String,
    pub message: String,
}
