//! Who may do what, and what is recorded of it.

use serde_json::json;

use crate::support::{Cluster, deployment, text};

#[test]
fn seats_see_and_do_what_their_role_allows() {
    let cluster = Cluster::start();
    let admin = cluster.admin();
    let chaos = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "NetworkChaos", "spec": {"action": "delay", "mode": "all",
        "selector": {"namespaces": ["chirpy"]}, "delay": {"latency": "10ms"}},
        "metadata": {"name": "the-answer", "namespace": "hikeshi-system"}});
    admin.apply(&chaos);
    admin.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hidden", "namespace": "hikeshi-system"}}));
    admin.apply(&deployment("web", "web:1"));

    let operator = cluster.user("pika7", &["hikeshi:operator"]);
    operator.ok(&["scale", "deployment", "web", "--replicas=3"]);
    let hidden = operator.fails(&["get", "networkchaos", "-A"]);
    assert!(
        hidden.contains(
            "cannot list resource \"networkchaos\" in API group \"chaos-mesh.org\" at the cluster scope"
        ),
        "{hidden}"
    );
    assert!(!operator.ok(&["get", "configmaps", "-A"]).contains("hidden"));
    assert!(!operator.ok(&["get", "namespaces"]).contains("hikeshi-system"));
    assert!(
        operator
            .fails(&["get", "pods", "-n", "hikeshi-system"])
            .contains("forbidden")
    );
    assert_eq!(operator.ok(&["auth", "can-i", "delete", "pods"]).trim(), "yes");
    assert_eq!(
        operator.ok(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]),
        "pika7"
    );

    let scribe = cluster.user("mo3", &["hikeshi:scribe"]);
    assert!(scribe.ok(&["get", "deploy"]).contains("web"));
    let refused = scribe.fails(&["delete", "deployment", "web"]);
    assert!(
        refused.contains(
            "deployments.apps \"web\" is forbidden: User \"mo3\" cannot delete resource \"deployments\" in API group \"apps\" in the namespace \"chirpy\""
        ),
        "{refused}"
    );
    assert!(text(&scribe.run(&["auth", "can-i", "delete", "pods"]).stdout).contains("no"));
}

#[test]
fn the_audit_tells_reads_writes_and_refusals_of_people_only() {
    let cluster = Cluster::start();
    let component = cluster.user("hikeshi-controllers", &["hikeshi:component"]);
    component.apply(&deployment("web", "web:1"));
    cluster.running_pod("web-1", &["web"]);
    let seat = cluster.user("pika7", &["hikeshi:operator"]);
    seat.ok(&["scale", "deployment", "web", "--replicas=5"]);
    let event = cluster.audited(|e| e.user == "pika7" && e.verb == "patch");
    assert_eq!(
        (event.resource.as_str(), event.subresource.as_deref()),
        ("deployments", Some("scale"))
    );
    assert_eq!(event.kubectl_command.as_deref(), Some("kubectl scale"));
    assert_eq!(event.request_body.unwrap()["spec"]["replicas"], 5);
    assert_eq!(event.code, 200);
    assert!(event.kubectl_session.is_some());
    seat.ok(&["logs", "web-1"]);
    cluster.audited(|e| e.user == "pika7" && e.subresource.as_deref() == Some("log") && e.verb == "get");
    seat.ok(&["exec", "web-1", "--", "true"]);
    let exec = cluster.audited(|e| e.user == "pika7" && e.verb == "exec");
    assert_eq!((exec.code, exec.query.contains("command=true")), (101, true));
    seat.fails(&["get", "podchaos"]);
    cluster.audited(|e| e.user == "pika7" && e.code == 403 && e.resource == "podchaos");
    assert!(
        cluster
            .audit
            .lock()
            .unwrap()
            .iter()
            .all(|e| e.user != "hikeshi-controllers")
    );
}

