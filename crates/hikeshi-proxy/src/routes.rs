//! Where an address leads, as the last snapshot says.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::bell::Bell;
use crate::link::Link;
use crate::model::{AppProtocol, Backend, HostListener, PodLink, Service};
use crate::router::{Asked, Routed, Router};

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Empty for the host.
    pub uid: Arc<str>,
    /// As metrics name it.
    pub workload: String,
    /// The address that the other end sees; `None` for the host.
    pub ip: Option<Ipv4Addr>,
    /// Rings when the pod is gone.
    pub gone: Arc<Bell>,
}

impl Peer {
    pub fn host(name: &str) -> Self {
        Self {
            uid: "".into(),
            workload: name.into(),
            ip: None,
            gone: Arc::default(),
        }
    }

    pub fn is_host(&self) -> bool {
        self.uid.is_empty()
    }
}

/// A pod and the way into it.
#[derive(Debug)]
pub(crate) struct Pod {
    pub spec: PodLink,
    pub peer: Arc<Peer>,
    pub link: Link,
}

impl Pod {
    pub fn start(spec: PodLink) -> std::io::Result<Self> {
        let peer = Arc::new(Peer {
            uid: spec.uid.as_str().into(),
            workload: spec.workload.clone(),
            ip: Some(spec.ip),
            gone: Arc::default(),
        });
        Ok(Self {
            link: Link::start(&spec.name, spec.init_sock.clone())?,
            peer,
            spec,
        })
    }

    /// The same pod under another description.
    pub fn described(&self, spec: PodLink) -> Self {
        Self {
            spec,
            peer: self.peer.clone(),
            link: self.link.clone(),
        }
    }
}

/// A Service's port with its ready backends.
#[derive(Debug)]
pub(crate) struct ServiceRoute {
    pub spec: Service,
    /// Of each backend, in their order.
    in_flight: Vec<Arc<AtomicUsize>>,
    pods: Vec<Option<Arc<Pod>>>,
}

/// A request or connection that a backend is busy with, until dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ServiceRoute {
    fn new(spec: Service, all: &HashMap<Ipv4Addr, Arc<Pod>>, old: Option<&Self>) -> Self {
        let counter = |backend: &Backend| {
            let old = old?;
            let place = old.spec.backends.iter().position(|known| known == backend)?;
            old.in_flight.get(place).cloned()
        };
        let in_flight = spec
            .backends
            .iter()
            .map(|backend| counter(backend).unwrap_or_default())
            .collect();
        let pods = spec
            .backends
            .iter()
            .map(|backend| all.get(&backend.addr).cloned())
            .collect();
        Self {
            spec,
            in_flight,
            pods,
        }
    }

    /// The less busy of two random backends, with the pod it belongs to (none: the host).
    pub fn choose(&self) -> Option<(Backend, Option<Arc<Pod>>, InFlight)> {
        let place = match self.spec.backends.len() {
            0 => return None,
            1 => 0,
            n => {
                let (a, b) = (fastrand::usize(..n), fastrand::usize(..n));
                let busy = |place: usize| self.in_flight[place].load(Ordering::Relaxed);
                if busy(b) < busy(a) { b } else { a }
            }
        };
        self.in_flight[place].fetch_add(1, Ordering::Relaxed);
        let in_flight = InFlight(self.in_flight[place].clone());
        Some((self.spec.backends[place], self.pods[place].clone(), in_flight))
    }
}

/// What a listener's address stands for.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Service(Arc<ServiceRoute>),
    /// A pod's own address and port.
    Pod(Arc<Pod>, u16),
}

impl Target {
    pub fn protocol(&self) -> AppProtocol {
        match self {
            Self::Service(service) => service.spec.app_protocol,
            Self::Pod(pod, port) => {
                let port = pod.spec.ports.iter().find(|declared| declared.port == *port);
                port.map_or(AppProtocol::Tcp, |declared| declared.protocol_hint)
            }
        }
    }

    /// What people call it: `NS/NAME`.
    pub fn name(&self) -> String {
        match self {
            Self::Service(service) => format!("service {}/{}", service.spec.namespace, service.spec.name),
            Self::Pod(pod, port) => format!("pod {}/{} port {port}", pod.spec.namespace, pod.spec.name),
        }
    }

    /// The metrics' `destination` when no backend can be named.
    pub fn destination(&self) -> &str {
        match self {
            Self::Service(service) => &service.spec.name,
            Self::Pod(pod, _) => &pod.spec.workload,
        }
    }
}

/// How a listener names what it leads to; resolved anew for each connection and request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Destination {
    Address(SocketAddrV4),
    /// A host listener, by its name.
    Listener(String),
    Named {
        namespace: String,
        service: String,
        port: u16,
    },
}

/// A host listener's rules, and where the rest goes.
#[derive(Debug)]
struct Entrance {
    router: Arc<Router>,
    rest: Option<Destination>,
}

/// A destination as one map has it: what need not be looked up at every request.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// The rules to ask first, where there are any.
    router: Option<Arc<Router>>,
    rest: Option<Target>,
    /// What no rule is about goes nowhere.
    closed: bool,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Resolved {
    To(Target),
    /// A Service that is not there, or a rule without weights; with what to call it.
    Missing(String),
    /// No rule is about it.
    Unmatched,
}

