//! HTTP/2 as gRPC uses it: streams with trailers, faults on single streams of one connection, bodies too long to patch.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hikeshi_proxy::AppProtocol;
use hikeshi_proxy::faults::{Delay, HttpAction, HttpMatch, HttpTarget, Patch, Percent, Replace};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Channel, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::harness::{PATIENCE, SERVICE, World};
use crate::http::fault;

type Body = BoxBody<Bytes, Infallible>;

/// More than a fault reads into memory to patch it.
const TOO_LONG: usize = 9 * 1024 * 1024;

/// Echoes bodies message by message and ends with gRPC's status in trailers; `/json` answers with one long JSON text.
fn serve(listener: TcpListener) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(serving);
        }
    });
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let kind = |text| Response::builder().header("content-type", text);
    if request.uri().path() == "/json" {
        // Without a length of its own, as what is streamed has none.
        let (mut sender, body) = Channel::<Bytes>::new(8);
        tokio::spawn(async move {
            for piece in long_json().chunks(64 * 1024) {
                if sender.send_data(Bytes::copy_from_slice(piece)).await.is_err() {
                    return;
                }
            }
        });
        return Ok(kind("application/json").body(body.boxed()).unwrap());
    }
    let path = request.uri().path().to_owned();
    let (mut sender, body) = Channel::<Bytes>::new(8);
    tokio::spawn(async move {
        let mut asked = request.into_body();
        while let Some(Ok(frame)) = asked.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            if sender.send_data(data).await.is_err() {
                return;
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("grpc-message", path.parse().unwrap());
        let _ = sender.send_trailers(trailers).await;
    });
    Ok(kind("application/grpc").body(body.boxed()).unwrap())
}

fn long_json() -> Vec<u8> {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(TOO_LONG)).into_bytes()
}

async fn calling() -> (World, SendRequest<Body>) {
    let mut world = World::new(AppProtocol::Http).await;
    serve(world.take_server());
    world.apply().await;
    let stream = world.app.dial(SERVICE).await;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    (world, sender)
}

async fn call(sender: &mut SendRequest<Body>, path: &str, body: Body) -> hyper::Result<Response<Incoming>> {
    let request = Request::post(format!("http://db{path}"))
        .header("te", "trailers")
        .body(body)
        .unwrap();
    timeout(PATIENCE, sender.send_request(request))
        .await
        .expect("no answer")
}

fn message(text: &'static str) -> Body {
    Full::new(Bytes::from_static(text.as_bytes())).boxed()
}

fn on(path: &str) -> HttpMatch {
    HttpMatch {
        path: Some(path.into()),
        ..Default::default()
    }
}

#[tokio::test]
async fn messages_go_both_ways_as_they_come_and_trailers_end_them() {
    let (_world, mut sender) = calling().await;
    let (mut messages, body) = Channel::<Bytes>::new(1);
    let answer = call(&mut sender, "/chirpy.Posts/Watch", body.boxed())
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let mut answered = answer.into_body();
    for text in ["one", "two", "three"] {
        messages
            .send_data(Bytes::from_static(text.as_bytes()))
            .await
            .unwrap();
        let frame = timeout(PATIENCE, answered.frame())
            .await
            .expect("it was held back");
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), text);
    }
    drop(messages);
    let rest = timeout(PATIENCE, answered.collect()).await.unwrap().unwrap();
    let trailers = rest.trailers().expect("no trailers");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["grpc-message"], "/chirpy.Posts/Watch");
}

#[tokio::test]
async fn a_fault_hits_the_streams_it_is_about_and_their_neighbours_go_on() {
    let (mut world, mut sender) = calling().await;
    let delay = Duration::from_millis(150);
    let slow = HttpAction {
        delay: Some(Delay::fixed(delay)),
        ..Default::default()
    };
    let abort = HttpAction {
        abort: true,
        ..Default::default()
    };
    let broken = HttpAction {
        replace: Some(Replace {
            code: Some(503),
            ..Default::default()
        }),
        ..Default::default()
    };
    let share = Percent {
        ppm: 200_000,
        seed: 3,
    };
    let mut faults = vec![
        fault(&world, HttpTarget::Request, on("/slow"), Percent::ALL, slow),
        fault(&world, HttpTarget::Response, on("/gone"), Percent::ALL, abort),
        fault(&world, HttpTarget::Response, on("/some"), share, broken),
    ];
    for (n, fault) in faults.iter_mut().enumerate() {
        fault.id = format!("fault-{n}");
    }
    world.with_faults(faults).await;

    let begun = Instant::now();
    let slow = call(&mut sender, "/slow", message("s")).await.unwrap();
    assert!(begun.elapsed() >= delay, "after {:?}", begun.elapsed());
    let slow = slow.into_body().collect().await.unwrap();
    assert_eq!(slow.trailers().unwrap()["grpc-status"], "0");

    let aborted = call(&mut sender, "/gone", message("g")).await;
    assert!(
        aborted.is_err_and(|error| !error.is_closed()),
        "the stream was not reset"
    );

    let mut hit = 0;
    for _ in 0..50 {
        let answer = call(&mut sender, "/some", message("x")).await.unwrap();
        hit += usize::from(answer.status() == 503);
    }
    assert_eq!(hit, 10, "20 % of 50");

    // The same connection, nothing about it.
    let fine = call(&mut sender, "/fine", message("f")).await.unwrap();
    assert_eq!(fine.status(), 200);
    let text = world.client.metrics().await.unwrap();
    assert!(
        text.contains(r#"hikeshi_edge_connections_total{source="app",destination="db"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn what_is_too_long_to_patch_passes_as_it_is() {
    let (mut world, mut sender) = calling().await;
    let patch = HttpAction {
        patch: Some(Patch {
            body: Some(serde_json::json!({"added": 1})),
            headers: vec![("x-patched".into(), "yes".into())],
            queries: vec![],
        }),
        ..Default::default()
    };
    world
        .with_faults(vec![fault(
            &world,
            HttpTarget::Response,
            HttpMatch::default(),
            Percent::ALL,
            patch,
        )])
        .await;
    let answer = call(&mut sender, "/json", Empty::new().boxed()).await.unwrap();
    assert_eq!(answer.headers()["x-patched"], "yes");
    let body = timeout(PATIENCE, answer.into_body().collect()).await.unwrap();
    assert!(body.unwrap().to_bytes() == long_json(), "it was cut or changed");
}
