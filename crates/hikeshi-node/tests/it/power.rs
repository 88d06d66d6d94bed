//! A node that is switched off and on.

use hikeshi_node::shim::launch::{is_alive, read_record};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::kubelet::{Cluster, is_ready};
use crate::support::{eventually, within};

pub async fn switch(cluster: &Cluster, power: Value) {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"hikeshi.dev/power": power}}}));
    nodes
        .patch("node-a", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_off_loses_its_processes_and_keeps_its_disk() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    let spec = json!({"terminationGracePeriodSeconds": 1, "volumes": [{"name": "data", "emptyDir": {}}], "containers": [{
        "name": "main", "image": "debian:12", "command": ["sh", "-c", "echo started >> /data/starts; exec sleep 100000"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]});
    let stays = cluster.create("stays", spec.clone()).await;
    let goes = cluster.create("goes", spec.clone()).await;
    let forced = cluster.create("forced", spec).await;
    for name in ["stays", "goes", "forced"] {
        cluster.wait(name, is_ready).await;
    }
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-node-lease");
    let lease = leases.get("node-a").await.unwrap().spec.unwrap();
    assert!(lease.renew_time.is_some());

    let dir = |pod: &Pod| {
        let pods = cluster.world.path().join("state/pods");
        pods.join(pod.metadata.uid.as_deref().unwrap())
    };
    let record = read_record(&dir(&stays)).unwrap();
    switch(&cluster, json!("off")).await;
    eventually("its processes are gone", || !is_alive(&record)).await;
    for pod in [&goes, &forced] {
        let record = read_record(&dir(pod)).unwrap();
        eventually("its processes are gone", || !is_alive(&record)).await;
    }
    // Nobody tells the API: to it the pods look as before.
    let status = cluster.pods.get("stays").await.unwrap().status;
    assert!(is_ready(&serde_json::to_value(status).unwrap()));
    // A deletion waits for the node; a forced one does not.
    cluster
        .pods
        .delete("goes", &DeleteParams::default())
        .await
        .unwrap();
    let force = DeleteParams::default().grace_period(0);
    cluster.pods.delete("forced", &force).await.unwrap();
    cluster.gone("forced").await;
    eventually("its folder is cleared", || !dir(&forced).exists()).await;
    let waiting = cluster.pods.get("goes").await.unwrap();
    assert!(waiting.metadata.deletion_timestamp.is_some());

    switch(&cluster, Value::Null).await;
    let again = |status: &Value| is_ready(status) && status["containerStatuses"][0]["restartCount"] == 1;
    cluster.wait("stays", again).await;
    let (_, starts) = node.run(&stays, "main", &["cat", "/data/starts"]).await;
    assert_eq!(starts, "started\nstarted\n", "its volume is what it was");
    cluster.gone("goes").await;
    node.stop.cancel();
    within(node.task).await.unwrap();
}

/// What the node controller does when it has not heard of a kubelet for long (a laptop that was asleep, a stalled machine).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_node_that_was_lost_for_a_while_are_ready_again_once_it_is() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    let spec =
        json!({"containers": [{"name": "main", "image": "debian:12", "command": ["sleep", "100000"]}]});
    cluster.create("web", spec).await;
    let before = cluster.wait("web", is_ready).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let params = PatchParams::default();
    let lost = json!([{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]);
    let patch = Patch::Merge(json!({"status": {"conditions": lost}}));
    nodes.patch_status("node-a", &params, &patch).await.unwrap();
    let mut conditions = before["conditions"].clone();
    for condition in conditions.as_array_mut().unwrap() {
        if condition["type"] == "Ready" {
            condition["status"] = "False".into();
            condition["reason"] = "NodeNotReady".into();
        }
    }
    let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
    cluster.pods.patch_status("web", &params, &patch).await.unwrap();

    let after = cluster.wait("web", is_ready).await;
    assert_eq!(
        after["containerStatuses"][0]["restartCount"], 0,
        "nothing was started anew"
    );
    let known = serde_json::to_value(nodes.get("node-a").await.unwrap().status).unwrap();
    assert!(is_ready(&known), "the node was first");
    node.stop.cancel();
    within(node.task).await.unwrap();
}
