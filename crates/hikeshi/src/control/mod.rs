//! The control process: API server, controllers, kubelet and network agent in one, beside a data plane and pods
//! that outlive it.

pub mod apply;
mod bridge;
pub mod dataplane;
pub mod ending;
pub mod host_service;
pub mod lock;
pub mod manifests;
mod metrics;
pub mod namespaces;
pub mod ports;
pub mod process;
pub mod program;
pub mod readiness;
pub mod record;
pub mod seats;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hikeshi_apiserver::{ApiServerConfig, AuditEvent, Pki};
use hikeshi_node::netagent::{HostListenerSpec, NetAgentConfig};
use hikeshi_node::{Kubelet, KubeletConfig, NodeTemplate};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// Where the API server listens when the port is free.
const API_PORT: u16 = 7443;
/// Where seats decide what is served. Not the war room's address: cookies know addresses but no ports, so a browser
/// would show a pod the session of whoever opens its page.
const SEATS_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OUR_ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// What people outside the cluster may reach.
struct Entrance {
    name: &'static str,
    address: Ipv4Addr,
    /// When it is free.
    usual_port: u16,
    /// Namespace, name and port of the Service behind it.
    service: (&'static str, &'static str, u16),
}

const fn entrance(
    name: &'static str,
    address: Ipv4Addr,
    usual_port: u16,
    service: (&'static str, &'static str, u16),
) -> Entrance {
    Entrance {
        name,
        address,
        usual_port,
        service,
    }
}

const ENTRANCES: [Entrance; 5] = [
    entrance("chirpy", SEATS_ADDRESS, 7780, ("chirpy", "gateway", 80)),
    entrance(
        "prometheus",
        OUR_ADDRESS,
        7790,
        ("monitoring", "prometheus", 9090),
    ),
    entrance(
        "alertmanager",
        OUR_ADDRESS,
        7793,
        ("monitoring", "alertmanager", 9093),
    ),
    entrance("load", OUR_ADDRESS, 7795, ("hikeshi-load", "chirpy-load", 80)),
    // Leads to no Service by itself: Ingress objects are served there.
    entrance("ingress", SEATS_ADDRESS, 7781, ("", "", 0)),
];
/// How long `up` waits for the entrances: a port that somebody else has is no reason to fail.
const ENTRANCES_OPEN: Duration = Duration::from_secs(10);
/// The system's namespace: seats' default, and where they may act.
pub const SYSTEM_NAMESPACE: &str = "chirpy";

/// How to start.
pub struct ControlOptions {
    pub paths: Paths,
    pub share: PathBuf,
    /// When this descriptor's other end closes, data plane and pods end (rehearsals and tests).
    pub lifeline: Option<OwnedFd>,
}

/// A running cluster. Dropping it stops control's own tasks; pods and data plane go on.
pub struct Control {
    pub paths: Paths,
    pub share: PathBuf,
    pub client: kube::Client,
    pub pki: Arc<Pki>,
    pub api_address: SocketAddr,
    /// Host addresses of `chirpy`, `prometheus`, `alertmanager` and `load`, as far as they are bound.
    pub host_addresses: watch::Receiver<BTreeMap<String, SocketAddr>>,
    pub audit: mpsc::UnboundedReceiver<AuditEvent>,
    pub shutdown: CancellationToken,
    kubelet: JoinHandle<()>,
    _lock: lock::Lock,
}

/// How long the kubelet may take to put down what it has in hand: longer than a pod may take to end.
const KUBELET_STOPS: Duration = Duration::from_secs(60);

impl Control {
    /// Starts (or goes on with) the cluster of this state folder.
    pub async fn start(options: ControlOptions) -> Result<Self, Failure> {
        let ControlOptions {
            paths,
            share,
            lifeline,
        } = options;
        paths.create()?;
        let lock = lock::Lock::take(&paths.lock())?;
        let program = program::install(&paths)?;
        let pki = Arc::new(Pki::load_or_create(&paths.pki()).component("making the cluster's certificates")?);
        let dataplane = dataplane::ensure(&paths.dataplane(), &program, lifeline.as_ref())?;

        let shutdown = CancellationToken::new();
        let line = lifeline
            .as_ref()
            .map(OwnedFd::try_clone)
            .transpose()
            .component("copying the lifeline")?;
        let keep = dataplane::keep(
            paths.dataplane(),
            program.clone(),
            line,
            dataplane,
            shutdown.clone(),
        );
        tokio::spawn(keep);
        let (audit_tx, audit) = mpsc::unbounded_channel();
        let late = Arc::new(bridge::LateKubelet::default());
        let before = record::Record::read(&paths);
        let api_port = before.as_ref().map_or(API_PORT, |record| record.api.port());
        let api_config = ApiServerConfig {
            store_dir: paths.store(),
            pki: pki.clone(),
            listen: ports::usual_or_free(OUR_ADDRESS, api_port),
            default_namespace: SYSTEM_NAMESPACE.into(),
        };
        let api = hikeshi_apiserver::serve(api_config, late.clone(), audit_tx, shutdown.clone())
            .await
            .component("starting the API server")?;
        let api_address = api.addr;
        let url = format!("https://{api_address}");
        let component = pki
            .issue_client("hikeshi-control", &["hikeshi:component", "system:masters"])
            .component("issuing control's certificate")?;
        let client = client_of(&pki.kubeconfig(&url, &component, SYSTEM_NAMESPACE)).await?;
        let admin = pki
            .issue_client("admin", &["system:masters"])
            .component("issuing the administrator's certificate")?;
        seats::write_private(
            &paths.kubeconfig(),
            &pki.kubeconfig(&url, &admin, SYSTEM_NAMESPACE),
        )?;

        let tokens = pki.clone();
        let kubelet = Kubelet::new(
            client.clone(),
            KubeletConfig {
                state_dir: paths.home.clone(),
                images_dir: share.join("images"),
                init_program: program,
                nodes: ["a", "b", "c"]
                    .map(|zone| NodeTemplate {
                        name: format!("node-{zone}"),
                        zone: format!("zone-{zone}"),
                    })
                    .into(),
                ca_pem: pki.ca_pem().to_owned(),
                token_for: Arc::new(move |of| tokens.pod_token(of.namespace, of.account, of.pod, of.pod_uid)),
                lifeline,
            },
        );
        late.set(kubelet.clone());
        let (bound_tx, host_addresses) = watch::channel(BTreeMap::new());
        api.serve_metrics_from(Arc::new(metrics::SystemMetrics::new(host_addresses.clone())));
        let agent = NetAgentConfig {
            state_dir: paths.home.clone(),
            dataplane_dir: paths.dataplane(),
            host_listeners: host_listeners(before.as_ref()),
            metrics_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            on_bound: bound_tx,
        };
        guard(
            "controllers",
            &shutdown,
            hikeshi_controllers::run(client.clone(), shutdown.clone()),
        );
        let kubelet = guard("kubelet", &shutdown, kubelet.run(shutdown.clone()));
        tokio::spawn(hikeshi_node::netagent::run(
            client.clone(),
            agent,
            shutdown.clone(),
        ));
        tokio::spawn(host_service::keep_edges(
            client.clone(),
            host_addresses.clone(),
            shutdown.clone(),
        ));
        Ok(Self {
            paths,
            share,
            client,
            pki,
            api_address,
            host_addresses,
            audit,
            shutdown,
            kubelet,
            _lock: lock,
        })
    }

