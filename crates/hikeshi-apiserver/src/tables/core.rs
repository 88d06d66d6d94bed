//! Tables of the core group.

use serde_json::{Value, json};

use super::cell::Cell;
use super::{Narrow, Printer, Wide, age_of, int, items, join, name, pairs, text_or};
use crate::registry::Resource;

static PODS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Ready", Narrow),
        ("Status", Narrow),
        ("Restarts", Narrow),
        ("Age", Narrow),
        ("IP", Wide),
        ("Node", Wide),
        ("Nominated Node", Wide),
        ("Readiness Gates", Wide),
    ],
    cells: pod,
};
static SERVICES: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Type", Narrow),
        ("Cluster-IP", Narrow),
        ("External-IP", Narrow),
        ("Port(s)", Narrow),
        ("Age", Narrow),
        ("Selector", Wide),
    ],
    cells: |o| {
        let spec = &o["spec"];
        let without = if spec["type"] == "LoadBalancer" {
            "<pending>"
        } else {
            "<none>"
        };
        let external = text_or(&spec["externalName"], without);
        vec![
            name(o),
            text_or(&spec["type"], "ClusterIP").into(),
            text_or(&spec["clusterIP"], "<none>").into(),
            external.into(),
            ports(&spec["ports"]).into(),
            age_of(o),
            pairs(&spec["selector"]).into(),
        ]
    },
};
static CONFIG_MAPS: Printer = Printer {
    columns: &[("Name", Narrow), ("Data", Narrow), ("Age", Narrow)],
    cells: |o| {
        let count = |key: &str| o[key].as_object().map_or(0, serde_json::Map::len);
        vec![name(o), (count("data") + count("binaryData")).into(), age_of(o)]
    },
};
static SECRETS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Type", Narrow),
        ("Data", Narrow),
        ("Age", Narrow),
    ],
    cells: |o| {
        let count = o["data"].as_object().map_or(0, serde_json::Map::len);
        vec![
            name(o),
            text_or(&o["type"], "Opaque").into(),
            count.into(),
            age_of(o),
        ]
    },
};
static EVENTS: Printer = Printer {
    columns: &[
        ("Last Seen", Narrow),
        ("Type", Narrow),
        ("Reason", Narrow),
        ("Object", Narrow),
        ("Subobject", Wide),
        ("Source", Wide),
        ("Message", Narrow),
        ("First Seen", Wide),
        ("Count", Wide),
        ("Name", Wide),
    ],
    cells: event,
};
static NAMESPACES: Printer = Printer {
    columns: &[("Name", Narrow), ("Status", Narrow), ("Age", Narrow)],
    cells: |o| {
        vec![
            name(o),
            text_or(&o["status"]["phase"], "Active").into(),
            age_of(o),
        ]
    },
};
static NODES: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Status", Narrow),
        ("Roles", Narrow),
        ("Age", Narrow),
        ("Version", Narrow),
        ("Internal-IP", Wide),
        ("External-IP", Wide),
        ("OS-Image", Wide),
        ("Kernel-Version", Wide),
        ("Container-Runtime", Wide),
    ],
    cells: node,
};
static SERVICE_ACCOUNTS: Printer = Printer {
    columns: &[("Name", Narrow), ("Secrets", Narrow), ("Age", Narrow)],
    cells: |o| vec![name(o), items(&o["secrets"]).count().into(), age_of(o)],
};
static CLAIMS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Status", Narrow),
        ("Volume", Narrow),
        ("Capacity", Narrow),
        ("Access Modes", Narrow),
        ("StorageClass", Narrow),
        ("VolumeAttributesClass", Narrow),
        ("Age", Narrow),
        ("VolumeMode", Wide),
    ],
    cells: |o| {
        let (spec, status) = (&o["spec"], &o["status"]);
        vec![
            name(o),
            text_or(&status["phase"], "Pending").into(),
            text_or(&spec["volumeName"], "").into(),
            text_or(&status["capacity"]["storage"], "").into(),
            access(&status["accessModes"]).into(),
            text_or(&spec["storageClassName"], "").into(),
            "<unset>".into(),
            age_of(o),
            text_or(&spec["volumeMode"], "Filesystem").into(),
        ]
    },
};
static VOLUMES: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Capacity", Narrow),
        ("Access Modes", Narrow),
        ("Reclaim Policy", Narrow),
        ("Status", Narrow),
        ("Claim", Narrow),
        ("StorageClass", Narrow),
        ("Age", Narrow),
    ],
    cells: |o| {
        let spec = &o["spec"];
        let claim = match spec["claimRef"]["name"].as_str() {
            Some(name) => format!("{}/{name}", text_or(&spec["claimRef"]["namespace"], "")),
            None => String::new(),
        };
        vec![
            name(o),
            text_or(&spec["capacity"]["storage"], "").into(),
            access(&spec["accessModes"]).into(),
            text_or(&spec["persistentVolumeReclaimPolicy"], "").into(),
            text_or(&o["status"]["phase"], "").into(),
            claim.into(),
            text_or(&spec["storageClassName"], "").into(),
            age_of(o),
        ]
    },
};
static ENDPOINTS: Printer = Printer {
    columns: &[("Name", Narrow), ("Endpoints", Narrow), ("Age", Narrow)],
    cells: |o| {
        let all: Vec<String> = items(&o["subsets"])
            .flat_map(|s| {
                items(&s["addresses"]).flat_map(move |a| {
                    items(&s["ports"]).map(move |p| format!("{}:{}", text_or(&a["ip"], ""), int(&p["port"])))
                })
            })
            .collect();
        vec![name(o), shortened(&all).into(), age_of(o)]
    },
};

