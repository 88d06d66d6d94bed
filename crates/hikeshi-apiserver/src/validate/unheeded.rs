//! Fields that Kubernetes acts on and this cluster does not. Where doing without would make a manifest mean something else,
//! it is refused by the field's name; where it still means nearly the same, whoever sends it is warned.

use serde_json::Value;

use super::Causes;
use super::pod::{list, place};
use crate::registry::Resource;

/// One field: its path below what the table is about (`[]`: each item of a list), which values are not heeded, and what
/// is said of them.
struct Row {
    path: &'static str,
    unheeded: fn(&Value) -> bool,
    say: Say,
}

enum Say {
    /// The rest of `Forbidden: not supported here: `.
    Refuse(&'static str),
    /// The rest of a warning that begins with the field.
    Warn(&'static str),
}
use Say::{Refuse, Warn};

const fn row(path: &'static str, unheeded: fn(&Value) -> bool, say: Say) -> Row {
    Row { path, unheeded, say }
}

fn yes(value: &Value) -> bool {
    *value == true
}

/// Set to anything that is not empty.
fn given(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

/// Below the spec of a pod.
const POD: &[Row] = &[
    row(
        "hostNetwork",
        yes,
        Refuse("every pod has a network of its own; use a Service"),
    ),
    row("hostPID", yes, Refuse("a pod sees its own processes only")),
    row("hostIPC", yes, Refuse("a pod sees its own processes only")),
    row(
        "runtimeClassName",
        given,
        Refuse("there is one runtime; leave it out"),
    ),
    row("resourceClaims", given, Refuse("no devices are handed out")),
    row(
        "volumes[].emptyDir.medium",
        |medium| {
            medium
                .as_str()
                .is_some_and(|medium| medium.starts_with("HugePages"))
        },
        Refuse("use \"Memory\" or nothing"),
    ),
    row(
        "volumes[].emptyDir.medium",
        |medium| medium == "Memory",
        Warn("it lies on the disk here; what is written counts as storage, not as memory"),
    ),
    row(
        "securityContext.fsGroup",
        given,
        Warn("volumes belong to the pod's one user here and are writable for it as they are"),
    ),
    row(
        "securityContext.supplementalGroups",
        given,
        Warn("a pod has one user and one group here"),
    ),
    row(
        "securityContext.sysctls",
        given,
        Warn("kernel parameters stay the machine's"),
    ),
    row(
        "dnsConfig",
        given,
        Warn("names are resolved by /etc/hosts alone here"),
    ),
    row(
        "priorityClassName",
        |class| {
            class
                .as_str()
                .is_some_and(|class| !class.is_empty() && !class.starts_with("system-"))
        },
        Warn("no pod is preempted for another here"),
    ),
];

/// Below each container.
const CONTAINER: &[Row] = &[
    row(
        "ports[].hostPort",
        |port| port.as_i64().is_some_and(|port| port != 0),
        Refuse("nodes have no ports of their own; use a Service, an Ingress or kubectl port-forward"),
    ),
    row(
        "securityContext.privileged",
        yes,
        Refuse("a pod stays inside its own namespaces"),
    ),
    row(
        "volumeDevices",
        given,
        Refuse("there are no block devices; use volumeMounts"),
    ),
    row("resources.claims", given, Refuse("no devices are handed out")),
    row(
        "securityContext.capabilities.add[]",
        |name| !name.as_str().is_some_and(is_grantable),
        Warn("this capability is not granted here"),
    ),
];

/// Below a Service's spec.
const SERVICE: &[Row] = &[
    row(
        "sessionAffinity",
        |affinity| affinity == "ClientIP",
        Refuse("each connection chooses its pod anew; use \"None\""),
    ),
    row(
        "internalTrafficPolicy",
        |policy| policy == "Local",
        Refuse("every ready pod is chosen from; use \"Cluster\""),
    ),
    row(
        "externalIPs",
        given,
        Refuse("no address of the outside leads in; use an Ingress"),
    ),
    row(
        "type",
        |kind| kind == "NodePort",
        Warn("a port is assigned, but no node opens it; from outside use an Ingress or kubectl port-forward"),
    ),
    row(
        "type",
        |kind| kind == "LoadBalancer",
        Warn("there is no load balancer; from outside use an Ingress or kubectl port-forward"),
    ),
    row(
        "type",
        |kind| kind == "ExternalName",
        Warn("pods resolve names of this cluster only, not this one"),
    ),
    row(
        "trafficDistribution",
        given,
        Warn("every ready pod is chosen from"),
    ),
];

/// Below a Job's spec.
const JOB: &[Row] = &[
    row("podFailurePolicy", given, Refuse("use backoffLimit")),
    row(
        "successPolicy",
        given,
        Refuse("a Job succeeds with all its completions"),
    ),
    row("backoffLimitPerIndex", given, Refuse("use backoffLimit")),
    row("maxFailedIndexes", given, Refuse("use backoffLimit")),
    row(
        "managedBy",
        |by| given(by) && by != "kubernetes.io/job-controller",
        Refuse("the Job controller of this cluster is the only one"),
    ),
];

/// The capabilities that a container has here unless it drops them.
fn is_grantable(name: &str) -> bool {
    matches!(
        name.strip_prefix("CAP_").unwrap_or(name),
        "CHOWN"
            | "DAC_OVERRIDE"
            | "FOWNER"
            | "FSETID"
            | "KILL"
            | "SETGID"
            | "SETUID"
            | "SETPCAP"
            | "NET_BIND_SERVICE"
            | "NET_RAW"
            | "SETFCAP"
    )
}

/// The values a path leads to, each with its own path.
fn found<'a>(at: &str, value: &'a Value, path: &str) -> Vec<(String, &'a Value)> {
    let mut places = vec![(at.to_owned(), value)];
    for step in path.split('.') {
        let (name, each) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
        places = places
            .into_iter()
            .flat_map(|(at, value)| {
                let (at, value) = (format!("{at}.{name}"), &value[name]);
                match value.as_array().filter(|_| each) {
                    Some(items) => (items.iter().enumerate())
                        .map(|(i, item)| (format!("{at}[{i}]"), item))
                        .collect(),
                    None => vec![(at, value)],
                }
            })
            .collect();
    }
    places.retain(|(_, value)| !value.is_null());
    places
}

/// Every row's finding in one object: the field, and what is said.
fn findings(resource: &Resource, object: &Value) -> Vec<(String, &'static Say)> {
    let mut all = Vec::new();
    let mut look = |table: &'static [Row], at: &str, value: &Value| {
        for row in table {
            let unheeded = found(at, value, row.path).into_iter();
            let unheeded = unheeded.filter(|(_, value)| (row.unheeded)(value));
            all.extend(unheeded.map(|(field, _)| (field, &row.say)));
        }
    };
    match (&*resource.group, &*resource.kind) {
        ("", "Service") => look(SERVICE, "spec", &object["spec"]),
        ("batch", "Job") => look(JOB, "spec", &object["spec"]),
        ("batch", "CronJob") => look(
            JOB,
            "spec.jobTemplate.spec",
            &object["spec"]["jobTemplate"]["spec"],
        ),
        _ => {}
    }
    if let Some((at, spec)) = pods(resource, object) {
        look(POD, &at, spec);
        for kind in ["initContainers", "containers"] {
            for (i, container) in list(spec, kind).enumerate() {
                look(CONTAINER, &format!("{at}.{kind}[{i}]"), container);
            }
        }
    }
    all
}

/// The spec of an object's pods and its path.
fn pods<'a>(resource: &Resource, object: &'a Value) -> Option<(String, &'a Value)> {
    let place = place(resource).filter(|_| &*resource.kind != "ControllerRevision")?;
    let at = place.trim_start_matches('/').replace('/', ".");
    Some((at, object.pointer(place)?))
}

