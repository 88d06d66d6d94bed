//! What Kubernetes fills in when a manifest leaves it out. Runs before every write, so it must not change its own result.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::registry::Resource;
use crate::store::View;

/// Fills in the defaults of an object about to be stored.
pub(crate) fn fill(resource: &Resource, object: &mut Value, view: &View) {
    if !resource.built_in {
        if let Some(schema) = &resource.schema {
            crate::schema::fill(schema, object);
        }
        return;
    }
    drop_nulls(object);
    match &*resource.kind {
        "Pod" => {
            pod_spec(&mut object["spec"]);
            pod(object);
        }
        "LimitRange" => crate::admission::limits::fill_range(&mut object["spec"]),
        "Deployment" => {
            let spec = &mut object["spec"];
            defaults(
                spec,
                json!({"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}),
            );
            defaults(&mut spec["strategy"], json!({"type": "RollingUpdate"}));
            if spec["strategy"]["type"] == "RollingUpdate" {
                let rolling = json!({"maxSurge": "25%", "maxUnavailable": "25%"});
                defaults(&mut spec["strategy"]["rollingUpdate"], rolling);
            }
            template(&mut spec["template"]);
        }
        "ReplicaSet" => {
            defaults(&mut object["spec"], json!({"replicas": 1}));
            template(&mut object["spec"]["template"]);
        }
        "StatefulSet" => {
            let spec = &mut object["spec"];
            defaults(
                spec,
                json!({"replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady"}),
            );
            defaults(&mut spec["updateStrategy"], json!({"type": "RollingUpdate"}));
            if spec["updateStrategy"]["type"] == "RollingUpdate" {
                defaults(
                    &mut spec["updateStrategy"]["rollingUpdate"],
                    json!({"partition": 0}),
                );
            }
            let keep = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
            defaults(&mut spec["persistentVolumeClaimRetentionPolicy"], keep);
            each(spec, "volumeClaimTemplates", |claim| {
                defaults(
                    claim,
                    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}}),
                );
                defaults(&mut claim["spec"], json!({"volumeMode": "Filesystem"}));
            });
            template(&mut spec["template"]);
        }
        "DaemonSet" => {
            let spec = &mut object["spec"];
            defaults(spec, json!({"revisionHistoryLimit": 10}));
            defaults(&mut spec["updateStrategy"], json!({"type": "RollingUpdate"}));
            if spec["updateStrategy"]["type"] == "RollingUpdate" {
                defaults(
                    &mut spec["updateStrategy"]["rollingUpdate"],
                    json!({"maxSurge": 0, "maxUnavailable": 1}),
                );
            }
            template(&mut spec["template"]);
        }
        "Job" => job(object),
        "CronJob" => {
            let spec = &mut object["spec"];
            let own = json!({"concurrencyPolicy": "Allow", "suspend": false,
                "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1});
            defaults(spec, own);
            template(&mut spec["jobTemplate"]["spec"]["template"]);
        }
        "Service" => service(object, view),
        "HorizontalPodAutoscaler" => {
            let cpu = json!([{"type": "Resource", "resource":
                {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
            defaults(&mut object["spec"], json!({"minReplicas": 1, "metrics": cpu}));
        }
        "Namespace" => {
            let name = object["metadata"]["name"].clone();
            defaults(
                &mut object["metadata"]["labels"],
                json!({"kubernetes.io/metadata.name": name}),
            );
            defaults(&mut object["spec"], json!({"finalizers": ["kubernetes"]}));
            defaults(&mut object["status"], json!({"phase": "Active"}));
        }
        "PersistentVolumeClaim" => {
            defaults(&mut object["spec"], json!({"volumeMode": "Filesystem"}));
            defaults(&mut object["status"], json!({"phase": "Pending"}));
        }
        "PersistentVolume" => {
            defaults(
                &mut object["spec"],
                json!({"volumeMode": "Filesystem", "persistentVolumeReclaimPolicy": "Retain"}),
            );
            defaults(&mut object["status"], json!({"phase": "Pending"}));
        }
        "Secret" => secret(object),
        "CustomResourceDefinition" => definition(object),
        _ => {}
    }
}

/// Sets the keys of `values` that `target` lacks.
fn defaults(target: &mut Value, values: Value) {
    if target.is_null() {
        *target = Value::Object(Map::new());
    }
    if let (Some(target), Value::Object(values)) = (target.as_object_mut(), values) {
        for (key, value) in values {
            target.entry(key).or_insert(value);
        }
    }
}

fn each(parent: &mut Value, list: &str, mut change: impl FnMut(&mut Value)) {
    let items = parent.get_mut(list).and_then(Value::as_array_mut);
    items
        .into_iter()
        .flatten()
        .filter(|item| item.is_object())
        .for_each(&mut change);
}

/// Go writes `creationTimestamp: null` and the like; stored, they would make equal templates unequal.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn template(template: &mut Value) {
    if template["spec"].is_object() {
        pod_spec(&mut template["spec"]);
    }
}

fn pod_spec(spec: &mut Value) {
    let own = json!({"restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler", "securityContext": {}});
    defaults(spec, own);
    // Both names exist; the older one mirrors.
    if let Some(account) = spec
        .get("serviceAccountName")
        .or_else(|| spec.get("serviceAccount"))
        .cloned()
    {
        spec["serviceAccountName"] = account.clone();
        spec["serviceAccount"] = account;
    }
    for list in ["containers", "initContainers"] {
        each(spec, list, container);
    }
    each(spec, "volumes", |volume| {
        for source in ["configMap", "secret", "projected", "downwardAPI"] {
            if volume[source].is_object() {
                defaults(&mut volume[source], json!({"defaultMode": 420}));
            }
        }
        if volume.as_object().is_some_and(|v| v.len() == 1) {
            volume["emptyDir"] = json!({});
        }
    });
}

fn container(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
    let own = json!({"imagePullPolicy": if latest { "Always" } else { "IfNotPresent" }, "resources": {},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"});
    defaults(container, own);
    each(container, "ports", |port| {
        defaults(port, json!({"protocol": "TCP"}))
    });
    each(container, "env", |env| {
        if let Some(field) = env.get_mut("valueFrom").and_then(|v| v.get_mut("fieldRef")) {
            defaults(field, json!({"apiVersion": "v1"}));
        }
    });
    if let Some(limits) = container["resources"].get("limits").cloned() {
        defaults(&mut container["resources"]["requests"], limits);
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe) else {
            continue;
        };
        let own =
            json!({"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3});
        defaults(probe, own);
        if let Some(get) = probe.get_mut("httpGet") {
            defaults(get, json!({"path": "/", "scheme": "HTTP"}));
        }
    }
}

/// What only a real pod has, not a template.
fn pod(pod: &mut Value) {
    let spec = &mut pod["spec"];
    let own = json!({"serviceAccountName": "default", "serviceAccount": "default", "enableServiceLinks": true,
        "preemptionPolicy": "PreemptLowerPriority", "priority": 0});
    defaults(spec, own);
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !tolerations
            .iter()
            .any(|t| t["key"] == key || (t["operator"] == "Exists" && t.get("key").is_none()))
        {
            let toleration =
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
            tolerations.push(toleration);
        }
    }
    spec["tolerations"] = Value::Array(tolerations);
    let class = qos_class(spec);
    defaults(&mut pod["status"], json!({"phase": "Pending", "qosClass": class}));
}

fn qos_class(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| spec.get(*list).and_then(Value::as_array).into_iter().flatten())
        .collect();
    let none = |c: &&Value| {
        ["limits", "requests"]
            .iter()
            .all(|k| c["resources"].get(k).is_none())
    };
    if containers.iter().all(none) {
        return "BestEffort";
    }
    let guaranteed = containers.iter().all(|c| {
        let (limits, requests) = (&c["resources"]["limits"], &c["resources"]["requests"]);
        ["cpu", "memory"]
            .iter()
            .all(|r| limits.get(r).is_some() && limits.get(r) == requests.get(r))
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

fn job(job: &mut Value) {
    let uid = job["metadata"]["uid"].clone();
    let name = job["metadata"]["name"].clone();
    let spec = &mut job["spec"];
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        spec["completions"] = json!(1);
    }
    let own = json!({"parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false});
    defaults(spec, own);
    if spec["manualSelector"] != true && !uid.is_null() {
        defaults(
            &mut spec["selector"],
            json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}),
        );
        let labels = json!({"controller-uid": uid, "batch.kubernetes.io/controller-uid": uid,
            "job-name": name, "batch.kubernetes.io/job-name": name});
        defaults(&mut spec["template"]["metadata"], json!({}));
        defaults(&mut spec["template"]["metadata"]["labels"], labels);
    }
    template(&mut spec["template"]);
}

fn service(service: &mut Value, view: &View) {
    defaults(
        &mut service["spec"],
        json!({"type": "ClusterIP", "sessionAffinity": "None"}),
    );
    defaults(&mut service["status"], json!({"loadBalancer": {}}));
    let spec = &mut service["spec"];
    each(spec, "ports", |port| {
        let target = port["port"].clone();
        defaults(port, json!({"protocol": "TCP", "targetPort": target}));
    });
    if spec["type"] == "ExternalName" {
        return;
    }
    if spec
        .get("clusterIP")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        // Without one, `validate::cluster_ip` says that all are taken.
        let Some(ip) = free_cluster_ip(view) else { return };
        spec["clusterIP"] = ip.into();
    }
    if spec["type"] == "NodePort" || spec["type"] == "LoadBalancer" {
        node_ports(spec, view);
    }
    let ips = json!([spec["clusterIP"]]);
    let own = json!({"clusterIPs": ips, "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster"});
    defaults(spec, own);
}

/// Gives each port that has none the lowest free one of Kubernetes' range; no node opens it.
fn node_ports(spec: &mut Value, view: &View) {
    let ports = |spec: &Value| -> Vec<i64> {
        let ports = spec["ports"].as_array().into_iter().flatten();
        ports.filter_map(|port| port["nodePort"].as_i64()).collect()
    };
    let services = view.list("services", None);
    let mut taken: std::collections::HashSet<i64> =
        services.flat_map(|other| ports(&other["spec"])).collect();
    taken.extend(ports(spec));
    let mut free = (30_000..=32_767).filter(|port| !taken.contains(port));
    each(spec, "ports", |port| {
        if port["nodePort"].as_i64().is_none_or(|number| number == 0)
            && let Some(number) = free.next()
        {
            port["nodePort"] = number.into();
        }
    });
}

/// The lowest free address of 127.96.0.0/16 from 127.96.0.2 on; the first is the API server's. `None`: all are taken.
fn free_cluster_ip(view: &View) -> Option<String> {
    let taken: std::collections::HashSet<&str> = view
        .list("services", None)
        .filter_map(|s| s["spec"]["clusterIP"].as_str())
        .collect();
    (2..=0xfffe_u16)
        .map(|n| format!("127.96.{}.{}", n >> 8, n & 255))
        .find(|ip| !taken.contains(ip.as_str()))
}

/// A definition is in force as soon as it is stored.
fn definition(object: &mut Value) {
    let spec = &mut object["spec"];
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    let names = json!({"singular": kind.to_lowercase(), "listKind": format!("{kind}List")});
    defaults(&mut spec["names"], names);
    defaults(spec, json!({"conversion": {"strategy": "None"}}));
    let accepted = spec["names"].clone();
    let versions = spec["versions"].as_array().into_iter().flatten();
    let stored: Vec<Value> = versions
        .filter(|version| version["storage"] == true)
        .map(|version| version["name"].clone())
        .collect();
    let since = object["metadata"]["creationTimestamp"].clone();
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since});
    let conditions = json!([
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition(
            "Established",
            "InitialNamesAccepted",
            "the initial names have been accepted"
        ),
    ]);
    object["status"] = json!({"conditions": conditions, "acceptedNames": accepted, "storedVersions": stored});
}

fn secret(secret: &mut Value) {
    defaults(secret, json!({"type": "Opaque"}));
    if let Some(Value::Object(plain)) = secret.as_object_mut().and_then(|s| s.remove("stringData")) {
        let encoded = plain
            .into_iter()
            .filter_map(|(key, text)| Some((key, Value::from(STANDARD.encode(text.as_str()?)))));
        let encoded: Map<String, Value> = encoded.collect();
        defaults(&mut secret["data"], json!({}));
        if let Some(data) = secret["data"].as_object_mut() {
            data.extend(encoded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::find;
    use crate::store::Store;

    fn filled(group: &str, plural: &str, mut object: Value) -> Value {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let version = if plural == "horizontalpodautoscalers" {
            "v2"
        } else {
            "v1"
        };
        let resource = find(group, version, plural).unwrap();
        store.read(|view| fill(&resource, &mut object, view));
        let once = object.clone();
        store.read(|view| fill(&resource, &mut object, view));
        assert_eq!(object, once, "defaults must be stable");
        object
    }

    #[test]
    fn a_deployment() {
        let out = filled(
            "apps",
            "deployments",
            json!({"metadata": {"name": "x", "creationTimestamp": null},
            "spec": {"template": {"metadata": {"creationTimestamp": null}, "spec": {"containers": [
                {"name": "a", "image": "web", "ports": [{"containerPort": 1}],
                 "resources": {"limits": {"cpu": "1"}}, "readinessProbe": {"httpGet": {"port": 80}}}],
                "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "c"}}]}}}}),
        );
        assert_eq!(out["spec"]["replicas"], 1);
        assert_eq!(out["spec"]["template"]["metadata"], json!({}));
        let spec = &out["spec"]["template"]["spec"];
        let c = &spec["containers"][0];
        assert_eq!(
            (&c["imagePullPolicy"], &c["ports"][0]["protocol"]),
            (&json!("Always"), &json!("TCP"))
        );
        assert_eq!(c["resources"]["requests"]["cpu"], "1");
        assert_eq!(c["readinessProbe"]["httpGet"]["scheme"], "HTTP");
        assert_eq!(
            spec["volumes"],
            json!([{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c", "defaultMode": 420}}])
        );
    }

    #[test]
    fn a_job_gets_its_selector_and_labels() {
        let out = filled(
            "batch",
            "jobs",
            json!({"metadata": {"name": "seed", "uid": "u1"},
            "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "x:1"}]}}}}),
        );
        assert_eq!(
            out["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"],
            "u1"
        );
        assert_eq!(out["spec"]["template"]["metadata"]["labels"]["job-name"], "seed");
        assert_eq!(out["spec"]["completions"], 1);
    }

    #[test]
    fn services_get_an_address_unless_headless() {
        let out = filled(
            "",
            "services",
            json!({"metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}}),
        );
        assert_eq!(out["spec"]["clusterIP"], "127.96.0.2");
        assert_eq!(out["spec"]["ports"][0]["targetPort"], 80);
        let out = filled(
            "",
            "services",
            json!({"metadata": {"name": "x"}, "spec": {"clusterIP": "None"}}),
        );
        assert_eq!(out["spec"]["clusterIP"], "None");
    }

    #[test]
    fn secrets_and_pods() {
        let out = filled("", "secrets", json!({"stringData": {"a": "b"}}));
        assert_eq!((&out["data"]["a"], out.get("stringData")), (&json!("Yg=="), None));
        let out = filled(
            "",
            "pods",
            json!({"metadata": {}, "spec": {"containers": [{"name": "a", "image": "x:1",
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}}),
        );
        assert_eq!(
            (&out["status"]["qosClass"], &out["status"]["phase"]),
            (&json!("Guaranteed"), &json!("Pending"))
        );
        assert_eq!(out["spec"]["containers"][0]["imagePullPolicy"], "IfNotPresent");
    }
}
