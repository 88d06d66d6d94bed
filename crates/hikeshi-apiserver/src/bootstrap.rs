//! What exists before anyone asks: the namespaces, and the Service by which pods find this server.

use serde_json::{Value, json};

use crate::rest::create_object;
use crate::status::ApiResult;
use crate::store::{Store, View};
use crate::{rbac, registry};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// Kubernetes' own classes, for what the cluster itself leans on.
const CLASSES: [(&str, i64); 2] = [
    ("system-cluster-critical", 2_000_000_000),
    ("system-node-critical", 2_000_001_000),
];
/// The ClusterIP of `kubernetes.default`.
const ADDRESS: &str = "127.96.0.1";

/// Creates what is missing, and points `kubernetes.default` at the port served now.
pub(crate) fn run(store: &Store, port: u16, home: &str) -> ApiResult<()> {
    store.write(|view| {
        for name in NAMESPACES {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            ensure(view, "", "namespaces", "", namespace)?;
        }
        let labels = json!({"component": "apiserver", "provider": "kubernetes", "kubernetes.io/service-name": "kubernetes"});
        let metadata = json!({"name": "kubernetes", "namespace": "default", "labels": labels});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {
            "clusterIP": ADDRESS, "ports": [{"name": "https", "port": 443, "targetPort": port}]}});
        ensure(view, "", "services", "default", service)?;
        let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": [{
            "addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]});
        ensure(view, "", "endpoints", "default", endpoints)?;
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
            "addressType": "IPv4", "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false}}]});
        ensure(view, "discovery.k8s.io", "endpointslices", "default", slice)?;
        for (name, value) in CLASSES {
            let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
                "value": value, "preemptionPolicy": "PreemptLowerPriority"});
            ensure(view, "scheduling.k8s.io", "priorityclasses", "", class)?;
        }
        rbac::bootstrap::run(view, home)
    })
}

/// Creates the object, or brings an older one up to date.
fn ensure(view: &mut View, group: &str, plural: &str, namespace: &str, wanted: Value) -> ApiResult<()> {
    let Some(resource) = registry::find(group, "v1", plural) else {
        return Ok(());
    };
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let key = resource.store_key().into_owned();
    let Some(old) = view.get(&key, namespace, &name).cloned() else {
        create_object(view, &resource, namespace, wanted, crate::rest::Saving::default())?;
        return Ok(());
    };
    let mut new = (*old).clone();
    for field in ["spec", "subsets", "ports", "endpoints"] {
        if let Some(value) = wanted.get(field) {
            new[field] = crate::patch::merge(&new[field], value);
        }
    }
    if new != *old {
        view.put(&key, namespace, &name, new)?;
    }
    Ok(())
}
