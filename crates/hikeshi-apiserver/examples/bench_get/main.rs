//! The API server alone, with a thousand pods that only it knows of, and the real kubectl against it.
//! `cargo xtask bench get` runs it; its output is for people.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line's output is its interface"
)]

mod memory;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use hikeshi_apiserver::{
    ApiServerConfig, AuditEvent, ExecIo, ExecOptions, Kubelet, KubeletError, LogOptions, NodeUsage, Pki,
    PodUsage, TerminalIo, serve,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const USAGE: &str = "usage: bench get KUBECTL ROUNDS   time kubectl get against 1,000 pods, beside the same answers from memory; prints medians";
const PODS: usize = 1000;
const NAMESPACE: &str = "bench";
/// What is measured; the first is kubectl alone, without a server.
const COMMANDS: [&[&str]; 5] = [
    &["version", "--client"],
    &["get", "pods"],
    &["get", "pods", "-o", "wide"],
    &["get", "pods", "-l", "app=web-7"],
    &["get", "pod", "pod-0500"],
];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["get", kubectl, rounds] => get(kubectl, rounds),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn get(kubectl: &str, rounds: &str) -> Result<()> {
    let rounds: usize = rounds.parse()?;
    let dir = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let shutdown = CancellationToken::new();
    let (audit, mut asked) = mpsc::unbounded_channel();
    let (kubeconfig, client) = runtime.block_on(start(dir.path(), audit, shutdown.clone()))?;
    let memory = runtime.block_on(memory::serve(client))?;
    while asked.try_recv().is_ok() {}
    let servers = [
        Server {
            name: "own",
            home: dir.path().join("own"),
            args: vec!["--kubeconfig".into(), kubeconfig],
        },
        Server {
            name: "memory",
            home: dir.path().join("memory"),
            args: vec!["--server".into(), memory, "--namespace".into(), NAMESPACE.into()],
        },
    ];

    let mut times = vec![[Vec::new(), Vec::new()]; COMMANDS.len()];
    let mut requests: Vec<Vec<usize>> = vec![Vec::new(); COMMANDS.len()];
    // The first round fills kubectl's cache of kinds, and the memory, and is not counted.
    for round in 0..=rounds {
        for (place, args) in COMMANDS.iter().enumerate() {
            for (server, times) in servers.iter().zip(&mut times[place]) {
                let taken = run(kubectl, server, args)?;
                let sent = std::iter::from_fn(|| asked.try_recv().ok()).count();
                if server.name == "own" {
                    requests[place].push(sent);
                }
                if round > 0 {
                    times.push(taken);
                }
            }
        }
    }
    let medians: Vec<[f64; 2]> = times
        .iter_mut()
        .map(|both| both.each_mut().map(|times| median_millis(times)))
        .collect();
    let start = medians[0][0];
    println!("| kubectl | ms | x start | from memory, ms | x start | requests, first | requests, later |");
    println!("|---|---|---|---|---|---|---|");
    for ((args, [own, memory]), requests) in COMMANDS.iter().zip(&medians).zip(&requests) {
        let (first, later) = (requests.first().unwrap_or(&0), requests.last().unwrap_or(&0));
        println!(
            "| {} | {own:.1} | {:.2} | {memory:.1} | {:.2} | {first} | {later} |",
            args.join(" "),
            own / start,
            memory / start,
        );
    }
    shutdown.cancel();
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(())
}

fn median_millis(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times
        .get(times.len() / 2)
        .map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// Whom kubectl asks.
struct Server {
    name: &'static str,
    /// Where kubectl keeps what it has discovered.
    home: PathBuf,
    args: Vec<String>,
}

/// How long one kubectl takes, from its start to its end.
fn run(kubectl: &str, server: &Server, args: &[&str]) -> Result<Duration> {
    let mut command = Command::new(kubectl);
    command
        .args(args)
        .args(&server.args)
        .env_remove("KUBECONFIG")
        .env("HOME", &server.home)
        .stdin(Stdio::null());
    let started = Instant::now();
    let output = command.output()?;
    let taken = started.elapsed();
    if output.status.success() {
        return Ok(taken);
    }
    Err(format!(
        "kubectl {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    )
    .into())
}

/// Starts a server with all its pods; the path of a kubeconfig, and a client of the server.
async fn start(
    dir: &Path,
    audit: mpsc::UnboundedSender<AuditEvent>,
    shutdown: CancellationToken,
) -> Result<(String, kube::Client)> {
    let pki = Arc::new(Pki::load_or_create(&dir.join("pki"))?);
    let config = ApiServerConfig {
        store_dir: dir.join("store"),
        pki: Arc::clone(&pki),
        listen: "127.0.0.1:0".parse()?,
        default_namespace: NAMESPACE.into(),
    };
    let server = serve(config, Arc::new(NoKubelet), audit, shutdown).await?;
    let url = format!("https://{}", server.addr);
    let identity = pki.issue_client("bench", &["system:masters"])?;
    let text = pki.kubeconfig(&url, &identity, NAMESPACE);
    let path = dir.join("kubeconfig");
    std::fs::write(&path, &text)?;

    let kubeconfig = kube::config::Kubeconfig::from_yaml(&text)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
    let client = kube::Client::try_from(config)?;
    let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &namespace).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    stream::iter((0..PODS).map(Ok))
        .try_for_each_concurrent(16, |number| create(&pods, number))
        .await?;
    Ok((path.display().to_string(), client))
}

/// A pod as a Deployment's is, with all that its kubelet says of it.
async fn create(pods: &Api<Pod>, number: usize) -> std::result::Result<(), kube::Error> {
    let name = format!("pod-{number:04}");
    let app = format!("web-{}", number % 20);
    let object = json!({
        "metadata": {"name": name, "labels": {"app": app, "pod-template-hash": "6d8f7c9b5"}, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{app}-6d8f7c9b5"), "controller": true,
             "uid": "3f1a8d5e-7c7b-4d38-9a55-0f5f5d3f1c11", "blockOwnerDeletion": true}]},
        "spec": {"nodeName": format!("node-{}", number % 3), "containers": [{"name": "web", "image": "web:1",
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "ports": [{"containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/", "port": 8080}}, "resources": {"limits": {"cpu": "1", "memory": "64Mi"}}}]}});
    let pod: Pod = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    pods.create(&PostParams::default(), &pod).await?;
    let (at, ip) = (
        "2026-01-01T00:00:00Z",
        format!("127.64.{}.{}", number / 200, number % 200 + 1),
    );
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": at});
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "127.0.0.1", "startTime": at,
        "conditions": conditions,
        "containerStatuses": [{"name": "web", "ready": true, "started": true, "restartCount": 0, "image": "web:1", "imageID": "web:1",
            "containerID": format!("hikeshi://{number}"), "state": {"running": {"startedAt": at}}}]}});
    pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

