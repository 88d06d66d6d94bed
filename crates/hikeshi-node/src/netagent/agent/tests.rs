//! The agent between an API server played by the test and a real data plane.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, channel::Channel, channel::Sender};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::netagent;
use crate::netagent::chaos::tests::experiment;

const PATIENCE: Duration = Duration::from_secs(30);

/// Lists by plural, open watches by plural, and every status patch in order.
struct FakeApi {
    lists: BTreeMap<&'static str, Vec<Value>>,
    watches: Mutex<Vec<(String, Sender<Bytes>)>>,
    patches: mpsc::UnboundedSender<Value>,
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

fn api(chaos: Value) -> (Arc<FakeApi>, mpsc::UnboundedReceiver<Value>) {
    let pod = json!({"metadata": {"name": "web-0", "namespace": "chirpy", "uid": "u1"},
        "spec": {"containers": [{"name": "web", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": "127.64.0.3"}});
    let service = json!({"metadata": {"name": "web", "namespace": "chirpy"},
        "spec": {"clusterIP": "127.96.0.9", "ports": [{"name": "http", "port": 80}]}});
    let (patches, received) = mpsc::unbounded_channel();
    let lists = [
        ("pods", vec![pod]),
        ("services", vec![service]),
        ("networkchaos", vec![chaos]),
    ]
    .into();
    (
        Arc::new(FakeApi {
            lists,
            watches: Mutex::default(),
            patches,
        }),
        received,
    )
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
    let partition = json!({"action": "partition", "mode": "all", "selector": {}});
    let chaos = serde_json::to_value(experiment(Kind::Network, partition, &["web-0"], &[])).unwrap();
    let (api, mut patches) = api(chaos.clone());
    let client = serve(api.clone()).await;

    let dir = tempfile::tempdir().unwrap();
    let dataplane_dir = dir.path().join("dataplane");
    let served = dataplane_dir.clone();
    // Ends with the test's process.
    std::thread::spawn(move || hikeshi_proxy::dataplane_main(&served));

    let (on_bound, mut bound) = watch::channel(BTreeMap::new());
    let config = NetAgentConfig {
        state_dir: dir.path().to_path_buf(),
        dataplane_dir: dataplane_dir.clone(),
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
    let running = tokio::spawn(netagent::run(client, config, shutdown.clone()));

    let injected = timeout(PATIENCE, patches.recv()).await.unwrap().unwrap();
    assert_eq!(condition(&injected, "AllInjected"), "True");
    assert_eq!(
        injected["status"]["experiment"]["containerRecords"][0]["phase"],
        "Injected"
    );

    let addresses = timeout(PATIENCE, bound.wait_for(|bound| bound.len() == 2))
        .await
        .unwrap()
        .unwrap()
        .clone();
    assert!(
        get(addresses["ingress"])
            .await
            .contains("no ready endpoints for service chirpy/web")
    );
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
    api.event("networkchaos", &stopped).await;
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
    shutdown.cancel();
    timeout(PATIENCE, running).await.unwrap().unwrap();
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