#[test]
fn tokens_and_strangers() {
    let cluster = Cluster::start();
    cluster.admin().ok(&["create", "serviceaccount", "prometheus"]);
    let token = cluster.pki.service_account_token("chirpy", "prometheus");
    let kubectl = |token: &str, args: &[&str]| cluster.with_token(token, args);
    assert!(
        kubectl(&token, &["get", "--raw", "/api/v1/namespaces/chirpy/pods"])
            .status
            .success()
    );
    assert!(
        kubectl(&token, &["get", "--raw", "/hikeshi/sd/pods"])
            .status
            .success()
    );
    let refused = kubectl(&token, &["get", "--raw", "/api/v1/namespaces/chirpy/secrets"]);
    assert!(
        text(&refused.stderr).contains("system:serviceaccount:chirpy:prometheus"),
        "{}",
        text(&refused.stderr)
    );
    let stranger = kubectl("forged.token.x", &["get", "--raw", "/api/v1/pods"]);
    assert!(
        text(&stranger.stderr).contains("nauthorized") || text(&stranger.stderr).contains("logged in"),
        "{}",
        text(&stranger.stderr)
    );
    assert_eq!(
        text(&kubectl("forged.token.x", &["get", "--raw", "/readyz"]).stdout),
        "ok"
    );
}

#[test]
fn a_token_is_worth_nothing_once_what_it_names_is_gone() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    let works = |token: &str| {
        let out = cluster.with_token(token.trim(), &["get", "--raw", "/api/v1/namespaces/chirpy/pods"]);
        let said = text(&out.stderr);
        assert!(
            out.status.success() || said.contains("nauthorized") || said.contains("logged in"),
            "{said}"
        );
        out.status.success()
    };
    k.ok(&["create", "serviceaccount", "robot"]);
    k.ok(&[
        "create",
        "rolebinding",
        "robot",
        "--clusterrole=view",
        "--serviceaccount=chirpy:robot",
    ]);
    cluster.running_pod("web-1", &["web"]);
    let uid = k.ok(&["get", "pod", "web-1", "-o", "jsonpath={.metadata.uid}"]);
    let own = k.ok(&["create", "token", "robot"]);
    let bound: &[&str] = &[
        "create",
        "token",
        "robot",
        "--bound-object-kind=Pod",
        "--bound-object-name=web-1",
    ];
    let bound = k.ok(&[bound, &["--bound-object-uid", &uid]].concat());
    let mounted = cluster.pki.pod_token("chirpy", "robot", "web-1", &uid);
    let anothers = cluster
        .pki
        .pod_token("chirpy", "robot", "web-1", "of-another-time");
    assert_eq!(
        [&own, &bound, &mounted, &anothers].map(|token| works(token)),
        [true, true, true, false]
    );
    k.ok(&[
        "delete",
        "pod",
        "web-1",
        "--force",
        "--grace-period=0",
        "--ignore-not-found",
    ]);
    assert_eq!(
        [&own, &bound, &mounted].map(|token| works(token)),
        [true, false, false]
    );
    k.ok(&["delete", "serviceaccount", "robot"]);
    assert!(!works(&own));
    // The name comes back, the account does not.
    k.ok(&["create", "serviceaccount", "robot"]);
    assert!(!works(&own));
    let refused = k.fails(&[
        "create",
        "token",
        "robot",
        "--bound-object-kind=Pod",
        "--bound-object-name=web-1",
    ]);
    assert!(refused.contains("not found"), "{refused}");
}

#[test]
fn eviction_asks_the_budget() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    cluster.running_pod("web-1", &["web"]);
    k.ok(&[
        "create",
        "poddisruptionbudget",
        "web",
        "--selector=app=web",
        "--min-available=1",
    ]);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web-1", "namespace": "chirpy"}});
    let path = "/api/v1/namespaces/chirpy/pods/web-1/eviction";
    let evict = || k.with_input(&["create", "--raw", path, "-f", "-"], &eviction.to_string());
    assert!(text(&evict().stderr).contains("disruption budget"));
    let status = r#"{"status":{"observedGeneration":1,"disruptionsAllowed":1,"currentHealthy":2,"desiredHealthy":1,"expectedPods":2}}"#;
    k.ok(&[
        "patch",
        "pdb",
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ]);
    assert!(evict().status.success());
    assert!(k.json(&["get", "pod", "web-1"])["metadata"]["deletionTimestamp"].is_string());
}
