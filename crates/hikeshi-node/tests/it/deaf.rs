//! A pod whose init is stopped is nobody else's concern.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hikeshi_node::shim::InitClient;
use hikeshi_node::shim::launch::{is_alive, read_record};
use hikeshi_node::shim::protocol::InitRecord;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::kubelet::{Cluster, is_ready};
use crate::power::switch;
use crate::support::{eventually, within};

fn sleeper() -> Value {
    json!({"terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": "debian:12", "command": ["sleep", "100000"]}]})
}

fn dir(cluster: &Cluster, pod: &Pod) -> PathBuf {
    let pods = cluster.world.path().join("state/pods");
    pods.join(pod.metadata.uid.as_deref().unwrap())
}

/// Stops the init of a pod, and lets others fill the queue of those that wait for it.
fn deafen(cluster: &Cluster, pod: &Pod) -> (InitRecord, Vec<InitClient>) {
    let dir = dir(cluster, pod);
    let record = read_record(&dir).unwrap();
    kill(Pid::from_raw(record.pid), Signal::SIGSTOP).unwrap();
    let mut waiting = Vec::new();
    while let Ok(client) = InitClient::connect(&dir) {
        waiting.push(client);
    }
    (record, waiting)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_init_keeps_no_other_pod_waiting_and_its_own_can_be_deleted() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    let (goes, stays) = (
        cluster.create("goes", sleeper()).await,
        cluster.create("stays", sleeper()).await,
    );
    cluster.create("well", sleeper()).await;
    for name in ["goes", "stays", "well"] {
        cluster.wait(name, is_ready).await;
    }
    let (gone, _waiting) = deafen(&cluster, &goes);
    let (kept, _waiting) = deafen(&cluster, &stays);
    let began = Instant::now();
    cluster
        .pods
        .delete("goes", &DeleteParams::default())
        .await
        .unwrap();

    // Others start, and are measured.
    let later = cluster.create("later", sleeper()).await;
    cluster.wait("later", is_ready).await;
    within(async {
        while !node.kubelet.usage().iter().any(|pod| pod.name == "later") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;

    // Its grace, the time until it is given up, its init's end.
    cluster.gone("goes").await;
    assert!(!is_alive(&gone));
    eventually("its folder is gone", || !dir(&cluster, &goes).exists()).await;
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());

    // A power cut ends all pods at once, the deaf one too.
    let record = read_record(&dir(&cluster, &later)).unwrap();
    assert!(is_alive(&kept));
    switch(&cluster, json!("off")).await;
    eventually("both are dead", || !is_alive(&record) && !is_alive(&kept)).await;
    // With the power it comes back, hearing again.
    switch(&cluster, Value::Null).await;
    let again = |status: &Value| is_ready(status) && status["containerStatuses"][0]["restartCount"] == 1;
    cluster.wait("stays", again).await;
    node.stop.cancel();
    within(node.task).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubelet_that_finds_a_stopped_init_makes_the_pod_anew() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    let pod = cluster.create("one", sleeper()).await;
    cluster.wait("one", is_ready).await;
    node.stop.cancel();
    within(node.task).await.unwrap();
    let (old, waiting) = deafen(&cluster, &pod);
    let node = cluster.kubelet();
    let again = |status: &Value| is_ready(status) && status["containerStatuses"][0]["restartCount"] == 1;
    cluster.wait("one", again).await;
    assert!(!is_alive(&old), "two inits of one pod");
    drop(waiting);
    node.stop.cancel();
    within(node.task).await.unwrap();
}
