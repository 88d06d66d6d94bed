//! Every kind the server knows, in one table. Adding a kind is one line here (and a table printer, if it deserves one).

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::tables::custom::{self, CustomColumn};

/// All that can be done with stored objects; nothing of it grants what its user does not hold.
pub(crate) const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// One resource of one API version.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub plural: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    pub singular: Cow<'static, str>,
    pub short: Vec<Cow<'static, str>>,
    /// Listed by `kubectl get all`.
    pub in_all: bool,
    pub namespaced: bool,
    pub status: Status,
    pub scale: bool,
    /// Has its Go types known to kubectl, thus strategic merge patches.
    pub built_in: bool,
    pub backing: Backing,
    /// What a definition asks `kubectl get` to show; empty: the kind's own columns.
    pub columns: Vec<CustomColumn>,
    /// A custom kind's `openAPIV3Schema` in this version.
    pub schema: Option<Arc<Value>>,
}

/// Who writes `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// There is no status subresource; the object is written as a whole.
    None,
    /// Main writes keep the status, writes to `/status` keep the rest.
    Split,
    /// Both paths exist; a main write may carry a status (Chaos Mesh's kinds), except the one that creates the object.
    Open,
}

/// Where answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backing {
    Store,
    /// The kubelet's measurements.
    Metrics,
    /// Computed for the asking user (access reviews).
    Review,
}

impl Resource {
    /// `deployments.apps`, or `pods` for the core group: Kubernetes' name in messages.
    pub fn key(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_string()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Where objects are stored: versions and views of one kind share a key.
    pub fn store_key(&self) -> Cow<'_, str> {
        match (&*self.plural, &*self.group) {
            ("events", _) => Cow::Borrowed("events"),
            (plural, "") => Cow::Borrowed(plural),
            _ => Cow::Owned(self.key()),
        }
    }

    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Verbs for discovery.
    pub fn verbs(&self) -> &'static [&'static str] {
        match self.backing {
            Backing::Store => &VERBS,
            Backing::Metrics => &["get", "list"],
            Backing::Review => &["create"],
        }
    }

    /// Subresources for discovery: name, kind, (group, version) when they differ from the resource's, verbs.
    pub fn subresources(&self) -> Vec<Subresource> {
        const RW: &[&str] = &["get", "patch", "update"];
        const CONNECT: &[&str] = &["create", "get"];
        const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
        let mut list = Vec::new();
        if self.status != Status::None {
            list.push(Subresource {
                name: "status",
                kind: self.kind.to_string(),
                gv: None,
                verbs: RW,
            });
        }
        if self.scale {
            let gv = Some(("autoscaling", "v1"));
            list.push(Subresource {
                name: "scale",
                kind: "Scale".into(),
                gv,
                verbs: RW,
            });
        }
        if self.group.is_empty() && self.plural == "pods" {
            let sub = |name, kind: &str, gv, verbs| Subresource {
                name,
                kind: kind.into(),
                gv,
                verbs,
            };
            list.push(sub("attach", "PodAttachOptions", None, CONNECT));
            list.push(sub("binding", "Binding", None, &["create"]));
            list.push(sub("eviction", "Eviction", Some(("policy", "v1")), &["create"]));
            list.push(sub("exec", "PodExecOptions", None, CONNECT));
            list.push(sub("log", "Pod", None, &["get"]));
            list.push(sub("portforward", "PodPortForwardOptions", None, CONNECT));
            list.push(sub("proxy", "PodProxyOptions", None, PROXY));
        }
        if self.group.is_empty() && self.plural == "serviceaccounts" {
            list.push(Subresource {
                name: "token",
                kind: "TokenRequest".into(),
                gv: Some(("authentication.k8s.io", "v1")),
                verbs: &["create"],
            });
        }
        if self.group.is_empty() && self.plural == "services" {
            list.push(Subresource {
                name: "proxy",
                kind: "ServiceProxyOptions".into(),
                gv: None,
                verbs: PROXY,
            });
        }
        list
    }
}

