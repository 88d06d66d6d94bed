//! ResourceQuota and LimitRange.

use serde_json::{Value, json};

use crate::support::{Cluster, Kubectl, text};

fn pod(name: &str, resources: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "chirpy"},
        "spec": {"containers": [{"name": "web", "image": "web:1", "resources": resources}]}})
}

fn refused(k: &Kubectl, object: &Value) -> String {
    let out = k.with_input(&["create", "-f", "-"], &object.to_string());
    assert!(!out.status.success(), "{}", text(&out.stdout));
    text(&out.stderr)
}

fn used(k: &Kubectl, quota: &str) -> Value {
    k.json(&["get", "resourcequota", quota])["status"]["used"].clone()
}

#[test]
fn a_quota_counts_every_write_and_refuses_what_exceeds_it() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    k.ok(&[
        "create",
        "quota",
        "small",
        "--hard=pods=3,count/deployments.apps=1,services=1,configmaps=5",
    ]);
    for n in 0..3 {
        k.apply(&pod(&format!("p{n}"), json!({})));
    }
    let words = refused(&k, &pod("x", json!({})));
    assert!(
        words.contains(
            "pods \"x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=3, limited: pods=3"
        ),
        "{words}"
    );
    assert_eq!(used(&k, "small")["pods"], "3");
    // Ended and deleted pods make room at once.
    k.ok(&[
        "patch",
        "pod",
        "p0",
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"phase":"Succeeded"}}"#,
    ]);
    assert_eq!(used(&k, "small")["pods"], "2");
    k.ok(&["delete", "pod", "p1"]);
    assert_eq!(used(&k, "small")["pods"], "1");
    k.apply(&crate::support::deployment("a", "web:1"));
    let words = refused(&k, &crate::support::deployment("b", "web:1"));
    assert!(
        words.contains("requested: count/deployments.apps=1, used: count/deployments.apps=1"),
        "{words}"
    );
    // A dry run is refused too, and takes nothing.
    let out = k.with_input(
        &["create", "--dry-run=server", "-f", "-"],
        &crate::support::deployment("b", "web:1").to_string(),
    );
    assert!(text(&out.stderr).contains("exceeded quota"));
    let shown = k.ok(&["get", "quota", "small"]);
    assert!(
        shown.contains("pods: 1/3") && shown.contains("count/deployments.apps: 1/1"),
        "{shown}"
    );
    assert!(k.ok(&["describe", "quota", "small"]).contains("configmaps"));
    let restarted = cluster.restart();
    assert_eq!(used(&restarted.admin(), "small")["pods"], "1");
}

#[test]
fn a_compute_quota_adds_up_and_wants_to_be_told() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    k.ok(&[
        "create",
        "quota",
        "compute",
        "--hard=requests.cpu=1,limits.memory=1Gi",
    ]);
    let words = refused(&k, &pod("a", json!({})));
    assert!(
        words.contains("failed quota: compute: must specify limits.memory for: web; requests.cpu for: web"),
        "{words}"
    );
    let some = json!({"requests": {"cpu": "600m"}, "limits": {"memory": "512Mi"}});
    k.apply(&pod("a", some.clone()));
    let words = refused(&k, &pod("b", some));
    assert!(
        words.contains("exceeded quota: compute, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"),
        "{words}"
    );
    assert_eq!(
        used(&k, "compute"),
        json!({"limits.memory": "512Mi", "requests.cpu": "600m"})
    );
    let bad = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
        "spec": {"hard": {"pods": "many"}, "scopeSelector": {"matchExpressions": []}}});
    let words = refused(&k, &bad);
    assert!(
        words.contains("spec.hard[pods]") && words.contains("spec.scopeSelector: Forbidden"),
        "{words}"
    );
}

#[test]
fn a_limit_range_fills_in_and_bounds() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    k.apply(&json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l", "namespace": "chirpy"},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"},
            "min": {"cpu": "50m"}, "max": {"cpu": "1"}},
            {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]}}));
    k.apply(&pod("a", json!({})));
    let made = k.json(&["get", "pod", "a"])["spec"]["containers"][0]["resources"].clone();
    assert_eq!(
        made,
        json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}})
    );
    let words = refused(&k, &pod("b", json!({"limits": {"cpu": "2"}})));
    assert!(
        words.contains("maximum cpu usage per Container is 1, but limit is 2"),
        "{words}"
    );
    let words = refused(&k, &pod("c", json!({"requests": {"cpu": "10m"}})));
    assert!(
        words.contains("pods \"c\" is forbidden: minimum cpu usage per Container is 50m, but request is 10m"),
        "{words}"
    );
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "big"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}});
    let words = refused(&k, &claim);
    assert!(
        words.contains("maximum storage usage per PersistentVolumeClaim is 1Gi"),
        "{words}"
    );
    assert!(k.ok(&["describe", "limitrange", "l"]).contains("500m"));
}
