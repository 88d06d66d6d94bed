//! logs, exec, top.

use serde_json::Value;

use crate::support::{Cluster, text};

#[test]
fn logs() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    cluster.running_pod("web-1", &["web"]);
    cluster.running_pod("two", &["a", "b"]);
    assert_eq!(
        k.ok(&["logs", "web-1", "--tail=2"]),
        "web-1 web line 4\nweb-1 web line 5\n"
    );
    assert!(k.ok(&["logs", "web-1", "-f"]).ends_with("followed\n"));
    assert!(
        k.ok(&["logs", "-l", "app=web", "--since=5m", "--all-containers"])
            .contains("two b line 5")
    );
    assert!(
        k.fails(&["logs", "web-1", "--previous"])
            .contains("previous terminated container")
    );
    assert!(
        k.fails(&["logs", "web-1", "-c", "zzz"])
            .contains("not valid for pod")
    );
}

#[test]
fn exec_carries_streams_and_exit_codes() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    cluster.running_pod("web-1", &["web"]);
    assert_eq!(k.ok(&["exec", "web-1", "--", "echo", "hello"]), "hello\n");
    let out = k.run(&["exec", "web-1", "--", "sh", "-c", "echo bad >&2; exit 7"]);
    assert_eq!(out.status.code(), Some(7));
    assert!(text(&out.stderr).contains("bad"));
    let out = k.with_input(&["exec", "-i", "web-1", "--", "cat"], "from here\n");
    assert_eq!(text(&out.stdout), "from here\n", "{}", text(&out.stderr));
    let big = k.ok(&[
        "exec",
        "web-1",
        "--",
        "sh",
        "-c",
        "head -c 300000 /dev/zero | tr '\\0' x",
    ]);
    assert_eq!(big.len(), 300_000);
    assert!(
        k.fails(&["exec", "web-1", "--", "/does/not/exist"])
            .contains("No such file")
    );
    assert!(k.fails(&["exec", "gone", "--", "true"]).contains("not found"));
}

#[test]
fn top_tells_the_kubelets_figures() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    cluster.running_pod("web-1", &["web"]);
    let pods = k.ok(&["top", "pods", "-l", "app=web"]);
    assert!(pods.contains("250m") && pods.contains("64Mi"), "{pods}");
    let node = serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}});
    k.apply(&node);
    k.ok(&[
        "patch",
        "node",
        "node-1",
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"capacity":{"cpu":"2","memory":"4Gi"},"allocatable":{"cpu":"2","memory":"4Gi"}}}"#,
    ]);
    let nodes = k.ok(&["top", "nodes"]);
    assert!(nodes.contains("500m") && nodes.contains("25%"), "{nodes}");
}

#[test]
fn prometheus_finds_running_pods() {
    let cluster = Cluster::start();
    cluster.running_pod("web-1", &["web"]);
    let k = cluster.admin();
    let targets: Value = serde_json::from_str(&k.ok(&["get", "--raw", "/hikeshi/sd/pods"])).unwrap();
    assert_eq!(targets[0]["targets"][0], "127.64.0.9:8080");
    assert_eq!(targets[0]["labels"]["__meta_kubernetes_pod_label_app"], "web");
}

#[test]
fn attach_streams_what_comes_from_now_on_and_says_that_there_is_no_input() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    cluster.running_pod("web-1", &["web"]);
    assert_eq!(k.ok(&["attach", "web-1"]), "followed\n");
    let refused = k.with_input(&["attach", "-i", "web-1"], "hello");
    assert!(!refused.status.success());
    assert!(
        text(&refused.stderr).contains("did not allocate a standard input"),
        "{}",
        text(&refused.stderr)
    );
    assert!(k.fails(&["attach", "gone"]).contains("not found"));
}

#[test]
fn attach_feeds_a_container_that_has_a_standard_input() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    k.apply(&serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1"}, "spec": {"nodeName": "node-1",
        "containers": [{"name": "reader", "image": "web:1", "stdin": true, "stdinOnce": true}]}}));
    k.ok(&[
        "patch",
        "pod",
        "web-1",
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"phase":"Running"}}"#,
    ]);
    let out = k.with_input(&["attach", "-i", "web-1"], "hello");
    let (said, problems) = (text(&out.stdout), text(&out.stderr));
    assert!(
        out.status.success() && said.contains("followed"),
        "{said}{problems}"
    );
    // From its beginning: the container was made for whoever attaches.
    assert!(said.contains("line 1"), "{said}");
    assert_eq!(cluster.typed.borrow().0, b"hello");
}

#[test]
fn attach_shows_a_terminal_to_who_only_looks() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    k.apply(&serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1"}, "spec": {"nodeName": "node-1",
        "containers": [{"name": "shell", "image": "web:1", "stdin": true, "tty": true}]}}));
    assert_eq!(k.ok(&["attach", "web-1"]), "$ ");
}

#[test]
fn cp_carries_files_both_ways() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    cluster.running_pod("web-1", &["web"]);
    let here = cluster.dir.path().join("here");
    let there = cluster.dir.path().join("there");
    std::fs::create_dir_all(here.join("deep")).unwrap();
    std::fs::create_dir_all(&there).unwrap();
    let big: Vec<u8> = (0..700_000u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(here.join("deep/big"), &big).unwrap();
    std::fs::write(here.join("small"), "hi").unwrap();
    let pod = |path: &std::path::Path| format!("chirpy/web-1:{}", path.display());
    k.ok(&["cp", &here.display().to_string(), &pod(&there.join("copy"))]);
    assert!(std::fs::read(there.join("copy/deep/big")).unwrap() == big);
    let back = cluster.dir.path().join("back");
    k.ok(&["cp", &pod(&there.join("copy")), &back.display().to_string()]);
    assert!(std::fs::read(back.join("deep/big")).unwrap() == big);
    assert_eq!(std::fs::read(back.join("small")).unwrap(), b"hi");
}