/// A subresource in discovery.
#[derive(Debug)]
pub(crate) struct Subresource {
    pub name: &'static str,
    pub kind: String,
    pub gv: Option<(&'static str, &'static str)>,
    pub verbs: &'static [&'static str],
}

/// group, version, plural, kind, short names (space separated), flags:
/// `n`amespaced, `s`tatus split, `o`pen status, s`c`ale, in `a`ll, `x` not built into kubectl, `m`etrics, `r`eview.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("", "v1", "bindings", "Binding", "", "nr"),
    ("", "v1", "configmaps", "ConfigMap", "cm", "n"),
    ("", "v1", "endpoints", "Endpoints", "ep", "n"),
    ("", "v1", "events", "Event", "ev", "n"),
    ("", "v1", "limitranges", "LimitRange", "limits", "n"),
    ("", "v1", "namespaces", "Namespace", "ns", "s"),
    ("", "v1", "nodes", "Node", "no", "s"),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", "pvc", "ns"),
    ("", "v1", "persistentvolumes", "PersistentVolume", "pv", "s"),
    ("", "v1", "pods", "Pod", "po", "nsa"),
    ("", "v1", "resourcequotas", "ResourceQuota", "quota", "ns"),
    ("", "v1", "secrets", "Secret", "", "n"),
    ("", "v1", "serviceaccounts", "ServiceAccount", "sa", "n"),
    ("", "v1", "services", "Service", "svc", "nsa"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", "crd crds", "s"),
    ("apps", "v1", "controllerrevisions", "ControllerRevision", "", "n"),
    ("apps", "v1", "daemonsets", "DaemonSet", "ds", "nsa"),
    ("apps", "v1", "deployments", "Deployment", "deploy", "nsca"),
    ("apps", "v1", "replicasets", "ReplicaSet", "rs", "nsca"),
    ("apps", "v1", "statefulsets", "StatefulSet", "sts", "nsca"),
    ("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", "", "r"),
    ("authorization.k8s.io", "v1", "localsubjectaccessreviews", "LocalSubjectAccessReview", "", "nr"),
    ("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", "", "r"),
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", "", "r"),
    ("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", "", "r"),
    ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", "nsa"),
    ("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", "nsa"),
    ("batch", "v1", "cronjobs", "CronJob", "cj", "nsa"),
    ("batch", "v1", "jobs", "Job", "", "nsa"),
    ("chaos-mesh.org", "v1alpha1", "httpchaos", "HTTPChaos", "", "nox"),
    ("chaos-mesh.org", "v1alpha1", "iochaos", "IOChaos", "", "nox"),
    ("chaos-mesh.org", "v1alpha1", "networkchaos", "NetworkChaos", "", "nox"),
    ("chaos-mesh.org", "v1alpha1", "podchaos", "PodChaos", "", "nox"),
    ("chaos-mesh.org", "v1alpha1", "schedules", "Schedule", "", "nox"),
    ("chaos-mesh.org", "v1alpha1", "stresschaos", "StressChaos", "", "nox"),
    ("chaos-mesh.org", "v1alpha1", "timechaos", "TimeChaos", "", "nox"),
    ("chaos-mesh.org", "v1alpha1", "workflownodes", "WorkflowNode", "wfn", "nox"),
    ("chaos-mesh.org", "v1alpha1", "workflows", "Workflow", "wf", "nox"),
    ("coordination.k8s.io", "v1", "leases", "Lease", "", "n"),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", "", "n"),
    ("events.k8s.io", "v1", "events", "Event", "ev", "n"),
    ("metrics.k8s.io", "v1beta1", "nodes", "NodeMetrics", "", "mx"),
    ("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", "", "nmx"),
    ("networking.k8s.io", "v1", "ingressclasses", "IngressClass", "", ""),
    ("networking.k8s.io", "v1", "ingresses", "Ingress", "ing", "ns"),
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", "netpol", "n"),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", "pdb", "ns"),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", "", ""),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", "", ""),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", "", "n"),
    ("rbac.authorization.k8s.io", "v1", "roles", "Role", "", "n"),
    ("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", "pc", ""),
    ("storage.k8s.io", "v1", "storageclasses", "StorageClass", "sc", ""),
];

