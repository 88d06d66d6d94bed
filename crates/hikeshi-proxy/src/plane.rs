//! The data plane's state, and how a snapshot becomes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::faults::{Fault, FaultBoard};
use crate::ingress_route::RouteNames;
use crate::l7::HttpPool;
use crate::link::Listened;
use crate::listener::{self, Accepting};
use crate::metrics::Metrics;
use crate::model::{Applied, HostListener, PodLink, Problem, Snapshot};
use crate::router;
use crate::routes::{Destination, Peer, Pod, Routes};
use crate::workers::Workers;

/// What every connection needs.
#[derive(Debug)]
pub(crate) struct Shared {
    routes: RwLock<Arc<Routes>>,
    routes_version: AtomicU64,
    pub board: Arc<FaultBoard>,
    pub metrics: Metrics,
    pub pool: HttpPool,
    pub host: Arc<Peer>,
    pub route_names: RouteNames,
    pub workers: Workers,
}

impl Shared {
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Grows after every change of the routes.
    pub fn routes_version(&self) -> u64 {
        self.routes_version.load(Ordering::Acquire)
    }

    fn set_routes(&self, routes: Arc<Routes>) {
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
        self.routes_version.fetch_add(1, Ordering::AcqRel);
    }
}

/// A pod and its open listeners.
struct PodEntry {
    pod: Arc<Pod>,
    listeners: HashMap<SocketAddrV4, Accepting>,
}

struct HostEntry {
    name: String,
    asked: SocketAddr,
    bound: SocketAddr,
    _accepting: Accepting,
}

impl HostEntry {
    /// Whether it is already what is wanted: where it leads is the routes' matter. Asking by the address that a free port
    /// became changes nothing.
    fn serves(&self, wanted: &HostListener) -> bool {
        wanted.name == self.name && (wanted.listen == self.asked || wanted.listen == self.bound)
    }
}

/// Applies snapshots, one after the other.
pub(crate) struct Plane {
    pub shared: Arc<Shared>,
    pods: BTreeMap<String, PodEntry>,
    host: BTreeMap<String, HostEntry>,
    /// What was asked for, what came of it.
    metrics: Option<(SocketAddr, SocketAddr, Accepting)>,
}

impl Plane {
    /// Fails when its threads cannot be started.
    pub fn new() -> std::io::Result<Self> {
        let shared = Shared {
            routes: RwLock::default(),
            routes_version: AtomicU64::new(0),
            board: Arc::new(FaultBoard::new()),
            metrics: Metrics::new(),
            pool: HttpPool::default(),
            host: Arc::new(Peer::host("host")),
            route_names: RouteNames::default(),
            workers: Workers::start()?,
        };
        Ok(Self {
            shared: Arc::new(shared),
            pods: BTreeMap::new(),
            host: BTreeMap::new(),
            metrics: None,
        })
    }

    /// Makes `snapshot` so. Faults first: a pod that does not answer must not hold them up.
    pub async fn apply(&mut self, snapshot: Snapshot) -> Applied {
        let mut applied = Applied {
            version: snapshot.version,
            ..Default::default()
        };
        self.post_faults(snapshot.faults, &mut applied.problems);
        self.replace_pods(&snapshot.pods, &mut applied.problems);
        let pods = self.pods.values().map(|entry| entry.pod.clone());
        let routes = Arc::new(Routes::new(
            pods,
            &snapshot.services,
            &snapshot.host_listeners,
            &self.shared.routes(),
        ));
        self.shared.set_routes(routes.clone());
        self.shared.pool.prune();
        self.open_pod_listeners(&routes, &mut applied.problems).await;
        self.open_host_listeners(&snapshot.host_listeners, &mut applied)
            .await;
        self.open_metrics(snapshot.metrics_listen, &mut applied).await;
        applied
    }

    fn post_faults(&self, faults: Vec<Fault>, problems: &mut Vec<Problem>) {
        let mut good = Vec::with_capacity(faults.len());
        for fault in faults {
            match fault.validate() {
                Ok(()) => good.push(fault),
                Err(message) => problems.push(Problem {
                    subject: format!("fault/{}", fault.id),
                    message,
                }),
            }
        }
        self.shared.board.post(good);
    }