pub(super) fn printer(resource: &Resource) -> Option<&'static Printer> {
    if &*resource.kind == "Event" {
        return Some(&EVENTS);
    }
    if !resource.group.is_empty() {
        return None;
    }
    Some(match &*resource.kind {
        "Pod" => &PODS,
        "Service" => &SERVICES,
        "ConfigMap" => &CONFIG_MAPS,
        "Secret" => &SECRETS,
        "Namespace" => &NAMESPACES,
        "Node" => &NODES,
        "ServiceAccount" => &SERVICE_ACCOUNTS,
        "PersistentVolumeClaim" => &CLAIMS,
        "PersistentVolume" => &VOLUMES,
        "Endpoints" => &ENDPOINTS,
        _ => return None,
    })
}

/// At most three, then how many more, as kubectl prints endpoints.
pub(super) fn shortened(all: &[String]) -> String {
    match all.len() {
        0 => "<none>".into(),
        n if n > 3 => format!("{} + {} more...", all[..3].join(","), n - 3),
        _ => all.join(","),
    }
}

fn access(modes: &Value) -> String {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    items(modes).map(short).collect::<Vec<_>>().join(",")
}

fn ports(ports: &Value) -> String {
    let one = |p: &Value| {
        let protocol = text_or(&p["protocol"], "TCP");
        match p["nodePort"].as_i64() {
            Some(node) => format!("{}:{node}/{protocol}", int(&p["port"])),
            None => format!("{}/{protocol}", int(&p["port"])),
        }
    };
    let all: Vec<String> = items(ports).map(one).collect();
    if all.is_empty() {
        "<none>".into()
    } else {
        all.join(",")
    }
}

fn pod(pod: &Value) -> Vec<Cell> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let statuses = &status["containerStatuses"];
    let ready = items(statuses).filter(|c| c["ready"] == true).count();
    let restarts: i64 = items(statuses).map(|c| int(&c["restartCount"])).sum();
    let last = items(statuses)
        .filter_map(|c| c["lastState"]["terminated"]["finishedAt"].as_str())
        .max();
    let restarts = match last.and_then(|last| last.parse().ok()) {
        Some(last) if restarts > 0 => Cell::Counted(restarts, last),
        _ => restarts.to_string().into(),
    };
    let gates = items(&spec["readinessGates"]).count();
    vec![
        name(pod),
        format!("{ready}/{}", items(&spec["containers"]).count()).into(),
        pod_reason(pod).into(),
        restarts,
        age_of(pod),
        text_or(&status["podIP"], "<none>").into(),
        text_or(&spec["nodeName"], "<none>").into(),
        text_or(&status["nominatedNodeName"], "<none>").into(),
        if gates == 0 {
            "<none>".into()
        } else {
            format!("0/{gates}").into()
        },
    ]
}

