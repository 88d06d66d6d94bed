//! One load from several pods of a running system.

use hikeshi_load::latency::Latencies;
use serde_json::Value;

use crate::harness::{Home, text};
use crate::kubectl::Kubectl;

/// Slow enough for a machine that is busy with other tests: what is looked at are the counts.
const RUN: [&str; 8] = [
    "load",
    "run",
    "steady",
    "--rate",
    "30",
    "--duration",
    "3s",
    "--json",
];

/// Pods share the schedule that one process has alone, and what they measured is added up without losing any.
pub async fn is_one_run(home: &Home) {
    let alone = told(home, &RUN);
    let together = told(home, &[&RUN[..], &["--pods", "2"]].concat());
    assert_eq!(
        (&alone["pods"], &together["pods"]),
        (&Value::from(0), &Value::from(2))
    );
    for journey in ["post-message", "read-timeline"] {
        let (alone, together) = (&alone["journeys"][journey], &together["journeys"][journey]);
        assert_eq!(
            together["offered"], alone["offered"],
            "{journey}: each arrival falls to one pod"
        );
        assert!(
            together["ok"].as_u64().is_some_and(|ok| ok > 0),
            "{journey}: {together}"
        );
        let merged: Latencies =
            serde_json::from_value(together["histogram"].clone()).expect("an HdrHistogram");
        assert_eq!(
            Some(merged.len()),
            together["ok"].as_u64(),
            "{journey}: the merged histogram holds every answer of both pods"
        );
        let course = together["course"].as_array().expect("a course");
        let offered = course.iter().filter_map(|point| point["offered"].as_u64());
        assert_eq!(
            Some(offered.sum()),
            together["offered"].as_u64(),
            "{journey}: so does the course"
        );
    }
    let admin = Kubectl::new(home.path().join("kubeconfig"));
    let jobs = admin.ok("get jobs -n hikeshi-load -o name").await;
    assert_eq!(jobs.trim(), "", "the Job goes with the run");
}

/// The run's JSON; on a slow machine it may have found the latencies too long.
fn told(home: &Home, args: &[&str]) -> Value {
    let output = home.run(args);
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{args:?}: {}",
        text(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}
