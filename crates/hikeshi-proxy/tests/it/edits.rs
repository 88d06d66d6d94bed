//! What HTTPChaos changes in HTTP/1.1 messages, byte by byte as the two ends see them, and which messages it is about.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hikeshi_proxy::AppProtocol;
use hikeshi_proxy::faults::delay::DelayLength;
use hikeshi_proxy::faults::{Delay, Fault, HttpAction, HttpMatch, HttpTarget, Patch, Percent, Replace};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Channel, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::harness::{PATIENCE, SERVICE, World};
use crate::http::fault;

type Body = BoxBody<Bytes, Infallible>;

/// More than a fault reads into memory to patch it.
const TOO_LONG: usize = 9 * 1024 * 1024;

/// Sends every body back in chunks, with what was asked in headers of the answer; `/404` is not found.
fn serve(listener: TcpListener) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(serving);
        }
    });
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let missing = parts.uri.path() == "/404";
    let answer = Response::builder()
        .status(if missing { 404 } else { 200 })
        .header("content-type", "application/json")
        .header("x-method", parts.method.as_str())
        .header("x-target", parts.uri.to_string())
        .header("x-kind", if missing { "missing" } else { "found" });
    Ok(answer
        .body(body.map_err(|error| panic!("{error}")).boxed())
        .unwrap())
}

async fn asking() -> (World, SendRequest<Body>) {
    let mut world = World::new(AppProtocol::Http).await;
    serve(world.take_server());
    world.apply().await;
    let stream = world.app.dial(SERVICE).await;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    (world, sender)
}

async fn ask(sender: &mut SendRequest<Body>, method: &str, target: &str, body: Body) -> Response<Bytes> {
    sender.ready().await.unwrap();
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "db")
        .header("content-type", "application/json")
        .body(body)
        .unwrap();
    let exchange = async {
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    };
    timeout(PATIENCE, exchange).await.expect("no answer")
}

fn value(answer: &Response<Bytes>) -> serde_json::Value {
    serde_json::from_slice(answer.body()).unwrap()
}

fn json(text: &'static str) -> Body {
    Full::new(Bytes::from_static(text.as_bytes())).boxed()
}

fn long_json() -> Vec<u8> {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(TOO_LONG)).into_bytes()
}

/// In pieces, so that nobody knows its length before its end.
fn in_chunks(bytes: Vec<u8>) -> Body {
    let (mut sender, body) = Channel::<Bytes>::new(8);
    tokio::spawn(async move {
        for piece in bytes.chunks(50_000) {
            if sender.send_data(Bytes::copy_from_slice(piece)).await.is_err() {
                return;
            }
        }
    });
    body.boxed()
}

fn everything(world: &World, target: HttpTarget, action: HttpAction) -> Fault {
    fault(world, target, HttpMatch::default(), Percent::ALL, action)
}

fn added() -> HttpAction {
    HttpAction {
        patch: Some(Patch {
            body: Some(serde_json::json!({"added": 1})),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_body_in_chunks_is_patched_and_one_too_long_passes_as_it_is() {
    for target in [HttpTarget::Request, HttpTarget::Response] {
        let (mut world, mut sender) = asking().await;
        let patch = everything(&world, target, added());
        world.with_faults(vec![patch]).await;
        let short = in_chunks(br#"{"a":1}"#.to_vec());
        let answer = ask(&mut sender, "POST", "/", short).await;
        assert_eq!(value(&answer), serde_json::json!({"a": 1, "added": 1}));
        let answer = ask(&mut sender, "POST", "/", in_chunks(long_json())).await;
        assert!(answer.body() == &long_json(), "{target:?}: it was cut or changed");
        // The connection is none the worse for it.
        let answer = ask(&mut sender, "POST", "/", json(r#"{"b":2}"#)).await;
        assert_eq!(value(&answer), serde_json::json!({"b": 2, "added": 1}));
    }
}

#[tokio::test]
async fn a_request_gets_another_method_path_query_and_body() {
    let (mut world, mut sender) = asking().await;
    let replace = HttpAction {
        replace: Some(Replace {
            method: Some("PUT".into()),
            path: Some("/elsewhere".into()),
            queries: [("page".into(), "2".into())].into(),
            body: Some(br#"{"new":true}"#.to_vec()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let replaced = everything(&world, HttpTarget::Request, replace);
    world.with_faults(vec![replaced]).await;
    let answer = ask(
        &mut sender,
        "POST",
        "/here?page=1&size=5",
        json(r#"{"old":true}"#),
    )
    .await;
    assert_eq!(answer.headers()["x-method"], "PUT");
    assert_eq!(answer.headers()["x-target"], "/elsewhere?size=5&page=2");
    assert_eq!(answer.body(), &br#"{"new":true}"#[..]);
}

#[tokio::test]
async fn an_answers_status_and_headers_decide_who_is_hit() {
    let broken = HttpAction {
        replace: Some(Replace {
            code: Some(503),
            ..Default::default()
        }),
        ..Default::default()
    };
    let by = |matches: HttpMatch| (matches, broken.clone());
    for (matches, action) in [
        by(HttpMatch {
            code: Some(404),
            ..Default::default()
        }),
        by(HttpMatch {
            response_headers: [("x-kind".into(), "missing".into())].into(),
            ..Default::default()
        }),
        by(HttpMatch {
            method: Some("DELETE".into()),
            path: Some("/4?4".into()),
            ..Default::default()
        }),
    ] {
        let (mut world, mut sender) = asking().await;
        let fault = fault(
            &world,
            HttpTarget::Response,
            matches.clone(),
            Percent::ALL,
            action,
        );
        world.with_faults(vec![fault]).await;
        assert_eq!(
            ask(&mut sender, "DELETE", "/404", json("{}")).await.status(),
            503,
            "{matches:?}"
        );
        assert_eq!(
            ask(&mut sender, "GET", "/200", json("{}")).await.status(),
            200,
            "{matches:?}"
        );
    }
}

#[tokio::test]
async fn a_delay_to_a_total_and_one_by_quantiles_are_kept() {
    let (mut world, mut sender) = asking().await;
    // Long enough that a slow machine does not make one half of it into the other.
    let total = Duration::from_secs(2);
    let delayed = |delay| HttpAction {
        delay: Some(delay),
        ..Default::default()
    };
    let padded = Delay {
        to_total: true,
        ..Delay::fixed(total)
    };
    // Behind a request that is late already: only what is missing is added.
    let late = everything(&world, HttpTarget::Request, delayed(Delay::fixed(total / 2)));
    let mut padding = everything(&world, HttpTarget::Response, delayed(padded));
    padding.id = "padding".into();
    world.with_faults(vec![late, padding]).await;
    let begun = Instant::now();
    ask(&mut sender, "POST", "/", json("{}")).await;
    let took = begun.elapsed();
    assert!(took >= total, "after {took:?}");
    assert!(took < total * 3 / 2, "the two were added: {took:?}");

    let quantiles = Delay {
        length: DelayLength::Quantiles {
            points: vec![(0.0, 20_000), (1.0, 60_000)],
        },
        seed: 5,
        ..Delay::fixed(Duration::ZERO)
    };
    let spread = everything(&world, HttpTarget::Request, delayed(quantiles));
    world.with_faults(vec![spread]).await;
    for _ in 0..10 {
        let begun = Instant::now();
        ask(&mut sender, "POST", "/", json("{}")).await;
        assert!(begun.elapsed() >= Duration::from_millis(20));
    }
}
