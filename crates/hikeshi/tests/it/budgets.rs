//! Error budgets of the running system, in the war room and on the command line.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Home, eventually, text};
use crate::room::Room;

/// The load's first requests, and two scrapes.
const SOON: Duration = Duration::from_secs(60);

/// Both tell every objective's budget from what Prometheus really counted, and the same; the drill that is on is among what may
/// have spent it.
pub async fn are_told(home: &Home, room: &Room, drill: &str) {
    let counted = |slo: &Value| slo["status"]["total"].as_f64().is_some_and(|total| total > 0.0);
    let told = eventually("every objective's requests are counted", SOON, async || {
        let told = room.get("/api/budgets").await;
        let slos = slos(&told);
        (slos.len() == 5 && slos.iter().all(counted)).then_some(told)
    })
    .await;
    let names: Vec<&str> = told["journeys"]
        .as_array()
        .expect("journeys")
        .iter()
        .filter_map(|journey| journey["name"].as_str())
        .collect();
    assert_eq!(names, ["post-message", "read-timeline"], "by business impact");
    assert_eq!(told["slo_clock"], 60.0);
    let output = home.run(&["slo", "budget", "--json"]);
    let budgets: Value = serde_json::from_str(&text(&output.stdout)).expect("JSON");
    for (slo, said) in slos(&told).iter().zip(budgets.as_array().expect("a list")) {
        assert_eq!(slo["slo"], said["slo"]);
        let (left, same) = (slo["status"]["left"].as_f64(), said["left"].as_f64());
        let apart = (left.expect("known") - same.expect("known")).abs();
        assert!(
            apart < 0.05,
            "{}: {left:?} in the page, {same:?} told",
            slo["slo"]
        );
        let spenders = slo["status"]["spenders"].as_array().expect("a list");
        assert!(spenders.iter().any(|one| one["name"] == drill), "{spenders:?}");
        assert_eq!(slo["alerts"].as_array().map(Vec::len), Some(4));
        assert_eq!(slo["changes"][0]["why"], "first seen");
    }
}

fn slos(told: &Value) -> Vec<Value> {
    let journeys = told["journeys"].as_array().into_iter().flatten();
    journeys
        .filter_map(|journey| journey["slos"].as_array())
        .flatten()
        .cloned()
        .collect()
}
