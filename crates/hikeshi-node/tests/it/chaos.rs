//! PodChaos, StressChaos and TimeChaos in real pods, with the real API server and controllers.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

use crate::kubelet::{Cluster, Node1, condition, is_ready};
use crate::support::within;

fn experiments(cluster: &Cluster, kind: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("chaos-mesh.org", "v1alpha1", kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, &kind.to_lowercase());
    Api::namespaced_with(cluster.client.clone(), "chirpy", &resource)
}

/// A cluster with controllers, and in its pods the programs that the faults need.
async fn cluster() -> (Cluster, Node1) {
    let cluster = Cluster::new().await;
    let bin = cluster.world.path().join("state/bin");
    fs::create_dir_all(&bin).unwrap();
    let clock = std::env::current_exe()
        .unwrap()
        .with_file_name("libhikeshi_clock.so");
    for (from, to) in [
        (&cluster.world.program, "hikeshi"),
        (&clock, "libhikeshi_clock.so"),
    ] {
        // By another process: a test that forks just now would keep the copy "busy".
        let copied = std::process::Command::new("cp")
            .arg(from)
            .arg(bin.join(to))
            .status();
        assert!(copied.unwrap().success(), "{}", from.display());
    }
    let controllers = hikeshi_controllers::run(cluster.client.clone(), cluster.shutdown.clone());
    tokio::spawn(controllers);
    let node = cluster.kubelet();
    (cluster, node)
}

async fn apply(cluster: &Cluster, kind: &str, name: &str, spec: Value) {
    apply_to(cluster, "web", kind, name, spec).await;
}

async fn apply_to(cluster: &Cluster, app: &str, kind: &str, name: &str, mut spec: Value) {
    spec["mode"] = "all".into();
    spec["selector"] = json!({"labelSelectors": {"app": app}});
    let object = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let object = serde_json::from_value(object).unwrap();
    experiments(cluster, kind)
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
}

