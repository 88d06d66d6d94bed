//! A system's manifests, as far as its page tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

pub struct Manifests(Vec<Value>);

/// A Deployment or StatefulSet.
pub struct Workload {
    pub name: String,
    pub kind: String,
    pub replicas: u64,
    /// Of its first container.
    pub image: String,
    pub ports: Vec<u64>,
    /// Claims of its own: what it stores outlives its pods. `data: 1Gi`.
    pub claims: Vec<String>,
    /// ConfigMaps that it reads, as variables or as files.
    pub config: Vec<String>,
}

/// Reads every `NUMBER-NAME.yaml` of a folder.
pub fn read(folder: &Path) -> Manifests {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the manifests")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with(|first: char| first.is_ascii_digit()) && name.ends_with(".yaml")
        })
        .collect();
    files.sort();
    let objects = files.iter().flat_map(|file| {
        let text = std::fs::read_to_string(file).expect("a manifest");
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        objects
    });
    Manifests(objects.collect())
}

impl Manifests {
    /// Those that run in a namespace, by name.
    pub fn workloads(&self, namespace: &str) -> Vec<Workload> {
        let mut found: Vec<Workload> = self
            .0
            .iter()
            .filter(|object| object["metadata"]["namespace"] == namespace)
            .filter(|object| object["kind"] == "Deployment" || object["kind"] == "StatefulSet")
            .map(workload)
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// Which of the `roles` the namespace's network policies let reach which. Policies here select pods by their `app` alone.
    pub fn admitted(&self, namespace: &str, roles: &BTreeSet<&str>) -> BTreeSet<(String, String)> {
        let policies: Vec<&Value> = self
            .0
            .iter()
            .filter(|object| {
                object["kind"] == "NetworkPolicy" && object["metadata"]["namespace"] == namespace
            })
            .collect();
        let pairs = roles
            .iter()
            .flat_map(|to| roles.iter().map(move |from| (*from, *to)));
        pairs
            .filter(|(from, to)| {
                // Without a policy everyone may; with several, whom one of them lets.
                let mut on_it = policies
                    .iter()
                    .filter(|policy| selects(&policy["spec"]["podSelector"], to))
                    .peekable();
                on_it.peek().is_none() || on_it.any(|policy| lets(policy, from))
            })
            .map(|(from, to)| (from.to_owned(), to.to_owned()))
            .collect()
    }

    /// What a ConfigMap of a namespace says, by key.
    pub fn config(&self, namespace: &str, name: &str) -> BTreeMap<String, String> {
        let map = self.0.iter().find(|object| {
            object["kind"] == "ConfigMap"
                && object["metadata"]["namespace"] == namespace
                && object["metadata"]["name"] == name
        });
        let data = map.and_then(|object| object["data"].as_object());
        data.into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), string(value)))
            .collect()
    }
}

/// Whether a policy lets pods of its own namespace with this `app` in; a rule without `from` lets everyone.
fn lets(policy: &Value, app: &str) -> bool {
    list(&policy["spec"]["ingress"]).any(|rule| {
        rule["from"].is_null()
            || list(&rule["from"]).any(|peer| {
                peer["namespaceSelector"].is_null()
                    && !peer["podSelector"].is_null()
                    && selects(&peer["podSelector"], app)
            })
    })
}

/// Whether a selector takes pods whose only label is this `app`.
fn selects(selector: &Value, app: &str) -> bool {
    let labels = selector["matchLabels"].as_object();
    labels
        .into_iter()
        .flatten()
        .all(|(key, value)| key == "app" && value == app)
        && list(&selector["matchExpressions"]).all(|one| {
            assert_eq!((&one["key"], &one["operator"]), (&"app".into(), &"In".into()));
            list(&one["values"]).any(|value| value == app)
        })
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn workload(object: &Value) -> Workload {
    let pod = &object["spec"]["template"]["spec"];
    let containers = &pod["containers"];
    let from_variables = list(containers)
        .flat_map(|container| list(&container["envFrom"]))
        .map(|source| string(&source["configMapRef"]["name"]));
    let from_files = list(&pod["volumes"]).map(|volume| string(&volume["configMap"]["name"]));
    Workload {
        name: string(&object["metadata"]["name"]),
        kind: string(&object["kind"]),
        replicas: object["spec"]["replicas"].as_u64().unwrap_or(1),
        image: string(&containers[0]["image"]),
        ports: list(containers)
            .flat_map(|container| list(&container["ports"]))
            .filter_map(|port| port["containerPort"].as_u64())
            .collect(),
        claims: list(&object["spec"]["volumeClaimTemplates"])
            .map(|claim| {
                let size = string(&claim["spec"]["resources"]["requests"]["storage"]);
                format!("{} {size}", string(&claim["metadata"]["name"]))
            })
            .collect(),
        config: from_variables
            .chain(from_files)
            .filter(|name| !name.is_empty())
            .collect(),
    }
}
