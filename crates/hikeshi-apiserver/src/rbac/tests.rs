use serde_json::json;

use super::*;

fn policy(objects: &[Value]) -> Policy {
    let mut policy = Policy::default();
    for object in objects {
        if object["roleRef"].is_object() {
            policy.add_binding(object);
        } else {
            policy.add_role(object);
        }
    }
    policy
}

fn user(name: &str, groups: &[&str]) -> User {
    User {
        name: name.into(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
    }
}

fn ask<'a>(verb: &'a str, resource: &'a str, namespace: Option<&'a str>) -> Attributes<'a> {
    let (resource, subresource) = resource
        .split_once('/')
        .map_or((resource, None), |(r, s)| (r, Some(s)));
    Attributes {
        verb,
        resource,
        subresource,
        namespace,
        namespaced: true,
        ..Attributes::default()
    }
}

fn bind(kind: &str, role: &str, subject: Value, namespace: Option<&str>) -> Value {
    let mut binding =
        json!({"metadata": {"name": "b"}, "roleRef": {"kind": kind, "name": role}, "subjects": [subject]});
    if let Some(namespace) = namespace {
        binding["metadata"]["namespace"] = namespace.into();
    }
    binding
}

#[test]
fn subjects_rules_and_scopes() {
    let reader = json!({"metadata": {"name": "reader"}, "rules": [
        {"apiGroups": [""], "resources": ["pods", "pods/log", "*/scale"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["get"]},
        {"nonResourceURLs": ["/metrics", "/apis/*"], "verbs": ["get"]}]});
    let local = json!({"metadata": {"name": "reader", "namespace": "b"}, "rules": [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    let p = policy(&[
        reader,
        local,
        bind(
            "ClusterRole",
            "reader",
            json!({"kind": "User", "name": "ann"}),
            Some("a"),
        ),
        bind(
            "ClusterRole",
            "reader",
            json!({"kind": "Group", "name": "all"}),
            None,
        ),
        bind(
            "Role",
            "reader",
            json!({"kind": "ServiceAccount", "name": "x", "namespace": "n"}),
            Some("b"),
        ),
        bind(
            "Role",
            "missing",
            json!({"kind": "User", "name": "ann"}),
            Some("c"),
        ),
    ]);
    let ann = user("ann", &[]);
    assert!(p.allows(&ann, &ask("get", "pods", Some("a"))));
    assert!(p.allows(&ann, &ask("get", "pods/log", Some("a"))));
    assert!(p.allows(&ann, &ask("get", "anything/scale", Some("a"))));
    assert!(!p.allows(&ann, &ask("get", "pods/exec", Some("a"))));
    assert!(!p.allows(&ann, &ask("delete", "pods", Some("a"))));
    for elsewhere in [None, Some("b"), Some("c")] {
        assert!(!p.allows(&ann, &ask("get", "pods", elsewhere)));
    }
    let mut map = ask("get", "configmaps", Some("a"));
    assert!(!p.allows(&ann, &map));
    map.name = Some("mine");
    assert!(p.allows(&ann, &map));
    map.name = Some("yours");
    assert!(!p.allows(&ann, &map));
    // A namespaced binding grants no paths.
    assert!(!p.allows_path(&ann, "get", "/metrics"));
    let bob = user("bob", &["all"]);
    assert!(p.allows_path(&bob, "get", "/apis/x") && !p.allows_path(&bob, "get", "/metricsx"));
    assert!(p.allows(&bob, &ask("list", "pods", None)));
    let account = User::service_account("system:serviceaccount:n:x".into());
    assert!(p.allows(&account, &ask("delete", "secrets", Some("b"))));
    assert!(!p.allows(&account, &ask("delete", "secrets", Some("n"))));
    assert_eq!(
        p.namespaces(&ann, &ask("list", "pods", None)),
        BTreeSet::from(["a".to_owned()])
    );
}

#[test]
fn the_seats_are_bound_where_they_work() {
    let dir = tempfile::tempdir().unwrap();
    let store = crate::store::Store::open(dir.path()).unwrap();
    crate::bootstrap::run(&store, 1, "chirpy").unwrap();
    store.read(|view| {
        assert!(bootstrap::is_bound(view, "default", "hikeshi:seat-reader"));
        assert!(!bootstrap::is_bound(view, "default", "hikeshi:operator"));
    });
    // A second start changes no role and no binding.
    let before = store.read(View::rbac_revision);
    crate::bootstrap::run(&store, 1, "chirpy").unwrap();
    assert_eq!(store.read(View::rbac_revision), before);
}
