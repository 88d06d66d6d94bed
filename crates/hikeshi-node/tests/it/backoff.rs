//! Containers that wait for their next attempt: an image that is gone, a program that keeps ending.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::Api;
use serde_json::{Value, json};

use crate::kubelet::{Cluster, is_ready};
use crate::support::within;

fn waiting(status: &Value) -> (&str, &str) {
    let waiting = &status["containerStatuses"][0]["state"]["waiting"];
    let text = |name: &str| waiting[name].as_str().unwrap_or_default();
    (text("reason"), text("message"))
}

/// Type, reason and message of every event about a pod.
async fn events(cluster: &Cluster, pod: &str) -> Vec<(String, String, String)> {
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), "chirpy");
    let list = api.list(&Default::default()).await.unwrap().items;
    list.into_iter()
        .filter(|event| event.involved_object.name.as_deref() == Some(pod))
        .map(|event| {
            (
                event.type_.unwrap_or_default(),
                event.reason.unwrap_or_default(),
                event.message.unwrap_or_default(),
            )
        })
        .collect()
}

async fn told(cluster: &Cluster, pod: &str, expected: &[(&str, &str, &str)]) {
    within(async {
        loop {
            let all = events(cluster, pod).await;
            let has = |(kind, reason, message): &(&str, &str, &str)| {
                all.iter()
                    .any(|one| one.0 == *kind && one.1 == *reason && one.2.starts_with(message))
            };
            if expected.iter().all(has) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

fn at(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_waits_for_its_image_and_starts_when_it_is_there() {
    let cluster = Cluster::new().await;
    let bin = cluster.world.path().join("state/bin");
    fs::create_dir_all(&bin).unwrap();
    let node = cluster.kubelet();
    // Comes with Hikeshi, and is not there.
    let container = json!([{"name": "main", "image": "chirpy:v1", "command": ["sleep", "100000"]}]);
    cluster.create("pulls", json!({"containers": container})).await;
    let crash = json!([{"name": "main", "image": "debian:12", "command": ["sh", "-c", "exit 3"]}]);
    cluster.create("crashes", json!({"containers": crash})).await;

    let failed = cluster
        .wait("pulls", |status| waiting(status).0 == "ErrImagePull")
        .await;
    let why = waiting(&failed).1.to_owned();
    assert!(why.contains("chirpy"), "{why}");
    let backed_off = cluster
        .wait("pulls", |status| waiting(status).0 == "ImagePullBackOff")
        .await;
    assert_eq!(
        waiting(&backed_off).1,
        format!("Back-off pulling image \"chirpy:v1\": ErrImagePull: {why}")
    );
    assert_eq!(backed_off["phase"], "Pending");
    told(
        &cluster,
        "pulls",
        &[
            ("Normal", "Pulling", "Pulling image \"chirpy:v1\""),
            ("Warning", "Failed", "Failed to pull image \"chirpy:v1\": "),
            ("Warning", "Failed", "Error: ErrImagePull"),
            ("Normal", "BackOff", "Back-off pulling image \"chirpy:v1\""),
            ("Warning", "Failed", "Error: ImagePullBackOff"),
        ],
    )
    .await;

    // The image comes back: the next attempt finds it.
    let program = bin.join("chirpy");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let up = cluster.wait("pulls", is_ready).await;
    assert_eq!(up["containerStatuses"][0]["restartCount"], 0);

    // Meanwhile the other has been started at once, then after ten seconds.
    let third = cluster
        .wait("crashes", |status| {
            status["containerStatuses"][0]["restartCount"] == 2
        })
        .await;
    let last = &third["containerStatuses"][0]["lastState"]["terminated"];
    let this = &third["containerStatuses"][0]["state"];
    let started = [&this["terminated"]["startedAt"], &this["running"]["startedAt"]];
    let waited = match started.into_iter().find(|value| value.is_string()) {
        Some(started) => at(started).duration_since(at(&last["finishedAt"])).as_secs(),
        // It has ended again and waits: what ran last is the third run.
        None => at(&last["startedAt"])
            .duration_since(at(&up["startTime"]))
            .as_secs(),
    };
    assert!((9..20).contains(&waited), "{waited} s: {third:#}");
    node.stop.cancel();
    within(node.task).await.unwrap();
}
