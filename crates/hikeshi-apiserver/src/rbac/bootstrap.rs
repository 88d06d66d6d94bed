//! The roles that exist before anyone asks: Kubernetes' own for everyone, and one ClusterRole per seat of the war room.
//!
//! A seat's certificate carries its role's name as a group (`hikeshi:operator`). A role that names namespaces in
//! [`BOUND_IN`] is bound to that group in each of them, as soon as the namespace exists.

use serde_json::{Value, json};

use super::{CLUSTER_ROLES, GROUP};
use crate::registry::{self, VERBS};
use crate::rest::create_object;
use crate::status::ApiResult;
use crate::store::View;

/// Annotation of a ClusterRole: the namespaces, separated by commas, where the group of its name has it.
const BOUND_IN: &str = "hikeshi.dev/bound-in";
/// Besides the drill's namespace, seats may look at these.
const READABLE: [&str; 4] = ["monitoring", "kube-system", "kube-public", "default"];
const READERS: [&str; 3] = ["scribe", "communicator", "observer"];
const CHANGERS: [&str; 2] = ["operator", "commander"];
/// The group of the experiments. What is under drill must not be told to those who are drilled.
const EXPERIMENTS: &str = "chaos-mesh.org";
const READ: [&str; 3] = ["get", "list", "watch"];

/// Creates the roles and bindings, or brings older ones up to date. `home` is the namespace of the system under drill.
pub(crate) fn run(view: &mut View, home: &str) -> ApiResult<()> {
    for (name, rules) in kubernetes_roles() {
        ensure(view, "clusterroles", "", role(name, &rules))?;
    }
    for (role, groups) in [
        ("cluster-admin", &["system:masters"][..]),
        ("system:basic-user", &["system:authenticated"]),
        ("system:discovery", &["system:authenticated"]),
        ("hikeshi:service-discovery", &["system:serviceaccounts"]),
    ] {
        ensure(view, "clusterrolebindings", "", binding(role, None, role, groups))?;
    }
    let mut seen = vec![home];
    seen.extend(READABLE.iter().filter(|name| **name != home));
    let cluster = json!([
        {"apiGroups": [""], "resources": ["namespaces", "namespaces/status"], "resourceNames": seen, "verbs": READ},
        {"apiGroups": [""], "resources": ["nodes", "nodes/status", "persistentvolumes", "persistentvolumes/status"], "verbs": READ},
        {"apiGroups": ["metrics.k8s.io"], "resources": ["nodes"], "verbs": READ},
        {"apiGroups": ["scheduling.k8s.io"], "resources": ["priorityclasses"], "verbs": READ},
        {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": READ},
    ]);
    ensure(view, "clusterroles", "", role("hikeshi:seat", &cluster))?;
    let groups: Vec<String> = seats().map(|seat| format!("hikeshi:{seat}")).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    ensure(
        view,
        "clusterrolebindings",
        "",
        binding("hikeshi:seat", None, "hikeshi:seat", &groups),
    )?;
    ensure(
        view,
        "clusterroles",
        "",
        bound("hikeshi:seat-reader", &json!([]), &READABLE.map(String::from)),
    )?;
    for seat in seats() {
        let name = format!("hikeshi:{seat}");
        ensure(
            view,
            "clusterroles",
            "",
            bound(&name, &json!([]), &[home.to_owned()]),
        )?;
    }
    seat_rules(view)?;
    let namespaces: Vec<String> = view
        .list("namespaces", None)
        .filter_map(|ns| ns["metadata"]["name"].as_str().map(str::to_owned))
        .collect();
    namespaces.iter().try_for_each(|name| bind_in(view, name))
}

fn seats() -> impl Iterator<Item = &'static str> {
    CHANGERS.into_iter().chain(READERS)
}