/// Waits for a status; shows the last one otherwise.
async fn told(cluster: &Cluster, kind: &str, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let api = experiments(cluster, kind);
    let mut last = Value::Null;
    for _ in 0..1_500 {
        last = api.get(name).await.unwrap().data["status"].clone();
        if holds(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {last:#}");
}

fn injected(status: &Value) -> bool {
    condition(status, "AllInjected")["status"] == "True"
}

async fn delete(cluster: &Cluster, kind: &str, name: &str) {
    let api = experiments(cluster, kind);
    api.delete(name, &DeleteParams::default()).await.unwrap();
    within(async {
        while api.get_opt(name).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

fn restarts(status: &Value) -> u64 {
    status["containerStatuses"][0]["restartCount"]
        .as_u64()
        .unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_are_killed_once_and_held_down_for_a_while() {
    let (cluster, _node) = cluster().await;
    let sleep = json!([{"name": "web", "image": "debian", "command": ["sleep", "100000"]}]);
    let web = json!({"containers": sleep, "terminationGracePeriodSeconds": 0});
    cluster.create("web", web.clone()).await;
    cluster.wait("web", is_ready).await;

    let spec = json!({"action": "container-kill", "containerNames": ["web"], "duration": "2s"});
    apply(&cluster, "PodChaos", "kill", spec).await;
    let status = told(&cluster, "PodChaos", "kill", injected).await;
    let record = &status["experiment"]["containerRecords"][0];
    assert_eq!(
        (&record["id"], &record["injectedCount"]),
        (&json!("chirpy/web/web"), &json!(1))
    );
    assert_eq!(record["events"][0]["operation"], "Apply");
    let after = cluster
        .wait("web", |status| is_ready(status) && restarts(status) == 1)
        .await;
    assert_eq!(
        after["containerStatuses"][0]["lastState"]["terminated"]["exitCode"],
        137
    );
    // Whoever comes back under the name lives. The other experiment shows that the agent has looked at the new pod.
    cluster
        .pods
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    cluster.gone("web").await;
    let made = cluster.create("web", web).await;
    cluster.wait("web", is_ready).await;
    apply(&cluster, "TimeChaos", "late", json!({"timeOffset": "-2h"})).await;
    told(&cluster, "TimeChaos", "late", injected).await;
    delete(&cluster, "TimeChaos", "late").await;
    let status = cluster.pods.get("web").await.unwrap().status.unwrap();
    assert_eq!(restarts(&serde_json::to_value(status).unwrap()), 0);
    let status = told(&cluster, "PodChaos", "kill", injected).await;
    assert_eq!(status["experiment"]["containerRecords"][0]["injectedCount"], 1);
    delete(&cluster, "PodChaos", "kill").await;

    apply(&cluster, "PodChaos", "down", json!({"action": "pod-failure"})).await;
    told(&cluster, "PodChaos", "down", injected).await;
    let down = cluster.wait("web", |status| !is_ready(status)).await;
    assert_eq!(
        down["containerStatuses"][0]["state"]["waiting"]["reason"],
        "PodFailure"
    );
    delete(&cluster, "PodChaos", "down").await;
    let up = cluster
        .wait("web", |status| is_ready(status) && restarts(status) == 1)
        .await;
    assert_eq!(up["phase"], "Running");
    let now = cluster.pods.get("web").await.unwrap();
    assert_eq!(
        (now.metadata.uid, now.spec),
        (made.metadata.uid, made.spec),
        "nothing of the user's is changed"
    );
}

/// A process that does not answer, until this is dropped.
struct Stopped(nix::unistd::Pid);

impl Stopped {
    fn new(pid: i32) -> Self {
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(self.0, nix::sys::signal::Signal::SIGCONT);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_whose_init_hangs_keeps_no_other_pod_down() {
    let (cluster, _node) = cluster().await;
    let sleep = json!([{"name": "web", "image": "debian", "command": ["sleep", "100000"]}]);
    let spec = json!({"containers": sleep, "terminationGracePeriodSeconds": 0});
    cluster.create("web", spec.clone()).await;
    let stuck = cluster.create("stuck", spec).await;
    cluster.wait("web", is_ready).await;
    cluster.wait("stuck", is_ready).await;
    apply(&cluster, "PodChaos", "down", json!({"action": "pod-failure"})).await;
    told(&cluster, "PodChaos", "down", injected).await;

    let dir = cluster
        .world
        .path()
        .join("state/pods")
        .join(stuck.metadata.uid.unwrap());
    let record = hikeshi_node::shim::launch::read_record(&dir).unwrap();
    let _stopped = Stopped::new(record.pid);
    let burn = json!({"stressors": {"cpu": {"workers": 1, "load": 10}}});
    apply_to(&cluster, "stuck", "StressChaos", "burn", burn).await;
    let kill = json!({"action": "container-kill", "containerNames": ["web"]});
    apply_to(&cluster, "stuck", "PodChaos", "kill", kill).await;
    for (kind, name) in [("StressChaos", "burn"), ("PodChaos", "kill")] {
        let selected = |status: &Value| status["experiment"]["containerRecords"][0]["id"].is_string();
        told(&cluster, kind, name, selected).await;
    }
    // Begun after those that hang: it shows that the agent goes on beside them.
    apply(&cluster, "TimeChaos", "late", json!({"timeOffset": "-2h"})).await;
    told(&cluster, "TimeChaos", "late", injected).await;

    delete(&cluster, "PodChaos", "down").await;
    cluster.wait("web", is_ready).await;
    for (kind, name) in [("StressChaos", "burn"), ("PodChaos", "kill")] {
        delete(&cluster, kind, name).await;
    }
}

/// The stress programs of this machine that run from a cluster's own copy.
fn stressing(root: &Path) -> usize {
    let bin = root.join("state/bin");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ours = processes.filter(|entry| {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        let state = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let dead = state
            .rsplit_once(')')
            .is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'));
        let own = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        arguments.contains("internal\0stress") && !dead && own.contains(&*bin.to_string_lossy())
    });
    ours.count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stress_counts_against_the_containers_limits_and_ends_with_its_lease() {
    let (cluster, node) = cluster().await;
    let limits = json!({"limits": {"memory": "150Mi", "cpu": "300m"}});
    let sleep =
        json!([{"name": "web", "image": "debian", "command": ["sleep", "100000"], "resources": limits}]);
    cluster
        .create(
            "web",
            json!({"containers": sleep, "terminationGracePeriodSeconds": 0}),
        )
        .await;
    cluster.wait("web", is_ready).await;
    let usage = |node: &Node1| {
        let pods = node.kubelet.usage();
        let containers = pods.iter().flat_map(|pod| &pod.containers);
        containers.map(|one| one.cpu_nanocores / 1_000_000).sum::<u64>()
    };

    apply(
        &cluster,
        "StressChaos",
        "busy",
        json!({"stressors": {"cpu": {"workers": 2, "load": 100}}}),
    )
    .await;
    told(&cluster, "StressChaos", "busy", injected).await;
    within(async {
        while usage(&node) < 100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(
        usage(&node) < 400,
        "held to the container's limit of 300m: {}m",
        usage(&node)
    );
    assert_eq!(stressing(cluster.world.path()), 1);
    delete(&cluster, "StressChaos", "busy").await;
    assert_eq!(stressing(cluster.world.path()), 0, "gone at once");

    let spec = json!({"stressors": {"memory": {"workers": 1, "size": "300MiB"}}});
    apply(&cluster, "StressChaos", "fat", spec).await;
    let killed =
        |status: &Value| status["containerStatuses"][0]["lastState"]["terminated"]["reason"] == "OOMKilled";
    cluster.wait("web", killed).await;
    delete(&cluster, "StressChaos", "fat").await;
    cluster.wait("web", is_ready).await;

    apply(
        &cluster,
        "StressChaos",
        "left",
        json!({"stressors": {"cpu": {"workers": 1, "load": 20}}}),
    )
    .await;
    told(&cluster, "StressChaos", "left", injected).await;
    assert_eq!(stressing(cluster.world.path()), 1);
    // As when control is killed: nobody says goodbye to the program, the pipe just closes.
    node.stop.cancel();
    within(async {
        while stressing(cluster.world.path()) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_day_moves_and_comes_back() {
    let (cluster, node) = cluster().await;
    let sleep = json!([{"name": "web", "image": "debian", "command": ["sleep", "100000"]}]);
    let pod = cluster
        .create(
            "web",
            json!({"containers": sleep, "terminationGracePeriodSeconds": 0}),
        )
        .await;
    cluster.wait("web", is_ready).await;
    let here = || jiff::Timestamp::now().as_second();
    let there = async || {
        let (code, text) = node.run(&pod, "web", &["date", "+%s"]).await;
        assert_eq!(code, 0, "{text}");
        text.trim().parse::<i64>().unwrap()
    };
    apply(&cluster, "TimeChaos", "late", json!({"timeOffset": "-2h"})).await;
    told(&cluster, "TimeChaos", "late", injected).await;
    assert!((there().await - here() + 7_200).abs() < 10, "two hours back");
    delete(&cluster, "TimeChaos", "late").await;
    assert!((there().await - here()).abs() < 10, "and at once as before");
}
