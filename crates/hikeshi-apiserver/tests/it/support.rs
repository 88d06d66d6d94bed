//! A server with a pretended kubelet, and kubectl against it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use hikeshi_apiserver::{
    ApiServerConfig, ApiServerHandle, AuditEvent, ContainerUsage, ExecIo, ExecOptions, Kubelet, KubeletError,
    LogOptions, NodeUsage, Pki, PodUsage, TerminalIo, serve,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A cluster in a temporary folder; gone with its value.
pub struct Cluster {
    pub dir: TempDir,
    pub url: String,
    pub pki: Arc<Pki>,
    pub audit: Arc<Mutex<Vec<AuditEvent>>>,
    pub handle: ApiServerHandle,
    /// What was typed into containers, and whether the typing has ended.
    pub typed: watch::Sender<(Vec<u8>, bool)>,
    shutdown: CancellationToken,
    runtime: Option<Runtime>,
}

impl Cluster {
    /// With namespaces chirpy and hikeshi-system.
    pub fn start() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::start_in(dir);
        let admin = cluster.user("admin", &["system:masters"]);
        admin.ok(&["create", "namespace", "chirpy"]);
        admin.ok(&["create", "namespace", "hikeshi-system"]);
        cluster
    }

    pub fn start_in(dir: TempDir) -> Cluster {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (send, mut receive) = mpsc::unbounded_channel();
        let (shutdown, config) = (CancellationToken::new(), config(dir.path()));
        let pki = Arc::clone(&config.pki);
        let typed = watch::Sender::default();
        let kubelet = Arc::new(FakeKubelet { typed: typed.clone() });
        let handle = runtime
            .block_on(serve(config, kubelet, send, shutdown.clone()))
            .unwrap();
        let audit = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&audit);
        runtime.spawn(async move {
            while let Some(event) = receive.recv().await {
                log.lock().unwrap().push(event);
            }
        });
        let url = format!("https://127.0.0.1:{}", handle.addr.port());
        Cluster {
            dir,
            url,
            pki,
            audit,
            handle,
            typed,
            shutdown,
            runtime: Some(runtime),
        }
    }

    /// Stops the server and starts another on the same store.
    pub fn restart(mut self) -> Cluster {
        self.shutdown.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        Cluster::start_in(dir)
    }

    pub fn user(&self, name: &str, groups: &[&str]) -> Kubectl {
        let identity = self.pki.issue_client(name, groups).unwrap();
        let path = self.dir.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&path, self.pki.kubeconfig(&self.url, &identity, "chirpy")).unwrap();
        Kubectl {
            kubeconfig: path,
            cache: self.dir.path().join("cache"),
        }
    }

    /// A kube-rs client of the administrator. To be used inside [`Cluster::run`].
    pub async fn client(&self) -> kube::Client {
        client_of(&self.pki, &self.url).await
    }

    /// Runs async work on the server's own runtime; at most a minute.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(async {
            let limit = Duration::from_secs(60);
            tokio::time::timeout(limit, work)
                .await
                .expect("done within a minute")
        })
    }

    pub fn admin(&self) -> Kubectl {
        self.user("admin", &["system:masters"])
    }

    /// kubectl with a bearer token and nothing else.
    pub fn with_token(&self, token: &str, args: &[&str]) -> Output {
        let ca = self.dir.path().join("ca.pem");
        std::fs::write(&ca, self.pki.ca_pem()).unwrap();
        let mut command = Command::new("kubectl");
        command
            .env("HOME", self.dir.path().join("nobody"))
            .env_remove("KUBECONFIG")
            .arg("--server")
            .arg(&self.url)
            .arg("--certificate-authority")
            .arg(&ca)
            .arg("--token")
            .arg(token)
            .args(args);
        command.output().unwrap()
    }

    /// A pod that runs as far as the API can tell.
    pub fn running_pod(&self, name: &str, containers: &[&str]) {
        let admin = self.admin();
        let list: Vec<Value> = containers
            .iter()
            .map(|c| json!({"name": c, "image": "web:1", "ports": [{"containerPort": 8080}]}))
            .collect();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": list, "nodeName": "node-1"},
            "metadata": {"name": name, "namespace": "chirpy", "labels": {"app": "web"}}});
        admin.apply(&pod);
        let statuses: Vec<Value> = containers
            .iter()
            .map(|c| {
                json!({"name": c, "ready": true, "restartCount": 0, "image": "web:1", "imageID": "",
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}})
            })
            .collect();
        let status = json!({"status": {"phase": "Running", "podIP": "127.64.0.9", "containerStatuses": statuses,
            "conditions": [{"type": "Ready", "status": "True"}]}});
        admin.ok(&[
            "patch",
            "pod",
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &status.to_string(),
        ]);
    }

    /// Waits until the audit holds an event that fits.
    pub fn audited(&self, fits: impl Fn(&AuditEvent) -> bool) -> AuditEvent {
        until("the audit event", || {
            self.audit.lock().unwrap().iter().find(|e| fits(e)).cloned()
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

fn config(dir: &Path) -> ApiServerConfig {
    ApiServerConfig {
        store_dir: dir.join("store"),
        pki: Arc::new(Pki::load_or_create(&dir.join("pki")).unwrap()),
        listen: "127.0.0.1:0".parse().unwrap(),
        default_namespace: "chirpy".into(),
    }
}

/// Serves the store of a folder until this process dies, and says where.
pub async fn serve_forever(dir: &Path, say: impl FnOnce(&str)) {
    // Nobody reads the audit: sending fails, and says nothing.
    let (send, _) = mpsc::unbounded_channel();
    let typed = watch::Sender::default();
    let kubelet = Arc::new(FakeKubelet { typed });
    let shutdown = CancellationToken::new();
    let handle = serve(config(dir), kubelet, send, shutdown).await.unwrap();
    say(&format!("https://127.0.0.1:{}", handle.addr.port()));
    std::future::pending::<()>().await;
}

/// A kube-rs client of the administrator of the server with this folder and this URL.
pub async fn client_of(pki: &Pki, url: &str) -> kube::Client {
    let identity = pki.issue_client("admin", &["system:masters"]).unwrap();
    let text = pki.kubeconfig(url, &identity, "chirpy");
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&text).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    kube::Client::try_from(config.unwrap()).unwrap()
}

/// Polls until there is a result.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// One user's kubectl.
pub struct Kubectl {
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(&self.cache)
            .args(args);
        command.env_remove("KUBECONFIG").stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("kubectl must be installed")
    }

    /// Standard output of a command that must succeed.
    pub fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
        assert!(
            out.status.success(),
            "kubectl {args:?}: {}\n{stdout}\n{stderr}",
            out.status
        );
        stdout
    }

    /// Standard error of a command that must fail.
    pub fn fails(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(
            !out.status.success(),
            "kubectl {args:?} should fail: {}",
            text(&out.stdout)
        );
        text(&out.stderr)
    }

    pub fn with_input(&self, args: &[&str], input: &str) -> Output {
        let mut child = self.spawn(self.command(args).stdin(Stdio::piped()));
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    pub fn spawn(&self, command: &mut Command) -> Child {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl must be installed")
    }

    pub fn apply(&self, object: &Value) -> String {
        self.apply_with(object, &[])
    }

    pub fn apply_with(&self, object: &Value, more: &[&str]) -> String {
        let out = self.with_input(&[&["apply", "-f", "-"], more].concat(), &object.to_string());
        assert!(out.status.success(), "apply: {}", text(&out.stderr));
        text(&out.stdout)
    }

    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["-o", "json"]].concat())).unwrap()
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn deployment(name: &str, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "chirpy", "labels": {"app": name}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": name, "image": image, "env": [{"name": "A", "value": "1"}]}]}}}})
}