    fn replace_pods(&mut self, wanted: &[PodLink], problems: &mut Vec<Problem>) {
        let known = self.pods.values().map(|entry| &entry.pod.spec);
        let change = pod_change(known, wanted);
        for uid in change.gone {
            if let Some(entry) = self.pods.remove(&uid) {
                entry.pod.peer.gone.ring();
            }
        }
        for spec in change.changed {
            if let Some(entry) = self.pods.get_mut(&spec.uid) {
                entry.pod = Arc::new(entry.pod.described(spec));
            }
        }
        for spec in change.new {
            match Pod::start(spec.clone()) {
                Ok(pod) => {
                    let entry = PodEntry {
                        pod: Arc::new(pod),
                        listeners: HashMap::new(),
                    };
                    self.pods.insert(spec.uid.clone(), entry);
                }
                Err(error) => problems.push(Problem {
                    subject: subject(&spec),
                    message: error.to_string(),
                }),
            }
        }
    }

    async fn open_pod_listeners(&mut self, routes: &Routes, problems: &mut Vec<Problem>) {
        let mut asked = JoinSet::new();
        for (uid, entry) in &mut self.pods {
            // Another init is another network namespace, where none of the old listeners is. They stay until they are
            // replaced, for an init that is only slow is still the same.
            let renew = !entry.pod.link.is_alive();
            let wanted: BTreeSet<_> = routes.reachable_from(entry.pod.spec.ip).collect();
            entry.listeners.retain(|address, _| wanted.contains(address));
            let missing: Vec<_> = wanted
                .into_iter()
                .filter(|address| renew || !entry.listeners.contains_key(address))
                .collect();
            if !missing.is_empty() {
                let (uid, pod) = (uid.clone(), entry.pod.clone());
                asked.spawn(async move { (uid, pod.link.listen(missing).await) });
            }
        }
        // As they answer: one that is slow keeps no other from its listeners.
        while let Some(answer) = asked.join_next().await {
            let Ok((uid, listened)) = answer else {
                continue;
            };
            if let Some(entry) = self.pods.get_mut(&uid) {
                start_listeners(&self.shared, entry, listened, problems);
            }
        }
    }

    async fn open_host_listeners(&mut self, wanted: &[HostListener], applied: &mut Applied) {
        self.host
            .retain(|_, entry| wanted.iter().any(|spec| entry.serves(spec)));
        for spec in wanted {
            let refused = router::problems(spec).into_iter().map(|message| Problem {
                subject: format!("listener/{}", spec.name),
                message,
            });
            applied.problems.extend(refused);
            if !self.host.contains_key(&spec.name) {
                let opened = TcpListener::bind(spec.listen).await.and_then(|listener| {
                    let bound = listener.local_addr()?;
                    let destination = Destination::Listener(spec.name.clone());
                    let source = Arc::new(Peer::host(&spec.name));
                    let accepting = listener::accept(self.shared.clone(), listener, source, destination);
                    Ok(HostEntry {
                        name: spec.name.clone(),
                        asked: spec.listen,
                        bound,
                        _accepting: accepting,
                    })
                });
                match opened {
                    Ok(entry) => {
                        self.host.insert(spec.name.clone(), entry);
                    }
                    Err(error) => applied.problems.push(Problem {
                        subject: format!("listener/{}", spec.name),
                        message: format!("{}: {error}", spec.listen),
                    }),
                }
            }
            if let Some(entry) = self.host.get(&spec.name) {
                applied.bound.insert(spec.name.clone(), entry.bound);
            }
        }
    }

    async fn open_metrics(&mut self, wanted: Option<SocketAddr>, applied: &mut Applied) {
        if self.metrics.as_ref().map(|(asked, ..)| *asked) != wanted {
            self.metrics = None;
            if let Some(wanted) = wanted {
                let opened = TcpListener::bind(wanted).await.and_then(|listener| {
                    Ok((
                        wanted,
                        listener.local_addr()?,
                        listener::serve_metrics(self.shared.clone(), listener),
                    ))
                });
                match opened {
                    Ok(opened) => self.metrics = Some(opened),
                    Err(error) => applied.problems.push(Problem {
                        subject: "metrics".into(),
                        message: format!("{wanted}: {error}"),
                    }),
                }
            }
        }
        applied.metrics = self.metrics.as_ref().map(|(_, bound, _)| *bound);
    }
}

