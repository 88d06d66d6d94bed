//! Ingress rules and HTTP/2 through a data plane.

use bytes::Bytes;
use hikeshi_proxy::{AppProtocol, HostListener, IngressBackend, IngressRule, PathKind};
use http_body_util::{BodyExt, Empty, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::harness::{PATIENCE, SERVICE, World, service};

/// Answers every request with `name`.
fn named(listener: TcpListener, name: &'static str) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |_| async move {
                Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(name.as_bytes()))))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
}

fn rule(path: &str, backends: &[(&str, u16)]) -> IngressRule {
    let backend = |(service, weight): &(&str, u16)| IngressBackend {
        namespace: "chirpy".into(),
        service: (*service).into(),
        port: 80,
        weight: *weight,
    };
    IngressRule {
        host: Some("chirpy.test".into()),
        path: path.into(),
        kind: PathKind::Prefix,
        conditions: Vec::new(),
        backends: backends.iter().map(backend).collect(),
    }
}

async fn get(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: chirpy.test:80\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 1024];
        let count = timeout(PATIENCE, stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(count > 0, "it was closed");
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.unwrap().parse().unwrap() {
            let status = head.split(' ').nth(1).unwrap();
            return format!("{status} {}", body.trim_end());
        }
    }
}

#[tokio::test]
async fn rules_route_each_request_of_one_connection_and_change_under_it() {
    let mut world = World::new(AppProtocol::Http).await;
    named(world.take_server(), "stable");
    let canary = world.db.serve(AppProtocol::Http).await;
    let address = std::net::SocketAddrV4::new(world.db.link.ip, canary.local_addr().unwrap().port());
    named(canary, "canary");
    world.snapshot.pods[1] = world.db.link.clone();
    let mut other = service("canary", AppProtocol::Http, &[address]);
    other.cluster_ip = None;
    world.snapshot.services.push(other);
    world.snapshot.host_listeners = vec![HostListener {
        name: "ingress".into(),
        listen: ([127, 0, 0, 1], 0).into(),
        namespace: String::new(),
        service: String::new(),
        port: 0,
        rules: vec![
            rule("/api", &[("db", 99), ("canary", 1)]),
            rule("/gone", &[("nobody", 1)]),
        ],
    }];
    let bound = world.apply().await.bound["ingress"];
    let mut stream = TcpStream::connect(bound).await.unwrap();
    let mut canaries = 0;
    for _ in 0..200 {
        match get(&mut stream, "/api/x").await.as_str() {
            "200 stable" => {}
            "200 canary" => canaries += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(canaries, 2);
    assert_eq!(get(&mut stream, "/else").await, "404 no rule is about /else");
    assert_eq!(
        get(&mut stream, "/gone").await,
        "503 no ready endpoints for service chirpy/nobody"
    );
    // The same listener and connection, other rules.
    world.snapshot.host_listeners[0].rules = vec![rule("/", &[("canary", 1)])];
    assert_eq!(world.apply().await.bound["ingress"], bound);
    assert_eq!(get(&mut stream, "/else").await, "200 canary");
}

#[tokio::test]
async fn http2_is_counted_stream_by_stream() {
    let mut world = World::new(AppProtocol::Http).await;
    let server = world.take_server();
    world.apply().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = server.accept().await {
            let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
                let path = request.uri().path().to_string();
                Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(path))))
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    let stream = world.app.dial(SERVICE).await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for n in 0..3 {
        let request = Request::get(format!("http://db/{n}"))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = timeout(PATIENCE, sender.send_request(request))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("/{n}"));
    }
    let text = world.client.metrics().await.unwrap();
    for line in [
        r#"hikeshi_edge_requests_total{source="app",destination="db",route="",code="200"} 3"#,
        r#"hikeshi_edge_connections_total{source="app",destination="db"} 1"#,
    ] {
        assert!(text.contains(line), "{text}");
    }
}
