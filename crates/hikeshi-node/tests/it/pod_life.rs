//! Sidecars, hooks, deadlines and storage limits of pods.

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::kubelet::{Cluster, is_ready};
use crate::support::within;

fn shell(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "debian:12", "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]})
}

fn data() -> Value {
    json!([{"name": "data", "emptyDir": {}}])
}

/// A file of the pod's emptyDir.
fn file(cluster: &Cluster, pod: &Pod, name: &str) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap();
    let path = cluster
        .world
        .path()
        .join("state/pods")
        .join(uid)
        .join("volumes/data")
        .join(name);
    std::fs::read_to_string(path).unwrap_or_default()
}

async fn told(cluster: &Cluster, reason: &str) -> String {
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "chirpy");
    within(async {
        loop {
            let list = events.list(&Default::default()).await.unwrap();
            let found = list
                .items
                .into_iter()
                .find(|event| event.reason.as_deref() == Some(reason));
            if let Some(event) = found {
                return event.message.unwrap_or_default();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_starts_first_is_started_again_and_ends_last() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    // Its first run ends by itself: it is started again though the pod's own policy is Never.
    let mut side = shell(
        "side",
        "echo side >> /data/log; [ -e /data/twice ] || { touch /data/twice; exit 1; }; \
         trap 'echo end >> /data/log; exit 0' TERM; touch /data/up; while true; do sleep 0.05; done",
    );
    side["restartPolicy"] = "Always".into();
    side["startupProbe"] =
        json!({"exec": {"command": ["test", "-e", "/data/up"]}, "periodSeconds": 1, "failureThreshold": 60});
    let pod = cluster
        .create(
            "job",
            json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 10, "volumes": data(),
                "initContainers": [side, shell("prepare", "echo init >> /data/log")],
                "containers": [shell("main", "echo main >> /data/log")]}),
        )
        .await;
    let status = cluster.wait("job", |status| status["phase"] == "Succeeded").await;
    assert_eq!(file(&cluster, &pod, "log"), "side\nside\ninit\nmain\nend\n");
    let side = &status["initContainerStatuses"][0];
    assert_eq!(
        (&side["restartCount"], &side["state"]["terminated"]["exitCode"]),
        (&json!(1), &json!(0))
    );
    node.stop.cancel();
    within(node.task).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_run_after_the_start_and_before_the_end() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), "chirpy");
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    claims
        .create(&PostParams::default(), &serde_json::from_value(claim).unwrap())
        .await
        .unwrap();
    let mut main = shell(
        "main",
        "trap 'echo term >> /data/log; exit 0' TERM; while true; do sleep 0.05; done",
    );
    main["lifecycle"] = json!({"postStart": {"exec": {"command": ["sh", "-c", "echo post >> /data/log"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "sleep 0.3; echo pre >> /data/log"]}}});
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    cluster
        .create("hooked", json!({"containers": [main], "volumes": volumes}))
        .await;
    cluster.wait("hooked", is_ready).await;
    let log = cluster.world.path().join("state/volumes/chirpy_data/log");
    assert_eq!(
        std::fs::read_to_string(&log).unwrap(),
        "post\n",
        "ready only after the hook"
    );
    let claim = claims.get("data").await.unwrap();
    assert_eq!(
        claim.metadata.annotations.unwrap()["volume.kubernetes.io/selected-node"],
        "node-a",
        "its data stays with the node"
    );
    cluster
        .pods
        .delete("hooked", &DeleteParams::default())
        .await
        .unwrap();
    cluster.gone("hooked").await;
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "post\npre\nterm\n");

    let mut main = shell("main", "exec sleep 100000");
    main["lifecycle"] = json!({"postStart": {"httpGet": {"port": 8099, "path": "/"}}});
    cluster
        .create(
            "refused",
            json!({"containers": [main], "volumes": data(), "terminationGracePeriodSeconds": 1}),
        )
        .await;
    cluster
        .wait("refused", |status| {
            status["containerStatuses"][0]["restartCount"].as_i64() >= Some(1)
        })
        .await;
    let message = told(&cluster, "FailedPostStartHook").await;
    assert!(message.contains("connection refused"), "{message}");
    node.stop.cancel();
    within(node.task).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_beyond_its_time_or_its_room_is_ended() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    cluster
        .create(
            "late",
            json!({"activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 1, "volumes": data(),
                "containers": [shell("main", "exec sleep 100000")]}),
        )
        .await;
    let volumes = json!([{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}]);
    let fill = shell(
        "main",
        "head -c 3000000 /dev/urandom > /data/big; exec sleep 100000",
    );
    cluster
        .create("full", json!({"volumes": volumes, "containers": [fill]}))
        .await;
    let over = |status: &Value| status["phase"] == "Failed";
    let status = cluster.wait("late", over).await;
    assert_eq!(status["reason"], "DeadlineExceeded");
    assert_eq!(
        status["message"],
        "Pod was active on the node longer than the specified deadline"
    );
    let status = cluster.wait("full", over).await;
    assert_eq!(status["reason"], "Evicted");
    assert_eq!(
        status["message"],
        "Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\". "
    );
    assert_eq!(
        status["containerStatuses"][0]["state"]["terminated"]["exitCode"],
        137
    );
    assert!(told(&cluster, "Evicted").await.contains("exceeds the limit"));
    node.stop.cancel();
    within(node.task).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_may_say_much() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    // More than is kept, and more than a pipe holds.
    let probe = json!({"exec": {"command": ["head", "-c", "1000000", "/dev/zero"]}, "periodSeconds": 1, "timeoutSeconds": 10});
    let container = json!({"name": "main", "image": "debian:12", "command": ["sleep", "100000"], "readinessProbe": probe});
    cluster.create("talks", json!({"containers": [container]})).await;
    cluster.wait("talks", is_ready).await;
    node.stop.cancel();
    within(node.task).await.unwrap();
}
