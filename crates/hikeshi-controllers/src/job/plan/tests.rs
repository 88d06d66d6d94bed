use serde_json::{Value, json};

use super::*;
use crate::pods::testing::{merge, pod};

fn job(spec: Value) -> Job {
    let mut base = json!({"metadata": {"namespace": "ns", "name": "j", "uid": "job"},
        "spec": {"completions": 1, "parallelism": 1, "template": {}},
        "status": {"startTime": "2026-01-01T00:00:00Z"}});
    merge(&mut base["spec"], &spec);
    serde_json::from_value(base).expect("a Job")
}

fn at(seconds: i64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time") + SignedDuration::from_secs(seconds)
}

fn ended(name: &str, phase: &str, at: &str) -> Arc<Pod> {
    Arc::new(pod(
        name,
        "job",
        &json!({"status": {"phase": phase, "containerStatuses": [{"name": "c", "image": "",
        "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 1, "finishedAt": at}}}]}}),
    ))
}

fn conditions(plan: &Plan) -> Vec<&str> {
    plan.status
        .conditions
        .iter()
        .flatten()
        .map(|c| c.type_.as_str())
        .collect()
}

#[test]
fn runs_as_many_as_allowed_until_complete() {
    let three = job(json!({"completions": 3, "parallelism": 2}));
    assert_eq!(plan(&three, &[], at(0)).create.len(), 2);
    let two: Vec<_> = ["a", "b"]
        .map(|n| ended(n, "Succeeded", "2026-01-01T00:00:01Z"))
        .into();
    assert_eq!(
        plan(&three, &two, at(2)).create.len(),
        1,
        "no more than are still to be completed"
    );
    let all: Vec<_> = ["a", "b", "c"]
        .map(|n| ended(n, "Succeeded", "2026-01-01T00:00:01Z"))
        .into();
    let done = plan(&three, &all, at(3));
    assert_eq!(conditions(&done), ["SuccessCriteriaMet", "Complete"]);
    assert!(done.create.is_empty() && done.status.completion_time.is_some());
}

#[test]
fn failures_back_off_and_then_end_the_job() {
    let once = ended("a", "Failed", "2026-01-01T00:00:05Z");
    let waiting = plan(&job(json!({})), std::slice::from_ref(&once), at(6));
    assert_eq!(
        (waiting.create.len(), waiting.recheck),
        (0, Some(Duration::from_secs(9)))
    );
    let again = plan(&job(json!({})), std::slice::from_ref(&once), at(15));
    assert_eq!((again.create.len(), again.status.failed), (1, Some(1)));
    let twice = [once.clone(), ended("b", "Failed", "2026-01-01T00:00:20Z")];
    assert_eq!(
        plan(&job(json!({})), &twice, at(21)).recheck,
        Some(Duration::from_secs(19))
    );
    let over = plan(&job(json!({"backoffLimit": 0})), &[once], at(6));
    assert_eq!(conditions(&over), ["FailureTarget", "Failed"]);
    assert!(over.create.is_empty());
}

#[test]
fn deadline_stops_what_runs() {
    let pods = [Arc::new(pod(
        "a",
        "job",
        &json!({"status": {"phase": "Running"}}),
    ))];
    let limited = job(json!({"activeDeadlineSeconds": 30}));
    assert_eq!(
        plan(&limited, &pods, at(10)).recheck,
        Some(Duration::from_secs(20))
    );
    let over = plan(&limited, &pods, at(30));
    assert_eq!(
        (over.delete.len(), conditions(&over)),
        (1, vec!["FailureTarget", "Failed"])
    );
    assert_eq!(over.status.active, None);
}

#[test]
fn an_ended_job_is_removed_when_its_time_to_live_is_over() {
    let mut ended = job(json!({"ttlSecondsAfterFinished": 60}));
    set(
        ended.status.get_or_insert_default(),
        "Complete",
        "True",
        "x",
        "x",
        at(0),
    );
    assert_eq!(plan(&ended, &[], at(20)).recheck, Some(Duration::from_secs(40)));
    assert!(plan(&ended, &[], at(60)).remove_job);
}

#[test]
fn indexes_are_filled_in() {
    let indexed = job(json!({"completions": 4, "parallelism": 4, "completionMode": "Indexed"}));
    let with = |name: &str, phase: &str, index: &str| {
        Arc::new(pod(
            name,
            "job",
            &json!({"metadata": {"annotations": {INDEX: index}}, "status": {"phase": phase}}),
        ))
    };
    let seen = plan(
        &indexed,
        &[
            with("a", "Succeeded", "0"),
            with("b", "Succeeded", "1"),
            with("c", "Running", "3"),
        ],
        at(1),
    );
    assert_eq!(seen.create, [Some(2)]);
    assert_eq!(seen.status.completed_indexes.as_deref(), Some("0-1"));
}

#[test]
fn what_was_counted_stays_counted() {
    let mut three = job(json!({"completions": 3, "parallelism": 1}));
    let two: Vec<_> = ["a", "b"]
        .map(|n| ended(n, "Succeeded", "2026-01-01T00:00:01Z"))
        .into();
    three.status = Some(plan(&three, &two, at(2)).status);
    // Somebody tidies up.
    let left = plan(&three, &two[..1], at(3));
    assert_eq!((left.status.succeeded, left.create.len()), (Some(2), 1));

    let mut indexed = job(json!({"completions": 4, "parallelism": 4, "completionMode": "Indexed"}));
    indexed.status.get_or_insert_default().completed_indexes = Some("0-1,3".into());
    let left = plan(&indexed, &[], at(3));
    assert_eq!((left.create, left.status.succeeded), (vec![Some(2)], Some(3)));
}

#[test]
fn pods_that_the_job_stops_have_not_failed() {
    let leaving = |extra: Value| {
        let mut base = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}});
        merge(&mut base, &extra);
        Arc::new(pod("a", "job", &base))
    };
    let stopped = leaving(json!({"metadata": {"annotations": {STOPPED: "true"}}}));
    let limited = job(json!({"backoffLimit": 0}));
    let seen = plan(&limited, &[stopped], at(1));
    assert_eq!((seen.status.failed, conditions(&seen).len()), (None, 0));
    let seen = plan(&limited, &[leaving(json!({}))], at(1));
    assert_eq!(conditions(&seen), ["FailureTarget", "Failed"]);
}

#[test]
fn a_suspended_job_stops() {
    let pods = [Arc::new(pod(
        "a",
        "job",
        &json!({"status": {"phase": "Running"}}),
    ))];
    let seen = plan(&job(json!({"suspend": true})), &pods, at(1));
    assert_eq!((seen.delete.len(), seen.status.start_time.is_none()), (1, true));
}
