use super::super::values;
use super::*;
use crate::registry::find;
use serde_json::json;

fn resource(kind: &str) -> std::sync::Arc<Resource> {
    let (group, plural) = match kind {
        "Pod" => ("", "pods"),
        "Deployment" => ("apps", "deployments"),
        "StatefulSet" => ("apps", "statefulsets"),
        "ControllerRevision" => ("apps", "controllerrevisions"),
        "Job" => ("batch", "jobs"),
        _ => ("batch", "cronjobs"),
    };
    find(group, "v1", plural).unwrap()
}

/// A pod's spec with one container and one volume.
fn pod_spec(volume: Value) -> Value {
    json!({"containers": [{"name": "web", "image": "web:1"}], "volumes": [volume]})
}

/// An object of the kind that makes pods of this spec.
fn object(kind: &str, spec: Value) -> Value {
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": spec});
    let workload = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template});
    let (field, value) = match kind {
        "Pod" => ("spec", spec),
        "CronJob" => (
            "spec",
            json!({"schedule": "@daily", "jobTemplate": {"spec": workload}}),
        ),
        "ControllerRevision" => ("data", json!({"spec": workload})),
        _ => ("spec", workload),
    };
    let mut object = json!({"kind": kind, "metadata": {"name": "web"}});
    object[field] = value;
    object
}

fn refusal(kind: &str, spec: Value) -> String {
    let error = values(&resource(kind), &object(kind, spec)).unwrap_err();
    assert_eq!(error.code, 422);
    error.message
}

#[test]
fn names_that_would_lead_out_of_their_folder_are_refused() {
    for name in ["..", "../../etc", "a/b", "/etc", "Data", "a.b", ""] {
        for kind in ["Pod", "Deployment", "StatefulSet", "Job", "CronJob"] {
            let volume = json!({"name": name, "emptyDir": {}});
            let message = refusal(kind, pod_spec(volume));
            assert!(message.contains("volumes[0].name: "), "{kind} {name}: {message}");
        }
        let mut spec = pod_spec(json!({"name": "data", "emptyDir": {}}));
        spec["initContainers"] = json!([{"name": name, "image": "web:1"}]);
        let message = refusal("Pod", spec);
        assert!(message.contains("spec.initContainers[0].name: "), "{message}");
    }
    let message = refusal("Pod", pod_spec(json!({"name": "../up", "emptyDir": {}})));
    assert!(
        message.contains("Invalid value: \"../up\": a lowercase RFC 1123 label must consist of"),
        "{message}"
    );
}

#[test]
fn names_and_places_inside_a_volume_are_checked() {
    let name = json!("../other");
    let out = json!([{"key": "k", "path": "../../evil"}]);
    let absolute = json!([{"key": "k", "path": "/evil"}]);
    let own = json!([{"key": "k", "path": "..data"}]);
    for (source, field, problem) in [
        (
            json!({"persistentVolumeClaim": {"claimName": name}}),
            "persistentVolumeClaim.claimName",
            "RFC 1123 subdomain",
        ),
        (
            json!({"persistentVolumeClaim": {}}),
            "persistentVolumeClaim.claimName",
            "Required value",
        ),
        (
            json!({"configMap": {"name": name}}),
            "configMap.name",
            "RFC 1123 subdomain",
        ),
        (
            json!({"secret": {"secretName": name}}),
            "secret.secretName",
            "RFC 1123 subdomain",
        ),
        (
            json!({"configMap": {"name": "m", "items": out}}),
            "configMap.items[0].path",
            "must not contain '..'",
        ),
        (
            json!({"secret": {"secretName": "s", "items": absolute}}),
            "secret.items[0].path",
            "must be a relative path",
        ),
        (
            json!({"projected": {"sources": [{"configMap": {"name": "m", "items": own}}]}}),
            "projected.sources[0].configMap.items[0].path",
            "must not start with '..'",
        ),
    ] {
        let mut volume = source;
        volume["name"] = json!("data");
        let message = refusal("Deployment", pod_spec(volume));
        let wanted = format!("spec.template.spec.volumes[0].{field}: ");
        assert!(
            message.contains(&wanted) && message.contains(problem),
            "{field}: {message}"
        );
    }
    let mut spec = pod_spec(json!({"name": "data", "emptyDir": {}}));
    spec["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data", "subPath": "a/../../b"}]);
    let message = refusal("Pod", spec);
    assert!(message.contains("volumeMounts[0].subPath: "), "{message}");
}

#[test]
fn what_stays_inside_is_accepted() {
    let mut spec = pod_spec(json!({"name": "config",
        "configMap": {"name": "kube-root-ca.crt", "items": [{"key": "k", "path": "deep/a.conf"}]}}));
    spec["containers"][0]["volumeMounts"] =
        json!([{"name": "config", "mountPath": "/etc/a.conf", "subPath": "deep/a.conf"}]);
    for kind in ["Pod", "Deployment", "Job", "CronJob"] {
        values(&resource(kind), &object(kind, spec.clone())).unwrap();
    }
    let mut set = object("StatefulSet", spec);
    set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}]);
    values(&resource("StatefulSet"), &set).unwrap();
    set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] = json!("../data");
    let error = values(&resource("StatefulSet"), &set).unwrap_err();
    let field = "spec.volumeClaimTemplates[0].metadata.name: ";
    assert!(error.message.contains(field), "{}", error.message);
}

