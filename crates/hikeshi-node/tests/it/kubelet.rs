//! The kubelet against a real API server.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use hikeshi_apiserver as api;
use hikeshi_node::{Kubelet, KubeletConfig, LogRequest, NodeTemplate, destroy_all};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{World, within};

/// The API server's side is not asked for logs here: the tests ask the kubelet itself.
struct NoKubelet;

#[async_trait::async_trait]
impl api::Kubelet for NoKubelet {
    async fn logs(
        &self,
        _: &Value,
        _: api::LogOptions,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, api::KubeletError> {
        Err(api::KubeletError {
            code: 503,
            reason: "ServiceUnavailable".into(),
            message: "no kubelet".into(),
        })
    }

    async fn exec(&self, _: &Value, _: api::ExecOptions, _: api::ExecIo) -> Result<i32, api::KubeletError> {
        Err(api::KubeletError {
            code: 503,
            reason: "ServiceUnavailable".into(),
            message: "no kubelet".into(),
        })
    }

    async fn attach(&self, _: &Value, _: &str, _: mpsc::Receiver<Bytes>) -> Result<(), api::KubeletError> {
        Err(api::KubeletError {
            code: 503,
            reason: "ServiceUnavailable".into(),
            message: "no kubelet".into(),
        })
    }

    async fn attach_terminal(&self, _: &Value, _: &str, _: api::TerminalIo) -> Result<(), api::KubeletError> {
        Err(api::KubeletError {
            code: 503,
            reason: "ServiceUnavailable".into(),
            message: "no kubelet".into(),
        })
    }

    async fn connect(&self, _: &Value, _: u16) -> Result<tokio::net::TcpStream, api::KubeletError> {
        Err(api::KubeletError {
            code: 503,
            reason: "ServiceUnavailable".into(),
            message: "no kubelet".into(),
        })
    }

    async fn pod_usage(&self) -> Vec<api::PodUsage> {
        Vec::new()
    }

    async fn node_usage(&self) -> Vec<api::NodeUsage> {
        Vec::new()
    }
}

pub struct Cluster {
    pub world: World,
    lifeline: (io::PipeReader, io::PipeWriter),
    pub client: kube::Client,
    pub pods: Api<Pod>,
    pub shutdown: CancellationToken,
    _audit: mpsc::UnboundedReceiver<api::AuditEvent>,
}

pub struct Node1 {
    pub kubelet: Arc<Kubelet>,
    pub stop: CancellationToken,
    pub task: tokio::task::JoinHandle<()>,
}

impl Cluster {
    pub async fn new() -> Self {
        let world = World::new();
        let pki = Arc::new(api::Pki::load_or_create(&world.path().join("pki")).unwrap());
        let shutdown = CancellationToken::new();
        let (audit_tx, audit) = mpsc::unbounded_channel();
        let config = api::ApiServerConfig {
            store_dir: world.path().join("store"),
            pki: pki.clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            default_namespace: "chirpy".into(),
        };
        let server = api::serve(config, Arc::new(NoKubelet), audit_tx, shutdown.clone())
            .await
            .unwrap();
        let admin = pki.issue_client("admin", &["system:masters"]).unwrap();
        let text = pki.kubeconfig(&format!("https://{}", server.addr), &admin, "chirpy");
        let kubeconfig = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default())
            .await
            .unwrap();
        let client = kube::Client::try_from(config).unwrap();
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": "chirpy"}})).unwrap();
        let _ = namespaces.create(&PostParams::default(), &namespace).await;
        let pods = Api::namespaced(client.clone(), "chirpy");
        Self {
            world,
            lifeline: io::pipe().unwrap(),
            client,
            pods,
            shutdown,
            _audit: audit,
        }
    }

