//! The spec of a pod, or of a template that pods are made from. Its names become folders of this machine.

use std::collections::HashSet;

use serde_json::Value;

use super::bad_subdomain;
use crate::registry::Resource;
use crate::status::{ApiError, ApiResult};

/// Fields at fault, each with its problem.
type Causes = Vec<(String, String)>;
/// What is wrong with a text, in Kubernetes' words.
type Check = fn(&str) -> Option<&'static str>;

/// Checks the spec of pods; `path` says where the object has it.
pub(super) fn spec(path: &str, spec: &Value, causes: &mut Causes) {
    let mut volumes = HashSet::new();
    for (i, volume) in list(spec, "volumes").enumerate() {
        let at = format!("{path}.volumes[{i}]");
        required(format!("{at}.name"), &volume["name"], bad_label, causes);
        if !volumes.insert(volume["name"].as_str().unwrap_or_default()) {
            causes.push((
                format!("{at}.name"),
                format!("Duplicate value: {}", volume["name"]),
            ));
        }
        sources(&at, volume, causes);
    }
    if list(spec, "containers").next().is_none() {
        causes.push((format!("{path}.containers"), "Required value".into()));
    }
    // A StatefulSet's claims become volumes of its pods later: only a pod must have every volume that it mounts.
    let known = (path == "spec").then_some(&volumes);
    let mut names = HashSet::new();
    for kind in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, one) in list(spec, kind).enumerate() {
            let at = format!("{path}.{kind}[{i}]");
            container(&at, one, known, causes);
            if !names.insert(one["name"].as_str()) {
                causes.push((format!("{at}.name"), format!("Duplicate value: {}", one["name"])));
            }
        }
    }
}

/// The claims that a StatefulSet makes for its pods: each is also the name of a volume.
pub(super) fn claim_templates(spec: &Value, causes: &mut Causes) {
    for (i, template) in list(spec, "volumeClaimTemplates").enumerate() {
        let field = format!("spec.volumeClaimTemplates[{i}].metadata.name");
        required(field, &template["metadata"]["name"], bad_label, causes);
    }
}

/// Refuses pods, and what pods are made from, that would see folders of this machine. What is there already may stay,
/// as long as its pods stay the same.
pub(crate) fn host_paths(resource: &Resource, old: Option<&Value>, new: &Value) -> ApiResult<()> {
    let Some(place) = place(resource) else {
        return Ok(());
    };
    let Some(spec) = new.pointer(place) else {
        return Ok(());
    };
    let given = |volume: &&Value| volume.get("hostPath").is_some_and(|path| !path.is_null());
    let Some(volume) = list(spec, "volumes").find(given) else {
        return Ok(());
    };
    if old.and_then(|old| old.pointer(place)) == Some(spec) {
        return Ok(());
    }
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    Err(ApiError::forbidden(format!(
        "{} \"{name}\" is forbidden: violates PodSecurity \"baseline:latest\": hostPath volumes (volume {})",
        resource.key(),
        volume["name"]
    )))
}

/// Where a kind keeps the spec of its pods, as a JSON pointer.
fn place(resource: &Resource) -> Option<&'static str> {
    match (&*resource.group, &*resource.kind) {
        ("", "Pod") => Some("/spec"),
        ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet") | ("batch", "Job") => {
            Some("/spec/template/spec")
        }
        ("batch", "CronJob") => Some("/spec/jobTemplate/spec/template/spec"),
        ("apps", "ControllerRevision") => Some("/data/spec/template/spec"),
        _ => None,
    }
}

/// The items of a list; none where there is no list.
fn list<'a>(parent: &'a Value, field: &'static str) -> impl Iterator<Item = &'a Value> {
    parent[field].as_array().into_iter().flatten()
}

fn container(at: &str, container: &Value, volumes: Option<&HashSet<&str>>, causes: &mut Causes) {
    required(format!("{at}.name"), &container["name"], bad_label, causes);
    required(format!("{at}.image"), &container["image"], |_| None, causes);
    handlers(at, container, causes);
    for (i, mount) in list(container, "volumeMounts").enumerate() {
        let volume = mount["name"].as_str().unwrap_or_default();
        if volumes.is_some_and(|volumes| !volumes.contains(volume)) {
            causes.push((
                format!("{at}.volumeMounts[{i}].name"),
                format!("Not found: \"{volume}\""),
            ));
        }
        if mount["subPath"].as_str().is_some_and(|path| !path.is_empty()) {
            let field = format!("{at}.volumeMounts[{i}].subPath");
            required(field, &mount["subPath"], bad_relative_path, causes);
        }
    }
}