/// The fields that are refused.
pub(super) fn refused(resource: &Resource, object: &Value, causes: &mut Causes) {
    for (field, say) in findings(resource, object) {
        if let Refuse(instead) = say {
            causes.push((field, format!("Forbidden: not supported here: {instead}")));
        }
    }
}

/// What is taken without being heeded, for whoever sends it.
pub(crate) fn warnings(resource: &Resource, object: &Value) -> Vec<String> {
    if !resource.built_in {
        return Vec::new();
    }
    let warned = findings(resource, object)
        .into_iter()
        .filter_map(|(field, say)| match say {
            Warn(words) => Some(format!("{field}: {words}")),
            Refuse(_) => None,
        });
    let mut warnings: Vec<String> = warned.collect();
    if let Some((at, spec)) = pods(resource, object) {
        warnings.extend(of_one_pod(&at, spec));
    }
    warnings
}

/// What a pod's containers cannot have each for itself: they share one root file system and one user.
fn of_one_pod(at: &str, spec: &Value) -> Vec<String> {
    let containers: Vec<(String, &Value)> = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|kind| {
            let numbered = list(spec, kind).enumerate();
            numbered.map(move |(i, one)| {
                (
                    format!("{at}.{kind}[{i}].securityContext"),
                    &one["securityContext"],
                )
            })
        })
        .collect();
    let mut warnings = Vec::new();
    let read_only = |context: &Value| context["readOnlyRootFilesystem"] == true;
    if !containers.iter().all(|(_, context)| read_only(context))
        && let Some((at, _)) = containers.iter().find(|(_, context)| read_only(context))
    {
        warnings.push(format!(
            "{at}.readOnlyRootFilesystem: containers share their pod's root here: it is read-only when all of them say so"
        ));
    }
    for id in ["runAsUser", "runAsGroup"] {
        let said = |context: &Value| {
            let own = Some(&context[id]).filter(|id| id.is_number());
            own.unwrap_or(&spec["securityContext"][id]).clone()
        };
        let Some((_, first)) = containers.first() else {
            continue;
        };
        if let Some((at, _)) = containers
            .iter()
            .find(|(_, context)| said(context) != said(first))
        {
            warnings.push(format!(
                "{at}.{id}: a pod's containers run as one user here, the first container's"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests;
