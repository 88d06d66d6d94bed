//! Commands that wait: they hang when a watch is wrong.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::json;

use crate::support::{Cluster, Kubectl, deployment};

fn rolled_out(k: &Kubectl, replicas: i64) {
    let generation = k.json(&["get", "deploy", "web"])["metadata"]["generation"].clone();
    let status = json!({"status": {"observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas,
        "conditions": [{"type": "Available", "status": "True"}, {"type": "Progressing", "status": "True"}]}});
    k.ok(&[
        "patch",
        "deploy",
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status.to_string(),
    ]);
}

#[test]
fn rollout_status_and_wait_end_when_the_status_says_so() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    k.apply(&deployment("web", "web:1"));
    let mut waiting = k.spawn(&mut k.command(&["rollout", "status", "deployment/web", "--timeout=30s"]));
    let out = waiting.stdout.take().unwrap();
    let mut lines = BufReader::new(out).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("Waiting for deployment"), "{first}");
    rolled_out(&k, 2);
    assert!(waiting.wait().unwrap().success());
    assert!(
        lines
            .map_while(Result::ok)
            .any(|l| l.contains("successfully rolled out"))
    );
    k.ok(&[
        "wait",
        "--for=condition=Available",
        "deployment/web",
        "--timeout=30s",
    ]);
    k.ok(&[
        "wait",
        "--for=jsonpath={.status.readyReplicas}=2",
        "deployment/web",
        "--timeout=30s",
    ]);
    k.ok(&["delete", "deployment", "web", "--timeout=30s"]);
    k.ok(&["wait", "--for=delete", "deployment/web", "--timeout=30s"]);
}

#[test]
fn get_watch_prints_changes_and_selector_transitions() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    k.apply(&deployment("web", "web:1"));
    let mut command = k.command(&["get", "deploy", "-l", "tier=front", "-w", "--output-watch-events"]);
    let mut watching = k.spawn(command.stderr(Stdio::null()));
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    // Nothing is selected yet; the label brings it in, its removal takes it out. kubectl prints no head before the
    // first row, so a first change that is not seen would leave this hanging: repeat it until it is.
    let seen = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0..200 {
                if seen.load(std::sync::atomic::Ordering::SeqCst) {
                    break;
                }
                k.ok(&[
                    "label",
                    "deploy",
                    "web",
                    "--overwrite",
                    &format!("turn={turn}"),
                    "tier=front",
                ]);
            }
            k.ok(&["label", "deploy", "web", "tier-"]);
        });
        let head = lines.next().unwrap().unwrap();
        assert!(head.starts_with("EVENT"), "{head}");
        let row = lines.next().unwrap().unwrap();
        assert!(row.starts_with("ADDED") && row.contains("web"), "{row}");
        seen.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(
            lines
                .by_ref()
                .map_while(Result::ok)
                .any(|l| l.starts_with("DELETED"))
        );
    });
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn an_old_revision_is_gone() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    // Revision 1 is from before the first object, and the history knows; a future one it cannot know.
    let error = k.fails(&[
        "get",
        "--raw",
        "/api/v1/pods?watch=true&resourceVersion=999999&timeoutSeconds=2",
    ]);
    assert!(error.contains("too old resource version"), "{error}");
    let cluster = cluster.restart();
    let k = cluster.admin();
    let error = k.fails(&[
        "get",
        "--raw",
        "/api/v1/pods?watch=true&resourceVersion=1&timeoutSeconds=2",
    ]);
    assert!(error.contains("too old resource version"), "{error}");
}

#[test]
fn initial_events_end_with_a_bookmark_and_the_watch_with_its_timeout() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    let path = "/api/v1/namespaces?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&timeoutSeconds=1\
        &resourceVersionMatch=NotOlderThan";
    let out = k.ok(&["get", "--raw", path]);
    let lines: Vec<serde_json::Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let there = k.ok(&["get", "namespaces", "-o", "name"]).lines().count();
    assert_eq!(lines.len(), there + 1, "{out}");
    assert!(lines[..there].iter().all(|l| l["type"] == "ADDED"));
    assert_eq!(
        lines[there]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
}
