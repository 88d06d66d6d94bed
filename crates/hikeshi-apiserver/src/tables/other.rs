//! Tables of the smaller groups.

use serde_json::Value;

use super::cell::Cell;
use super::core::shortened;
use super::{Narrow, Printer, Wide, age_of, int, items, join, name, selector_text, text_or};
use crate::registry::Resource;

static AUTOSCALERS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Reference", Narrow),
        ("Targets", Narrow),
        ("MinPods", Narrow),
        ("MaxPods", Narrow),
        ("Replicas", Narrow),
        ("Age", Narrow),
    ],
    cells: |o| {
        let spec = &o["spec"];
        let target = &spec["scaleTargetRef"];
        vec![
            name(o),
            format!(
                "{}/{}",
                text_or(&target["kind"], ""),
                text_or(&target["name"], "")
            )
            .into(),
            targets(o).into(),
            spec["minReplicas"].as_i64().unwrap_or(1).to_string().into(),
            int(&spec["maxReplicas"]).into(),
            int(&o["status"]["currentReplicas"]).into(),
            age_of(o),
        ]
    },
};
static BUDGETS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Min Available", Narrow),
        ("Max Unavailable", Narrow),
        ("Allowed Disruptions", Narrow),
        ("Age", Narrow),
    ],
    cells: |o| {
        let amount = |key: &str| match &o["spec"][key] {
            Value::Null => "N/A".to_owned(),
            Value::String(s) => s.clone(),
            n => n.to_string(),
        };
        vec![
            name(o),
            amount("minAvailable").into(),
            amount("maxUnavailable").into(),
            int(&o["status"]["disruptionsAllowed"]).to_string().into(),
            age_of(o),
        ]
    },
};
static SLICES: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("AddressType", Narrow),
        ("Ports", Narrow),
        ("Endpoints", Narrow),
        ("Age", Narrow),
    ],
    cells: |o| {
        let ports: Vec<String> = items(&o["ports"]).map(|p| int(&p["port"]).to_string()).collect();
        let addresses: Vec<String> = items(&o["endpoints"])
            .flat_map(|e| items(&e["addresses"]))
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        let unset = |list: &[String]| {
            if list.is_empty() {
                "<unset>".to_owned()
            } else {
                shortened(list)
            }
        };
        vec![
            name(o),
            text_or(&o["addressType"], "").into(),
            unset(&ports).into(),
            unset(&addresses).into(),
            age_of(o),
        ]
    },
};
static INGRESSES: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Class", Narrow),
        ("Hosts", Narrow),
        ("Address", Narrow),
        ("Ports", Narrow),
        ("Age", Narrow),
    ],
    cells: |o| {
        let spec = &o["spec"];
        let hosts = join(items(&spec["rules"]).map(|r| &r["host"]));
        let ports = if items(&spec["tls"]).next().is_some() {
            "80, 443"
        } else {
            "80"
        };
        let address = items(&o["status"]["loadBalancer"]["ingress"]).find_map(|i| i["ip"].as_str());
        vec![
            name(o),
            text_or(&spec["ingressClassName"], "<none>").into(),
            if hosts == "<none>" {
                "*".into()
            } else {
                hosts.into()
            },
            address.unwrap_or_default().into(),
            ports.into(),
            age_of(o),
        ]
    },
};
static POLICIES: Printer = Printer {
    columns: &[("Name", Narrow), ("Pod-Selector", Narrow), ("Age", Narrow)],
    cells: |o| {
        vec![
            name(o),
            selector_text(&o["spec"]["podSelector"]).into(),
            age_of(o),
        ]
    },
};
static QUOTAS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Request", Narrow),
        ("Limit", Narrow),
        ("Age", Narrow),
    ],
    cells: |o| {
        let status = &o["status"];
        let part = |limits: bool| -> Cell {
            let hard = status["hard"].as_object().into_iter().flatten();
            let items = hard.filter(|(name, _)| name.starts_with("limits.") == limits);
            let items = items.map(|(name, hard)| {
                let used = text_or(&status["used"][name], "0");
                format!("{name}: {used}/{}", text_or(hard, "0"))
            });
            items.collect::<Vec<_>>().join(", ").into()
        };
        vec![name(o), part(false), part(true), age_of(o)]
    },
};
static ROLES: Printer = Printer {
    columns: &[("Name", Narrow), ("Created At", Narrow)],
    cells: |o| vec![name(o), o["metadata"]["creationTimestamp"].clone().into()],
};
static BINDINGS: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Role", Narrow),
        ("Age", Narrow),
        ("Users", Wide),
        ("Groups", Wide),
        ("ServiceAccounts", Wide),
    ],
    cells: |o| {
        let subjects = |kind: &str| -> Cell {
            let all = items(&o["subjects"]).filter(|s| s["kind"] == kind);
            let names = all.map(|s| {
                let name = text_or(&s["name"], "");
                match s["namespace"].as_str() {
                    Some(namespace) => format!("{namespace}/{name}"),
                    None => name.to_owned(),
                }
            });
            names.collect::<Vec<_>>().join(", ").into()
        };
        let role = &o["roleRef"];
        vec![
            name(o),
            format!("{}/{}", text_or(&role["kind"], ""), text_or(&role["name"], "")).into(),
            age_of(o),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ]
    },
};
static LEASES: Printer = Printer {
    columns: &[("Name", Narrow), ("Holder", Narrow), ("Age", Narrow)],
    cells: |o| {
        vec![
            name(o),
            text_or(&o["spec"]["holderIdentity"], "").into(),
            age_of(o),
        ]
    },
};
static STORAGE_CLASSES: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Provisioner", Narrow),
        ("ReclaimPolicy", Narrow),
        ("VolumeBindingMode", Narrow),
        ("AllowVolumeExpansion", Narrow),
        ("Age", Narrow),
    ],
    cells: |o| {
        vec![
            name(o),
            text_or(&o["provisioner"], "").into(),
            text_or(&o["reclaimPolicy"], "Delete").into(),
            text_or(&o["volumeBindingMode"], "Immediate").into(),
            (o["allowVolumeExpansion"] == true).to_string().into(),
            age_of(o),
        ]
    },
};
static PRIORITY_CLASSES: Printer = Printer {
    columns: &[
        ("Name", Narrow),
        ("Value", Narrow),
        ("Global-Default", Narrow),
        ("Age", Narrow),
        ("PreemptionPolicy", Wide),
    ],
    cells: |o| {
        vec![
            name(o),
            int(&o["value"]).to_string().into(),
            (o["globalDefault"] == true).to_string().into(),
            age_of(o),
            text_or(&o["preemptionPolicy"], "PreemptLowerPriority").into(),
        ]
    },
};
static DEFINITIONS: Printer = Printer {
    columns: &[("Name", Narrow), ("Created At", Narrow)],
    cells: |o| vec![name(o), text_or(&o["metadata"]["creationTimestamp"], "").into()],
};