/// The STATUS column: the phase, unless something says more.
fn pod_reason(pod: &Value) -> String {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let mut reason = text_or(&status["reason"], text_or(&status["phase"], "Unknown")).to_owned();
    let ended = |t: &Value| {
        t["reason"].as_str().filter(|r| !r.is_empty()).map_or_else(
            || match int(&t["signal"]) {
                0 => format!("ExitCode:{}", int(&t["exitCode"])),
                signal => format!("Signal:{signal}"),
            },
            str::to_owned,
        )
    };
    let mut initializing = false;
    for (i, c) in items(&status["initContainerStatuses"]).enumerate() {
        let state = &c["state"];
        if state["terminated"].is_object() && int(&state["terminated"]["exitCode"]) == 0 {
            continue;
        }
        reason = if state["terminated"].is_object() {
            format!("Init:{}", ended(&state["terminated"]))
        } else if let Some(waiting) = state["waiting"]["reason"]
            .as_str()
            .filter(|r| *r != "PodInitializing")
        {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{}", items(&spec["initContainers"]).count())
        };
        initializing = true;
        break;
    }
    if !initializing {
        let mut running = false;
        for c in status["containerStatuses"].as_array().into_iter().flatten().rev() {
            let state = &c["state"];
            if let Some(waiting) = state["waiting"]["reason"].as_str().filter(|r| !r.is_empty()) {
                reason = waiting.to_owned();
            } else if state["terminated"].is_object() {
                reason = ended(&state["terminated"]);
            } else if c["ready"] == true && state["running"].is_object() {
                running = true;
            }
        }
        if reason == "Completed" && running {
            let ready = items(&status["conditions"]).any(|c| c["type"] == "Ready" && c["status"] == "True");
            reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        reason = if status["reason"] == "NodeLost" {
            "Unknown"
        } else {
            "Terminating"
        }
        .to_owned();
    }
    reason
}

fn event(event: &Value) -> Vec<Cell> {
    let either = |a: &str, b: &str| {
        if event[a].is_null() {
            event[b].clone()
        } else {
            event[a].clone()
        }
    };
    let object = either("involvedObject", "regarding");
    let times = [
        "lastTimestamp",
        "deprecatedLastTimestamp",
        "eventTime",
        "firstTimestamp",
    ];
    let created = &event["metadata"]["creationTimestamp"];
    let last = times
        .iter()
        .map(|t| &event[*t])
        .find(|t| t.is_string())
        .unwrap_or(created);
    let first = ["firstTimestamp", "deprecatedFirstTimestamp"]
        .iter()
        .map(|t| &event[*t])
        .find(|t| t.is_string());
    let count = either("count", "deprecatedCount");
    let source = event["source"]["component"]
        .as_str()
        .or(event["deprecatedSource"]["component"].as_str());
    let message = either("message", "note");
    vec![
        Cell::since(last),
        text_or(&event["type"], "").into(),
        text_or(&event["reason"], "").into(),
        format!(
            "{}/{}",
            text_or(&object["kind"], "").to_lowercase(),
            text_or(&object["name"], "")
        )
        .into(),
        text_or(&object["fieldPath"], "").into(),
        source
            .unwrap_or_else(|| text_or(&event["reportingComponent"], ""))
            .into(),
        text_or(&message, "").trim().into(),
        Cell::since(first.unwrap_or(last)),
        count.as_i64().unwrap_or(1).to_string().into(),
        name(event),
    ]
}

fn node(node: &Value) -> Vec<Cell> {
    let (spec, status) = (&node["spec"], &node["status"]);
    let ready = items(&status["conditions"])
        .find(|c| c["type"] == "Ready")
        .map(|c| text_or(&c["status"], ""));
    let mut state = match ready {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if spec["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    let labels = node["metadata"]["labels"].as_object();
    let roles: Vec<Value> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/").map(|r| json!(r)))
        .collect();
    let address = |kind: &str| {
        let found = items(&status["addresses"])
            .find(|a| a["type"] == kind)
            .map(|a| text_or(&a["address"], "<none>"));
        Cell::from(found.unwrap_or("<none>"))
    };
    let info = |key: &str| Cell::from(text_or(&status["nodeInfo"][key], "<unknown>"));
    vec![
        name(node),
        state.into(),
        join(roles.iter()).into(),
        age_of(node),
        info("kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_way_in_is_shown() {
        let row = |spec: Value| {
            let cells = (SERVICES.cells)(&json!({"metadata": {"name": "web"}, "spec": spec}));
            cells[1..5].to_vec()
        };
        let ports = json!([{"port": 80, "nodePort": 30000}]);
        assert_eq!(
            row(json!({"type": "LoadBalancer", "clusterIP": "127.96.0.7", "ports": ports})),
            ["LoadBalancer", "127.96.0.7", "<pending>", "80:30000/TCP"].map(Cell::from)
        );
        assert_eq!(
            row(json!({"type": "ExternalName", "externalName": "example.com"})),
            ["ExternalName", "<none>", "example.com", "<none>"].map(Cell::from)
        );
    }

    #[test]
    fn a_pods_status_says_what_is_wrong() {
        let status = |status: Value| pod_reason(&json!({"metadata": {}, "spec": {}, "status": status}));
        let waiting = json!({"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]});
        assert_eq!(status(waiting), "CrashLoopBackOff");
        let killed =
            json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]});
        assert_eq!(status(killed), "ExitCode:3");
        let init = json!({"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}]});
        assert_eq!(status(init), "Init:0/0");
        let gone = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}});
        assert_eq!(pod_reason(&gone), "Terminating");
    }
}
