//! Fits the kubelet (hikeshi-node) to the API server's `Kubelet` trait: neither knows the other.

use std::io;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use hikeshi_apiserver as api;
use serde_json::Value;
use tokio::sync::mpsc;

/// The API server starts before the kubelet can (the kubelet is its client), so the kubelet comes later.
#[derive(Default)]
pub struct LateKubelet {
    kubelet: OnceLock<Arc<hikeshi_node::Kubelet>>,
}

impl LateKubelet {
    pub fn set(&self, kubelet: Arc<hikeshi_node::Kubelet>) {
        let _ = self.kubelet.set(kubelet);
    }

    fn get(&self) -> Result<&Arc<hikeshi_node::Kubelet>, api::KubeletError> {
        self.kubelet.get().ok_or_else(|| api::KubeletError {
            code: 503,
            reason: "ServiceUnavailable".into(),
            message: "the node is still starting; try again in a second".into(),
        })
    }
}

struct PodName<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
}

fn name_of(pod: &Value) -> PodName<'_> {
    let field = |name: &str| pod["metadata"][name].as_str().unwrap_or_default();
    PodName {
        namespace: field("namespace"),
        name: field("name"),
        uid: field("uid"),
    }
}

fn refused(error: impl std::fmt::Display) -> api::KubeletError {
    api::KubeletError {
        code: 400,
        reason: "BadRequest".into(),
        message: error.to_string(),
    }
}

#[async_trait]
impl api::Kubelet for LateKubelet {
    async fn logs(
        &self,
        pod: &Value,
        options: api::LogOptions,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, api::KubeletError> {
        let pod = name_of(pod);
        let request = hikeshi_node::LogRequest {
            container: options.container,
            follow: options.follow,
            previous: options.previous,
            since: options.since,
            tail_lines: options.tail_lines,
            timestamps: options.timestamps,
            limit_bytes: options.limit_bytes,
        };
        self.get()?
            .logs(pod.namespace, pod.name, pod.uid, request)
            .await
            .map_err(refused)
    }

    async fn exec(
        &self,
        pod: &Value,
        options: api::ExecOptions,
        io: api::ExecIo,
    ) -> Result<i32, api::KubeletError> {
        let pod = name_of(pod);
        self.get()?
            .exec(
                pod.namespace,
                pod.name,
                pod.uid,
                &options.container,
                options.command,
                options.tty,
                io.stdin,
                io.stdout,
                io.stderr,
                io.resize,
            )
            .await
            .map_err(refused)
    }

    async fn attach(
        &self,
        pod: &Value,
        container: &str,
        stdin: mpsc::Receiver<Bytes>,
    ) -> Result<(), api::KubeletError> {
        let attached = self.get()?.attach(name_of(pod).uid, container, stdin);
        attached.await.map_err(refused)
    }

    async fn attach_terminal(
        &self,
        pod: &Value,
        container: &str,
        io: api::TerminalIo,
    ) -> Result<(), api::KubeletError> {
        let kubelet = self.get()?;
        let uid = name_of(pod).uid;
        let attached = kubelet.attach_terminal(uid, container, io.stdin, io.stdout, io.resize);
        attached.await.map_err(refused)
    }

    async fn connect(&self, pod: &Value, port: u16) -> Result<tokio::net::TcpStream, api::KubeletError> {
        self.get()?.connect(name_of(pod).uid, port).await.map_err(refused)
    }

    async fn pod_usage(&self) -> Vec<api::PodUsage> {
        let Ok(kubelet) = self.get() else {
            return Vec::new();
        };
        kubelet
            .usage()
            .into_iter()
            .map(|pod| api::PodUsage {
                namespace: pod.namespace,
                name: pod.name,
                containers: pod
                    .containers
                    .into_iter()
                    .map(|container| api::ContainerUsage {
                        name: container.name,
                        cpu_nanocores: container.cpu_nanocores,
                        memory_bytes: container.memory_bytes,
                    })
                    .collect(),
                at: pod.at,
                window_seconds: pod.window_seconds,
            })
            .collect()
    }

    async fn node_usage(&self) -> Vec<api::NodeUsage> {
        let Ok(kubelet) = self.get() else {
            return Vec::new();
        };
        kubelet
            .node_usage()
            .into_iter()
            .map(|node| api::NodeUsage {
                name: node.name,
                cpu_nanocores: node.cpu_nanocores,
                memory_bytes: node.memory_bytes,
                at: node.at,
                window_seconds: node.window_seconds,
            })
            .collect()
    }
}
