//! Roles and bindings, by kubectl.

use serde_json::json;

use crate::support::{Cluster, text};

#[test]
fn roles_grant_what_they_say_and_nothing_else() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    cluster.running_pod("x", &["web"]);
    k.ok(&[
        "create",
        "role",
        "reader",
        "--verb=get,list,watch",
        "--resource=pods,pods/log",
    ]);
    k.ok(&[
        "create",
        "rolebinding",
        "reader",
        "--role=reader",
        "--user=ann",
        "--serviceaccount=chirpy:robot",
    ]);
    k.ok(&["create", "serviceaccount", "robot"]);
    let ann = cluster.user("ann", &["people"]);
    assert!(ann.ok(&["get", "pods"]).contains('x'));
    ann.ok(&["logs", "x"]);
    let refused = ann.fails(&["delete", "pod", "x"]);
    assert!(
        refused.contains(
            "pods \"x\" is forbidden: User \"ann\" cannot delete resource \"pods\" in API group \"\" in the namespace \"chirpy\""
        ),
        "{refused}"
    );
    assert!(ann.fails(&["get", "pods", "-A"]).contains("at the cluster scope"));
    assert!(
        ann.fails(&["exec", "x", "--", "true"])
            .contains("cannot create resource \"pods/exec\"")
    );
    assert!(
        ann.fails(&["get", "--raw", "/metrics"])
            .contains("cannot get path")
    );

    assert_eq!(ann.ok(&["auth", "can-i", "list", "pods"]).trim(), "yes");
    assert_eq!(
        ann.ok(&["auth", "can-i", "get", "pods", "--subresource=log"])
            .trim(),
        "yes"
    );
    assert_eq!(
        text(&ann.run(&["auth", "can-i", "delete", "pods"]).stdout)
            .trim()
            .split(' ')
            .next(),
        Some("no")
    );
    let list = ann.ok(&["auth", "can-i", "--list"]);
    assert!(
        list.contains("pods/log") && list.contains("/healthz") && !list.contains("secrets"),
        "{list}"
    );
    assert!(k.ok(&["auth", "can-i", "--list"]).contains("*.*"));
    let as_ann = k.run(&["auth", "can-i", "delete", "pods", "--as=ann"]);
    assert!(text(&as_ann.stdout).starts_with("no"));
    assert!(
        ann.fails(&["get", "pods", "--as=admin"])
            .contains("cannot impersonate")
    );

    // A cluster-wide grant, by group; and a scale subresource of any kind.
    k.ok(&[
        "create",
        "clusterrole",
        "scaler",
        "--verb=get,update,patch",
        "--resource=deployments.apps/scale",
    ]);
    k.ok(&[
        "create",
        "clusterrolebinding",
        "scaler",
        "--clusterrole=scaler",
        "--group=people",
    ]);
    let yes = ann.ok(&[
        "auth",
        "can-i",
        "patch",
        "deployments.apps",
        "--subresource=scale",
        "-n",
        "default",
    ]);
    assert_eq!(yes.trim(), "yes");
    k.ok(&["delete", "clusterrolebinding", "scaler"]);
    assert!(
        !ann.run(&[
            "auth",
            "can-i",
            "patch",
            "deployments.apps",
            "--subresource=scale"
        ])
        .status
        .success()
    );

    // The service account, by a token that ends.
    let token = k.ok(&["create", "token", "robot", "--duration=10m"]);
    let out = cluster.with_token(token.trim(), &["get", "pods", "-n", "chirpy"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let out = cluster.with_token(token.trim(), &["get", "secrets", "-n", "chirpy"]);
    assert!(text(&out.stderr).contains("system:serviceaccount:chirpy:robot"));
    assert!(k.fails(&["create", "token", "nobody"]).contains("not found"));

    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "ann",
        "resourceAttributes": {"namespace": "chirpy", "verb": "get", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let asked = k.with_input(&["create", "--raw", path, "-f", "-"], &review.to_string());
    assert!(
        text(&asked.stdout).contains("\"allowed\":true"),
        "{}",
        text(&asked.stderr)
    );
    let asked = ann.with_input(&["create", "--raw", path, "-f", "-"], &review.to_string());
    assert!(text(&asked.stderr).contains("cannot create resource \"subjectaccessreviews\""));
}

#[test]
fn nobody_grants_what_they_do_not_hold() {
    let cluster = Cluster::start();
    let admin = cluster.admin();
    let chaos = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "NetworkChaos", "spec": {},
        "metadata": {"name": "the-answer", "namespace": "chirpy"}});
    admin.apply(&chaos);
    admin.ok(&["create", "serviceaccount", "robot"]);
    let seat = cluster.user("pika7", &["hikeshi:operator"]);
    // What the seat holds, it may pass on.
    seat.ok(&["create", "role", "pods", "--verb=get,delete", "--resource=pods"]);
    seat.ok(&[
        "create",
        "rolebinding",
        "pods",
        "--role=pods",
        "--serviceaccount=chirpy:robot",
    ]);
    let token = seat.ok(&["create", "token", "robot"]);
    assert!(
        cluster
            .with_token(token.trim(), &["get", "pods", "-n", "chirpy"])
            .status
            .success()
    );
    // The rest it may not: experiments, everything, other namespaces, the cluster.
    let refused = seat.fails(&[
        "create",
        "role",
        "spy",
        "--verb=get",
        "--resource=networkchaos.chaos-mesh.org",
    ]);
    assert!(
        refused.contains("is attempting to grant RBAC permissions not currently held")
            && refused
                .contains("{APIGroups:[\"chaos-mesh.org\"], Resources:[\"networkchaos\"], Verbs:[\"get\"]}"),
        "{refused}"
    );
    for role in ["cluster-admin", "admin"] {
        let name = format!("to-{role}");
        let bind = [
            "create",
            "rolebinding",
            &name,
            &format!("--clusterrole={role}"),
            "--user=pika7",
        ];
        let out = seat.run(&bind);
        assert!(!out.status.success() || role == "admin", "{}", text(&out.stdout));
    }
    assert!(
        seat.fails(&["create", "clusterrole", "c", "--verb=get", "--resource=pods"])
            .contains("forbidden")
    );
    assert!(
        seat.fails(&[
            "create",
            "clusterrolebinding",
            "c",
            "--clusterrole=view",
            "--user=pika7"
        ])
        .contains("forbidden")
    );
    assert!(
        seat.fails(&[
            "create",
            "role",
            "r",
            "--verb=get",
            "--resource=pods",
            "-n",
            "hikeshi-system"
        ])
        .contains("forbidden")
    );
    // A role that exists cannot grow by patch, apply or edit either; nor can a binding change its role.
    let wild = r#"{"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}"#;
    assert!(
        seat.fails(&["patch", "role", "pods", "--type=merge", "-p", wild])
            .contains("not currently held")
    );
    let grown = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "pods", "namespace": "chirpy"},
        "rules": [{"apiGroups": ["chaos-mesh.org"], "resources": ["*"], "verbs": ["get"]}]});
    for how in [
        &["apply", "-f", "-"][..],
        &["replace", "-f", "-"],
        &["apply", "--server-side", "--force-conflicts", "-f", "-"],
    ] {
        let out = seat.with_input(how, &grown.to_string());
        assert!(
            text(&out.stderr).contains("not currently held"),
            "{how:?} {}",
            text(&out.stderr)
        );
    }
    let other =
        r#"{"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"}}"#;
    assert!(
        seat.fails(&["patch", "rolebinding", "pods", "--type=merge", "-p", other])
            .contains("cannot change roleRef")
    );
    // And the experiments stay out of sight, for the seat and for whatever it made.
    assert!(
        seat.fails(&["get", "networkchaos", "-n", "chirpy"])
            .contains("forbidden")
    );
    let out = cluster.with_token(token.trim(), &["get", "networkchaos", "-n", "chirpy"]);
    assert!(text(&out.stderr).contains("forbidden"));
    assert!(
        seat.fails(&["get", "pods", "--as=x", "--as-group=system:masters"])
            .contains("cannot impersonate")
    );
}