static BUILT_IN: LazyLock<Vec<Arc<Resource>>> =
    LazyLock::new(|| TABLE.iter().map(|row| Arc::new(from_row(row))).collect());

fn from_row((group, version, plural, kind, short, flags): &Row) -> Resource {
    let has = |flag| flags.contains(flag);
    // Kubernetes' own irregular singulars; the metrics' are empty so that `kubectl get pod` means the core kind.
    let singular = match (*plural, *group) {
        (_, "metrics.k8s.io") => String::new(),
        ("endpoints", _) => "endpoints".to_owned(),
        _ => kind.to_lowercase(),
    };
    Resource {
        group: (*group).into(),
        version: (*version).into(),
        plural: (*plural).into(),
        kind: (*kind).into(),
        singular: singular.into(),
        short: short.split_whitespace().map(Cow::from).collect(),
        in_all: has('a'),
        namespaced: has('n'),
        status: if has('s') {
            Status::Split
        } else if has('o') {
            Status::Open
        } else {
            Status::None
        },
        scale: has('c'),
        built_in: !has('x'),
        backing: if has('m') {
            Backing::Metrics
        } else if has('r') {
            Backing::Review
        } else {
            Backing::Store
        },
        columns: Vec::new(),
        schema: None,
    }
}

/// The kinds of the table.
pub(crate) fn built_in() -> &'static [Arc<Resource>] {
    &BUILT_IN
}

/// The kinds a stored CustomResourceDefinition adds: one per served version.
pub(crate) fn from_crd(crd: &Value) -> Vec<Arc<Resource>> {
    let spec = &crd["spec"];
    let names = &spec["names"];
    let text = |v: &Value| v.as_str().map(|s| Cow::from(s.to_owned()));
    let (Some(group), Some(plural), Some(kind)) =
        (text(&spec["group"]), text(&names["plural"]), text(&names["kind"]))
    else {
        return Vec::new();
    };
    let list = |v: &Value| {
        v.as_array()
            .into_iter()
            .flatten()
            .filter_map(text)
            .collect::<Vec<_>>()
    };
    let versions = spec["versions"].as_array().into_iter().flatten();
    versions
        .filter(|v| v["served"].as_bool() == Some(true))
        .filter_map(|v| {
            Some(Arc::new(Resource {
                group: group.clone(),
                version: text(&v["name"])?,
                plural: plural.clone(),
                kind: kind.clone(),
                singular: text(&names["singular"]).unwrap_or_else(|| kind.to_lowercase().into()),
                short: list(&names["shortNames"]),
                in_all: list(&names["categories"]).iter().any(|c| c == "all"),
                namespaced: spec["scope"].as_str() == Some("Namespaced"),
                status: if v["subresources"]["status"].is_object() {
                    Status::Split
                } else {
                    Status::None
                },
                scale: false,
                built_in: false,
                backing: Backing::Store,
                columns: custom::read(v),
                schema: v["schema"]
                    .get("openAPIV3Schema")
                    .map(|schema| Arc::new(schema.clone())),
            }))
        })
        .collect()
}

/// The built-in kind at this address.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
    let hit = |r: &&Arc<Resource>| r.group == group && r.version == version && r.plural == plural;
    BUILT_IN.iter().find(hit).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kubernetes_group_resources() {
        assert_eq!(find("", "v1", "pods").unwrap().key(), "pods");
        assert_eq!(
            find("apps", "v1", "deployments").unwrap().key(),
            "deployments.apps"
        );
        assert_eq!(
            find("events.k8s.io", "v1", "events").unwrap().store_key(),
            "events"
        );
        assert!(find("apps", "v2", "deployments").is_none());
    }

    #[test]
    fn no_address_is_listed_twice() {
        let mut addresses: Vec<_> = TABLE.iter().map(|r| (r.0, r.1, r.2)).collect();
        addresses.sort_unstable();
        let all = addresses.len();
        addresses.dedup();
        assert_eq!(addresses.len(), all);
    }
}