    /// Applies the objects of `systems/NAME` and waits until everything is ready. Answers the number of pods.
    pub async fn bring_up(
        &self,
        system: &str,
        extra: &[serde_json::Value],
        mut progress: impl FnMut(String),
    ) -> Result<u32, Failure> {
        let folder = self.share.join("systems").join(system);
        if !folder.is_dir() {
            return Err(Failure::usage(format!(
                "no system is called {system:?} (looked in {})",
                folder.display()
            )));
        }
        let objects = manifests::read(&folder)?;
        let applier = apply::Applier::new(self.client.clone()).await?;
        let (first, rest): (Vec<_>, Vec<_>) =
            objects.iter().partition(|object| object["kind"] == "Namespace");
        progress(format!(
            "applying {} objects of {system}",
            objects.len() + extra.len()
        ));
        for object in first.into_iter().chain(extra).chain(rest) {
            applier.apply(object).await?;
        }
        readiness::wait(&self.client, Duration::from_secs(180), progress).await
    }

    /// Stops control's own tasks, and waits until the kubelet has let go of its pods: what it still writes or starts would come
    /// between whoever removes their folders next.
    pub async fn stop(&mut self) {
        self.shutdown.cancel();
        if tokio::time::timeout(KUBELET_STOPS, &mut self.kubelet)
            .await
            .is_err()
        {
            tracing::warn!("the kubelet does not stop");
        }
    }

    /// Waits until the data plane has opened every entrance: whoever is told that the system is up is told where.
    pub async fn entrances_are_open(&self) {
        let mut known = self.host_addresses.clone();
        let all = known.wait_for(|known| ENTRANCES.iter().all(|entrance| known.contains_key(entrance.name)));
        if tokio::time::timeout(ENTRANCES_OPEN, all).await.is_err() {
            tracing::warn!(open = ?self.host_addresses.borrow(), "not every entrance could be opened");
        }
    }

    /// The host address of a named listener, once the data plane has bound it.
    pub fn host_address(&self, name: &str) -> Option<SocketAddr> {
        self.host_addresses.borrow().get(name).copied()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn host_listeners(before: Option<&record::Record>) -> Vec<HostListenerSpec> {
    let spec = |entrance: &Entrance| {
        let (namespace, service, port) = entrance.service;
        HostListenerSpec {
            name: entrance.name.into(),
            // The data plane may still hold the address from before: then asking for the same changes nothing.
            listen: before
                .and_then(|record| record.hosts.get(entrance.name).copied())
                .unwrap_or_else(|| ports::usual_or_free(entrance.address, entrance.usual_port)),
            namespace: namespace.into(),
            service: service.into(),
            port,
        }
    };
    ENTRANCES.iter().map(spec).collect()
}

/// A client from a kubeconfig's text.
pub async fn client_of(kubeconfig: &str) -> Result<kube::Client, Failure> {
    let kubeconfig =
        kube::config::Kubeconfig::from_yaml(kubeconfig).component("reading our own kubeconfig")?;
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
            .await
            .component("reading our own kubeconfig")?;
    kube::Client::try_from(config).component("making a Kubernetes client")
}

/// Runs one part of control; if it fails, control as a whole stops rather than limp.
fn guard<E: std::fmt::Display + Send>(
    part: &'static str,
    shutdown: &CancellationToken,
    work: impl Future<Output = Result<(), E>> + Send + 'static,
) -> JoinHandle<()> {
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        if let Err(error) = work.await {
            tracing::error!(part, %error, "a part of control has failed; stopping");
            shutdown.cancel();
        }
    })
}