/// Writes the seats' rules anew: "all but the experiments" can only be said by naming the rest, and the rest grows with
/// every CustomResourceDefinition.
pub(crate) fn seat_rules(view: &mut View) -> ApiResult<()> {
    let mut groups: Vec<String> = registry::built_in().iter().map(|r| r.group.to_string()).collect();
    groups.extend(crate::rest::METRIC_GROUPS.map(|(group, _)| group.to_owned()));
    let crds = view.list(crate::store::DEFINITIONS, None);
    groups.extend(crds.filter_map(|crd| crd["spec"]["group"].as_str().map(str::to_owned)));
    let reviews = ["authentication.k8s.io", "authorization.k8s.io"];
    groups.retain(|group| group != EXPERIMENTS && !reviews.contains(&group.as_str()));
    groups.sort_unstable();
    groups.dedup();
    let change = json!([{"apiGroups": groups, "resources": ["*"], "verbs": VERBS}]);
    groups.retain(|group| !group.is_empty());
    let read = json!([
        {"apiGroups": groups, "resources": ["*"], "verbs": READ},
        {"apiGroups": [""], "resources": core_but_secrets(), "verbs": READ},
    ]);
    let all = CHANGERS.iter().map(|seat| (format!("hikeshi:{seat}"), &change));
    let all = all.chain(READERS.iter().map(|seat| (format!("hikeshi:{seat}"), &read)));
    let all = all.chain([("hikeshi:seat-reader".to_owned(), &read)]);
    for (name, rules) in all.collect::<Vec<_>>() {
        if let Some(old) = view.get(CLUSTER_ROLES, "", &name).cloned()
            && old["rules"] != *rules
        {
            let mut new = (*old).clone();
            new["rules"] = rules.clone();
            view.put(CLUSTER_ROLES, "", &name, new)?;
        }
    }
    Ok(())
}

/// Core resources and what can be read of them; connecting is no reading.
fn core_but_secrets() -> Vec<String> {
    let mut list = Vec::new();
    for resource in registry::built_in() {
        if resource.group.is_empty() && resource.namespaced && resource.plural != "secrets" {
            list.push(resource.plural.to_string());
            for sub in resource.subresources() {
                if !matches!(sub.name, "attach" | "exec" | "portforward" | "proxy") {
                    list.push(format!("{}/{}", resource.plural, sub.name));
                }
            }
        }
    }
    list
}

/// Gives the roles that name this namespace to the groups of their names.
pub(crate) fn bind_in(view: &mut View, namespace: &str) -> ApiResult<()> {
    let names = |role: &Value| {
        let list = role["metadata"]["annotations"][BOUND_IN]
            .as_str()
            .unwrap_or_default();
        list.split(',').any(|name| name == namespace)
    };
    let roles: Vec<String> = view
        .list(CLUSTER_ROLES, None)
        .filter(|role| names(role))
        .filter_map(|role| role["metadata"]["name"].as_str().map(str::to_owned))
        .collect();
    for role in roles {
        let everyone: Vec<String> = seats().map(|seat| format!("hikeshi:{seat}")).collect();
        let groups: Vec<&str> = if role == "hikeshi:seat-reader" {
            everyone.iter().map(String::as_str).collect()
        } else {
            vec![&role]
        };
        ensure(
            view,
            "rolebindings",
            namespace,
            binding(&role, Some(namespace), &role, &groups),
        )?;
    }
    Ok(())
}

fn role(name: &str, rules: &Value) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole", "metadata": {"name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}, "rules": rules})
}

fn bound(name: &str, rules: &Value, namespaces: &[String]) -> Value {
    let mut role = role(name, rules);
    role["metadata"]["annotations"] = json!({BOUND_IN: namespaces.join(",")});
    role
}

fn binding(name: &str, namespace: Option<&str>, role: &str, groups: &[&str]) -> Value {
    let kind = if namespace.is_some() {
        "RoleBinding"
    } else {
        "ClusterRoleBinding"
    };
    let subjects: Vec<Value> = groups
        .iter()
        .map(|group| json!({"apiGroup": GROUP, "kind": "Group", "name": group}))
        .collect();
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role}, "subjects": subjects})
}

/// As Kubernetes does at each start: what is missing is made, what was changed is put right.
fn ensure(view: &mut View, plural: &str, namespace: &str, mut wanted: Value) -> ApiResult<()> {
    let Some(resource) = registry::find(GROUP, "v1", plural) else {
        return Ok(());
    };
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let key = resource.store_key().into_owned();
    let Some(old) = view.get(&key, namespace, &name).cloned() else {
        if !namespace.is_empty() {
            wanted["metadata"]["namespace"] = namespace.into();
        }
        create_object(view, &resource, namespace, wanted, crate::rest::Saving::default())?;
        return Ok(());
    };
    let mut new = (*old).clone();
    for field in ["rules", "roleRef", "subjects"] {
        // A seat's rules are written by `seat_rules`.
        if let Some(value) = wanted
            .get(field)
            .filter(|v| v.as_array().is_none_or(|list| !list.is_empty()))
        {
            new[field] = value.clone();
        }
    }
    if let Some(value) = wanted["metadata"].get("annotations") {
        new["metadata"]["annotations"] = crate::patch::merge(&new["metadata"]["annotations"], value);
    }
    if new != *old {
        view.put(&key, namespace, &name, new)?;
    }
    Ok(())
}

