//! Pods, Services and EndpointSlices as the data plane wants them.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::path::Path;

use hikeshi_proxy::{AppProtocol, Backend, PodLink, PodPort, Service as Route};
use k8s_openapi::api::core::v1::{Container, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::kubelet::addresses::{is_of_pods, is_of_services};

/// The label that a ReplicaSet's name ends with.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// The label that says whose endpoints a slice has.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Where slices may name addresses of the host: `kubernetes.default` and `hikeshi.hikeshi-system` lead to control. Nobody
/// on a seat writes there; elsewhere such an address would lead a pod to the host's own services, or its neighbours'.
const LEAD_TO_HOST: [&str; 2] = ["default", "hikeshi-system"];

/// Every pod that has an address and has not ended. A pod that still starts is among them: its programs' first
/// connections must find the network there.
pub(super) fn pod_links<'a>(
    pods: impl Iterator<Item = &'a Pod>,
    services: &[&Service],
    state_dir: &Path,
) -> Vec<PodLink> {
    let mut links: Vec<_> = pods
        .filter_map(|pod| pod_link(pod, services, state_dir))
        .collect();
    links.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    links
}

fn pod_link(pod: &Pod, services: &[&Service], state_dir: &Path) -> Option<PodLink> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if ended || spec.host_network == Some(true) {
        return None;
    }
    let (uid, ip) = (pod.uid()?, status.pod_ip.as_ref()?.parse().ok()?);
    if !is_of_pods(ip) {
        return None;
    }
    Some(PodLink {
        namespace: pod.namespace()?,
        name: pod.name_any(),
        workload: workload(pod),
        node: spec.node_name.clone().unwrap_or_default(),
        ip,
        init_sock: state_dir.join("pods").join(&uid).join("init.sock"),
        ports: ports(pod, services),
        uid,
    })
}

/// The name of what the pod belongs to, as people say it: the Deployment's rather than its ReplicaSet's.
fn workload(pod: &Pod) -> String {
    let owners = pod.owner_references();
    let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)) else {
        return pod.name_any();
    };
    let hash = pod
        .labels()
        .get(TEMPLATE_HASH)
        .filter(|_| owner.kind == "ReplicaSet");
    hash.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'))
        .unwrap_or(&owner.name)
        .to_string()
}

fn ports(pod: &Pod, services: &[&Service]) -> Vec<PodPort> {
    let mut ports: Vec<PodPort> = declared(pod)
        .map(|(name, port)| {
            let by_name = name.as_deref().map_or(is_http_port(port), names_http);
            let by_service = || services.iter().any(|service| leads_by_http(service, pod, port));
            let http = by_name || by_service();
            let protocol_hint = if http { AppProtocol::Http } else { AppProtocol::Tcp };
            PodPort {
                name,
                port,
                protocol_hint,
            }
        })
        .collect();
    ports.sort_by_key(|port| port.port);
    ports.dedup_by_key(|port| port.port);
    ports
}

/// TCP ports of the containers (and of init containers, for a sidecar is one).
fn declared(pod: &Pod) -> impl Iterator<Item = (Option<String>, u16)> {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|spec| {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
    });
    containers
        .flat_map(|container: &Container| container.ports.iter().flatten())
        .filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"))
        .filter_map(|port| Some((port.name.clone(), u16::try_from(port.container_port).ok()?)))
}

/// What a port without a name is for: HTTP's own two.
fn is_http_port(port: u16) -> bool {
    matches!(port, 80 | 8080)
}

fn names_http(name: &str) -> bool {
    name.starts_with("http") && !name.starts_with("https")
}

fn speaks_http(port: &ServicePort) -> bool {
    match port.app_protocol.as_deref() {
        Some(protocol) => matches!(protocol, "http" | "kubernetes.io/ws"),
        None => match port.name.as_deref() {
            Some(name) => names_http(name),
            None => u16::try_from(port.port).is_ok_and(is_http_port),
        },
    }
}

/// Whether `service` selects `pod` and leads to `port` of it by a port that speaks HTTP. From the specs alone: readiness
/// must not change how a port's bytes are read.
fn leads_by_http(service: &Service, pod: &Pod, port: u16) -> bool {
    let Some(spec) = &service.spec else { return false };
    let selector: BTreeMap<_, _> = spec.selector.clone().unwrap_or_default();
    if selector.is_empty()
        || service.namespace() != pod.namespace()
        || !selector
            .iter()
            .all(|(key, value)| pod.labels().get(key) == Some(value))
    {
        return false;
    }
    spec.ports
        .iter()
        .flatten()
        .filter(|service_port| speaks_http(service_port))
        .any(|service_port| match &service_port.target_port {
            None => service_port.port == i32::from(port),
            Some(IntOrString::Int(number)) => *number == i32::from(port),
            Some(IntOrString::String(name)) => {
                declared(pod).any(|(declared, number)| number == port && declared.as_ref() == Some(name))
            }
        })
}