#[test]
fn folders_of_the_machine_are_refused_until_they_are_there() {
    let spec = pod_spec(json!({"name": "root", "hostPath": {"path": "/"}}));
    for kind in [
        "Pod",
        "Deployment",
        "StatefulSet",
        "Job",
        "CronJob",
        "ControllerRevision",
    ] {
        let (resource, object) = (resource(kind), object(kind, spec.clone()));
        let error = host_paths(&resource, None, &object).unwrap_err();
        assert_eq!(error.code, 403, "{kind}");
        assert!(
            error.message.ends_with("hostPath volumes (volume \"root\")"),
            "{}",
            error.message
        );
        host_paths(&resource, Some(&object), &object).unwrap();
    }
    let (resource, old) = (resource("Deployment"), object("Deployment", spec));
    let mut scaled = old.clone();
    scaled["spec"]["replicas"] = json!(3);
    host_paths(&resource, Some(&old), &scaled).unwrap();
    let mut other = old.clone();
    other["spec"]["template"]["spec"]["containers"][0]["image"] = json!("shell:1");
    assert!(host_paths(&resource, Some(&old), &other).is_err());
    let harmless = object("Deployment", pod_spec(json!({"name": "data", "emptyDir": {}})));
    host_paths(&resource, None, &harmless).unwrap();
}

#[test]
fn names_and_times_of_a_pod_are_checked() {
    let plain = || pod_spec(json!({"name": "data", "emptyDir": {}}));
    for (field, value, problem) in [
        ("hostname", json!("a b"), "a lowercase RFC 1123 label"),
        ("hostname", json!("a\n127.0.0.1 b"), "a lowercase RFC 1123 label"),
        ("subdomain", json!("a.b"), "a lowercase RFC 1123 label"),
        (
            "terminationGracePeriodSeconds",
            json!(-1),
            "Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "activeDeadlineSeconds",
            json!(0),
            "Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
    ] {
        let mut spec = plain();
        spec[field] = value;
        let message = refusal("CronJob", spec);
        let wanted = format!("spec.jobTemplate.spec.template.spec.{field}: ");
        assert!(
            message.contains(&wanted) && message.contains(problem),
            "{message}"
        );
    }
    let mut spec = plain();
    spec["containers"][0]["livenessProbe"] = json!({"terminationGracePeriodSeconds": 0});
    let message = refusal("Pod", spec);
    let wanted = "containers[0].livenessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be";
    assert!(message.contains(wanted), "{message}");
    let mut spec = plain();
    (spec["hostname"], spec["subdomain"]) = (json!("web-0"), json!("web"));
    values(&resource("Pod"), &object("Pod", spec)).unwrap();
}

#[test]
fn a_pods_addresses_stay_as_its_kubelet_wrote_them() {
    let status = |ip: &str, phase: &str| {
        json!({"metadata": {"name": "web"},
        "status": {"podIP": ip, "podIPs": [{"ip": ip}], "phase": phase}})
    };
    let pods = resource("Pod");
    let old = status("127.64.0.10", "Running");
    addresses(&pods, &old, &status("127.64.0.10", "Failed")).unwrap();
    for other in [status("127.64.0.11", "Running"), json!({"status": null})] {
        let error = addresses(&pods, &old, &other).unwrap_err();
        assert_eq!(error.code, 403);
        assert!(error.message.contains("status.podIP is for"), "{}", error.message);
    }
    addresses(&resource("Job"), &old, &status("x", "")).unwrap();
}

#[test]
fn ways_of_asking_that_the_kubelet_lacks_are_refused_by_name() {
    for (part, field) in [
        (
            json!({"livenessProbe": {"grpc": {"port": 1}}}),
            "livenessProbe.grpc",
        ),
        (
            json!({"readinessProbe": {"httpGet": {"port": 1, "scheme": "HTTPS"}}}),
            "readinessProbe.httpGet.scheme",
        ),
        (
            json!({"startupProbe": {"httpGet": {"port": 1, "host": "example.com"}}}),
            "startupProbe.httpGet.host",
        ),
        (
            json!({"lifecycle": {"preStop": {"tcpSocket": {"port": 1}}}}),
            "lifecycle.preStop.tcpSocket",
        ),
    ] {
        let mut container = json!({"name": "c", "image": "x"});
        for (key, value) in part.as_object().unwrap() {
            container[key] = value.clone();
        }
        let mut causes = Vec::new();
        spec("spec", &json!({"containers": [container]}), &mut causes);
        assert_eq!(causes.len(), 1, "{causes:?}");
        assert_eq!(causes[0].0, format!("spec.containers[0].{field}"));
    }
}

#[test]
fn parts_of_volumes_and_names_of_ones_own_are_checked() {
    let mut spec = pod_spec(json!({"name": "data", "emptyDir": {}}));
    spec["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data", "subPathExpr": "../$(POD)"}]);
    let message = refusal("Pod", spec.clone());
    assert!(message.contains("volumeMounts[0].subPathExpr: "), "{message}");
    spec["containers"][0]["volumeMounts"][0]["subPathExpr"] = json!("$(POD)");
    assert!(values(&resource("Pod"), &object("Pod", spec.clone())).is_ok());
    spec["containers"][0]["volumeMounts"][0]["subPath"] = json!("a");
    let message = refusal("Pod", spec.clone());
    assert!(message.contains("mutually exclusive"), "{message}");
    spec["containers"][0]["volumeMounts"] = json!([]);
    spec["hostAliases"] = json!([{"ip": "127.96.0.7", "hostnames": ["old.example"]}]);
    assert!(values(&resource("Pod"), &object("Pod", spec.clone())).is_ok());
    spec["hostAliases"] = json!([{"ip": "here", "hostnames": ["a b"]}]);
    let message = refusal("Pod", spec);
    for wanted in ["hostAliases[0].ip: ", "hostAliases[0].hostnames[0]: "] {
        assert!(message.contains(wanted), "{message}");
    }
}
