//! The spec of a pod, or of a template that pods are made from. Its names become folders of this machine.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::Value;

use super::meta::{bad_label, bad_subdomain};
use super::{Causes, resources};
use crate::registry::Resource;
use crate::status::{ApiError, ApiResult};

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
/// What is wrong with a text, in Kubernetes' words.
type Check = fn(&str) -> Option<&'static str>;

/// Checks the spec of pods; `path` says where the object has it.
pub(super) fn spec(path: &str, spec: &Value, causes: &mut Causes) {
    for field in ["hostname", "subdomain"] {
        if spec[field].as_str().is_some_and(|text| !text.is_empty()) {
            required(format!("{path}.{field}"), &spec[field], bad_label, causes);
        }
    }
    let grace = "terminationGracePeriodSeconds";
    at_least(0, format!("{path}.{grace}"), &spec[grace], causes);
    let deadline = &spec["activeDeadlineSeconds"];
    if deadline
        .as_i64()
        .is_some_and(|n| !(1..=i64::from(i32::MAX)).contains(&n))
    {
        causes.push((
            format!("{path}.activeDeadlineSeconds"),
            format!("Invalid value: {deadline}: must be between 1 and 2147483647, inclusive"),
        ));
    }
    for (i, alias) in list(spec, "hostAliases").enumerate() {
        let at = format!("{path}.hostAliases[{i}]");
        required(format!("{at}.ip"), &alias["ip"], bad_address, causes);
        for (n, name) in list(alias, "hostnames").enumerate() {
            required(format!("{at}.hostnames[{n}]"), name, bad_subdomain, causes);
        }
    }
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
        let at = format!("spec.volumeClaimTemplates[{i}].spec");
        resources::claim(&at, &template["spec"], causes);
    }
}

/// Refuses other addresses of a pod than the ones its kubelet gave it: they lead connections, and stand in every pod's
/// `/etc/hosts`.
pub(crate) fn addresses(resource: &Resource, old: &Value, new: &Value) -> ApiResult<()> {
    if place(resource) != Some("/spec") {
        return Ok(());
    }
    let differs = |field: &&str| old["status"][field] != new["status"][field];
    let Some(field) = ["podIP", "podIPs", "hostIP", "hostIPs"].into_iter().find(differs) else {
        return Ok(());
    };
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    Err(ApiError::forbidden(format!(
        "{} \"{name}\" is forbidden: status.{field} is for the pod's kubelet to write",
        resource.key()
    )))
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
pub(super) fn place(resource: &Resource) -> Option<&'static str> {
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
pub(super) fn list<'a>(parent: &'a Value, field: &'static str) -> impl Iterator<Item = &'a Value> {
    parent[field].as_array().into_iter().flatten()
}

fn container(at: &str, container: &Value, volumes: Option<&HashSet<&str>>, causes: &mut Causes) {
    required(format!("{at}.name"), &container["name"], bad_label, causes);
    required(format!("{at}.image"), &container["image"], |_| None, causes);
    handlers(at, container, causes);
    resources::container(&format!("{at}.resources"), &container["resources"], causes);
    for (i, mount) in list(container, "volumeMounts").enumerate() {
        let volume = mount["name"].as_str().unwrap_or_default();
        if volumes.is_some_and(|volumes| !volumes.contains(volume)) {
            causes.push((
                format!("{at}.volumeMounts[{i}].name"),
                format!("Not found: \"{volume}\""),
            ));
        }
        let given = |name: &str| mount[name].as_str().is_some_and(|path| !path.is_empty());
        for name in ["subPath", "subPathExpr"].into_iter().filter(|name| given(name)) {
            let field = format!("{at}.volumeMounts[{i}].{name}");
            required(field, &mount[name], bad_relative_path, causes);
        }
        if given("subPath") && given("subPathExpr") {
            causes.push((
                format!("{at}.volumeMounts[{i}].subPathExpr"),
                format!(
                    "Invalid value: {}: subPathExpr and subPath are mutually exclusive",
                    mount["subPathExpr"]
                ),
            ));
        }
    }
}

/// Refuses ways of asking a container that its kubelet here does not have; unheeded, they would pass for answers.
fn handlers(at: &str, container: &Value, causes: &mut Causes) {
    let grace = "terminationGracePeriodSeconds";
    for probe in PROBES {
        at_least(
            1,
            format!("{at}.{probe}.{grace}"),
            &container[probe][grace],
            causes,
        );
    }
    let mut refuse = |field: String, instead: &str| {
        causes.push((field, format!("Forbidden: not supported here: use {instead}")));
    };
    for probe in PROBES {
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

fn at_least(least: i64, field: String, value: &Value, causes: &mut Causes) {
    if value.as_i64().is_some_and(|n| n < least) {
        causes.push((
            field,
            format!("Invalid value: {value}: must be greater than or equal to {least}"),
        ));
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

fn bad_address(text: &str) -> Option<&'static str> {
    let problem = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    text.parse::<IpAddr>().is_err().then_some(problem)
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
mod tests;
