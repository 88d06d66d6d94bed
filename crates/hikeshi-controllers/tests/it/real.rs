//! The controllers against the real API server, with a kubelet that starts pods at once and measures what it is told.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use hikeshi_apiserver as api;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, EvictParams, ListParams, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Every running pod uses 100 millicores.
#[derive(Default)]
struct Machine {
    pods: Mutex<Vec<String>>,
    /// While it is set, pods neither start nor end.
    stands_still: AtomicBool,
}

fn none<T>() -> Result<T, api::KubeletError> {
    Err(api::KubeletError {
        code: 503,
        reason: "ServiceUnavailable".into(),
        message: "not in this test".into(),
    })
}

#[async_trait::async_trait]
impl api::Kubelet for Machine {
    async fn logs(
        &self,
        _: &Value,
        _: api::LogOptions,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, api::KubeletError> {
        none()
    }

    async fn exec(&self, _: &Value, _: api::ExecOptions, _: api::ExecIo) -> Result<i32, api::KubeletError> {
        none()
    }

    async fn attach(&self, _: &Value, _: &str, _: mpsc::Receiver<Bytes>) -> Result<(), api::KubeletError> {
        none()
    }

    async fn attach_terminal(&self, _: &Value, _: &str, _: api::TerminalIo) -> Result<(), api::KubeletError> {
        none()
    }

    async fn connect(&self, _: &Value, _: u16) -> Result<tokio::net::TcpStream, api::KubeletError> {
        none()
    }

    async fn pod_usage(&self) -> Vec<api::PodUsage> {
        let usage = |name: &String| api::PodUsage {
            namespace: "ns".into(),
            name: name.clone(),
            containers: vec![api::ContainerUsage {
                name: "c".into(),
                cpu_nanocores: 100_000_000,
                memory_bytes: 1 << 20,
            }],
            at: Timestamp::now(),
            window_seconds: 5.0,
        };
        self.pods
            .lock()
            .expect("not poisoned")
            .iter()
            .map(usage)
            .collect()
    }

    async fn node_usage(&self) -> Vec<api::NodeUsage> {
        Vec::new()
    }
}

impl Machine {
    /// Starts pods that have a node, ends those that are to go, and those that run once.
    async fn run(self: Arc<Self>, pods: Api<Pod>) {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if self.stands_still.load(Ordering::SeqCst) {
                continue;
            }
            for pod in pods
                .list(&ListParams::default())
                .await
                .map_or(Vec::new(), |list| list.items)
            {
                let name = pod.metadata.name.clone().unwrap_or_default();
                let spec = pod.spec.unwrap_or_default();
                let phase = pod.status.and_then(|status| status.phase);
                if pod.metadata.deletion_timestamp.is_some() {
                    let _ = pods
                        .delete(&name, &kube::api::DeleteParams::default().grace_period(0))
                        .await;
                } else if spec.node_name.is_some() && phase.as_deref() == Some("Pending") {
                    let once = spec.restart_policy.as_deref() == Some("Never");
                    let hour = Timestamp::now() - SignedDuration::from_hours(1);
                    let status = json!({"phase": if once { "Succeeded" } else { "Running" }, "startTime": format!("{hour:.0}"),
                        "conditions": [{"type": "Ready", "status": if once { "False" } else { "True" },
                            "lastTransitionTime": format!("{hour:.0}")}]});
                    let patch = Patch::Merge(json!({"status": status}));
                    let _ = pods.patch_status(&name, &PatchParams::default(), &patch).await;
                    if !once {
                        self.pods.lock().expect("not poisoned").push(name);
                    }
                }
            }
        }
    }
}

struct Cluster {
    client: kube::Client,
    machine: Arc<Machine>,
    _folder: tempfile::TempDir,
    _audit: mpsc::UnboundedReceiver<api::AuditEvent>,
    _running: DropGuard,
}

