//! Which pods a chaos selector matches, and what of the system leads to them. The rules are Chaos Mesh's.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::api::{BlastRadius, TargetPod, TargetService, Traffic};
use crate::manifest::chaos_specs;

/// What of a cluster a selector looks at; objects as the Kubernetes API gives them.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    pub pods: Vec<Value>,
    pub nodes: Vec<Value>,
    pub services: Vec<Value>,
}

/// Who would be hit by an experiment that lives in `namespace`. Its requests are to be measured by others.
pub fn blast_radius(object: &Value, namespace: &str, cluster: &Cluster) -> BlastRadius {
    let mut hit = BTreeSet::new();
    let mut services = BTreeSet::new();
    let mut selected = BTreeSet::new();
    let mut chosen = 0;
    for (_, spec) in chaos_specs(object) {
        let pods: Vec<&Value> = cluster
            .pods
            .iter()
            .filter(|pod| alive(pod) && selects(&spec["selector"], namespace, pod, &cluster.nodes))
            .collect();
        let count = chosen_of(&spec, pods.len());
        let ids: BTreeSet<String> = pods.iter().map(|pod| id_of(pod)).collect();
        // The same pods chosen by two specs are one blast radius; different ones add up.
        chosen = if ids.is_subset(&selected) {
            chosen.max(count)
        } else {
            chosen + count
        };
        selected.extend(ids);
        for pod in pods {
            hit.insert(target(pod));
            services.extend(leading_to(pod, &cluster.services));
        }
    }
    BlastRadius {
        selected: chosen.min(hit.len()),
        of: hit.len(),
        pods: hit.into_iter().collect(),
        services: services.into_iter().collect(),
        traffic: Traffic::default(),
    }
}

/// How many of `count` pods the mode takes, at most.
pub(crate) fn chosen_of(spec: &Value, count: usize) -> usize {
    let value = spec["value"].as_str().and_then(|text| text.parse::<usize>().ok());
    match (spec["mode"].as_str(), value) {
        (Some("one"), _) => count.min(1),
        (Some("fixed"), Some(value)) => count.min(value),
        // As Chaos Mesh does: rounded down.
        (Some("fixed-percent" | "random-max-percent"), Some(value)) => count * value.min(100) / 100,
        _ => count,
    }
}

pub(crate) fn alive(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `NAMESPACE/NAME`.
pub fn id_of(pod: &Value) -> String {
    format!(
        "{}/{}",
        text(pod, "/metadata/namespace"),
        text(pod, "/metadata/name")
    )
}

/// Whether the pod's own condition says that it serves.
pub fn is_ready(pod: &Value) -> bool {
    alive(pod)
        && pod["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Ready pods among those that an experiment's selectors match now: what must be there again after it.
pub fn ready(object: &Value, namespace: &str, cluster: &Cluster) -> usize {
    let specs = chaos_specs(object);
    cluster
        .pods
        .iter()
        .filter(|pod| is_ready(pod))
        .filter(|pod| {
            specs
                .iter()
                .any(|(_, spec)| selects(&spec["selector"], namespace, pod, &cluster.nodes))
        })
        .count()
}

/// Namespace of a pod and the name under which the data plane counts it: its Deployment's, StatefulSet's, Job's, or its own.
pub fn owner_of(pod: &Value) -> (&str, String) {
    let workload = workload(pod);
    let name = workload.split_once('/').map_or(&*workload, |(_, name)| name);
    (text(pod, "/metadata/namespace"), name.to_owned())
}

/// `Deployment/nginx`; the pod's own name when nothing owns it.
pub(crate) fn workload(pod: &Value) -> String {
    let owner = &pod["metadata"]["ownerReferences"][0];
    match (owner["kind"].as_str(), owner["name"].as_str()) {
        // A Deployment's ReplicaSet carries the hash of the pod template at its end.
        (Some("ReplicaSet"), Some(set)) => {
            let hash = text(pod, "/metadata/labels/pod-template-hash");
            let plain = set.strip_suffix(hash).and_then(|rest| rest.strip_suffix('-'));
            match plain.filter(|_| !hash.is_empty()) {
                Some(deployment) => format!("Deployment/{deployment}"),
                None => format!("ReplicaSet/{set}"),
            }
        }
        (Some(kind), Some(owner)) => format!("{kind}/{owner}"),
        _ => text(pod, "/metadata/name").to_owned(),
    }
}

fn target(pod: &Value) -> TargetPod {
    TargetPod {
        namespace: text(pod, "/metadata/namespace").to_owned(),
        node: text(pod, "/spec/nodeName").to_owned(),
        name: text(pod, "/metadata/name").to_owned(),
        workload: workload(pod),
    }
}

fn leading_to(pod: &Value, services: &[Value]) -> Vec<TargetService> {
    let leads = |service: &&Value| {
        service["metadata"]["namespace"] == pod["metadata"]["namespace"]
            && service["spec"]["selector"]
                .as_object()
                .is_some_and(|wanted| !wanted.is_empty() && contains(&pod["metadata"]["labels"], wanted))
    };
    services
        .iter()
        .filter(leads)
        .flat_map(|service| {
            let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
            ports.into_iter().filter_map(|port| {
                Some(TargetService {
                    namespace: text(service, "/metadata/namespace").to_owned(),
                    name: text(service, "/metadata/name").to_owned(),
                    port: u16::try_from(port["port"].as_u64()?).ok()?,
                })
            })
        })
        .collect()
}

fn contains(labels: &Value, wanted: &Map<String, Value>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn object<'a>(selector: &'a Value, field: &str) -> Option<&'a Map<String, Value>> {
    selector[field].as_object().filter(|map| !map.is_empty())
}

fn names<'a>(selector: &'a Value, field: &str) -> Option<&'a Vec<Value>> {
    selector[field].as_array().filter(|list| !list.is_empty())
}

