//! Server-side apply with the real kubectl: conflicts, force, shared fields, and the way over from client-side apply.

use serde_json::json;

use crate::support::{Cluster, deployment, text};

#[test]
fn anothers_field_is_a_conflict_until_it_is_forced() {
    let cluster = Cluster::start();
    let admin = cluster.admin();
    let map = |c: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "chirpy"}, "data": {"c": c}});
    let apply = |c: &str, more: &[&str]| {
        let args = [&["apply", "--server-side", "-f", "-"], more].concat();
        admin.with_input(&args, &map(c).to_string())
    };
    let value = || admin.ok(&["get", "configmap", "m", "-o", "jsonpath={.data.c}"]);
    assert!(apply("1", &["--field-manager=other"]).status.success());
    // The same value is no conflict: both own it.
    assert!(apply("1", &["--field-manager=me"]).status.success());
    let refused = apply("2", &["--field-manager=me"]);
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(
        said.contains("Apply failed with 1 conflict: conflict with \"other\": .data.c"),
        "{said}"
    );
    assert_eq!(value(), "1");
    let forced: &[&str] = &["--field-manager=me", "--force-conflicts"];
    assert!(
        apply("2", &[forced, &["--dry-run=server"]].concat())
            .status
            .success()
    );
    assert_eq!(value(), "1", "a dry run changes nothing");
    assert!(apply("2", forced).status.success());
    assert_eq!(value(), "2");
    let said = text(&apply("3", &["--field-manager=other"]).stderr);
    assert!(said.contains("conflict with \"me\": .data.c"), "{said}");
}

#[test]
fn what_kubectl_changed_by_other_means_conflicts_too() {
    let cluster = Cluster::start();
    let admin = cluster.admin();
    let web = |replicas: u64| {
        let mut web = deployment("web", "web:1");
        web["spec"]["replicas"] = replicas.into();
        web
    };
    let apply =
        |replicas: u64| admin.with_input(&["apply", "--server-side", "-f", "-"], &web(replicas).to_string());
    admin.apply(&web(2));
    let said = text(&apply(3).stderr);
    let words = "conflict with \"kubectl-client-side-apply\" using apps/v1 at ";
    assert!(
        said.contains(words) && said.contains(": .spec.replicas"),
        "{said}"
    );
    // kubectl moves the fields to itself when it applies to the server what it applied before.
    let out = apply(2);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let out = apply(3);
    assert!(out.status.success(), "{}", text(&out.stderr));
    admin.ok(&["scale", "deployment/web", "--replicas=5"]);
    let said = text(&apply(3).stderr);
    let words = "conflict with \"kubectl\" with subresource \"scale\" using apps/v1 at ";
    assert!(said.contains(words), "{said}");
    assert_eq!(admin.json(&["get", "deployment", "web"])["spec"]["replicas"], 5);
}

#[test]
fn who_may_only_patch_creates_nothing_by_applying() {
    let cluster = Cluster::start();
    let admin = cluster.admin();
    let role = [
        "create",
        "role",
        "patcher",
        "--verb=get,patch",
        "--resource=configmaps",
    ];
    admin.ok(&role);
    admin.ok(&["create", "rolebinding", "patcher", "--role=patcher", "--user=ann"]);
    let ann = cluster.user("ann", &["people"]);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "chirpy"}, "data": {"a": "1"}});
    let apply = || ann.with_input(&["apply", "--server-side", "-f", "-"], &map.to_string());
    let said = text(&apply().stderr);
    assert!(said.contains("cannot create resource \"configmaps\""), "{said}");
    admin.ok(&["create", "configmap", "m"]);
    let done = apply();
    assert!(done.status.success(), "{}", text(&done.stderr));
}