pub(super) fn printer(resource: &Resource) -> Option<&'static Printer> {
    Some(match (&*resource.group, &*resource.kind) {
        ("autoscaling", _) => &AUTOSCALERS,
        ("policy", "PodDisruptionBudget") => &BUDGETS,
        ("discovery.k8s.io", "EndpointSlice") => &SLICES,
        ("networking.k8s.io", "Ingress") => &INGRESSES,
        ("networking.k8s.io", "NetworkPolicy") => &POLICIES,
        ("coordination.k8s.io", "Lease") => &LEASES,
        ("", "ResourceQuota") => &QUOTAS,
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => &ROLES,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &BINDINGS,
        ("storage.k8s.io", "StorageClass") => &STORAGE_CLASSES,
        ("scheduling.k8s.io", "PriorityClass") => &PRIORITY_CLASSES,
        ("apiextensions.k8s.io", _) => &DEFINITIONS,
        _ => return None,
    })
}

/// As Kubernetes prints them: two metrics in full, then how many more there are.
fn targets(hpa: &Value) -> String {
    const SHOWN: usize = 2;
    let all: Vec<String> = items(&hpa["spec"]["metrics"])
        .map(|metric| target(metric, &hpa["status"]["currentMetrics"]))
        .collect();
    match all.len() {
        0 => "<none>".into(),
        n if n > SHOWN => format!("{} + {} more...", all[..SHOWN].join(", "), n - SHOWN),
        _ => all.join(", "),
    }
}

/// `cpu: 12%/80%`, `40/100 (avg)`: what one metric is and is to be.
fn target(metric: &Value, status: &Value) -> String {
    let (source, label) = match metric["type"].as_str() {
        Some("ContainerResource") => ("containerResource", "name"),
        Some("Pods") => ("pods", "metric"),
        Some("External") => ("external", "metric"),
        Some("Object") => ("object", "metric"),
        _ => ("resource", "name"),
    };
    let (spec, label) = (&metric[source], [label, "container"]);
    let same = |other: &&Value| label.iter().all(|key| other[source][key] == spec[key]);
    let now = items(status)
        .find(same)
        .map_or(&Value::Null, |found| &found[source]["current"]);
    let wanted = &spec["target"];
    let named = spec["name"]
        .as_str()
        .map_or(String::new(), |name| format!("{name}: "));
    if let Some(percent) = wanted["averageUtilization"].as_i64() {
        let now = now["averageUtilization"]
            .as_i64()
            .map_or("<unknown>".to_owned(), |n| format!("{n}%"));
        return format!("{named}{now}/{percent}%");
    }
    match wanted["averageValue"].as_str() {
        Some(each) => {
            let average = if matches!(source, "external" | "object") {
                " (avg)"
            } else {
                ""
            };
            format!(
                "{named}{}/{each}{average}",
                text_or(&now["averageValue"], "<unknown>")
            )
        }
        None => {
            let whole = text_or(&wanted["value"], "<auto>");
            format!("{named}{}/{whole}", text_or(&now["value"], "<unknown>"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_autoscalers_targets_are_printed_as_by_kubernetes() {
        let cpu =
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
        let rps =
            json!({"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"averageValue": "10"}}});
        let queue = json!({"type": "External", "external": {"metric": {"name": "queue"}, "target": {"averageValue": "30"}}});
        let metrics = |list: &[&Value], status: Value| {
            targets(&json!({"spec": {"metrics": list}, "status": {"currentMetrics": status}}))
        };
        assert_eq!(metrics(&[], json!(null)), "<none>");
        assert_eq!(metrics(&[&cpu], json!(null)), "cpu: <unknown>/80%");
        let seen = json!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}},
            {"type": "Pods", "pods": {"metric": {"name": "rps"}, "current": {"averageValue": "4500m"}}}]);
        assert_eq!(metrics(&[&cpu, &rps], seen.clone()), "cpu: 12%/80%, 4500m/10");
        assert_eq!(metrics(&[&queue], json!(null)), "<unknown>/30 (avg)");
        assert_eq!(
            metrics(&[&cpu, &rps, &queue], seen),
            "cpu: 12%/80%, 4500m/10 + 1 more..."
        );
    }
}
