//! Reading and changing objects.

use serde_json::json;

use crate::support::{Cluster, deployment, text, until};

#[test]
fn apply_get_change_and_delete_a_deployment() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    assert!(k.ok(&["version"]).contains("v1.33.0"));
    assert!(
        k.apply(&deployment("web", "web:1"))
            .contains("deployment.apps/web created")
    );
    assert!(k.apply(&deployment("web", "web:1")).contains("unchanged"));
    assert!(k.apply(&deployment("web", "web:2")).contains("configured"));

    let table = k.ok(&["get", "deploy", "-o", "wide"]);
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        head,
        [
            "NAME",
            "READY",
            "UP-TO-DATE",
            "AVAILABLE",
            "AGE",
            "CONTAINERS",
            "IMAGES",
            "SELECTOR"
        ]
    );
    assert!(table.contains("0/2") && table.contains("web:2"), "{table}");
    assert!(k.ok(&["get", "all"]).contains("deployment.apps/web"));

    k.ok(&["scale", "deployment", "web", "--replicas=10"]);
    assert_eq!(k.json(&["get", "deploy", "web"])["spec"]["replicas"], 10);
    k.ok(&["set", "env", "deployment/web", "B=2"]);
    k.ok(&["set", "env", "deployment/web", "A-"]);
    k.ok(&["set", "image", "deployment/web", "web=web:3"]);
    k.ok(&["label", "deployment", "web", "tier=front"]);
    k.ok(&["annotate", "deployment", "web", "note=x"]);
    k.ok(&["rollout", "restart", "deployment/web"]);
    k.ok(&["rollout", "pause", "deployment/web"]);
    let now = k.json(&["get", "deploy", "web"]);
    let container = &now["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        (&container["env"], &container["image"]),
        (&json!([{"name": "B", "value": "2"}]), &json!("web:3"))
    );
    assert!(
        now["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string()
    );
    assert_eq!(
        (&now["metadata"]["labels"]["tier"], &now["spec"]["paused"]),
        (&json!("front"), &json!(true))
    );
    assert!(now["metadata"]["generation"].as_i64().unwrap() >= 6);
    assert!(k.ok(&["describe", "deploy", "web"]).contains("web:3"));

    k.ok(&["delete", "deployment", "web"]);
    assert!(
        k.fails(&["get", "deploy", "web"])
            .contains("deployments.apps \"web\" not found")
    );
}

#[test]
fn server_side_apply_removes_what_its_manager_leaves_out() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    let apply = |object: &serde_json::Value| k.apply_with(object, &["--server-side", "--field-manager=me"]);
    assert!(apply(&deployment("web", "web:1")).contains("serverside-applied"));
    let mut less = deployment("web", "web:1");
    less["spec"]["template"]["spec"]["containers"][0]
        .as_object_mut()
        .unwrap()
        .remove("env");
    apply(&less);
    let now = k.json(&["get", "deploy", "web"]);
    assert!(
        now["spec"]["template"]["spec"]["containers"][0]
            .get("env")
            .is_none()
    );
    let before = now["metadata"]["resourceVersion"].clone();
    apply(&less);
    assert_eq!(
        k.json(&["get", "deploy", "web"])["metadata"]["resourceVersion"],
        before
    );
    let diff = k.with_input(&["diff", "-f", "-"], &deployment("web", "web:9").to_string());
    assert_eq!(diff.status.code(), Some(1), "{}", text(&diff.stderr));
    assert!(text(&diff.stdout).contains("web:9"));
}

#[test]
fn imperative_commands_send_protobuf() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    k.ok(&["create", "deployment", "web", "--image=web:1", "--replicas=3"]);
    k.ok(&["create", "configmap", "settings", "--from-literal=a=1"]);
    k.ok(&["create", "secret", "generic", "key", "--from-literal=password=x"]);
    k.ok(&["create", "job", "seed", "--image=seed:1", "--", "run", "it"]);
    k.ok(&[
        "create",
        "cronjob",
        "nightly",
        "--image=seed:1",
        "--schedule=0 3 * * *",
    ]);
    k.ok(&["create", "service", "clusterip", "web", "--tcp=80:8080"]);
    k.ok(&["create", "serviceaccount", "robot"]);
    k.ok(&["create", "role", "reader", "--verb=get", "--resource=pods"]);
    k.ok(&["create", "ingress", "web", "--rule=x.example/=web:80"]);
    k.ok(&[
        "create",
        "poddisruptionbudget",
        "web",
        "--selector=app=web",
        "--min-available=1",
    ]);
    k.ok(&[
        "autoscale",
        "deployment",
        "web",
        "--min=1",
        "--max=5",
        "--cpu-percent=70",
    ]);
    k.ok(&["expose", "deployment", "web", "--port=81", "--name=web2"]);
    assert_eq!(k.json(&["get", "deploy", "web"])["spec"]["replicas"], 3);
    assert_eq!(k.json(&["get", "cm", "settings"])["data"]["a"], "1");
    assert_eq!(k.json(&["get", "secret", "key"])["data"]["password"], "eA==");
    let job = k.json(&["get", "job", "seed"]);
    assert_eq!(
        job["spec"]["template"]["spec"]["containers"][0]["command"],
        json!(["run", "it"])
    );
    assert!(job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"].is_string());
    assert!(
        k.ok(&["get", "hpa"]).contains("cpu: <unknown>/70%"),
        "{}",
        k.ok(&["get", "hpa"])
    );
    let service = k.json(&["get", "svc", "web"]);
    assert!(
        service["spec"]["clusterIP"]
            .as_str()
            .unwrap()
            .starts_with("127.96.")
    );
    assert_eq!(service["spec"]["ports"][0]["targetPort"], 8080);
    for kind in ["cronjob", "ingress", "pdb", "role", "sa"] {
        k.ok(&["get", kind]);
        k.ok(&["describe", kind]);
    }
}

