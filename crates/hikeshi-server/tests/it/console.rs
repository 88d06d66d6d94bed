use futures::StreamExt;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::world::{PARTICIPANT, PATIENCE, Person, world};

async fn run(person: &Person, line: &str) -> Vec<Value> {
    let answer = person.post("/api/console", json!({"line": line})).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    answer
        .text()
        .await
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[tokio::test]
async fn output_comes_in_order_and_the_exit_code_last() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    world
        .host
        .state()
        .outputs
        .insert("get pods".into(), "NAME\n言葉\n".into());
    assert_eq!(
        run(&pika, "kubectl get pods").await,
        [
            json!({"stream": "stdout", "text": "NAME\n"}),
            json!({"stream": "stdout", "text": "言葉\n"}),
            json!({"exit": 0})
        ]
    );
    let failed = run(&pika, "kubectl get svc").await;
    assert_eq!(failed.first().unwrap()["stream"], "stderr");
    assert_eq!(failed.last().unwrap(), &json!({"exit": 1}));
    let refused = run(&pika, "kubectl get pods | grep x").await;
    assert!(
        refused[0]["error"].as_str().unwrap().contains("A pipe (|)"),
        "{refused:?}"
    );
    assert!(
        refused[0]["error_ja"].as_str().unwrap().contains("パイプ (|)"),
        "{refused:?}"
    );
    let long = pika.post("/api/console", json!({"line": "x".repeat(5000)})).await;
    assert_eq!(long.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_browser_that_goes_away_stops_its_command() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    let answer = pika
        .post("/api/console", json!({"line": "kubectl get pods -w"}))
        .await;
    let mut body = answer.bytes_stream();
    assert!(body.next().await.unwrap().is_ok());
    drop(body);
    tokio::time::timeout(PATIENCE, world.host.stopped.notified())
        .await
        .expect("the command went on");
}

#[tokio::test]
async fn endless_output_is_stopped_at_a_limit() {
    let world = world().await;
    let pika = world.join(PARTICIPANT, "pika7", "operator").await;
    let parts = run(&pika, "kubectl logs -f x").await;
    assert!(
        parts.last().unwrap()["stopped"]
            .as_str()
            .unwrap()
            .contains("too much output")
    );
    tokio::time::timeout(PATIENCE, world.host.stopped.notified())
        .await
        .expect("the command went on");
}