/// These pods run nowhere.
struct NoKubelet;

fn nowhere() -> KubeletError {
    KubeletError {
        code: 400,
        reason: "BadRequest".into(),
        message: "the bench's pods do not run".into(),
    }
}

#[async_trait]
impl Kubelet for NoKubelet {
    async fn logs(
        &self,
        _: &Value,
        _: LogOptions,
    ) -> std::result::Result<BoxStream<'static, io::Result<Bytes>>, KubeletError> {
        Ok(stream::iter([Err(io::Error::other(nowhere()))]).boxed())
    }

    async fn exec(&self, _: &Value, _: ExecOptions, _: ExecIo) -> std::result::Result<i32, KubeletError> {
        Err(nowhere())
    }

    async fn attach(
        &self,
        _: &Value,
        _: &str,
        _: mpsc::Receiver<Bytes>,
    ) -> std::result::Result<(), KubeletError> {
        Err(nowhere())
    }

    async fn attach_terminal(
        &self,
        _: &Value,
        _: &str,
        _: TerminalIo,
    ) -> std::result::Result<(), KubeletError> {
        Err(nowhere())
    }

    async fn connect(&self, _: &Value, _: u16) -> std::result::Result<TcpStream, KubeletError> {
        Err(nowhere())
    }

    async fn pod_usage(&self) -> Vec<PodUsage> {
        Vec::new()
    }

    async fn node_usage(&self) -> Vec<NodeUsage> {
        Vec::new()
    }
}