fn subject(spec: &PodLink) -> String {
    format!("pod/{}/{}", spec.namespace, spec.name)
}

fn start_listeners(
    shared: &Arc<Shared>,
    entry: &mut PodEntry,
    listened: Listened,
    problems: &mut Vec<Problem>,
) {
    let mut problem = |message| {
        problems.push(Problem {
            subject: subject(&entry.pod.spec),
            message,
        })
    };
    for (address, descriptor) in listened.opened {
        match adopt(descriptor) {
            Ok(listener) => {
                let source = entry.pod.peer.clone();
                let accepting =
                    listener::accept(shared.clone(), listener, source, Destination::Address(address));
                entry.listeners.insert(address, accepting);
            }
            Err(error) => problem(format!("{address}: {error}")),
        }
    }
    for (address, reason) in listened.refused {
        problem(format!("{address}: {reason}"));
    }
    if let Some(error) = listened.broken {
        problem(format!("its init: {error}"));
    }
}

fn adopt(descriptor: OwnedFd) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(descriptor);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

#[derive(Debug, Default, PartialEq)]
struct PodChange {
    gone: Vec<String>,
    /// The same pod, described otherwise: its connections live on.
    changed: Vec<PodLink>,
    new: Vec<PodLink>,
}

/// What ends, what goes on otherwise, and what begins. A uid whose address or init moved is another pod.
fn pod_change<'a>(known: impl Iterator<Item = &'a PodLink>, wanted: &[PodLink]) -> PodChange {
    let mut change = PodChange::default();
    let mut stay = BTreeSet::new();
    for old in known {
        let now = wanted.iter().find(|pod| pod.uid == old.uid);
        match now.filter(|pod| pod.ip == old.ip && pod.init_sock == old.init_sock) {
            None => change.gone.push(old.uid.clone()),
            Some(now) => {
                stay.insert(old.uid.as_str());
                if now != old {
                    change.changed.push(now.clone());
                }
            }
        }
    }
    let is_new = |pod: &&PodLink| !stay.contains(pod.uid.as_str());
    change.new = wanted.iter().filter(is_new).cloned().collect();
    change
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn pod(uid: &str, name: &str, last: u8) -> PodLink {
        PodLink {
            uid: uid.into(),
            namespace: "chirpy".into(),
            name: name.into(),
            workload: name.into(),
            node: "node-1".into(),
            ip: Ipv4Addr::new(127, 64, 0, last),
            init_sock: format!("/pods/{uid}/init.sock").into(),
            ports: Vec::new(),
        }
    }

    #[test]
    fn a_pod_that_comes_back_with_its_name_and_address_is_another_pod() {
        let old = [pod("a", "redis-0", 1), pod("b", "redis-1", 2)];
        let new = [pod("c", "redis-0", 1), pod("b", "redis-1", 2)];
        let change = pod_change(old.iter(), &new);
        assert_eq!(
            change,
            PodChange {
                gone: vec!["a".into()],
                changed: vec![],
                new: vec![pod("c", "redis-0", 1)]
            }
        );
    }

    #[test]
    fn a_pod_with_another_port_is_the_same_pod() {
        let old = [pod("a", "redis-0", 1)];
        let mut new = old.clone();
        new[0].node = "node-2".into();
        let change = pod_change(old.iter(), &new);
        assert_eq!(
            change,
            PodChange {
                changed: new.to_vec(),
                ..Default::default()
            }
        );
    }

    #[test]
    fn the_same_pods_change_nothing() {
        let pods = [pod("a", "redis-0", 1), pod("b", "redis-1", 2)];
        assert_eq!(pod_change(pods.iter(), &pods), PodChange::default());
    }
}