#[test]
fn mistakes_are_told_in_kubernetes_words() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    let mut wrong = deployment("web", "web:1");
    wrong["spec"]["replica"] = json!(1);
    let out = k.with_input(&["apply", "-f", "-"], &wrong.to_string());
    assert!(
        text(&out.stderr).contains("strict decoding error: unknown field \"spec.replica\""),
        "{}",
        text(&out.stderr)
    );
    let out = k.with_input(&["apply", "--validate=warn", "-f", "-"], &wrong.to_string());
    assert!(
        out.status.success() && text(&out.stderr).contains("Warning: unknown field \"spec.replica\""),
        "{}",
        text(&out.stderr)
    );
    let mut elsewhere = deployment("web", "web:1");
    elsewhere["metadata"]["namespace"] = json!("nowhere");
    let out = k.with_input(&["create", "-f", "-"], &elsewhere.to_string());
    assert!(
        text(&out.stderr).contains("namespaces \"nowhere\" not found"),
        "{}",
        text(&out.stderr)
    );
    let out = k.with_input(&["create", "-f", "-"], &deployment("web", "web:1").to_string());
    assert!(text(&out.stderr).contains("deployments.apps \"web\" already exists"));
    // A stale revision.
    let mut stale = k.json(&["get", "deploy", "web"]);
    k.ok(&["label", "deploy", "web", "x=y"]);
    stale["spec"]["replicas"] = json!(5);
    let out = k.with_input(&["replace", "-f", "-"], &stale.to_string());
    assert!(
        text(&out.stderr).contains("the object has been modified"),
        "{}",
        text(&out.stderr)
    );
    assert!(
        k.fails(&["get", "--raw", "/apis/none.example/v1/things"])
            .contains("could not find the requested resource")
    );
    assert!(
        k.fails(&["scale", "deploy", "web", "--replicas=-1"])
            .contains("must")
    );
}

#[test]
fn pods_end_gracefully_and_namespaces_with_all_they_hold() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    k.apply(
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "never-ran"},
        "spec": {"containers": [{"name": "a", "image": "a:1"}]}}),
    );
    assert!(k.ok(&["get", "pods"]).contains("Pending"));
    k.ok(&["delete", "pod", "never-ran"]);
    cluster.running_pod("web-1", &["web"]);
    k.ok(&["delete", "pod", "web-1", "--wait=false"]);
    assert!(k.ok(&["get", "pods", "-o", "wide"]).contains("Terminating"));
    let pod = k.json(&["get", "pod", "web-1"]);
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
    k.ok(&["create", "configmap", "settings", "--from-literal=a=1"]);
    k.ok(&["delete", "namespace", "chirpy", "--wait=false"]);
    // The running pod keeps the namespace until its kubelet lets it go.
    assert_eq!(
        k.json(&["get", "namespace", "chirpy"])["status"]["phase"],
        "Terminating"
    );
    assert!(k.fails(&["get", "configmap", "settings"]).contains("not found"));
    assert!(
        k.fails(&["create", "configmap", "late"])
            .contains("being terminated")
    );
    k.ok(&["delete", "pod", "web-1", "--force", "--grace-period=0"]);
    assert!(k.fails(&["get", "namespace", "chirpy"]).contains("not found"));
}