/// Kubernetes' default roles, for the kinds served here.
fn kubernetes_roles() -> Vec<(&'static str, Value)> {
    let paths = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ];
    let with_status = |list: &[&str]| -> Vec<String> {
        list.iter()
            .flat_map(|name| [(*name).to_owned(), format!("{name}/status")])
            .collect()
    };
    let mut core = with_status(&["persistentvolumeclaims", "pods", "resourcequotas", "services"]);
    let core_rest = [
        "configmaps",
        "endpoints",
        "events",
        "limitranges",
        "namespaces",
        "namespaces/status",
        "pods/log",
        "serviceaccounts",
    ];
    let mut apps = with_status(&["daemonsets", "deployments", "replicasets", "statefulsets"]);
    let apps_rest = [
        "controllerrevisions",
        "deployments/scale",
        "replicasets/scale",
        "statefulsets/scale",
    ];
    core.extend(core_rest.map(String::from));
    apps.extend(apps_rest.map(String::from));
    let others = |verbs: &[&str]| {
        json!([
            {"apiGroups": ["apps"], "resources": apps, "verbs": verbs},
            {"apiGroups": ["autoscaling"], "resources": with_status(&["horizontalpodautoscalers"]), "verbs": verbs},
            {"apiGroups": ["batch"], "resources": with_status(&["cronjobs", "jobs"]), "verbs": verbs},
            {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingresses/status", "networkpolicies"], "verbs": verbs},
            {"apiGroups": ["policy"], "resources": with_status(&["poddisruptionbudgets"]), "verbs": verbs},
        ])
    };
    let looks = json!([
        {"apiGroups": [""], "resources": core, "verbs": READ},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
        {"apiGroups": ["metrics.k8s.io"], "resources": ["pods"], "verbs": READ},
    ]);
    let join = |parts: &[&Value]| -> Value {
        parts
            .iter()
            .flat_map(|p| p.as_array().into_iter().flatten())
            .cloned()
            .collect()
    };
    let writes = ["create", "delete", "deletecollection", "patch", "update"];
    let changes = json!([
        {"apiGroups": [""], "resources": ["configmaps", "endpoints", "events", "persistentvolumeclaims", "pods", "secrets", "serviceaccounts", "services"], "verbs": writes},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": READ},
        {"apiGroups": [""], "resources": ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"], "verbs": ["get", "create", "delete", "patch", "update"]},
        {"apiGroups": [""], "resources": ["pods/eviction", "serviceaccounts/token"], "verbs": ["create"]},
    ]);
    let view = join(&[&looks, &others(&READ)]);
    let edit = join(&[&view, &changes, &others(&writes)]);
    let rbac = json!([{"apiGroups": [GROUP], "resources": ["rolebindings", "roles"], "verbs": VERBS},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews"], "verbs": ["create"]}]);
    vec![
        (
            "cluster-admin",
            json!([
                {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
                {"nonResourceURLs": ["*"], "verbs": ["*"]},
            ]),
        ),
        ("admin", join(&[&edit, &rbac])),
        ("edit", edit),
        ("view", view),
        (
            "system:basic-user",
            json!([
                {"apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], "verbs": ["create"]},
                {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
            ]),
        ),
        (
            "system:discovery",
            json!([{"nonResourceURLs": paths, "verbs": ["get"]}]),
        ),
        (
            "hikeshi:service-discovery",
            json!([
                {"apiGroups": [""], "resources": ["endpoints", "namespaces", "nodes", "pods", "services"], "verbs": READ},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
            ]),
        ),
    ]
}

#[cfg(test)]
pub(super) fn is_bound(view: &View, namespace: &str, role: &str) -> bool {
    view.get(super::ROLE_BINDINGS, namespace, role).is_some()
}
