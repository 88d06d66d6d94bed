//! The generator against a small Chirpy of the test's own.

#![expect(clippy::expect_used, reason = "a test says what it expected")]

mod parts;
mod servers;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use hikeshi_load::engine::Settings;
use hikeshi_load::journey::Journey;
use hikeshi_load::recorder::Summary;
use hikeshi_load::run::{Plan, Run};
use hikeshi_load::schedule::{Arrivals, Mix, Schedule};
use hikeshi_load::shape::Shape;
use serde_json::{Value, json};
use tokio::sync::{RwLock, watch};

/// What the fake Chirpy does and has seen.
#[derive(Default)]
struct Fake {
    next: AtomicI64,
    reads: AtomicU64,
    /// Held for writing, every request waits.
    gate: RwLock<()>,
    /// Posts do not reach timelines.
    stale: AtomicBool,
    /// Timelines come in the wrong order.
    wrong: AtomicBool,
}

type Shared = State<Arc<Fake>>;

async fn write(State(fake): Shared, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    let _open = fake.gate.read().await;
    let id = fake.next.fetch_add(1, Ordering::SeqCst) + 1;
    (
        StatusCode::CREATED,
        Json(json!({ "id": id, "author": "tenki", "text": body["text"] })),
    )
}

async fn timeline(State(fake): Shared) -> Json<Value> {
    let _open = fake.gate.read().await;
    fake.reads.fetch_add(1, Ordering::SeqCst);
    let last = if fake.stale.load(Ordering::SeqCst) {
        0
    } else {
        fake.next.load(Ordering::SeqCst)
    };
    let mut ids: Vec<i64> = (1..=last).rev().take(50).collect();
    if fake.wrong.load(Ordering::SeqCst) {
        ids = vec![1, 2];
    }
    Json(
        ids.into_iter()
            .map(|id| json!({ "id": id, "author": "tenki", "text": "" }))
            .collect(),
    )
}

async fn followers(Path(_): Path<String>) -> Json<Value> {
    Json(json!([{ "name": "person0001" }, { "name": "person0002" }]))
}

async fn start() -> (Arc<Fake>, String) {
    let fake = Arc::new(Fake::default());
    let routes = Router::new()
        .route("/api/login", post(|| async { Json(json!({ "token": "t" })) }))
        .route("/api/posts", post(write))
        .route("/api/timeline", get(timeline))
        .route("/api/users/{name}/followers", get(followers))
        .with_state(fake.clone());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (fake, format!("http://{address}"))
}

fn plan(rate: f64) -> Plan {
    let mix = Mix {
        weights: [0.1, 0.9, 0.0, 0.0],
        hot: 0.5,
    };
    Plan {
        schedule: Schedule::new(Shape::constant(rate), vec![mix], Arrivals::Constant, 1),
        journeys: vec![Journey::PostMessage, Journey::ReadTimeline],
        hot: "tenki".into(),
        prefix: "person".into(),
        users: 5,
        password: "p".into(),
        freshness_after: Duration::from_millis(50),
        freshness_every: Duration::ZERO,
        freshness_followers: 2,
        settle: Duration::ZERO,
        settle_limit: Duration::ZERO,
    }
}

/// Runs until `enough` holds of the summary, then stops and waits for the requests under way.
async fn run_until(
    run: &Arc<Run>,
    meanwhile: impl AsyncFnOnce(),
    enough: impl Fn(&Summary) -> bool,
) -> Summary {
    let (stop, stopped) = watch::channel(false);
    run.log_in(&stopped).await;
    let sender = tokio::spawn({
        let run = run.clone();
        async move {
            run.settle(&stopped).await.expect("settled");
            run.send(Instant::now(), stopped).await.expect("sent");
        }
    });
    meanwhile().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !enough(&run.recorder.summary(Duration::ZERO)) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not enough: {:?}",
            run.recorder.summary(Duration::ZERO)
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.send_replace(true);
    sender.await.expect("sent");
    run.recorder.summary(Duration::ZERO)
}

const SETTINGS: Settings = Settings {
    timeout: Duration::from_secs(30),
    connections: 1024,
    page: 20,
};

fn run(plan: Plan, target: &str) -> Arc<Run> {
    Run::new(plan, target, SETTINGS, None).expect("a run")
}