/// Whether `selector` of an experiment in `own` matches `pod`. What is absent does not restrict, but the namespace.
pub fn selects(selector: &Value, own: &str, pod: &Value, nodes: &[Value]) -> bool {
    let (namespace, name) = (&pod["metadata"]["namespace"], &pod["metadata"]["name"]);
    if let Some(pods) = object(selector, "pods") {
        // A list of pods overrides everything else.
        let listed = namespace
            .as_str()
            .and_then(|namespace| pods.get(namespace)?.as_array());
        return listed.is_some_and(|names| names.contains(name));
    }
    let here = match names(selector, "namespaces") {
        Some(listed) => listed.contains(namespace),
        None => *namespace == own,
    };
    let node_name = &pod["spec"]["nodeName"];
    let node = nodes.iter().find(|node| node["metadata"]["name"] == *node_name);
    let phase = pod["status"]["phase"].as_str().unwrap_or("Pending");
    here && object(selector, "labelSelectors")
        .is_none_or(|wanted| contains(&pod["metadata"]["labels"], wanted))
        && object(selector, "annotationSelectors")
            .is_none_or(|wanted| contains(&pod["metadata"]["annotations"], wanted))
        && names(selector, "expressionSelectors")
            .is_none_or(|all| all.iter().all(|one| expression(one, &pod["metadata"]["labels"])))
        && object(selector, "fieldSelectors")
            .is_none_or(|all| all.iter().all(|(path, value)| field(pod, path) == value.as_str()))
        && names(selector, "nodes").is_none_or(|listed| listed.contains(node_name))
        && object(selector, "nodeSelectors")
            .is_none_or(|wanted| node.is_some_and(|node| contains(&node["metadata"]["labels"], wanted)))
        && names(selector, "podPhaseSelectors").is_none_or(|listed| listed.iter().any(|one| one == phase))
}

fn expression(expression: &Value, labels: &Value) -> bool {
    let label = expression["key"].as_str().and_then(|key| labels.get(key));
    let listed = |value: &Value| {
        expression["values"]
            .as_array()
            .is_some_and(|values| values.contains(value))
    };
    match expression["operator"].as_str() {
        Some("In") => label.is_some_and(listed),
        Some("NotIn") => !label.is_some_and(listed),
        Some("Exists") => label.is_some(),
        Some("DoesNotExist") => label.is_none(),
        _ => false,
    }
}

fn field<'a>(pod: &'a Value, path: &str) -> Option<&'a str> {
    let pointer = format!("/{}", path.replace('.', "/"));
    pod.pointer(&pointer)?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, app: &str, node: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "default", "labels": {"app": app, "pod-template-hash": "5f7"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": format!("{app}-5f7")}]},
            "spec": {"nodeName": node},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
    }

    fn cluster() -> Cluster {
        Cluster {
            pods: vec![
                pod("a-1", "a", "n1"),
                pod("a-2", "a", "n2"),
                pod("b-1", "b", "n1"),
            ],
            nodes: vec![json!({"metadata": {"name": "n1", "labels": {"zone": "x"}}})],
            services: vec![
                json!({"metadata": {"name": "svc", "namespace": "default"},
                    "spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]}}),
                json!({"metadata": {"name": "headless", "namespace": "default"}, "spec": {"ports": [{"port": 1}]}}),
            ],
        }
    }

    fn names(selector: Value) -> Vec<String> {
        let cluster = cluster();
        let matched = |pod: &&Value| selects(&selector, "default", pod, &cluster.nodes);
        cluster.pods.iter().filter(matched).map(id_of).collect()
    }

    #[test]
    fn every_selector_restricts() {
        assert_eq!(names(json!({})).len(), 3);
        assert_eq!(names(json!({"namespaces": ["other"]})).len(), 0);
        assert_eq!(names(json!({"labelSelectors": {"app": "b"}})), ["default/b-1"]);
        assert_eq!(names(json!({"nodes": ["n2"]})), ["default/a-2"]);
        assert_eq!(names(json!({"nodeSelectors": {"zone": "x"}})).len(), 2);
        assert_eq!(
            names(json!({"pods": {"default": ["a-1"]}, "labelSelectors": {"app": "b"}})),
            ["default/a-1"]
        );
        assert_eq!(names(json!({"podPhaseSelectors": ["Pending"]})).len(), 0);
        assert_eq!(
            names(json!({"fieldSelectors": {"metadata.name": "a-2"}})),
            ["default/a-2"]
        );
        let not_in = json!({"expressionSelectors": [{"key": "app", "operator": "NotIn", "values": ["a"]}]});
        assert_eq!(names(not_in), ["default/b-1"]);
    }

    #[test]
    fn the_blast_radius_names_workloads_and_services() {
        let object = json!({"kind": "HTTPChaos", "spec": {"selector": {"labelSelectors": {"app": "a"}}, "mode": "one"}});
        let blast = blast_radius(&object, "default", &cluster());
        assert_eq!((blast.selected, blast.of), (1, 2));
        assert_eq!(blast.pods[1].workload, "Deployment/a");
        assert_eq!(blast.services.len(), 1);
        assert_eq!(
            (blast.services[0].name.as_str(), blast.services[0].port),
            ("svc", 80)
        );
        assert_eq!(ready(&object, "default", &cluster()), 2);
        let percent =
            json!({"kind": "HTTPChaos", "spec": {"selector": {}, "mode": "fixed-percent", "value": "50"}});
        assert_eq!(blast_radius(&percent, "default", &cluster()).selected, 1);
    }
}