/// Answers from fixed values; `exec` runs the command on this machine. A container named `reader` ends with its input.
struct FakeKubelet {
    typed: watch::Sender<(Vec<u8>, bool)>,
}

#[async_trait]
impl Kubelet for FakeKubelet {
    async fn logs(
        &self,
        pod: &Value,
        options: LogOptions,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, KubeletError> {
        if options.previous {
            return Err(KubeletError {
                code: 400,
                reason: "BadRequest".into(),
                message: format!(
                    "previous terminated container \"{}\" not found",
                    options.container
                ),
            });
        }
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let lines = (1..=5)
            .map(|n| format!("{name} {} line {n}\n", options.container))
            .collect::<Vec<_>>();
        let skip = options
            .tail_lines
            .map_or(0, |n| lines.len().saturating_sub(n as usize));
        let lines: Vec<_> = lines.into_iter().skip(skip).map(|l| Ok(Bytes::from(l))).collect();
        let (typed, reads) = (self.typed.subscribe(), options.container == "reader");
        let follow = stream::iter(options.follow.then_some(())).then(move |()| {
            let mut typed = typed.clone();
            async move {
                if reads {
                    typed
                        .wait_for(|(_, ended)| *ended)
                        .await
                        .map_err(io::Error::other)?;
                }
                Ok(Bytes::from("followed\n"))
            }
        });
        Ok(stream::iter(lines).chain(follow).boxed())
    }

    async fn exec(&self, _pod: &Value, options: ExecOptions, io: ExecIo) -> Result<i32, KubeletError> {
        let failed = |e: io::Error| KubeletError {
            code: 500,
            reason: "InternalError".into(),
            message: e.to_string(),
        };
        let mut child = tokio::process::Command::new(&options.command[0])
            .args(&options.command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut stdin = child.stdin.take();
        let input = io.stdin;
        tokio::spawn(async move {
            let Some(mut input) = input else {
                return drop(stdin.take());
            };
            while let (Some(bytes), Some(stdin)) = (input.recv().await, &mut stdin) {
                if stdin.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        async fn pump(from: Option<impl tokio::io::AsyncRead + Unpin>, to: mpsc::Sender<Bytes>) {
            let Some(mut from) = from else { return };
            let mut buffer = vec![0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer).await {
                if to.send(Bytes::copy_from_slice(&buffer[..n])).await.is_err() {
                    return;
                }
            }
        }
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (_, _, status) = tokio::join!(pump(out, io.stdout), pump(err, io.stderr), child.wait());
        Ok(status.map_err(failed)?.code().unwrap_or(137))
    }

    async fn attach(
        &self,
        _pod: &Value,
        _container: &str,
        mut stdin: mpsc::Receiver<Bytes>,
    ) -> Result<(), KubeletError> {
        let typed = self.typed.clone();
        tokio::spawn(async move {
            while let Some(bytes) = stdin.recv().await {
                typed.send_modify(|(text, _)| text.extend_from_slice(&bytes));
            }
            typed.send_modify(|(_, ended)| *ended = true);
        });
        Ok(())
    }

    /// Shows a prompt, and no more.
    async fn attach_terminal(
        &self,
        _pod: &Value,
        _container: &str,
        io: TerminalIo,
    ) -> Result<(), KubeletError> {
        // Who attached may have gone.
        let _ = io.stdout.send("$ ".into()).await;
        Ok(())
    }

    async fn connect(&self, _pod: &Value, port: u16) -> Result<tokio::net::TcpStream, KubeletError> {
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(|e| KubeletError {
                code: 400,
                reason: "BadRequest".into(),
                message: format!("failed to connect to localhost:{port}: {e}"),
            })
    }

    async fn pod_usage(&self) -> Vec<PodUsage> {
        let containers = vec![ContainerUsage {
            name: "web".into(),
            cpu_nanocores: 250_000_000,
            memory_bytes: 64 << 20,
        }];
        let usage = PodUsage {
            namespace: "chirpy".into(),
            name: "web-1".into(),
            containers,
            at: Timestamp::now(),
            window_seconds: 10.0,
        };
        vec![usage]
    }

    async fn node_usage(&self) -> Vec<NodeUsage> {
        let usage = NodeUsage {
            name: "node-1".into(),
            cpu_nanocores: 500_000_000,
            memory_bytes: 1 << 30,
            at: Timestamp::now(),
            window_seconds: 10.0,
        };
        vec![usage]
    }
}
