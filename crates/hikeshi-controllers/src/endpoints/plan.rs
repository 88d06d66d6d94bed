//! What the endpoints of a Service are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort as CorePort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
    ServicePort,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use crate::object::{controller_reference, name_of};
use crate::pods::{is_finished, is_ready, is_terminating};
use crate::selector::contains;

pub(super) fn has_selector(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| {
        spec.selector
            .as_ref()
            .is_some_and(|selector| !selector.is_empty())
            && spec.type_.as_deref() != Some("ExternalName")
    })
}

pub(super) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| !selector.is_empty() && contains(pod.metadata.labels.as_ref(), selector))
}

fn address(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.pod_ip.as_deref().filter(|ip| !ip.is_empty())
}

fn publishes_not_ready(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.publish_not_ready_addresses)
        == Some(true)
}

/// The port number on this pod; `None` when it has no container port of that name.
fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match port.target_port.as_ref() {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let sidecars = spec.init_containers.iter().flatten();
            spec.containers
                .iter()
                .chain(sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always")))
                .flat_map(|container| container.ports.iter().flatten())
                .find(|p| {
                    p.name.as_deref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol
                })
                .map(|p| p.container_port)
        }
    }
}

/// Name, protocol, number and application protocol.
type Port = (Option<String>, String, i32, Option<String>);

fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let ports = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_deref())
        .unwrap_or(&[]);
    ports
        .iter()
        .filter_map(|port| {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            Some((
                port.name.clone(),
                protocol,
                target(port, pod)?,
                port.app_protocol.clone(),
            ))
        })
        .collect()
}

fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The hostname under which a pod of a headless Service has a DNS name of its own.
fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    (spec.subdomain.as_deref() == service.metadata.name.as_deref())
        .then(|| spec.hostname.clone())
        .flatten()
}

fn members<'a>(service: &'a Service, pods: &'a [Arc<Pod>]) -> impl Iterator<Item = &'a Arc<Pod>> {
    pods.iter()
        .filter(|pod| selects(service, pod) && !is_finished(pod) && address(pod).is_some())
}

/// The slices of a Service; the first is named after it. There is always one, if only an empty one.
pub(super) fn slices(
    service: &Service,
    pods: &[Arc<Pod>],
    zone: impl Fn(&str) -> Option<String>,
) -> Vec<EndpointSlice> {
    let mut groups: BTreeMap<Vec<Port>, Vec<Endpoint>> = BTreeMap::new();
    for pod in members(service, pods) {
        let (ready, terminating) = (is_ready(pod), is_terminating(pod));
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        groups.entry(ports(service, pod)).or_default().push(Endpoint {
            addresses: address(pod).map(str::to_owned).into_iter().collect(),
            conditions: Some(EndpointConditions {
                ready: Some(publishes_not_ready(service) || ready && !terminating),
                serving: Some(publishes_not_ready(service) || ready),
                terminating: Some(terminating),
            }),
            hostname: hostname(service, pod),
            zone: node.as_deref().and_then(&zone),
            node_name: node,
            target_ref: Some(reference(pod)),
            ..Endpoint::default()
        });
    }
    if groups.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    groups
        .into_iter()
        .enumerate()
        .map(|(index, (ports, endpoints))| slice(service, index, ports, endpoints))
        .collect()
}

fn slice(service: &Service, index: usize, ports: Vec<Port>, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let name = name_of(service);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert("kubernetes.io/service-name".to_owned(), name.to_owned());
    labels.insert(
        "endpointslice.kubernetes.io/managed-by".to_owned(),
        "endpointslice-controller.k8s.io".to_owned(),
    );
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert("service.kubernetes.io/headless".to_owned(), String::new());
    }
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(if index == 0 {
                name.to_owned()
            } else {
                format!("{name}-{index}")
            }),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints,
        ports: Some(
            ports
                .into_iter()
                .map(|(name, protocol, port, app_protocol)| EndpointPort {
                    name: Some(name.unwrap_or_default()),
                    protocol: Some(protocol),
                    port: Some(port),
                    app_protocol,
                })
                .collect(),
        ),
    }
}

/// Whether two slices say the same.
pub(super) fn same_slice(a: &EndpointSlice, b: &EndpointSlice) -> bool {
    a.endpoints == b.endpoints
        && a.ports.as_deref().unwrap_or(&[]) == b.ports.as_deref().unwrap_or(&[])
        && a.metadata.labels == b.metadata.labels
}