#[test]
fn a_foreground_deletion_waits_for_the_garbage_collector_and_a_later_one_may_not() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    k.apply(&deployment("web", "web:1"));
    k.ok(&["delete", "deploy", "web", "--cascade=foreground", "--wait=false"]);
    let held = k.json(&["get", "deploy", "web"]);
    assert_eq!(held["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    k.ok(&["delete", "deploy", "web", "--cascade=foreground", "--wait=false"]);
    assert_eq!(
        k.json(&["get", "deploy", "web"])["metadata"]["resourceVersion"],
        held["metadata"]["resourceVersion"],
        "the same wish again changes nothing"
    );
    k.ok(&["delete", "deploy", "web"]);
    assert_eq!(k.ok(&["get", "deploy", "-o", "name"]), "");

    // Nobody watches ConfigMaps as owners, so nobody could take the finalizer off.
    k.ok(&["create", "configmap", "plain"]);
    k.ok(&["delete", "configmap", "plain", "--cascade=foreground"]);
    assert!(!k.ok(&["get", "configmap", "-o", "name"]).contains("plain"));
}

#[test]
fn finalizers_hold_an_object_back() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    k.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["a.example/x"]}}));
    k.ok(&["delete", "configmap", "held", "--wait=false"]);
    assert!(k.json(&["get", "cm", "held"])["metadata"]["deletionTimestamp"].is_string());
    k.ok(&[
        "patch",
        "cm",
        "held",
        "--type=json",
        "-p",
        r#"[{"op": "remove", "path": "/metadata/finalizers"}]"#,
    ]);
    assert!(k.fails(&["get", "cm", "held"]).contains("not found"));
}

#[test]
fn custom_kinds_are_served_from_their_definition() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    k.apply(
        &json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "fires.example.org"}, "spec": {"group": "example.org", "scope": "Namespaced",
            "names": {"plural": "fires", "singular": "fire", "kind": "Fire", "listKind": "FireList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema":
                {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}),
    );
    k.ok(&[
        "wait",
        "--for=condition=Established",
        "crd/fires.example.org",
        "--timeout=10s",
    ]);
    let fire = json!({"apiVersion": "example.org/v1", "kind": "Fire", "metadata": {"name": "small"}, "spec": {"size": 1}});
    k.apply(&fire);
    k.ok(&[
        "patch",
        "fire",
        "small",
        "--type=merge",
        "-p",
        r#"{"spec":{"size":2}}"#,
    ]);
    assert_eq!(k.json(&["get", "fires", "small"])["spec"]["size"], 2);
    let chaos = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "NetworkChaos", "metadata": {"name": "slow"},
        "spec": {"action": "delay", "mode": "all",
        "selector": {"namespaces": ["chirpy"]}, "delay": {"latency": "10ms"}}});
    k.apply(&chaos);
    assert!(k.ok(&["get", "networkchaos"]).contains("slow"));
}

#[test]
fn a_restart_keeps_everything() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    k.apply(&deployment("web", "web:1"));
    let before = k.json(&["get", "deploy", "web"]);
    let old_url = cluster.url.clone();
    let cluster = cluster.restart();
    let k = cluster.admin();
    assert_eq!(k.json(&["get", "deploy", "web"]), before);
    let slice = k.json(&["get", "endpointslice", "kubernetes", "-n", "default"]);
    let port = slice["ports"][0]["port"].as_u64().unwrap();
    assert!(
        cluster.url.ends_with(&format!(":{port}")),
        "{} {old_url}",
        cluster.url
    );
    assert_eq!(
        k.json(&["get", "svc", "kubernetes", "-n", "default"])["spec"]["clusterIP"],
        "127.96.0.1"
    );
}

#[test]
fn explain_and_server_info_work() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    assert!(
        k.ok(&["explain", "deployment"])
            .contains("KIND:       Deployment")
    );
    assert!(k.ok(&["api-resources"]).contains("networkchaos"));
    assert!(k.ok(&["api-versions"]).contains("chaos-mesh.org/v1alpha1"));
    let metrics = until("top", || {
        Some(k.ok(&["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"]))
    });
    assert!(metrics.contains("500000000n"));
}

#[test]
fn lists_come_in_pieces_of_one_moment() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    for name in ["a", "b", "c"] {
        k.ok(&["create", "configmap", name, "--from-literal=x=1"]);
    }
    let names = |args: &[&str]| {
        let out = k.ok(&[&["get", "configmaps", "-o", "name"], args].concat());
        out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&["--chunk-size=1"]),
        ["configmap/a", "configmap/b", "configmap/c"]
    );
    let table = k.ok(&["get", "configmaps", "--chunk-size=2", "--no-headers"]);
    assert_eq!(table.lines().count(), 3, "{table}");
    let path = "/api/v1/namespaces/chirpy/configmaps?limit=2";
    let first: serde_json::Value = serde_json::from_str(&k.ok(&["get", "--raw", path])).unwrap();
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    k.ok(&["delete", "configmap", "c"]);
    let next = format!(
        "{path}&continue={}",
        first["metadata"]["continue"].as_str().unwrap()
    );
    let rest: serde_json::Value = serde_json::from_str(&k.ok(&["get", "--raw", &next])).unwrap();
    assert_eq!(rest["items"][0]["metadata"]["name"], "c");
    assert_eq!(
        rest["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
}