/// Every TCP port of every Service, with its ready backends, which are `pods`.
pub(super) fn routes(services: &[&Service], slices: &[&EndpointSlice], pods: &[PodLink]) -> Vec<Route> {
    let addresses = pods.iter().map(|pod| pod.ip);
    let addresses: HashSet<_> = addresses.filter(|ip| is_of_pods(*ip)).collect();
    let mut routes: Vec<_> = services
        .iter()
        .flat_map(|service| service_routes(service, slices, &addresses))
        .collect();
    routes.sort_by(|a, b| (&a.namespace, &a.name, a.port).cmp(&(&b.namespace, &b.name, b.port)));
    routes
}

fn service_routes(service: &Service, slices: &[&EndpointSlice], pods: &HashSet<Ipv4Addr>) -> Vec<Route> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    if spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let cluster_ip: Option<Ipv4Addr> = spec.cluster_ip.as_ref().and_then(|ip| ip.parse().ok());
    // An address of another network would take the connections to what has it.
    let cluster_ip = cluster_ip.filter(|ip| is_of_services(*ip));
    let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
    let own = |slice: &&&EndpointSlice| {
        slice.namespace().as_deref() == Some(namespace.as_str())
            && slice.labels().get(SERVICE_NAME) == Some(&name)
            && slice.address_type == "IPv4"
    };
    let own: Vec<&EndpointSlice> = slices.iter().filter(own).copied().collect();
    let to_host = LEAD_TO_HOST.contains(&namespace.as_str());
    let allowed = |backend: &Backend| to_host || pods.contains(&backend.addr);
    let tcp = |port: &&ServicePort| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let route = |port: &ServicePort| {
        let named = own.iter().flat_map(|slice| backends(slice, port));
        let mut backends: Vec<Backend> = named.filter(allowed).collect();
        backends.sort_unstable();
        backends.dedup();
        Some(Route {
            namespace: namespace.clone(),
            name: name.clone(),
            cluster_ip,
            port: u16::try_from(port.port).ok()?,
            app_protocol: if speaks_http(port) {
                AppProtocol::Http
            } else {
                AppProtocol::Tcp
            },
            backends,
        })
    };
    spec.ports
        .iter()
        .flatten()
        .filter(tcp)
        .filter_map(route)
        .collect()
}

