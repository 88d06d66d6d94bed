//! What the server asks of the machine that runs the pods.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// The node agent behind `logs`, `exec`, `attach`, `port-forward`, `proxy` and the metrics API.
#[async_trait]
pub trait Kubelet: Send + Sync + 'static {
    /// The log of one container, oldest line first. With `follow` the stream goes on until the container ends.
    async fn logs(
        &self,
        pod: &Value,
        options: LogOptions,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, KubeletError>;

    /// Runs a command in a container until it ends; the result is its exit code.
    async fn exec(&self, pod: &Value, options: ExecOptions, io: ExecIo) -> Result<i32, KubeletError>;

    /// Writes what comes to a container's standard input until nothing more comes. A refusal: it is not open.
    async fn attach(
        &self,
        pod: &Value,
        container: &str,
        stdin: mpsc::Receiver<Bytes>,
    ) -> Result<(), KubeletError>;

    /// Shows a container's terminal from now on, and types on it, until the container ends. A refusal: it has none.
    async fn attach_terminal(&self, pod: &Value, container: &str, io: TerminalIo)
    -> Result<(), KubeletError>;

    /// A connection to `127.0.0.1:PORT` inside the pod's own network namespace. A refusal names what happened in the
    /// words of connect(2), such as `connection refused`.
    async fn connect(&self, pod: &Value, port: u16) -> Result<TcpStream, KubeletError>;

    /// Usage of every running pod, measured over `window_seconds` up to `at`.
    async fn pod_usage(&self) -> Vec<PodUsage>;

    /// Usage of every node.
    async fn node_usage(&self) -> Vec<NodeUsage>;
}

/// Query of `pods/log`. `since` is absolute: `sinceSeconds` has been resolved against the server's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub container: String,
    pub follow: bool,
    /// The log of the container's previous instance.
    pub previous: bool,
    pub since: Option<Timestamp>,
    pub tail_lines: Option<u64>,
    /// Prefix every line with its RFC 3339 time and a space.
    pub timestamps: bool,
    pub limit_bytes: Option<u64>,
}

/// Query of `pods/exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOptions {
    pub container: String,
    pub command: Vec<String>,
    pub tty: bool,
}

/// The streams of an exec. With a tty everything goes to `stdout`.
#[derive(Debug)]
pub struct ExecIo {
    /// Closed (`None` received) when the client closed its standard input or went away.
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    pub stdout: mpsc::Sender<Bytes>,
    pub stderr: mpsc::Sender<Bytes>,
    /// (columns, rows)
    pub resize: Option<mpsc::Receiver<(u16, u16)>>,
}

/// The streams of who looks at a container's terminal.
#[derive(Debug)]
pub struct TerminalIo {
    /// Absent: they only look.
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    pub stdout: mpsc::Sender<Bytes>,
    /// (columns, rows)
    pub resize: Option<mpsc::Receiver<(u16, u16)>>,
}

/// A refusal of the kubelet; becomes a Kubernetes `Status`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct KubeletError {
    /// HTTP status code, such as 400 or 404.
    pub code: u16,
    /// Kubernetes' reason, such as `BadRequest`.
    pub reason: String,
    pub message: String,
}

/// CPU and memory of one pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodUsage {
    pub namespace: String,
    pub name: String,
    pub containers: Vec<ContainerUsage>,
    pub at: Timestamp,
    pub window_seconds: f64,
}

/// CPU and memory of one container. A whole core is 1,000,000,000 nanocores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUsage {
    pub name: String,
    pub cpu_nanocores: u64,
    pub memory_bytes: u64,
}

/// CPU and memory of one node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeUsage {
    pub name: String,
    pub cpu_nanocores: u64,
    pub memory_bytes: u64,
    pub at: Timestamp,
    pub window_seconds: f64,
}