    pub fn kubelet(&self) -> Node1 {
        let kubelet = Kubelet::new(
            self.client.clone(),
            KubeletConfig {
                state_dir: self.world.path().join("state"),
                images_dir: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images"),
                init_program: self.world.program.clone(),
                nodes: vec![NodeTemplate {
                    name: "node-a".into(),
                    zone: "zone-a".into(),
                }],
                ca_pem: "a certificate".into(),
                token_for: Arc::new(|of| format!("token of {}/{}", of.namespace, of.account)),
                lifeline: Some(self.lifeline.0.as_fd().try_clone_to_owned().unwrap()),
            },
        );
        let stop = self.shutdown.child_token();
        let (running, token) = (kubelet.clone(), stop.clone());
        let task = tokio::spawn(async move { running.run(token).await.unwrap() });
        Node1 { kubelet, stop, task }
    }

    pub async fn create(&self, name: &str, spec: Value) -> Pod {
        let mut pod = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
        pod["spec"]["nodeName"] = "node-a".into();
        self.pods
            .create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
            .await
            .unwrap()
    }

    /// Waits until the pod's status, as JSON, satisfies `holds`; shows the last one otherwise.
    pub async fn wait(&self, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let last = std::sync::Mutex::new(Value::Null);
        let work = async {
            loop {
                let pod = self.pods.get(name).await.unwrap();
                let status = serde_json::to_value(pod.status).unwrap();
                if holds(&status) {
                    return status;
                }
                *last.lock().unwrap() = status;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let limit = std::time::Duration::from_secs(40);
        match tokio::time::timeout(limit, work).await {
            Ok(status) => status,
            Err(_) => panic!("never: last status {:#}", last.lock().unwrap()),
        }
    }

    pub async fn gone(&self, name: &str) {
        within(async {
            while self.pods.get_opt(name).await.unwrap().is_some() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

pub fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    status["conditions"]
        .as_array()
        .and_then(|list| list.iter().find(|one| one["type"] == kind))
        .unwrap_or(&Value::Null)
}

pub fn is_ready(status: &Value) -> bool {
    condition(status, "Ready")["status"] == "True"
}

impl Node1 {
    pub async fn run(&self, pod: &Pod, container: &str, command: &[&str]) -> (i32, String) {
        let (out, mut output) = mpsc::channel(16);
        let (err, _errors) = mpsc::channel(16);
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let uid = pod.metadata.uid.as_deref().unwrap();
        let exec = self
            .kubelet
            .exec("chirpy", "", uid, container, command, false, None, out, err, None);
        let read = async {
            let mut text = Vec::new();
            while let Some(bytes) = output.recv().await {
                text.extend_from_slice(&bytes);
            }
            String::from_utf8(text).unwrap()
        };
        let (code, text) = within(async { tokio::join!(exec, read) }).await;
        (code.unwrap(), text)
    }

    pub async fn log(&self, pod: &Pod, request: LogRequest) -> String {
        let uid = pod.metadata.uid.as_deref().unwrap();
        let mut stream = self.kubelet.logs("chirpy", "", uid, request).await.unwrap();
        let mut text = Vec::new();
        while let Some(bytes) = within(stream.next()).await {
            text.extend_from_slice(&bytes.unwrap());
        }
        String::from_utf8(text).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_pod_lives_is_adopted_and_ends() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "chirpy");
    let map =
        json!({"metadata": {"name": "settings"}, "data": {"redis.conf": "maxclients 77\n", "LEVEL": "info"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap())
        .await
        .unwrap();
    let pod = cluster
        .create(
            "redis-0",
            json!({
                "terminationGracePeriodSeconds": 5,
                "initContainers": [{"name": "prepare", "image": "redis:7", "command": ["sh", "-c", "echo ready > /data/mark"],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
                "containers": [{
                    "name": "redis", "image": "redis:7", "args": ["/etc/redis-own/redis.conf", "--port", "$(PORT)"],
                    "env": [{"name": "PORT", "value": "6379"},
                        {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "LEVEL"}}},
                        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                    "readinessProbe": {"exec": {"command": ["redis-cli", "ping"]}, "periodSeconds": 1},
                    "livenessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 1},
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "config", "mountPath": "/etc/redis-own"}],
                }],
                "volumes": [{"name": "data", "emptyDir": {}}, {"name": "config", "configMap": {"name": "settings"}}],
            }),
        )
        .await;
    let status = cluster.wait("redis-0", is_ready).await;
    assert_eq!(status["phase"], "Running");
    assert!(status["podIP"].as_str().unwrap().starts_with("127.64."));
    assert_eq!(
        status["initContainerStatuses"][0]["state"]["terminated"]["reason"],
        "Completed"
    );
    let (code, out) = node
        .run(&pod, "redis", &["sh", "-c", "cat /data/mark; echo $LEVEL $IP; redis-cli config get maxclients; cat /var/run/secrets/kubernetes.io/serviceaccount/token"])
        .await;
    assert_eq!(code, 0);
    // What port-forward and proxy stand on.
    let uid = pod.metadata.uid.as_deref().unwrap();
    let mut stream = node.kubelet.connect(uid, 6379).await.unwrap();
    stream.write_all(b"PING\r\n").await.unwrap();
    let mut answer = [0; 7];
    within(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
    let refused = node.kubelet.connect(uid, 6380).await.unwrap_err().to_string();
    assert!(refused.ends_with("connect: connection refused"), "{refused}");
    let ip = status["podIP"].as_str().unwrap();
    assert_eq!(
        out,
        format!("ready\ninfo {ip}\nmaxclients\n77\ntoken of chirpy/default")
    );
    let log = node
        .log(
            &pod,
            LogRequest {
                container: "redis".into(),
                tail_lines: Some(1),
                ..LogRequest::default()
            },
        )
        .await;
    assert!(log.contains("Ready to accept connections"), "{log}");

    // A changed ConfigMap shows in the volume.
    let patch = Patch::Merge(json!({"data": {"LEVEL": "debug"}}));
    maps.patch("settings", &PatchParams::default(), &patch)
        .await
        .unwrap();
    within(async {
        while node.run(&pod, "redis", &["cat", "/etc/redis-own/LEVEL"]).await.1 != "debug" {
            tokio::task::yield_now().await;
        }
    })
    .await;

    // A second kubelet goes on with the same processes.
    let started = status["containerStatuses"][0]["state"]["running"]["startedAt"].clone();
    let pid = node.run(&pod, "redis", &["pidof", "redis-server"]).await.1;
    node.stop.cancel();
    within(node.task).await.unwrap();
    let node = cluster.kubelet();
    within(async {
        while node.kubelet.usage().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    let status = cluster.wait("redis-0", is_ready).await;
    assert_eq!(
        status["containerStatuses"][0]["state"]["running"]["startedAt"],
        started
    );
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(node.run(&pod, "redis", &["pidof", "redis-server"]).await.1, pid);
    assert!(
        node.kubelet.usage()[0]
            .containers
            .iter()
            .any(|one| one.name == "redis" && one.memory_bytes > 1 << 20)
    );

    // The init is killed from outside: the pod comes back by itself.
    let dir = cluster
        .world
        .path()
        .join("state/pods")
        .join(pod.metadata.uid.as_deref().unwrap());
    let record = hikeshi_node::shim::launch::read_record(&dir).unwrap();
    hikeshi_node::shim::launch::kill_recorded(&record);
    let again = |status: &Value| is_ready(status) && status["containerStatuses"][0]["restartCount"] == 1;
    cluster.wait("redis-0", again).await;

    cluster
        .pods
        .delete("redis-0", &DeleteParams::default())
        .await
        .unwrap();
    cluster.gone("redis-0").await;
    crate::support::eventually("the folder is gone", || !dir.exists()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_told_in_kubernetes_words() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    let shell =
        |script: &str| json!([{"name": "main", "image": "debian:12", "command": ["sh", "-c", script]}]);
    let crash = cluster
        .create("crash", json!({"containers": shell("echo boom; exit 3")}))
        .await;
    cluster
        .create(
            "job",
            json!({"restartPolicy": "Never", "containers": shell("exit 0")}),
        )
        .await;
    cluster
        .create(
            "bad-job",
            json!({"restartPolicy": "Never", "containers": shell("exit 4")}),
        )
        .await;
    cluster
        .create(
            "no-image",
            json!({"containers": [{"name": "main", "image": "mysql:8"}]}),
        )
        .await;
    cluster.create("no-map", json!({"containers": shell("sleep 1000"), "volumes": [{"name": "v", "configMap": {"name": "none"}}]})).await;
    let oom = json!([{"name": "main", "image": "debian:12", "resources": {"limits": {"memory": "32Mi"}},
        "command": ["python3", "-c", "x=bytearray(128<<20)\nfor i in range(0,len(x),4096): x[i]=1\nimport time; time.sleep(1000)"]}]);
    cluster
        .create("oom", json!({"restartPolicy": "Never", "containers": oom}))
        .await;

    let status = cluster
        .wait("crash", |status| {
            status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    let container = &status["containerStatuses"][0];
    assert_eq!(
        (
            &container["lastState"]["terminated"]["exitCode"],
            &status["phase"]
        ),
        (&json!(3), &json!("Running"))
    );
    assert_eq!(container["restartCount"], 1);
    let request = LogRequest {
        container: "main".into(),
        previous: true,
        ..LogRequest::default()
    };
    assert_eq!(node.log(&crash, request).await, "boom\n");
    cluster.wait("job", |status| status["phase"] == "Succeeded").await;
    let status = cluster
        .wait("bad-job", |status| status["phase"] == "Failed")
        .await;
    assert_eq!(
        status["containerStatuses"][0]["state"]["terminated"]["exitCode"],
        4
    );
    let status = cluster.wait("oom", |status| status["phase"] == "Failed").await;
    assert_eq!(
        status["containerStatuses"][0]["state"]["terminated"]["reason"],
        "OOMKilled"
    );
    cluster
        .wait("no-image", |status| {
            let waiting = &status["containerStatuses"][0]["state"]["waiting"];
            let reason = waiting["reason"].as_str().unwrap_or_default();
            reason.contains("Pull")
                && waiting["message"]
                    .as_str()
                    .unwrap_or_default()
                    .contains("no native image")
        })
        .await;
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "chirpy");
    within(async {
        loop {
            let list = events.list(&Default::default()).await.unwrap();
            let reasons: Vec<String> = list.items.into_iter().filter_map(|event| event.reason).collect();
            if ["BackOff", "FailedMount", "Started", "Failed"]
                .iter()
                .all(|wanted| reasons.iter().any(|one| one == wanted))
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let status = serde_json::to_value(nodes.get("node-a").await.unwrap().status).unwrap();
    assert_eq!(condition(&status, "Ready")["status"], "True");
    node.stop.cancel();
    within(node.task).await.unwrap();
    destroy_all(&cluster.world.path().join("state")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_initialises_and_answers_psql() {
    let cluster = Cluster::new().await;
    let node = cluster.kubelet();
    let probe = json!({"exec": {"command": ["psql", "-h", "/var/run/postgresql", "-U", "chirpy", "-c", "select 1", "posts"]},
        "periodSeconds": 1});
    let pod = cluster
        .create(
            "postgres-0",
            json!({"containers": [{"name": "postgres", "image": "postgres:15", "readinessProbe": probe,
                "env": [{"name": "POSTGRES_USER", "value": "chirpy"}, {"name": "POSTGRES_PASSWORD", "value": "hush"},
                    {"name": "POSTGRES_DB", "value": "posts"}],
                "volumeMounts": [{"name": "data", "mountPath": "/var/lib/postgresql/data"}]}],
                "volumes": [{"name": "data", "emptyDir": {}}]}),
        )
        .await;
    let status = cluster.wait("postgres-0", is_ready).await;
    let address = status["podIP"].as_str().unwrap();
    let url = format!("postgres://chirpy:hush@{address}/posts");
    let (code, out) = node
        .run(&pod, "postgres", &["psql", &url, "-Atc", "select current_user"])
        .await;
    assert_eq!((code, out.as_str()), (0, "chirpy\n"));
}