fn backends(slice: &EndpointSlice, port: &ServicePort) -> Vec<Backend> {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let numbers = slice
        .ports
        .iter()
        .flatten()
        .filter(|endpoint_port| name(&endpoint_port.name) == name(&port.name))
        .filter_map(|endpoint_port| u16::try_from(endpoint_port.port?).ok());
    numbers
        .flat_map(|port| {
            let ready = slice.endpoints.iter().filter(|endpoint| {
                // Unknown readiness counts as ready, as the API's own words ask.
                endpoint
                    .conditions
                    .as_ref()
                    .and_then(|conditions| conditions.ready)
                    != Some(false)
            });
            ready
                .flat_map(|endpoint| endpoint.addresses.iter())
                .filter_map(move |address| {
                    Some(Backend {
                        addr: address.parse().ok()?,
                        port,
                    })
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::chaos::tests::pod as link;
    use super::*;

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    fn gateway() -> Pod {
        pod(json!({
            "metadata": {"name": "gateway-7f9c-x2x", "namespace": "chirpy", "uid": "u1",
                "labels": {"app": "gateway", "pod-template-hash": "7f9c"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "gateway-7f9c",
                    "uid": "r1", "controller": true}]},
            "spec": {"nodeName": "node-1", "containers": [{"name": "gateway", "ports": [
                {"name": "web", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090},
                {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]},
            "status": {"phase": "Running", "podIP": "127.64.0.7"}
        }))
    }

    fn service(value: Value) -> Service {
        serde_json::from_value(value).unwrap()
    }

    fn front() -> Service {
        service(json!({
            "metadata": {"name": "gateway", "namespace": "chirpy"},
            "spec": {"clusterIP": "127.96.0.9", "selector": {"app": "gateway"},
                "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}
        }))
    }

    #[test]
    fn a_running_pod_is_linked_under_its_deployments_name() {
        let (pod, front) = (gateway(), front());
        let links = pod_links([&pod].into_iter(), &[&front], Path::new("/state"));
        assert_eq!(links.len(), 1);
        assert_eq!(links[0].workload, "gateway");
        assert_eq!(links[0].init_sock, Path::new("/state/pods/u1/init.sock"));
        let hints: Vec<_> = links[0]
            .ports
            .iter()
            .map(|port| (port.port, port.protocol_hint))
            .collect();
        assert_eq!(hints, [(8080, AppProtocol::Http), (9090, AppProtocol::Tcp)]);
    }

    #[test]
    fn a_pod_without_an_address_or_that_has_ended_is_not_linked() {
        let (mut ended, mut young) = (gateway(), gateway());
        ended.status.as_mut().unwrap().phase = Some("Succeeded".into());
        young.status.as_mut().unwrap().pod_ip = None;
        assert!(pod_links([&ended, &young].into_iter(), &[], Path::new("/state")).is_empty());
    }

    #[test]
    fn an_address_of_another_network_leads_nowhere() {
        for ip in ["127.0.0.1", "127.96.0.9", "192.168.0.1"] {
            let mut forged = gateway();
            forged.status.as_mut().unwrap().pod_ip = Some(ip.into());
            assert!(
                pod_links([&forged].into_iter(), &[], Path::new("/state")).is_empty(),
                "{ip}"
            );
        }
        for ip in ["127.0.0.1", "127.64.0.7"] {
            let mut forged = front();
            forged.spec.as_mut().unwrap().cluster_ip = Some(ip.into());
            assert_eq!(routes(&[&forged], &[], &[])[0].cluster_ip, None, "{ip}");
        }
    }

    #[test]
    fn a_services_backends_are_its_ready_endpoints() {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "gateway-1", "namespace": "chirpy",
                "labels": {"kubernetes.io/service-name": "gateway"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}, {"name": "other", "port": 1}],
            "endpoints": [
                {"addresses": ["127.64.0.7"], "conditions": {"ready": true}},
                {"addresses": ["127.64.0.8"], "conditions": {"ready": false}},
                {"addresses": ["127.64.0.9"]}]
        }))
        .unwrap();
        let pods = [7, 8, 9].map(|last| link("gateway", last, 8080, AppProtocol::Http));
        let routes = routes(&[&front()], &[&slice], &pods);
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].app_protocol, AppProtocol::Http);
        assert_eq!(routes[0].cluster_ip, Some(Ipv4Addr::new(127, 96, 0, 9)));
        let addresses: Vec<_> = routes[0]
            .backends
            .iter()
            .map(|b| b.socket_addr().to_string())
            .collect();
        assert_eq!(addresses, ["127.64.0.7:8080", "127.64.0.9:8080"]);
    }

    #[test]
    fn only_controls_own_services_lead_to_an_address_that_is_no_pods() {
        // As if a person had written the router's address into the status of a pod.
        let mut forged = link("web", 9, 80, AppProtocol::Http);
        forged.ip = Ipv4Addr::new(192, 168, 0, 1);
        let pods = [link("gateway", 7, 8080, AppProtocol::Http), forged];
        let all = ["127.0.0.1", "127.64.0.7", "127.64.0.8", "192.168.0.1"];
        for (namespace, wanted) in [
            ("chirpy", &all[1..2]),
            ("monitoring", &all[1..2]),
            ("default", &all[..]),
            ("hikeshi-system", &all[..]),
        ] {
            let own = service(json!({
                "metadata": {"name": "own", "namespace": namespace},
                "spec": {"clusterIP": "127.96.0.9", "ports": [{"name": "http", "port": 80}]}
            }));
            let slice: EndpointSlice = serde_json::from_value(json!({
                "metadata": {"name": "own-1", "namespace": namespace,
                    "labels": {"kubernetes.io/service-name": "own"}},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 22}],
                "endpoints": [{"addresses": ["127.0.0.1", "192.168.0.1", "127.64.0.7", "127.64.0.8"]}]
            }))
            .unwrap();
            let routes = routes(&[&own], &[&slice], &pods);
            let found: Vec<_> = routes[0].backends.iter().map(|b| b.addr.to_string()).collect();
            assert_eq!(found, wanted, "{namespace}");
        }
    }

    #[test]
    fn headless_https_and_udp_ports() {
        let odd = service(json!({
            "metadata": {"name": "odd", "namespace": "chirpy"},
            "spec": {"clusterIP": "None", "ports": [
                {"name": "https", "port": 443}, {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "redis", "port": 6379, "appProtocol": "redis"},
                {"name": "plain", "port": 81, "appProtocol": "http"}]}
        }));
        let found: Vec<_> = routes(&[&odd], &[], &[])
            .iter()
            .map(|r| (r.port, r.app_protocol, r.cluster_ip))
            .collect();
        assert_eq!(
            found,
            [
                (81, AppProtocol::Http, None),
                (443, AppProtocol::Tcp, None),
                (6379, AppProtocol::Tcp, None)
            ]
        );
    }
}
