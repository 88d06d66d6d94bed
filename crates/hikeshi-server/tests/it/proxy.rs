use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::world::{PARTICIPANT, World, world};

/// An upstream that tells what it was asked, and tries to take our cookie.
async fn upstream() -> String {
    let tell = |request: Request| async move {
        let headers: serde_json::Map<String, Value> = request
            .headers()
            .iter()
            .map(|(k, v)| (k.to_string(), json!(String::from_utf8_lossy(v.as_bytes()))))
            .collect();
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let told =
            json!({"method": method, "uri": uri, "headers": headers, "body": String::from_utf8_lossy(&body)});
        Response::builder()
            .header("set-cookie", "hikeshi_session=stolen")
            .header("set-cookie", "theirs=1")
            .header("connection", "x-private")
            .header("x-private", "1")
            .body(Body::from(told.to_string()))
            .unwrap()
    };
    listen(Router::new().fallback(tell)).await
}

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{addr}")
}

async fn with_upstreams() -> World {
    let world = world().await;
    let base = upstream().await;
    for name in ["prometheus", "alertmanager", "chirpy"] {
        world.host.state().upstreams.insert(name.into(), base.clone());
    }
    world
}

#[tokio::test]
async fn prefixes_are_kept_and_the_session_stays_here() {
    let world = with_upstreams().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    for (path, expected) in [
        (
            "/prometheus/graph?g0.expr=up%7Ba%3D%22b%22%7D",
            "/prometheus/graph?g0.expr=up%7Ba%3D%22b%22%7D",
        ),
        ("/prometheus", "/prometheus"),
        ("/alertmanager/", "/alertmanager/"),
    ] {
        let answer = pika.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().cloned().collect();
        assert_eq!(cookies, ["theirs=1"]);
        assert!(answer.headers().get("x-private").is_none());
        assert_eq!(answer.headers()["x-frame-options"], "SAMEORIGIN");
        let told: Value = answer.json().await.unwrap();
        assert_eq!(told["uri"], expected);
        assert!(!told.to_string().contains("hikeshi_session"), "{told}");
    }
}

#[tokio::test]
async fn the_systems_page_has_an_origin_of_its_own() {
    let world = with_upstreams().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    for (path, there) in [
        ("/chirpy", "/"),
        ("/chirpy/", "/"),
        ("/chirpy/api/timeline?x=1", "/api/timeline?x=1"),
        ("/chirpy//evil.example/", "//evil.example/"),
    ] {
        let answer = pika.get(path).await;
        assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT, "{path}");
        assert_eq!(answer.headers()["location"], format!("{}{there}", world.app));
    }
    let room = pika.get("/").await;
    let policy = room.headers()["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains(&format!("frame-src 'self' {};", world.app)),
        "{policy}"
    );

    let app = pika.at(&world.app);
    let answer = app.get("/api/timeline?x=1").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        answer.headers()["content-security-policy"],
        format!("frame-ancestors {}", world.base)
    );
    let told: Value = answer.json().await.unwrap();
    assert_eq!(told["uri"], "/api/timeline?x=1");
    assert!(!told.to_string().contains("hikeshi_session"), "{told}");
    let answer = app.post("/api/posts", json!({"text": "hi"})).await;
    let told: Value = answer.json().await.unwrap();
    assert_eq!(
        (&told["method"], &told["body"]),
        (&json!("POST"), &json!("{\"text\":\"hi\"}"))
    );
    // Nothing of the war room is there, and its scripts are another site's to the war room.
    assert_eq!(app.get_json("/api/invites").await["uri"], "/api/invites");
    let forged = pika
        .request(Method::POST, "/api/command")
        .header("origin", &world.app)
        .json(&json!({"command": "say", "text": "hello"}));
    assert_eq!(forged.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let stranger = world.stranger().at(&world.app);
    assert_eq!(stranger.get("/").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_monitoring_tools_are_for_reading() {
    let world = with_upstreams().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    let refused = StatusCode::METHOD_NOT_ALLOWED;
    for (path, status) in [
        ("/prometheus/api/v1/query", StatusCode::OK),
        ("/prometheus/api/v1/query_range", StatusCode::OK),
        ("/prometheus/-/reload", refused),
        ("/prometheus/-/quit", refused),
        ("/prometheus/api/v1/admin/tsdb/delete_series", refused),
        ("/prometheus/api/v1/query/../../../-/quit", refused),
        ("/alertmanager/api/v2/silences", refused),
    ] {
        assert_eq!(pika.post(path, json!({})).await.status(), status, "{path}");
    }
    let delete = pika
        .request(Method::DELETE, "/alertmanager/api/v2/silence/x")
        .header("origin", &world.base);
    assert_eq!(delete.send().await.unwrap().status(), refused);
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_named() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    let answer = pika.get("/prometheus/").await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert!(
        answer
            .text()
            .await
            .unwrap()
            .contains("prometheus does not answer: it is not up yet")
    );
    // A port that was just given back: nobody listens.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    world
        .host
        .state()
        .upstreams
        .insert("chirpy".into(), format!("http://{free}"));
    let answer = pika.at(&world.app).get("/").await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert!(answer.text().await.unwrap().contains("chirpy does not answer"));
}

#[tokio::test]
async fn streams_pass_through_as_they_come() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    let (sender, receiver) = mpsc::channel::<Result<String, std::io::Error>>(1);
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(Some(receiver)));
    let router = Router::new().fallback(move || {
        let receiver = receiver.lock().unwrap().take().unwrap();
        async move { Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver)) }
    });
    let base = listen(router).await;
    world.host.state().upstreams.insert("chirpy".into(), base);
    let mut body = pika.at(&world.app).get("/live").await.bytes_stream();
    for part in ["first", "second"] {
        // The next part is sent only after the one before it has arrived.
        sender.send(Ok(part.to_owned())).await.unwrap();
        assert_eq!(body.next().await.unwrap().unwrap(), part);
    }
}
