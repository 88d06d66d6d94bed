//! Sidecars, hooks, deadlines and storage limits of pods.

use std::io::Write as _;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_outside_volumes_counts_as_storage() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    let mut main = shell(
        "main",
        "head -c 3000000 /dev/urandom > /tmp/big; exec sleep 100000",
    );
    main["resources"] = json!({"limits": {"ephemeral-storage": "1Mi"}});
    cluster
        .create("full", json!({"volumes": data(), "containers": [main]}))
        .await;
    let status = cluster.wait("full", |status| status["phase"] == "Failed").await;
    assert_eq!(status["reason"], "Evicted");
    assert_eq!(
        status["message"],
        "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "
    );
    node.stop.cancel();
    within(node.task).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hardened_pod_is_held_to_what_its_manifest_says() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    let context =
        json!({"readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}});
    let mut main = shell("main", "exec sleep 100000");
    main["securityContext"] = context;
    main["env"] = json!([{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    main["volumeMounts"][0]["subPathExpr"] = "of/$(POD)".into();
    let pod = cluster
        .create(
            "hard",
            json!({"volumes": data(), "containers": [main], "terminationGracePeriodSeconds": 1,
                "hostAliases": [{"ip": "127.96.7.7", "hostnames": ["old.example"]}]}),
        )
        .await;
    cluster.wait("hard", is_ready).await;
    let (code, _) = node
        .run(
            &pod,
            "main",
            &[
                "sh",
                "-c",
                "echo a > /data/file; echo b > /dev/shm/b; : > /dev/null",
            ],
        )
        .await;
    assert_eq!(code, 0, "volumes and shared memory can be written to");
    assert_eq!(file(&cluster, &pod, "of/hard/file"), "a\n");
    for place in ["/tmp/a", "/a", "/etc/a", "/var/lib/a"] {
        let script = format!("echo a > {place}");
        let (code, _) = node.run(&pod, "main", &["sh", "-c", &script]).await;
        assert_ne!(code, 0, "{place}");
    }
    let (_, said) = node
        .run(
            &pod,
            "main",
            &["grep", "-E", "^Cap(Eff|Bnd)", "/proc/self/status"],
        )
        .await;
    assert_eq!(
        said.split_whitespace().collect::<Vec<_>>(),
        ["CapEff:", "0000000000000001", "CapBnd:", "0000000000000001"]
    );
    let (_, address) = node.run(&pod, "main", &["getent", "hosts", "old.example"]).await;
    assert!(address.starts_with("127.96.7.7"), "{address}");

    let mut root = shell("main", "exec sleep 100000");
    root["securityContext"] = json!({"runAsNonRoot": true});
    cluster
        .create("root", json!({"volumes": data(), "containers": [root]}))
        .await;
    cluster
        .wait("root", |status| {
            let waiting = &status["containerStatuses"][0]["state"]["waiting"];
            waiting["reason"] == "CreateContainerConfigError"
                && waiting["message"] == "container has runAsNonRoot and image will run as root"
        })
        .await;
    node.stop.cancel();
    within(node.task).await.unwrap();
}

/// Its program takes no notice of SIGTERM.
const DEAF: &str = "trap '' TERM; echo up > /data/up; while true; do sleep 0.05; done";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_end_is_killed_after_the_grace() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    let pod = cluster
        .create(
            "deaf",
            json!({"volumes": data(), "containers": [shell("main", DEAF)], "terminationGracePeriodSeconds": 2}),
        )
        .await;
    cluster.wait("deaf", is_ready).await;
    within(async {
        while file(&cluster, &pod, "up").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let asked = std::time::Instant::now();
    cluster
        .pods
        .delete("deaf", &DeleteParams::default())
        .await
        .unwrap();
    cluster.gone("deaf").await;
    assert!(
        asked.elapsed() >= std::time::Duration::from_secs(2),
        "it was given its time: {:?}",
        asked.elapsed()
    );
    // The probe's own grace counts where it fails, not the pod's.
    let mut sick = shell("main", DEAF);
    sick["livenessProbe"] = json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1,
        "terminationGracePeriodSeconds": 1});
    cluster
        .create(
            "sick",
            json!({"volumes": data(), "containers": [sick], "terminationGracePeriodSeconds": 100_000}),
        )
        .await;
    let status = cluster
        .wait("sick", |status| {
            status["containerStatuses"][0]["restartCount"].as_i64() >= Some(1)
        })
        .await;
    assert_eq!(
        status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"],
        137
    );
    node.stop.cancel();
    within(node.task).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_startup_probe_holds_the_others_back_and_restarts_what_never_starts() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    let probe = |script: &str, failures: u32| json!({"exec": {"command": ["sh", "-c", script]}, "periodSeconds": 1, "failureThreshold": failures});
    // Its liveness probe would kill it at its first look.
    let mut slow = shell("main", "exec sleep 100000");
    slow["startupProbe"] = probe("test -e /data/go", 1000);
    slow["livenessProbe"] = probe("echo looked >> /data/looks; test -e /data/go", 1);
    let slow = cluster
        .create("slow", json!({"volumes": data(), "containers": [slow]}))
        .await;
    let mut never = shell("main", "exec sleep 100000");
    never["startupProbe"] = probe("false", 2);
    cluster
        .create(
            "never",
            json!({"volumes": data(), "containers": [never], "terminationGracePeriodSeconds": 1}),
        )
        .await;
    let restarts = |status: &Value| status["containerStatuses"][0]["restartCount"].as_i64();
    // By then the other has been looked at more often than its liveness probe would have borne.
    cluster.wait("never", |status| restarts(status) >= Some(1)).await;
    let message = told(&cluster, "Killing").await;
    assert_eq!(message, "Container main failed startup probe, will be restarted");
    let status = cluster.wait("slow", |status| status["phase"] == "Running").await;
    assert_eq!(status["containerStatuses"][0]["started"], false);
    assert_eq!(
        (restarts(&status), file(&cluster, &slow, "looks")),
        (Some(0), String::new())
    );
    node.run(&slow, "main", &["touch", "/data/go"]).await;
    let status = cluster.wait("slow", is_ready).await;
    assert_eq!(restarts(&status), Some(0));
    within(async {
        while file(&cluster, &slow, "looks").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    node.stop.cancel();
    within(node.task).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workloads_interrupt_nobody_and_what_the_cluster_leans_on_may() {
    let cluster = Cluster::new().await;
    let _node = cluster.kubelet();
    for (class, policy) in [
        (None, libc::SCHED_BATCH),
        (Some("system-cluster-critical"), libc::SCHED_OTHER),
    ] {
        let name = class.unwrap_or("workload");
        // proc(5): the 41st field of stat is the scheduling policy.
        let script = "cut -d ' ' -f 41 /proc/self/stat > /data/policy";
        let mut spec =
            json!({"restartPolicy": "Never", "volumes": data(), "containers": [shell("main", script)]});
        if let Some(class) = class {
            spec["priorityClassName"] = class.into();
        }
        let pod = cluster.create(name, spec).await;
        cluster.wait(name, |status| status["phase"] == "Succeeded").await;
        assert_eq!(file(&cluster, &pod, "policy"), format!("{policy}\n"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pods_sessions_weigh_what_it_requests() {
    if std::fs::metadata("/proc/self/autogroup").is_err() {
        let skipped = "SKIPPED: pods' weights: this kernel does not group tasks by session\n";
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        return;
    }
    let cluster = Cluster::new().await;
    let _node = cluster.kubelet();
    for (name, cpu, nice) in [
        ("heavy", Some("50m"), 3),
        ("light", Some("20m"), 7),
        ("none", None, 13),
    ] {
        // A session of its own below the container's, as PostgreSQL makes one for each connection.
        let line = format!("until grep -q 'nice {nice}$' /proc/self/autogroup; do sleep 0.05; done");
        let script = format!("({line}); setsid -w sh -c \"{line}\"");
        let mut container = shell("main", &script);
        if let Some(cpu) = cpu {
            container["resources"] = json!({"requests": {"cpu": cpu}});
        }
        cluster
            .create(
                name,
                json!({"restartPolicy": "Never", "volumes": data(), "containers": [container]}),
            )
            .await;
    }
    for name in ["heavy", "light", "none"] {
        cluster.wait(name, |status| status["phase"] == "Succeeded").await;
    }
}