impl Entrance {
    fn new(spec: &HostListener, old: Option<&Self>) -> Self {
        let same = old
            .map(|old| &old.router)
            .filter(|router| router.is_of(&spec.rules));
        Self {
            router: same.map_or_else(|| Arc::new(Router::new(&spec.rules)), Arc::clone),
            rest: (!spec.service.is_empty()).then(|| Destination::Named {
                namespace: spec.namespace.clone(),
                service: spec.service.clone(),
                port: spec.port,
            }),
        }
    }
}

/// The whole map; replaced, never changed.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub pods: HashMap<Ipv4Addr, Arc<Pod>>,
    entrances: HashMap<String, Entrance>,
    services: HashMap<SocketAddrV4, Arc<ServiceRoute>>,
    named: HashMap<Destination, Arc<ServiceRoute>>,
}

impl Routes {
    /// `old` lends its counts: of requests in flight, and of those that unchanged rules have shared out.
    pub fn new(
        pods: impl Iterator<Item = Arc<Pod>>,
        services: &[Service],
        listeners: &[HostListener],
        old: &Self,
    ) -> Self {
        let mut routes = Self {
            pods: pods.map(|pod| (pod.spec.ip, pod)).collect(),
            entrances: listeners
                .iter()
                .map(|spec| {
                    (
                        spec.name.clone(),
                        Entrance::new(spec, old.entrances.get(&spec.name)),
                    )
                })
                .collect(),
            ..Default::default()
        };
        for service in services {
            let name = Destination::Named {
                namespace: service.namespace.clone(),
                service: service.name.clone(),
                port: service.port,
            };
            let route = Arc::new(ServiceRoute::new(
                service.clone(),
                &routes.pods,
                old.named.get(&name).map(Arc::as_ref),
            ));
            if let Some(ip) = service.cluster_ip {
                routes
                    .services
                    .insert(SocketAddrV4::new(ip, service.port), route.clone());
            }
            routes.named.insert(name, route);
        }
        routes
    }

    /// How connections to `destination` are read; `None` when it leads nowhere.
    pub fn protocol(&self, destination: &Destination) -> Option<AppProtocol> {
        if let Destination::Listener(name) = destination
            && self
                .entrances
                .get(name)
                .is_some_and(|entrance| !entrance.router.is_empty())
        {
            return Some(AppProtocol::Http);
        }
        Some(self.resolve(destination)?.protocol())
    }

    /// What all requests to `destination` have in common.
    pub fn way(&self, destination: &Destination) -> Way {
        let entrance = match destination {
            Destination::Listener(name) => self.entrances.get(name),
            _ => None,
        };
        Way {
            router: entrance
                .map(|entrance| entrance.router.clone())
                .filter(|router| !router.is_empty()),
            rest: self.resolve(destination),
            closed: entrance.is_some_and(|entrance| entrance.rest.is_none()),
        }
    }

    /// Where one request goes. At an entrance with rules it counts in the shares of the rule that is about it.
    pub fn resolve_request<'a>(&self, way: &Way, asked: impl FnOnce() -> Asked<'a>) -> Resolved {
        if let Some(router) = &way.router {
            let asked = asked();
            let Asked { host, path, .. } = asked;
            match router.route(asked) {
                Routed::To(backend) => {
                    let named = Destination::Named {
                        namespace: backend.namespace.clone(),
                        service: backend.service.clone(),
                        port: backend.port,
                    };
                    return match self.named.get(&named) {
                        Some(service) => Resolved::To(Target::Service(service.clone())),
                        None => {
                            Resolved::Missing(format!("service {}/{}", backend.namespace, backend.service))
                        }
                    };
                }
                Routed::Nowhere => return Resolved::Missing(format!("{path} of {host}")),
                Routed::Unmatched if way.closed => return Resolved::Unmatched,
                Routed::Unmatched => {}
            }
        }
        match &way.rest {
            Some(target) => Resolved::To(target.clone()),
            None => Resolved::Missing("this address".into()),
        }
    }

    pub fn resolve(&self, destination: &Destination) -> Option<Target> {
        match destination {
            Destination::Listener(name) => match self.entrances.get(name)?.rest.as_ref()? {
                // Would be a listener that leads to itself.
                Destination::Listener(_) => None,
                rest => self.resolve(rest),
            },
            Destination::Named { .. } => self.named.get(destination).cloned().map(Target::Service),
            Destination::Address(address) => match self.services.get(address) {
                Some(service) => Some(Target::Service(service.clone())),
                None => self
                    .pods
                    .get(address.ip())
                    .map(|pod| Target::Pod(pod.clone(), address.port())),
            },
        }
    }

    /// Every address that a pod may reach, its own excepted.
    pub fn reachable_from(&self, ip: Ipv4Addr) -> impl Iterator<Item = SocketAddrV4> + '_ {
        let others = self.pods.values().filter(move |pod| pod.spec.ip != ip);
        let ports = others.flat_map(|pod| {
            pod.spec
                .ports
                .iter()
                .map(|port| SocketAddrV4::new(pod.spec.ip, port.port))
        });
        self.services.keys().copied().chain(ports)
    }
}