fn made<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = Arc::new(api::Pki::load_or_create(&folder.path().join("pki")).expect("a pki"));
        let shutdown = CancellationToken::new();
        let (audit_tx, audit) = mpsc::unbounded_channel();
        let config = api::ApiServerConfig {
            store_dir: folder.path().join("store"),
            pki: pki.clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            default_namespace: "ns".into(),
        };
        let machine = Arc::new(Machine::default());
        let server = api::serve(config, machine.clone(), audit_tx, shutdown.clone())
            .await
            .expect("a server");
        let admin = pki.issue_client("admin", &["system:masters"]).expect("an admin");
        let text = pki.kubeconfig(&format!("https://{}", server.addr), &admin, "ns");
        let kubeconfig = kube::config::Kubeconfig::from_yaml(&text).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default())
            .await
            .expect("a config");
        let client = kube::Client::try_from(config).expect("a client");
        let cluster = Self {
            client: client.clone(),
            machine: machine.clone(),
            _folder: folder,
            _audit: audit,
            _running: shutdown.clone().drop_guard(),
        };
        let namespace = made::<Namespace>(json!({"metadata": {"name": "ns"}}));
        let _ = Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await;
        let nodes: Api<Node> = Api::all(client.clone());
        let node = made(json!({"metadata": {"name": "n1"}}));
        nodes.create(&PostParams::default(), &node).await.expect("a node");
        let status = json!({"status": {"allocatable": {"cpu": "16", "memory": "16Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": format!("{:.0}", Timestamp::now())}]}});
        nodes
            .patch_status("n1", &PatchParams::default(), &Patch::Merge(status))
            .await
            .expect("a ready node");
        tokio::spawn(
            shutdown
                .clone()
                .run_until_cancelled_owned(machine.run(cluster.api())),
        );
        tokio::spawn(hikeshi_controllers::run(client, shutdown));
        cluster
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), "ns")
    }

    /// Waits until the object, as JSON, satisfies `holds`.
    async fn until<K>(&self, name: &str, holds: impl Fn(&Value) -> bool) -> Value
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + DeserializeOwned,
    {
        let api: Api<K> = self.api();
        let last = Mutex::new(Value::Null);
        let work = async {
            loop {
                let object = serde_json::to_value(api.get(name).await.expect("the object")).expect("JSON");
                if holds(&object) {
                    return object;
                }
                *last.lock().expect("not poisoned") = object;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(40), work).await {
            Ok(object) => object,
            Err(_) => panic!("never: {:#}", last.lock().expect("not poisoned")),
        }
    }

    /// The pods, once there are so many.
    async fn pods(&self, count: usize) -> Vec<Pod> {
        let api: Api<Pod> = self.api();
        let work = async {
            loop {
                let list = api.list(&ListParams::default()).await.expect("pods").items;
                if list.len() == count {
                    return list;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(40), work).await;
        found.unwrap_or_else(|_| panic!("never {count} pods"))
    }

    async fn deploy(&self, replicas: i32) {
        let deployment = json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "100m"}}}]}}}});
        let api: Api<Deployment> = self.api();
        api.create(&PostParams::default(), &made(deployment))
            .await
            .expect("a Deployment");
        self.until::<Deployment>("web", |web| web["status"]["readyReplicas"] == replicas)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_autoscaler_scales_what_is_too_busy() {
    let cluster = Cluster::start().await;
    cluster.deploy(2).await;
    let hpa = json!({"metadata": {"name": "web"}, "spec": {"maxReplicas": 10,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
    let api: Api<HorizontalPodAutoscaler> = cluster.api();
    api.create(&PostParams::default(), &made(hpa))
        .await
        .expect("an autoscaler");
    // Each of the two uses all of its request: twice as many are asked for.
    cluster
        .until::<Deployment>("web", |web| web["status"]["readyReplicas"] == 4)
        .await;
    let told = cluster
        .until::<HorizontalPodAutoscaler>("web", |hpa| hpa["status"]["desiredReplicas"] == 4)
        .await;
    let status = &told["status"];
    assert_eq!(
        status["currentMetrics"][0]["resource"]["current"],
        json!({"averageUtilization": 100, "averageValue": "100m"})
    );
    let reasons: Vec<_> = status["conditions"]
        .as_array()
        .expect("conditions")
        .iter()
        .map(|c| &c["reason"])
        .collect();
    assert_eq!(
        reasons,
        ["SucceededRescale", "ValidMetricFound", "DesiredWithinRange"]
    );
    let events: Api<Event> = cluster.api();
    let events = events.list(&ListParams::default()).await.expect("events").items;
    let rescale = events
        .iter()
        .find(|event| event.reason.as_deref() == Some("SuccessfulRescale"));
    assert_eq!(
        rescale.expect("told").message.as_deref(),
        Some("New size: 4; reason: cpu resource utilization (percentage of request) above target")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_lets_one_pod_go_at_a_time() {
    let cluster = Cluster::start().await;
    cluster.deploy(3).await;
    let budget = json!({"metadata": {"name": "web"}, "spec": {"maxUnavailable": 1,
        "selector": {"matchLabels": {"app": "web"}}}});
    let api: Api<PodDisruptionBudget> = cluster.api();
    api.create(&PostParams::default(), &made(budget))
        .await
        .expect("a budget");
    let one_may_go = |budget: &Value| budget["status"]["disruptionsAllowed"] == 1;
    let told = cluster.until::<PodDisruptionBudget>("web", one_may_go).await;
    let status = &told["status"];
    assert_eq!(
        (
            &status["expectedPods"],
            &status["currentHealthy"],
            &status["desiredHealthy"]
        ),
        (&json!(3), &json!(3), &json!(2))
    );
    let pods: Api<Pod> = cluster.api();
    let names: Vec<String> = pods
        .list(&ListParams::default())
        .await
        .expect("pods")
        .into_iter()
        .filter_map(|pod| pod.metadata.name)
        .collect();
    // A dry run takes nothing.
    let dry = EvictParams {
        post_options: PostParams {
            dry_run: true,
            field_manager: None,
        },
        ..EvictParams::default()
    };
    pods.evict(&names[0], &dry).await.expect("allowed");
    cluster.machine.stands_still.store(true, Ordering::SeqCst);
    pods.evict(&names[0], &EvictParams::default())
        .await
        .expect("the one that may go");
    // The evicted pod is on its way: until another is ready in its place, no more may go.
    let none_may_go = |budget: &Value| {
        let status = &budget["status"];
        status["disruptionsAllowed"] == 0 && status["currentHealthy"] == 2
    };
    cluster.until::<PodDisruptionBudget>("web", none_may_go).await;
    cluster.machine.stands_still.store(false, Ordering::SeqCst);
    // The client asks again while it is refused, as drain does.
    let params = EvictParams::default();
    let again = pods.evict(&names[1], &params);
    tokio::time::timeout(Duration::from_secs(40), again)
        .await
        .expect("in time")
        .expect("allowed in the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cron_job_runs_its_jobs_and_remembers() {
    let cluster = Cluster::start().await;
    let cron = json!({"metadata": {"name": "tidy"}, "spec": {"schedule": "@every 1s", "jobTemplate": {"spec": {"template": {
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}}}});
    let api: Api<CronJob> = cluster.api();
    api.create(&PostParams::default(), &made(cron))
        .await
        .expect("a CronJob");
    let told = cluster
        .until::<CronJob>("tidy", |cron| cron["status"]["lastSuccessfulTime"].is_string())
        .await;
    assert!(told["status"]["lastScheduleTime"].is_string());
    assert!(told["status"]["active"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_set_that_surges_never_leaves_its_node_without_a_pod() {
    let cluster = Cluster::start().await;
    let set = |image: &str, rolling: Value| -> DaemonSet {
        made(
            json!({"metadata": {"name": "agent"}, "spec": {"selector": {"matchLabels": {"app": "agent"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}}),
        )
    };
    let api: Api<DaemonSet> = cluster.api();
    let refused = api
        .create(
            &PostParams::default(),
            &set("x:1", json!({"maxSurge": 0, "maxUnavailable": 0})),
        )
        .await;
    let Err(kube::Error::Api(refused)) = refused else {
        panic!("an update that cannot move was taken: {refused:?}");
    };
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    let surging = set("x:1", json!({"maxSurge": "50%", "maxUnavailable": 0}));
    api.create(&PostParams::default(), &surging)
        .await
        .expect("a DaemonSet");
    cluster
        .until::<DaemonSet>("agent", |set| set["status"]["numberAvailable"] == 1)
        .await;
    let named =
        |list: Vec<Pod>| -> Vec<String> { list.into_iter().filter_map(|pod| pod.metadata.name).collect() };
    let before = named(cluster.pods(1).await);

    // Nothing starts and nothing ends: the new pod comes, and the old one stays for it.
    cluster.machine.stands_still.store(true, Ordering::SeqCst);
    let newer = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "x:2"}]}}}});
    api.patch("agent", &PatchParams::default(), &Patch::Strategic(newer))
        .await
        .expect("a new template");
    let list = cluster.pods(2).await;
    assert!(
        list.iter().all(|pod| pod.metadata.deletion_timestamp.is_none()),
        "the old pod went before the new one was available: {list:?}"
    );
    let told = cluster
        .until::<DaemonSet>("agent", |set| {
            set["status"]["observedGeneration"] == set["metadata"]["generation"]
        })
        .await;
    assert_eq!(told["status"]["numberAvailable"], 1);
    assert!(told["status"]["updatedNumberScheduled"].as_i64().unwrap_or(0) == 0);

    cluster.machine.stands_still.store(false, Ordering::SeqCst);
    cluster
        .until::<DaemonSet>("agent", |set| {
            set["status"]["updatedNumberScheduled"] == 1 && set["status"]["numberAvailable"] == 1
        })
        .await;
    let after = named(cluster.pods(1).await);
    assert!(!after.contains(&before[0]), "{after:?}");
}