/// Refuses ways of asking a container that its kubelet here does not have; unheeded, they would pass for answers.
fn handlers(at: &str, container: &Value, causes: &mut Causes) {
    let mut refuse = |field: String, instead: &str| {
        causes.push((field, format!("Forbidden: not supported here: use {instead}")));
    };
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let (at, probe) = (format!("{at}.{probe}"), &container[probe]);
        if probe["grpc"].is_object() {
            refuse(format!("{at}.grpc"), "httpGet, tcpSocket or exec");
        }
        plain_http(&at, &probe["httpGet"], &mut refuse);
    }
    for hook in ["postStart", "preStop"] {
        let (at, hook) = (format!("{at}.lifecycle.{hook}"), &container["lifecycle"][hook]);
        if hook["tcpSocket"].is_object() {
            refuse(format!("{at}.tcpSocket"), "exec, httpGet or sleep");
        }
        plain_http(&at, &hook["httpGet"], &mut refuse);
    }
}

fn plain_http(at: &str, action: &Value, refuse: &mut impl FnMut(String, &str)) {
    if action["scheme"] == "HTTPS" {
        refuse(format!("{at}.httpGet.scheme"), "HTTP or exec");
    }
    if action["host"].as_str().is_some_and(|host| !host.is_empty()) {
        refuse(
            format!("{at}.httpGet.host"),
            "the pod's own address (no host) or exec",
        );
    }
}

/// What a volume is made from: the objects that it names, and the places of its files.
fn sources(at: &str, volume: &Value, causes: &mut Causes) {
    let claim = &volume["persistentVolumeClaim"];
    if claim.is_object() {
        let field = format!("{at}.persistentVolumeClaim.claimName");
        required(field, &claim["claimName"], bad_subdomain, causes);
    }
    object(
        format!("{at}.configMap"),
        &volume["configMap"],
        Some("name"),
        causes,
    );
    object(
        format!("{at}.secret"),
        &volume["secret"],
        Some("secretName"),
        causes,
    );
    object(format!("{at}.downwardAPI"), &volume["downwardAPI"], None, causes);
    for (i, source) in list(&volume["projected"], "sources").enumerate() {
        let at = format!("{at}.projected.sources[{i}]");
        for kind in ["configMap", "secret"] {
            object(format!("{at}.{kind}"), &source[kind], Some("name"), causes);
        }
        object(format!("{at}.downwardAPI"), &source["downwardAPI"], None, causes);
        let token = &source["serviceAccountToken"];
        if token.is_object() {
            let field = format!("{at}.serviceAccountToken.path");
            required(field, &token["path"], bad_file_path, causes);
        }
    }
}

/// A source of files: the field that names the object they come from, if any, and where each file goes.
fn object(at: String, source: &Value, name: Option<&str>, causes: &mut Causes) {
    if !source.is_object() {
        return;
    }
    if let Some(name) = name {
        required(format!("{at}.{name}"), &source[name], bad_subdomain, causes);
    }
    for (i, item) in list(source, "items").enumerate() {
        required(
            format!("{at}.items[{i}].path"),
            &item["path"],
            bad_file_path,
            causes,
        );
    }
}

fn required(field: String, value: &Value, bad: Check, causes: &mut Causes) {
    let text = value.as_str().unwrap_or_default();
    if text.is_empty() {
        causes.push((field, "Required value".into()));
    } else if let Some(problem) = bad(text) {
        causes.push((field, format!("Invalid value: {text:?}: {problem}")));
    }
}

fn bad_label(name: &str) -> Option<&'static str> {
    if name.len() > 63 {
        return Some("must be no more than 63 characters");
    }
    let alnum = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = name.as_bytes();
    let edges = bytes.first().is_some_and(alnum) && bytes.last().is_some_and(alnum);
    let inner = bytes.iter().all(|c| alnum(c) || *c == b'-');
    (!edges || !inner).then_some(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
         and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', \
         regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
    )
}

/// A path inside a volume.
fn bad_relative_path(path: &str) -> Option<&'static str> {
    if path.starts_with('/') {
        Some("must be a relative path")
    } else if path.split('/').any(|part| part == "..") {
        Some("must not contain '..'")
    } else {
        None
    }
}

/// The place of a file that is put into a volume; names that begin with two dots are the kubelet's own there.
fn bad_file_path(path: &str) -> Option<&'static str> {
    bad_relative_path(path).or_else(|| path.starts_with("..").then_some("must not start with '..'"))
}

#[cfg(test)]
mod tests {
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
}
