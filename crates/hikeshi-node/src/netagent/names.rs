//! Who is meant by a name or an address: the pods behind Services, ready or not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use hikeshi_chaos::external::External;
use hikeshi_proxy::PodLink;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

use super::world::SERVICE_NAME;

/// Namespace and name of a Service to what it is.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<(String, String), Known>);

#[derive(Debug, Default)]
struct Known {
    address: Option<Ipv4Addr>,
    /// A pod that a fault has made unready is still behind it.
    behind: BTreeSet<Ipv4Addr>,
}

impl Names {
    pub fn of(services: &[&Service], slices: &[&EndpointSlice]) -> Self {
        let mut names: BTreeMap<_, Known> = BTreeMap::new();
        for service in services {
            let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_ref());
            let known = names
                .entry((service.namespace().unwrap_or_default(), service.name_any()))
                .or_default();
            known.address = address.and_then(|address| address.parse().ok());
        }
        for slice in slices {
            let name = slice.labels().get(SERVICE_NAME).cloned().unwrap_or_default();
            let endpoints = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
            if let Some(known) = names.get_mut(&(slice.namespace().unwrap_or_default(), name)) {
                known
                    .behind
                    .extend(endpoints.filter_map(|address| address.parse::<Ipv4Addr>().ok()));
            }
        }
        Self(names)
    }

    /// The pods that an entry of `externalTargets` means; a name without a namespace is looked up in `namespace`.
    pub fn pods<'a>(&self, entry: &str, namespace: &str, pods: &'a [PodLink]) -> Vec<&'a PodLink> {
        // What cannot be read has been refused.
        let Ok(external) = External::read(entry) else {
            return Vec::new();
        };
        let empty = BTreeSet::new();
        let meant = |pod: &&PodLink| match &external {
            External::Pod { name, namespace } => pod.name == *name && pod.namespace == *namespace,
            External::Service {
                name,
                namespace: given,
            } => {
                let place = (
                    given.clone().unwrap_or_else(|| namespace.to_owned()),
                    name.clone(),
                );
                let known = self.0.get(&place);
                known.map_or(&empty, |known| &known.behind).contains(&pod.ip)
            }
            External::Network(network) => {
                let addressed =
                    |known: &&Known| known.address.is_some_and(|address| network.contains(address));
                let mut services = self.0.values().filter(addressed);
                network.contains(pod.ip) || services.any(|known| known.behind.contains(&pod.ip))
            }
        };
        pods.iter().filter(meant).collect()
    }
}

#[cfg(test)]
impl Names {
    /// Namespace, name, address, and who is behind.
    pub fn behind<const N: usize>(services: [(&str, &str, &str, &[&str]); N]) -> Self {
        let known = services.map(|(namespace, name, address, behind)| {
            let known = Known {
                address: address.parse().ok(),
                behind: behind.iter().map(|ip| ip.parse().unwrap()).collect(),
            };
            ((namespace.to_owned(), name.to_owned()), known)
        });
        Self(known.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::chaos::tests::pods;
    use super::*;
    use crate::kubelet::addresses::{is_of_pods, is_of_services};

    #[test]
    fn a_service_means_its_pods_ready_or_not_and_a_headless_ones_pod_itself() {
        let service: Service =
            serde_json::from_value(json!({"metadata": {"name": "redis", "namespace": "chirpy"},
            "spec": {"clusterIP": "127.96.0.9"}}))
            .unwrap();
        let slice: EndpointSlice = serde_json::from_value(json!({"addressType": "IPv4",
            "metadata": {"name": "redis-x", "namespace": "chirpy", "labels": {"kubernetes.io/service-name": "redis"}},
            "endpoints": [{"addresses": ["127.64.0.1"], "conditions": {"ready": true}},
                {"addresses": ["127.64.0.2"], "conditions": {"ready": false}}]}))
        .unwrap();
        let names = Names::of(&[&service], &[&slice]);
        let pods = pods();
        let meant = |entry: &str, namespace: &str| -> Vec<String> {
            let pods = names.pods(entry, namespace, &pods).into_iter();
            pods.map(|pod| pod.name.clone()).collect()
        };
        for entry in ["redis", "redis.chirpy", "127.96.0.9", "127.96.0.0/24"] {
            assert_eq!(meant(entry, "chirpy"), ["redis-0", "redis-1"], "{entry}");
        }
        assert_eq!(meant("redis", "default"), Vec::<String>::new());
        assert_eq!(meant("web-0.web.chirpy.svc.cluster.local", "default"), ["web-0"]);
        assert_eq!(meant("127.64.0.3", "default"), ["web-0"]);
    }

    #[test]
    fn the_networks_that_manifests_may_name_are_the_clusters() {
        for ip in [
            "127.64.0.1",
            "127.96.255.255",
            "127.65.0.1",
            "127.95.255.255",
            "10.0.0.1",
        ] {
            let ip: Ipv4Addr = ip.parse().unwrap();
            let named = hikeshi_chaos::external::NETWORKS.map(|network| network.contains(ip));
            assert_eq!(named, [is_of_pods(ip), is_of_services(ip)], "{ip}");
        }
    }
}
