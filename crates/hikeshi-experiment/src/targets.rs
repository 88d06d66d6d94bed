//! What there is to aim at: for whoever composes an experiment.

use std::collections::{BTreeMap, BTreeSet};

use hikeshi_slo::Cujs;
use serde_json::Value;

use crate::api::{TargetRoute, TargetService, TargetWorkload, Targets};
use crate::selector::{Cluster, alive, workload};
use crate::traffic::EdgeRate;

/// Labels that a controller gives each pod or each of its revisions: no selector of a person's would name them.
const OF_REVISIONS: [&str; 5] = [
    "pod-template-hash",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "pod-template-generation",
];

/// Everything of a cluster that an experiment may name; `namespace` is where it goes when it names none.
pub fn targets(cluster: &Cluster, edges: &[EdgeRate], cujs: &Cujs, namespace: &str) -> Targets {
    let mut workloads: BTreeMap<(&str, String), TargetWorkload> = BTreeMap::new();
    for pod in cluster.pods.iter().filter(|pod| alive(pod)) {
        let place = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let labels = labels_of(pod);
        let found = workloads
            .entry((place, workload(pod)))
            .or_insert_with_key(|(place, name)| TargetWorkload {
                namespace: (*place).to_owned(),
                workload: name.clone(),
                labels: labels.clone(),
                pods: Vec::new(),
                ports: Vec::new(),
            });
        found.labels.retain(|key, value| labels.get(key) == Some(value));
        found.pods.push(name);
        found.ports.extend(ports_of(pod));
    }
    let mut workloads: Vec<TargetWorkload> = workloads.into_values().collect();
    for workload in &mut workloads {
        workload.pods.sort_unstable();
        workload.ports.sort_unstable();
        workload.ports.dedup();
    }
    let mut services: Vec<TargetService> = cluster.services.iter().flat_map(service).collect();
    services.sort_unstable();
    let namespaces: BTreeSet<String> = workloads.iter().map(|one| one.namespace.clone()).collect();
    let routes: BTreeSet<TargetRoute> = edges
        .iter()
        .filter_map(|edge| {
            let (method, path) = edge.route.split_once(' ')?;
            Some(TargetRoute {
                destination: edge.destination.clone(),
                method: method.to_owned(),
                path: path.to_owned(),
            })
        })
        .collect();
    let slos = cujs.cujs.iter().flat_map(|cuj| {
        let of = |slo: &hikeshi_slo::Slo| format!("{}/{}/{}", cujs.system, cuj.name, slo.sli.name());
        cuj.slos.iter().map(of)
    });
    Targets {
        default_namespace: namespace.to_owned(),
        namespaces: namespaces.into_iter().collect(),
        workloads,
        services,
        routes: routes.into_iter().collect(),
        slos: slos.collect(),
    }
}

fn labels_of(pod: &Value) -> BTreeMap<String, String> {
    let labels = pod["metadata"]["labels"].as_object().into_iter().flatten();
    labels
        .filter(|(key, _)| !OF_REVISIONS.contains(&key.as_str()))
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn ports_of(pod: &Value) -> Vec<u16> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    containers
        .flat_map(|container| container["ports"].as_array().into_iter().flatten())
        .filter_map(|port| u16::try_from(port["containerPort"].as_u64()?).ok())
        .collect()
}

fn service(service: &Value) -> Vec<TargetService> {
    let text = |field: &str| service["metadata"][field].as_str().unwrap_or_default().to_owned();
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    ports
        .filter_map(|port| {
            Some(TargetService {
                namespace: text("namespace"),
                name: text("name"),
                port: u16::try_from(port["port"].as_u64()?).ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_workload_is_named_by_what_all_its_pods_have() {
        let pod = |name: &str, hash: &str, zone: &str| {
            json!({"metadata": {"name": name, "namespace": "chirpy",
                    "labels": {"app": "gateway", "zone": zone, "pod-template-hash": hash},
                    "ownerReferences": [{"kind": "ReplicaSet", "name": format!("gateway-{hash}")}]},
                "spec": {"containers": [{"ports": [{"containerPort": 8080}]}]}})
        };
        let cluster = Cluster {
            pods: vec![pod("b", "h1", "x"), pod("a", "h2", "y")],
            services: vec![json!({"metadata": {"name": "gateway", "namespace": "chirpy"},
                "spec": {"ports": [{"port": 80}]}})],
            ..Cluster::default()
        };
        let edges = [EdgeRate {
            source: "chirpy".into(),
            destination: "gateway".into(),
            route: "POST /api/posts".into(),
            code: 200,
            per_second: 0.0,
        }];
        let cujs = include_str!("../../../systems/chirpy/cujs.yaml");
        let cujs = hikeshi_slo::parse("cujs.yaml", cujs).unwrap();
        let told = targets(&cluster, &edges, &cujs, "chirpy");
        assert_eq!(told.namespaces, ["chirpy"]);
        let [one] = &told.workloads[..] else {
            panic!("{:?}", told.workloads)
        };
        assert_eq!(
            (one.workload.as_str(), one.pods.join(" ")),
            ("Deployment/gateway", "a b".into())
        );
        assert_eq!(
            one.labels,
            BTreeMap::from([("app".to_owned(), "gateway".to_owned())])
        );
        assert_eq!((one.ports.as_slice(), told.services[0].port), (&[8080][..], 80));
        assert_eq!(
            (told.routes[0].method.as_str(), told.routes[0].path.as_str()),
            ("POST", "/api/posts")
        );
        assert!(told.slos.contains(&"chirpy/read-timeline/latency".to_owned()));
    }
}
