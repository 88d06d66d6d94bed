//! The agent between an API server played by the test and a real data plane.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

use bytes::Bytes;
use hikeshi_chaos::annotations::LEASE_UNTIL;
use hikeshi_proxy::podlink::{self, LinkReply, LinkRequest};
use http_body_util::{BodyExt, Either, Full, channel::Channel, channel::Sender};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::netagent;
use crate::netagent::chaos::tests::experiment;

const PATIENCE: Duration = Duration::from_secs(30);

/// Lists by plural, open watches by plural, and every status patch in order.
struct FakeApi {
    lists: BTreeMap<&'static str, Vec<Value>>,
    watches: Mutex<Vec<(String, Sender<Bytes>)>>,
    patches: mpsc::UnboundedSender<Value>,
    /// No patch is ever answered.
    hangs: bool,
}

type Answer = Response<Either<Full<Bytes>, Channel<Bytes>>>;

impl FakeApi {
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let path = request.uri().path().to_string();
        let watching = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("watch=true"));
        let last = path.rsplit('/').next().unwrap_or_default().to_string();
        let text = if request.method() == Method::PATCH {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            self.patches.send(serde_json::from_slice(&body).unwrap()).unwrap();
            if self.hangs {
                return std::future::pending().await;
            }
            self.lists["networkchaos"][0].to_string()
        } else if watching {
            let (sender, body) = Channel::new(16);
            self.watches.lock().unwrap().push((last, sender));
            return Ok(Response::new(Either::Right(body)));
        } else {
            let items = self.lists.get(last.as_str()).cloned().unwrap_or_default();
            json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items})
                .to_string()
        };
        Ok(Response::new(Either::Left(Full::new(Bytes::from(text)))))
    }

    /// Sends a watch event to whoever watches `plural`.
    async fn event(&self, plural: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": "MODIFIED", "object": object}));
        let mut sender = wait_for(|| {
            let mut watches = self.watches.lock().unwrap();
            let place = watches.iter().position(|(watched, _)| watched == plural)?;
            Some(watches.swap_remove(place).1)
        })
        .await;
        sender.send_data(Bytes::from(line)).await.unwrap();
        self.watches.lock().unwrap().push((plural.to_string(), sender));
    }
}

async fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "it did not come");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn serve(api: Arc<FakeApi>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let api = api.clone();
            let service = service_fn(move |request| {
                let api = api.clone();
                async move { api.answer(request).await }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Client::try_from(kube::Config::new(format!("http://{address}").parse().unwrap())).unwrap()
}

/// A world of one pod that listens at `address`, and one experiment.
fn api(address: SocketAddr, chaos: Value) -> (FakeApi, mpsc::UnboundedReceiver<Value>) {
    let pod = json!({"metadata": {"name": "web-0", "namespace": "chirpy", "uid": "u1"},
        "spec": {"containers": [{"name": "web", "ports": [{"name": "http", "containerPort": address.port()}]}]},
        "status": {"phase": "Running", "podIP": address.ip()}});
    let service = json!({"metadata": {"name": "web", "namespace": "chirpy"},
        "spec": {"clusterIP": "127.96.0.9", "ports": [{"name": "http", "port": 80}]}});
    let slice = json!({"metadata": {"name": "web-1", "namespace": "chirpy",
            "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": address.port()}],
        "endpoints": [{"addresses": [address.ip()]}]});
    let (patches, received) = mpsc::unbounded_channel();
    let lists = [
        ("pods", vec![pod]),
        ("services", vec![service]),
        ("endpointslices", vec![slice]),
        ("networkchaos", vec![chaos]),
    ]
    .into();
    let api = FakeApi {
        lists,
        watches: Mutex::default(),
        patches,
        hangs: false,
    };
    (api, received)
}

/// A data plane and an agent; both end with the test.
struct Running {
    api: Arc<FakeApi>,
    bound: watch::Receiver<BTreeMap<String, SocketAddr>>,
    shutdown: CancellationToken,
    agent: JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Running {
    async fn start(api: FakeApi) -> Self {
        let api = Arc::new(api);
        let client = serve(api.clone()).await;
        let dir = tempfile::tempdir().unwrap();
        serve_init(&dir.path().join("pods/u1"));
        let dataplane_dir = dir.path().join("dataplane");
        let served = dataplane_dir.clone();
        // Ends with the test's process.
        std::thread::spawn(move || hikeshi_proxy::dataplane_main(&served));
        let (on_bound, bound) = watch::channel(BTreeMap::new());
        let config = NetAgentConfig {
            state_dir: dir.path().to_path_buf(),
            dataplane_dir,
            host_listeners: vec![HostListenerSpec {
                name: "ingress".into(),
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                namespace: "chirpy".into(),
                service: "web".into(),
                port: 80,
            }],
            metrics_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            on_bound,
        };
        let shutdown = CancellationToken::new();
        let agent = tokio::spawn(netagent::run(client, config, shutdown.clone()));
        Self {
            api,
            bound,
            shutdown,
            agent,
            dir,
        }
    }

    /// The addresses of the entrance and of the metrics.
    async fn bound(&mut self) -> BTreeMap<String, SocketAddr> {
        let both = self.bound.wait_for(|bound| bound.len() == 2);
        timeout(PATIENCE, both).await.unwrap().unwrap().clone()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.agent).await.unwrap().unwrap();
        drop(self.dir);
    }
}

/// A pod's init that gives sockets of the test's own namespace.
fn serve_init(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let listener = podlink::listen_at(&dir.join("init.sock")).unwrap();
    std::thread::spawn(move || {
        while let Ok(raw) = nix::sys::socket::accept(listener.as_raw_fd()) {
            // SAFETY: accept returned a new descriptor that only we hold.
            let connection = unsafe { OwnedFd::from_raw_fd(raw) };
            std::thread::spawn(move || while give(&connection).is_some() {});
        }
    });
}

fn give(connection: &OwnedFd) -> Option<()> {
    let (bytes, _) = podlink::receive_packet(connection.as_raw_fd()).ok()?;
    let count = match serde_json::from_slice(&bytes).ok()? {
        LinkRequest::Listen { .. } => {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            vec![OwnedFd::from(listener)]
        }
        LinkRequest::Sockets { count } => {
            let new = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            (0..count).map(|_| new().unwrap().into()).collect()
        }
    };
    let raw: Vec<_> = count.iter().map(AsRawFd::as_raw_fd).collect();
    let reply = LinkReply {
        ok: true,
        error: None,
    };
    podlink::send_packet(connection.as_raw_fd(), &serde_json::to_vec(&reply).unwrap(), &raw).ok()
}

/// A pod's program, which answers whatever it is asked.
async fn answering() -> SocketAddr {
    let listener = TcpListener::bind("127.64.0.3:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|_request: Request<Incoming>| async {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("well"))))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

fn condition(patch: &Value, kind: &str) -> Value {
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
        .unwrap()["status"]
        .clone()
}

#[tokio::test]
async fn an_experiment_is_injected_reported_and_recovered() {
    // Only what leaves the pod for another pod is cut: the host still reaches it.
    let partition = json!({"action": "partition", "mode": "all", "selector": {},
        "target": {"mode": "all", "selector": {}}});
    let chaos = experiment(Kind::Network, partition, &["web-0"], &["web-0"]);
    let chaos = serde_json::to_value(chaos).unwrap();
    let (api, mut patches) = api(answering().await, chaos.clone());
    let mut running = Running::start(api).await;

    let injected = timeout(PATIENCE, patches.recv()).await.unwrap().unwrap();
    assert_eq!(condition(&injected, "AllInjected"), "True");
    assert_eq!(
        injected["status"]["experiment"]["containerRecords"][0]["phase"],
        "Injected"
    );

    let addresses = running.bound().await;
    assert!(get(addresses["ingress"]).await.ends_with("well"));
    assert!(
        get(addresses[METRICS])
            .await
            .contains(r#"hikeshi_edge_requests_total{source="ingress""#)
    );

    // The controller stops the experiment.
    let mut stopped = chaos;
    stopped["status"]["conditions"] = injected["status"]["conditions"].clone();
    stopped["status"]["experiment"] = injected["status"]["experiment"].clone();
    stopped["status"]["experiment"]["desiredPhase"] = json!("Stop");
    stopped["metadata"]["resourceVersion"] = json!("8");
    running.api.event("networkchaos", &stopped).await;
    // Until the event arrives, the first patch may be sent again.
    loop {
        let recovered = timeout(PATIENCE, patches.recv()).await.unwrap().unwrap();
        if recovered["metadata"]["resourceVersion"] == "8" {
            assert_eq!(condition(&recovered, "AllRecovered"), "True");
            assert_eq!(
                recovered["status"]["experiment"]["containerRecords"][0]["recoveredCount"],
                1
            );
            break;
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_fault_ends_in_time_although_the_api_hangs() {
    let until = Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let spec = json!({"action": "partition", "mode": "all", "selector": {}});
    let mut chaos = experiment(Kind::Network, spec, &["web-0"], &[]);
    chaos
        .annotations_mut()
        .insert(LEASE_UNTIL.into(), until.to_string());
    let (mut api, mut patches) = api(answering().await, serde_json::to_value(chaos).unwrap());
    api.hangs = true;
    let mut running = Running::start(api).await;
    let injected = timeout(PATIENCE, patches.recv()).await.unwrap().unwrap();
    assert_eq!(condition(&injected, "AllInjected"), "True");
    let answer = get(running.bound().await["ingress"]).await;
    assert!(answer.ends_with("well"), "{answer}");
    assert!(Timestamp::now() >= until, "it was not in force");
    running.stop().await;
}

async fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    answer
}