#[test]
fn roles_that_make_no_sense_are_refused_by_field() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    let refuse = |object: serde_json::Value, words: &str| {
        let out = k.with_input(&["create", "-f", "-"], &object.to_string());
        assert!(text(&out.stderr).contains(words), "{}", text(&out.stderr));
    };
    let role = |kind: &str, more: serde_json::Value| {
        let mut object =
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "r"}});
        object
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        object
    };
    refuse(
        role(
            "ClusterRole",
            json!({"aggregationRule": {"clusterRoleSelectors": []}}),
        ),
        "aggregationRule: Forbidden",
    );
    refuse(
        role(
            "Role",
            json!({"rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]}),
        ),
        "rules[0].nonResourceURLs",
    );
    refuse(
        role(
            "Role",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"]}]}),
        ),
        "rules[0].verbs",
    );
    refuse(
        role(
            "RoleBinding",
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "x"}}),
        ),
        "roleRef.kind",
    );
    assert!(k.ok(&["get", "clusterroles"]).contains("cluster-admin"));
    assert!(
        k.ok(&["describe", "clusterrole", "view"])
            .contains("deployments.apps")
    );
    assert!(
        k.ok(&["get", "rolebindings", "-n", "chirpy"])
            .contains("hikeshi:operator")
    );
}
