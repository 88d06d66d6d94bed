use std::sync::Arc;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::json;

use crate::made_budgets::budgets;
use crate::world::{PARTICIPANT, world};

#[tokio::test]
async fn every_seat_sees_the_budgets_and_a_stranger_does_not() {
    let world = world().await;
    let now = Timestamp::from_second(1_796_083_200).unwrap();
    world.host.state().budgets = Some(Arc::new(budgets(now)));
    let stranger = world.stranger().get("/api/budgets").await;
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    let observer = world.join(PARTICIPANT, "mita1", "observer").await;
    let told = observer.get_json("/api/budgets").await;
    assert_eq!(told["slo_clock"], json!(60.0));
    // In the file's order: the first matters most to the business.
    let names: Vec<_> = told["journeys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|j| j["name"].clone())
        .collect();
    assert_eq!(names, [json!("post-message"), json!("read-timeline")]);
    let fresh = &told["journeys"][1]["slos"][2];
    assert_eq!(
        (&fresh["slo"], &fresh["window"]),
        (&json!("read-timeline-freshness"), &json!("30d"))
    );
    let status = &fresh["status"];
    // In steps of 15 s: 27 at 34 %, 34 at 35 %, and 0.04 % in the other 659 of three hours; 432 s of outage are allowed.
    let bad = 15.0 * (27.0 * 0.34 + 34.0 * 0.35 + 659.0 * 0.000_4);
    let spent = status["spent"].as_f64().unwrap();
    assert!((spent - bad / 432.0).abs() < 1e-4, "{spent}");
    assert_eq!(status["spenders"][1]["name"], json!("demo"));
    assert!(
        status["words"]["ja"]
            .as_str()
            .unwrap()
            .contains("エラーバジェット")
    );
    assert_eq!(fresh["alerts"][0]["fires"], json!(true));
    // What nobody measured is not whole: it is null.
    let unknown = &told["journeys"][0]["slos"][1]["status"];
    for key in ["left", "spent", "minutes_left", "events_left", "burn", "attained"] {
        assert_eq!(unknown[key], json!(null), "{key}");
    }
    assert_eq!(unknown["points"], json!([]));
}

#[tokio::test]
async fn without_prometheus_no_budget_is_made_up() {
    let world = world().await;
    let observer = world.join(PARTICIPANT, "mita1", "observer").await;
    let answer = observer.get("/api/budgets").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}
