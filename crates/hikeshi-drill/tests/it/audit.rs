use hikeshi_drill::Command;
use hikeshi_drill::audit::{AuditRecord, Folder, fold};
use jiff::SignedDuration;
use serde_json::json;

fn record(said: &str, verb: &str, resource: &str) -> AuditRecord {
    AuditRecord {
        at: "2026-11-21T05:00:00Z".parse().expect("a time"),
        user: "pika7".into(),
        verb: verb.into(),
        resource: resource.into(),
        namespace: "chirpy".into(),
        kubectl_command: Some(format!("kubectl {said}")),
        kubectl_session: Some("s1".into()),
        user_agent: "kubectl/v1.33".into(),
        code: 200,
        ..AuditRecord::default()
    }
}

fn told(records: &[AuditRecord]) -> (String, bool) {
    match fold(records) {
        Some(Command::CommandRun {
            command, mutating, ..
        }) => (command, mutating),
        other => panic!("not a command: {other:?}"),
    }
}

#[test]
fn command_lines_are_rebuilt() {
    let named = |r: AuditRecord, name: &str| AuditRecord {
        name: Some(name.into()),
        ..r
    };
    let sub = |r: AuditRecord, s: &str| AuditRecord {
        subresource: Some(s.into()),
        ..r
    };
    let query = |r: AuditRecord, q: &str| AuditRecord { query: q.into(), ..r };
    let body = |r: AuditRecord, b| AuditRecord {
        request_body: Some(b),
        ..r
    };
    let timeline = |said: &str, verb: &str| named(record(said, verb, "deployments"), "timeline-service");
    let restarted =
        json!({"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}});
    let env = json!({"spec":{"template":{"spec":{"containers":[{"name":"c","env":[{"name":"A","value":"1 2"}]}]}}}});
    let cases = [
        (
            vec![
                timeline("scale", "get"),
                body(
                    sub(timeline("scale", "patch"), "scale"),
                    json!({"spec":{"replicas":10}}),
                ),
            ],
            "kubectl scale deployment timeline-service --replicas=10",
            true,
        ),
        (
            vec![
                query(
                    record("logs", "list", "pods"),
                    "labelSelector=app%3Dchirpy-server&limit=500",
                ),
                query(
                    sub(named(record("logs", "get", "pods"), "chirpy-server-1"), "log"),
                    "container=c&sinceSeconds=300&tailLines=10",
                ),
            ],
            "kubectl logs -l app=chirpy-server --since=5m",
            false,
        ),
        (
            vec![named(record("delete", "delete", "pods"), "redis-cluster-2")],
            "kubectl delete pod redis-cluster-2",
            true,
        ),
        (
            vec![body(timeline("rollout restart", "patch"), restarted)],
            "kubectl rollout restart deployment timeline-service",
            true,
        ),
        (
            vec![body(timeline("set env", "patch"), env)],
            "kubectl set env deployment timeline-service 'A=1 2'",
            true,
        ),
        (
            vec![query(
                record("get", "list", "pods"),
                "labelSelector=app%3Dredis-cluster",
            )],
            "kubectl get pods -l app=redis-cluster",
            false,
        ),
        (
            ["configmaps", "services", "events"]
                .map(|kind| record("get", "list", kind))
                .to_vec(),
            "kubectl get configmaps,services,events",
            false,
        ),
        (
            ["a", "b"]
                .map(|name| named(record("get", "get", "configmaps"), name))
                .to_vec(),
            "kubectl get configmap a b",
            false,
        ),
        (
            vec![
                named(record("get", "get", "configmaps"), "a"),
                named(record("get", "get", "services"), "b"),
            ],
            "kubectl get configmap/a service/b",
            false,
        ),
        (
            vec![query(
                AuditRecord {
                    group: "metrics.k8s.io".into(),
                    ..record("top pods", "list", "pods")
                },
                "labelSelector=app%3Dtimeline-service",
            )],
            "kubectl top pods -l app=timeline-service",
            false,
        ),
        (
            vec![
                named(record("exec", "get", "pods"), "redis-cluster-2"),
                query(
                    sub(named(record("exec", "create", "pods"), "redis-cluster-2"), "exec"),
                    "command=redis-cli&command=INFO&command=clients",
                ),
            ],
            "kubectl exec redis-cluster-2 -- redis-cli INFO clients",
            false,
        ),
        (
            vec![query(
                sub(named(record("exec", "create", "pods"), "redis-cluster-0"), "exec"),
                "command=redis-cli&command=CONFIG&command=SET&command=maxclients&command=20000",
            )],
            "kubectl exec redis-cluster-0 -- redis-cli CONFIG SET maxclients 20000",
            true,
        ),
        (
            vec![
                named(record("describe", "get", "pods"), "redis-cluster-2"),
                query(
                    record("describe", "list", "events"),
                    "fieldSelector=involvedObject.name%3Dredis-cluster-2",
                ),
            ],
            "kubectl describe pod redis-cluster-2",
            false,
        ),
        (
            vec![body(
                named(record("patch", "patch", "configmaps"), "timeline-service-config"),
                json!({"data":{"A":"1"}}),
            )],
            r#"kubectl patch configmap timeline-service-config -p '{"data":{"A":"1"}}'"#,
            true,
        ),
    ];
    for (records, line, mutating) in cases {
        assert_eq!(told(&records), (line.to_owned(), mutating));
    }
}

#[test]
fn what_was_refused_is_told_and_is_no_change() {
    let refused = AuditRecord {
        name: Some("node-a".into()),
        code: 403,
        ..record("delete", "delete", "nodes")
    };
    let line = || "kubectl delete node node-a".to_owned();
    assert_eq!(told(std::slice::from_ref(&refused)), (line(), false));
    let done = AuditRecord {
        name: Some("node-b".into()),
        code: 200,
        ..refused.clone()
    };
    assert_eq!(
        told(&[done, refused]),
        ("kubectl delete node node-b".to_owned(), true)
    );
}

#[test]
fn what_somebody_read_before_a_change_is_told_before_it() {
    let of = |session: &str, user: &str, r: AuditRecord| AuditRecord {
        kubectl_session: Some(session.into()),
        user: user.into(),
        ..r
    };
    let mut folder = Folder::default();
    let (pods, nodes) = (record("get", "list", "pods"), record("get", "list", "nodes"));
    assert_eq!(folder.push(of("s1", "pika7", pods.clone())), []);
    assert_eq!(folder.push(of("s2", "ai", pods)), []);
    // Discovery: what is wanted is not known yet.
    assert_eq!(folder.push(of("s3", "pika7", record("get", "get", ""))), []);
    assert_eq!(folder.push(of("s4", "pika7", nodes)), []);
    let change = AuditRecord {
        name: Some("x".into()),
        ..record("delete", "delete", "pods")
    };
    let lines: Vec<String> = folder
        .push(of("s5", "pika7", change))
        .into_iter()
        .map(|command| match command {
            Command::CommandRun { command, .. } => command,
            other => panic!("not a command: {other:?}"),
        })
        .collect();
    assert_eq!(
        lines,
        ["kubectl get pods", "kubectl get nodes", "kubectl delete pod x"]
    );
    let late = folder.push(of("s3", "pika7", record("get", "list", "services")));
    assert_eq!(late, [], "it is not over yet");
    assert!(folder.pending());
}

#[test]
fn programs_that_watch_are_not_people() {
    let ui = AuditRecord {
        kubectl_command: None,
        kubectl_session: None,
        user_agent: "hikeshi".into(),
        ..record("", "watch", "pods")
    };
    assert_eq!(fold(&[ui]), None);
    let controller = AuditRecord {
        user: "system:serviceaccount:kube-system:deployment".into(),
        ..record("scale", "patch", "deployments")
    };
    assert_eq!(fold(&[controller]), None);
}

#[test]
fn one_invocation_is_one_line_and_a_change_is_told_at_once() {
    let mut folder = Folder::default();
    let at = |r: AuditRecord, ms: i64| AuditRecord {
        at: r.at + SignedDuration::from_millis(ms),
        ..r
    };
    let list = record("logs", "list", "pods");
    let log = |name: &str| AuditRecord {
        name: Some(name.into()),
        subresource: Some("log".into()),
        ..record("logs", "get", "pods")
    };
    assert_eq!(folder.push(list.clone()), []);
    assert_eq!(folder.push(at(log("a"), 10)), []);
    assert_eq!(folder.push(at(log("b"), 20)), []);
    assert!(folder.pending());
    assert_eq!(folder.tick(list.at + SignedDuration::from_millis(100)), []);
    assert_eq!(folder.tick(list.at + SignedDuration::from_millis(400)).len(), 1);
    assert_eq!(
        folder.push(at(log("c"), 450)),
        [],
        "a straggler of a session told already"
    );

    let change = AuditRecord {
        kubectl_session: Some("s2".into()),
        name: Some("x".into()),
        ..record("delete", "delete", "pods")
    };
    assert_eq!(folder.push(at(change.clone(), 500)).len(), 1);
    let wait = AuditRecord {
        verb: "watch".into(),
        ..change
    };
    assert_eq!(
        folder.push(at(wait, 600)),
        [],
        "delete waits until the pod is gone"
    );
    assert!(!folder.pending());
}