#[tokio::test]
async fn what_is_offered_is_sent_and_acknowledged_posts_are_listed() {
    let (fake, target) = start().await;
    let run = run(plan(200.0), &target);
    let fresh = |summary: &Summary| summary.journeys["read-timeline"].fresh >= 5;
    let summary = run_until(&run, async || {}, fresh).await;
    let (posts, reads) = (
        &summary.journeys["post-message"],
        &summary.journeys["read-timeline"],
    );
    assert_eq!((posts.offered, posts.error), (posts.ok, 0));
    assert_eq!((posts.sent, reads.sent), (posts.offered, reads.offered));
    assert_eq!((reads.offered, reads.error), (reads.ok, 0));
    assert!(fake.reads.load(Ordering::SeqCst) >= reads.ok);
    assert_eq!(reads.stale, 0);

    let lines = run.acknowledged_lines();
    let ids: HashSet<i64> = lines
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["id"]
                .as_i64()
                .expect("an id")
        })
        .collect();
    assert_eq!(ids, (1..=fake.next.load(Ordering::SeqCst)).collect());
    let metrics = run.recorder.exposition().expect("text");
    for line in [
        format!(
            r#"journey_requests_total{{journey="post-message",result="ok"}} {}"#,
            posts.ok
        ),
        r#"journey_requests_total{journey="post-message",result="error"} 0"#.to_owned(),
        r#"journey_freshness_total{journey="read-timeline",result="stale"} 0"#.to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn a_stall_of_the_server_shows_in_every_request_that_was_due_meanwhile() {
    let (fake, target) = start().await;
    let run = run(plan(100.0), &target);
    let stall = async || {
        let held = fake.gate.write().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(held);
    };
    let enough = |summary: &Summary| summary.journeys["read-timeline"].ok >= 250;
    let summary = run_until(&run, stall, enough).await;
    let reads = &summary.journeys["read-timeline"];
    // 90 reads a second were due in that second; were they measured from when they could be sent, two would be slow.
    assert!(reads.latency_ms.p99 > 800.0, "{:?}", reads.latency_ms);
    assert!(reads.latency_ms.p90 > 300.0, "{:?}", reads.latency_ms);
    assert_eq!(reads.offered, reads.ok);
}

#[tokio::test]
async fn timelines_that_do_not_update_are_stale_though_they_answer() {
    let (fake, target) = start().await;
    fake.stale.store(true, Ordering::SeqCst);
    let run = run(plan(200.0), &target);
    let summary = run_until(
        &run,
        async || {},
        |summary| summary.journeys["read-timeline"].stale >= 5,
    )
    .await;
    assert_eq!(
        (
            summary.journeys["read-timeline"].fresh,
            summary.journeys["read-timeline"].error
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn a_system_that_is_still_starting_is_not_measured_but_its_posts_count() {
    let (fake, target) = start().await;
    fake.stale.store(true, Ordering::SeqCst);
    let run = run(
        Plan {
            settle: Duration::from_millis(200),
            settle_limit: Duration::from_secs(60),
            ..plan(200.0)
        },
        &target,
    );
    let started = async || {
        // Several stretches go by in which no post reaches a timeline.
        while fake.next.load(Ordering::SeqCst) < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fake.stale.store(false, Ordering::SeqCst);
    };
    let fresh = |summary: &Summary| summary.journeys["read-timeline"].fresh >= 5;
    let summary = run_until(&run, started, fresh).await;
    assert_eq!(summary.journeys["read-timeline"].stale, 0);
    let written = fake.next.load(Ordering::SeqCst);
    assert!(summary.journeys["post-message"].ok.cast_signed() < written);
    assert_eq!(i64::try_from(summary.acknowledged), Ok(written));
}

#[tokio::test]
async fn a_system_that_never_becomes_well_is_measured_in_the_end() {
    let (fake, target) = start().await;
    fake.stale.store(true, Ordering::SeqCst);
    let run = run(
        Plan {
            settle: Duration::from_millis(50),
            settle_limit: Duration::from_millis(200),
            ..plan(200.0)
        },
        &target,
    );
    let stale = |summary: &Summary| summary.journeys["read-timeline"].stale >= 5;
    let summary = run_until(&run, async || {}, stale).await;
    assert_eq!(summary.journeys["read-timeline"].fresh, 0);
}

#[tokio::test]
async fn a_wrong_answer_is_an_error_whatever_its_status() {
    let (fake, target) = start().await;
    fake.wrong.store(true, Ordering::SeqCst);
    let run = run(plan(200.0), &target);
    let summary = run_until(
        &run,
        async || {},
        |summary| summary.journeys["read-timeline"].error >= 5,
    )
    .await;
    let reads = &summary.journeys["read-timeline"];
    assert_eq!(reads.ok, 0);
    assert!(
        reads.errors.keys().any(|error| error.contains("out of order")),
        "{:?}",
        reads.errors
    );
}