/// The older form: ready and not ready addresses; pods that are being stopped are left out.
pub(super) fn endpoints(service: &Service, pods: &[Arc<Pod>]) -> Endpoints {
    let mut groups: BTreeMap<Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for pod in members(service, pods) {
        let ready = publishes_not_ready(service) || is_ready(pod) && !is_terminating(pod);
        let Some(ip) =
            address(pod).filter(|ip| (ready || !is_terminating(pod)) && seen.insert((*ip).to_owned()))
        else {
            continue;
        };
        let address = EndpointAddress {
            ip: ip.to_owned(),
            hostname: hostname(service, pod),
            node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            target_ref: Some(reference(pod)),
        };
        let group = groups.entry(ports(service, pod)).or_default();
        if ready {
            group.0.push(address)
        } else {
            group.1.push(address)
        }
    }
    let some = |addresses: Vec<EndpointAddress>| Some(addresses).filter(|addresses| !addresses.is_empty());
    let subsets: Vec<_> = groups
        .into_iter()
        .map(|(ports, (ready, not_ready))| EndpointSubset {
            addresses: some(ready),
            not_ready_addresses: some(not_ready),
            ports: Some(
                ports
                    .into_iter()
                    .map(|(name, protocol, port, app_protocol)| CorePort {
                        name,
                        protocol: Some(protocol),
                        port,
                        app_protocol,
                    })
                    .collect::<Vec<_>>(),
            )
            .filter(|ports| !ports.is_empty()),
        })
        .collect();
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: service.metadata.labels.clone(),
            ..ObjectMeta::default()
        },
        subsets: Some(subsets).filter(|subsets| !subsets.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::testing::{merge, pod, ready};

    fn service(extra: Value) -> Service {
        let mut base = json!({"metadata": {"namespace": "ns", "name": "web", "uid": "svc"}, "spec": {
            "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}});
        merge(&mut base, &extra);
        serde_json::from_value(base).expect("a Service")
    }

    fn member(name: &str, ip: &str, port: u16, up: bool, extra: Value) -> Arc<Pod> {
        let mut base = if up {
            ready("2026-01-01T00:00:00Z")
        } else {
            json!({})
        };
        merge(
            &mut base,
            &json!({"status": {"podIP": ip}, "spec": {"containers": [
            {"name": "c", "ports": [{"name": "http", "containerPort": port}]}]}}),
        );
        merge(&mut base, &extra);
        Arc::new(pod(name, "rs", &base))
    }

    fn conditions(slice: &EndpointSlice) -> Vec<(String, [Option<bool>; 3])> {
        slice
            .endpoints
            .iter()
            .map(|e| {
                let c = e.conditions.clone().unwrap_or_default();
                (e.addresses[0].clone(), [c.ready, c.serving, c.terminating])
            })
            .collect()
    }

    #[test]
    fn readiness_and_termination_are_told_apart() {
        let pods = vec![
            member("a", "10.0.0.1", 8080, true, json!({})),
            member("b", "10.0.0.2", 8080, false, json!({})),
            member(
                "c",
                "10.0.0.3",
                8080,
                true,
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            ),
            member(
                "d",
                "10.0.0.4",
                8080,
                true,
                json!({"status": {"phase": "Succeeded"}}),
            ),
            member(
                "e",
                "10.0.0.5",
                8080,
                true,
                json!({"metadata": {"labels": {"app": "other"}}}),
            ),
            Arc::new(pod("f", "rs", &ready("2026-01-01T00:00:00Z"))),
        ];
        let slices = slices(&service(json!({})), &pods, |_| Some("z1".to_owned()));
        assert_eq!(slices.len(), 1);
        let (t, f) = (Some(true), Some(false));
        assert_eq!(
            conditions(&slices[0]),
            [
                ("10.0.0.1".to_owned(), [t, t, f]),
                ("10.0.0.2".to_owned(), [f, f, f]),
                ("10.0.0.3".to_owned(), [f, t, t]),
            ]
        );
        assert_eq!(slices[0].endpoints[0].zone.as_deref(), Some("z1"));
        assert_eq!(slices[0].metadata.name.as_deref(), Some("web"));
        assert_eq!(slices[0].ports.as_ref().map(|p| p[0].port), Some(Some(8080)));
        let old = endpoints(&service(json!({})), &pods);
        let subset = &old.subsets.expect("subsets")[0];
        assert_eq!(subset.addresses.as_ref().map(Vec::len), Some(1));
        assert_eq!(subset.not_ready_addresses.as_ref().map(Vec::len), Some(1));
    }

    #[test]
    fn not_ready_addresses_are_published_when_asked_for() {
        let pods = vec![member("a", "10.0.0.1", 8080, false, json!({}))];
        let slices = slices(
            &service(json!({"spec": {"publishNotReadyAddresses": true}})),
            &pods,
            |_| None,
        );
        assert_eq!(conditions(&slices[0])[0].1, [Some(true), Some(true), Some(false)]);
    }

    #[test]
    fn a_named_port_is_resolved_pod_by_pod() {
        let pods = vec![
            member("a", "10.0.0.1", 8080, true, json!({})),
            member("b", "10.0.0.2", 9090, true, json!({})),
        ];
        let slices = slices(&service(json!({})), &pods, |_| None);
        let ports: Vec<_> = slices
            .iter()
            .map(|s| s.ports.as_ref().and_then(|p| p[0].port))
            .collect();
        assert_eq!(ports, [Some(8080), Some(9090)]);
        assert_eq!(slices[1].metadata.name.as_deref(), Some("web-1"));
    }

    #[test]
    fn a_service_without_pods_has_an_empty_slice() {
        let slices = slices(&service(json!({})), &[], |_| None);
        assert!(slices.len() == 1 && slices[0].endpoints.is_empty());
    }

    #[test]
    fn a_pod_of_a_headless_service_keeps_its_hostname() {
        let extra = json!({"spec": {"hostname": "web-0", "subdomain": "web"}});
        let slices = slices(
            &service(json!({})),
            &[member("a", "10.0.0.1", 1, true, extra)],
            |_| None,
        );
        assert_eq!(slices[0].endpoints[0].hostname.as_deref(), Some("web-0"));
    }
}
