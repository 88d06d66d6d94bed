use hikeshi_server::api::{DrillState, UiCommand};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::{HOST, PARTICIPANT, world};

#[tokio::test]
async fn an_invitation_tells_the_seats_and_a_wrong_one_nothing() {
    let world = world().await;
    let stranger = world.stranger();
    let invite = stranger.get_json(&format!("/api/invite/{PARTICIPANT}")).await;
    assert_eq!(invite["role"], "participant");
    assert_eq!(
        invite["seats"],
        json!(["commander", "operator", "scribe", "observer"])
    );
    let invite = stranger.get_json(&format!("/api/invite/{HOST}")).await;
    assert_eq!(invite["role"], "host");
    assert_eq!(invite["seats"].as_array().unwrap().last().unwrap(), "facilitator");
    assert_eq!(
        stranger.get("/api/invite/guess").await.status(),
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        stranger.try_join("guess", "pika7", "operator").await.status(),
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn joining_needs_a_handle_and_an_open_seat() {
    let world = world().await;
    let stranger = world.stranger();
    for name in ["P", "Pika", "ピカ", "../x"] {
        let answer = stranger.try_join(PARTICIPANT, name, "operator").await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{name}");
    }
    for seat in ["facilitator", "king", ""] {
        let answer = stranger.try_join(PARTICIPANT, "pika7", seat).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{seat}");
    }
    world.join(PARTICIPANT, "pika7", "operator").await;
    let refused = stranger.try_join(PARTICIPANT, "pika7", "scribe").await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    let words: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(words["error"], "that name is taken");
    assert_eq!(words["error_ja"], "その名前は使われています");
}

#[tokio::test]
async fn every_seat_sees_the_service_map_and_what_is_not_known_is_null() {
    let world = world().await;
    let observer = world.join(PARTICIPANT, "mita1", "observer").await;
    let map = observer.get_json("/api/map").await;
    let flow = json!({
        "requests_per_second": null, "commands_per_second": 40.0, "bytes_per_second": null, "error_share": null, "p99_s": null
    });
    assert_eq!(
        (&map["measured"], &map["edges"][0]["flow"]),
        (&json!(true), &flow)
    );
    assert_eq!(map["edges"][0]["without"], json!(null));
    assert_eq!(map["roles"][1]["name"], "postgres");
}

#[tokio::test]
async fn nothing_is_seen_or_done_without_a_session() {
    let world = world().await;
    let stranger = world.stranger();
    for path in [
        "/api/drill",
        "/api/drills",
        "/api/drills/d1/events",
        "/api/drills/d1/stream",
        "/api/drills/d1/score",
        "/api/journeys",
        "/api/map",
        "/api/invites",
        "/prometheus/",
        "/alertmanager/",
        "/chirpy/",
    ] {
        assert_eq!(
            stranger.get(path).await.status(),
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
    }
    for path in ["/api/command", "/api/console", "/api/leave"] {
        let answer = stranger
            .post(path, json!({"command": "end", "line": "kubectl get pods"}))
            .await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(stranger.get_json("/api/session").await["viewer"], json!(null));
}

#[tokio::test]
async fn experiments_are_for_whoever_runs_the_drill() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    let host = world.join(HOST, "boss", "facilitator").await;
    let requests = [
        (Method::GET, "/api/experiments"),
        (Method::POST, "/api/experiments"),
        (Method::POST, "/api/experiments/preview"),
        (Method::GET, "/api/experiments/targets"),
        (Method::GET, "/api/experiments/e1"),
        (Method::DELETE, "/api/experiments/e1"),
    ];
    for (method, path) in requests {
        let ask = async |person: &crate::world::Person| {
            let request = person
                .request(method.clone(), path)
                .header("origin", &world.base)
                .json(&json!({"manifest": "kind: HTTPChaos"}));
            request.send().await.unwrap().status()
        };
        assert_eq!(
            ask(&world.stranger()).await,
            StatusCode::UNAUTHORIZED,
            "{method} {path}"
        );
        assert_eq!(ask(&pika).await, StatusCode::FORBIDDEN, "{method} {path}");
        // Let through, to a host that runs none.
        assert_eq!(
            ask(&host).await,
            StatusCode::SERVICE_UNAVAILABLE,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn another_sites_page_cannot_act() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    let body = json!({"command": "say", "text": "hello"});
    for origin in [
        None,
        Some("http://evil.example"),
        Some("null"),
        Some("https://127.0.0.1"),
    ] {
        for path in ["/api/command", "/api/console", "/api/join"] {
            let mut request = pika.request(Method::POST, path).json(&body);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            assert_eq!(
                request.send().await.unwrap().status(),
                StatusCode::FORBIDDEN,
                "{path} {origin:?}"
            );
        }
    }
    assert_eq!(
        pika.post("/api/command", body).await.status(),
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn commands_are_checked_and_only_a_host_begins_and_ends() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    let host = world.join(HOST, "boss", "facilitator").await;
    let begin = serde_json::to_value(UiCommand::Begin).unwrap();
    assert_eq!(
        pika.post("/api/command", begin.clone()).await.status(),
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        host.post("/api/command", begin).await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(pika.get_json("/api/drill").await["state"], "running");
    for (body, status) in [
        (json!({"command": "say", "text": "  "}), StatusCode::BAD_REQUEST),
        (
            json!({"command": "say", "text": "あ".repeat(4001)}),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!({"command": "say", "text": "あ".repeat(4000)}),
            StatusCode::NO_CONTENT,
        ),
        (json!({"command": "fly"}), StatusCode::UNPROCESSABLE_ENTITY),
        (
            json!({"command": "say", "text": "x".repeat(100_000)}),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ] {
        let words: String = body.to_string().chars().take(40).collect();
        assert_eq!(pika.post("/api/command", body).await.status(), status, "{words}");
    }
    assert_eq!(
        pika.get_json("/api/invites").await,
        json!({"participant": PARTICIPANT, "host": null})
    );
    assert_eq!(host.get_json("/api/invites").await["host"], HOST);
}

#[tokio::test]
async fn leaving_ends_the_session() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    assert_eq!(pika.get_json("/api/session").await["viewer"]["name"], "pika7");
    let answer = pika.post("/api/leave", json!({})).await;
    assert!(
        answer.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert!(world.host.state().view.people.is_empty());
}

#[tokio::test]
async fn documents_and_the_score_come_with_the_end() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    {
        let mut state = world.host.state();
        state.score = Some(json!({"points": 5}));
        state.documents = Some("# 物語".into());
    }
    assert_eq!(
        pika.get("/api/drills/d1/score").await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        pika.get("/api/drills/d1/story").await.status(),
        StatusCode::NOT_FOUND
    );
    world.host.state().view.state = DrillState::Ended;
    assert_eq!(pika.get_json("/api/drills/d1/score").await["points"], 5);
    let story = pika.get("/api/drills/d1/story?lang=ja").await;
    assert_eq!(story.headers()["content-type"], "text/markdown; charset=utf-8");
    assert_eq!(story.text().await.unwrap(), "# 物語");
}

#[tokio::test]
async fn every_page_says_who_may_frame_it_and_unknown_apis_are_no_pages() {
    let world = world().await;
    let page = world.stranger().get("/join/whatever").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'self'"),
        "{policy}"
    );
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    assert!(page.text().await.unwrap().starts_with("<!doctype html>"));
    assert_eq!(
        world.stranger().get("/api/nothing").await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        world.stranger().get("/assets/nothing.js").await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(world.stranger().get("/healthz").await.text().await.unwrap(), "ok");
}
