use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::pods::testing::{pod, ready};

const TENTH: Tolerance = Tolerance { up: 100, down: 100 };

fn at(seconds: i64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time") + SignedDuration::from_secs(seconds)
}

/// An hour-old pod that requests 100m of CPU; ready since its beginning.
fn old(name: &str) -> Pod {
    let mut extra = ready("2026-01-01T00:00:05Z");
    extra["status"]["startTime"] = json!("2026-01-01T00:00:00Z");
    extra["spec"]["containers"] =
        json!([{"name": "c", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]);
    pod(name, "rs", &extra)
}

fn pods(count: usize) -> Vec<Pod> {
    (0..count).map(|n| old(&format!("p{n}"))).collect()
}

fn samples(values: &[i128]) -> Samples {
    let sample = |value: &i128| Sample {
        value: *value,
        at: at(3_590),
        window: SignedDuration::from_secs(15),
    };
    values
        .iter()
        .enumerate()
        .map(|(n, value)| (format!("p{n}"), sample(value)))
        .collect()
}

fn cpu(pods: &[Pod], values: &[i128], current: i32, target: i32) -> Proposal {
    by_utilization(
        pods,
        &samples(values),
        ("cpu", None),
        (current, target),
        TENTH,
        at(3_600),
    )
    .expect("a proposal")
}

#[test]
fn the_formula() {
    // 150 % used, 50 % wanted: three times as many.
    let seen = cpu(&pods(2), &[100, 200], 2, 50);
    assert_eq!(
        (seen.replicas, seen.utilization, seen.average),
        (6, Some(150), Some(150))
    );
    assert_eq!(cpu(&pods(3), &[20, 20, 20], 3, 60).replicas, 1);
    assert_eq!(
        cpu(&pods(3), &[44, 44, 44], 3, 40).replicas,
        3,
        "10 % is tolerated"
    );
    assert_eq!(cpu(&pods(3), &[45, 45, 45], 3, 40).replicas, 4, "more is not");
    assert_eq!(cpu(&pods(3), &[36, 36, 36], 3, 40).replicas, 3);
    assert_eq!(cpu(&pods(4), &[10, 10, 10, 10], 4, 40).replicas, 1);
}

#[test]
fn a_missing_measurement_damps_the_change() {
    // Up: the third pod counts as idle, 200 % of three pods' requests is 66 % each.
    assert_eq!(cpu(&pods(3), &[100, 100], 3, 50).replicas, 4);
    // Down: it counts as busy, so (10 + 10 + 100) / 300 = 40 % of 80 %.
    assert_eq!(cpu(&pods(3), &[10, 10], 3, 80).replicas, 2);
    // Down that the assumption turns into up: nothing.
    assert_eq!(cpu(&pods(3), &[40], 3, 50).replicas, 3);
}

#[test]
fn a_starting_pod_is_not_believed() {
    let mut group = pods(2);
    let young = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
        "status": {"phase": "Running", "startTime": "2026-01-01T00:59:00Z",
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:59:00Z"}]}});
    group.push(pod("p2", "rs", &young));
    // The young one's 500 % are set to nothing: (60 + 60) / 300 = 40 %, within 10 % of 40 %.
    assert_eq!(cpu(&group, &[60, 60, 500], 3, 40).replicas, 3);
    let nothing = by_utilization(
        &group[2..],
        &samples(&[60, 60, 500]),
        ("cpu", None),
        (1, 40),
        TENTH,
        at(3_600),
    );
    assert_eq!(nothing, Err(NO_METRICS.to_owned()));
    // Memory needs no warming up.
    let memory = by_average(&group, &samples(&[60, 60, 60]), false, (3, 30), TENTH, at(3_600));
    assert_eq!(memory.expect("a proposal").replicas, 6);
}

#[test]
fn pods_on_their_way_out_do_not_count() {
    let mut group = pods(3);
    group[2].metadata.deletion_timestamp = Some(crate::object::time(at(3_000)));
    assert_eq!(cpu(&group, &[100, 100, 900], 3, 100).replicas, 3);
    assert_eq!(
        by_utilization(&[], &samples(&[]), ("cpu", None), (1, 40), TENTH, at(0)),
        Err(NO_PODS.to_owned())
    );
}

#[test]
fn a_container_without_request_is_named() {
    let bare = pod(
        "p0",
        "rs",
        &json!({"spec": {"containers": [{"name": "app"}]}, "status": {"phase": "Running"}}),
    );
    let error = by_utilization(
        &[bare],
        &samples(&[1]),
        ("memory", None),
        (1, 40),
        TENTH,
        at(3_600),
    );
    assert_eq!(
        error,
        Err("missing request for memory in container app of Pod p0".to_owned())
    );
}

#[test]
fn external_metrics() {
    let total = by_total(3, 90_000, (3, 30_000), TENTH);
    assert_eq!((total.replicas, total.total), (9, Some(90_000)));
    assert_eq!(by_total(3, 32_000, (3, 30_000), TENTH).replicas, 3);
    let share = by_share(95_000, (3, 3, 30_000), TENTH);
    assert_eq!((share.replicas, share.average), (3, Some(31_667)));
    assert_eq!(by_share(120_000, (3, 3, 30_000), TENTH).replicas, 4);
}

proptest! {
    #[test]
    fn more_load_never_asks_for_fewer(
        values in prop::collection::vec(0_i128..400, 1..8), extra in 0_i128..400, target in 1_i32..200,
    ) {
        let group = pods(values.len());
        let count = i32::try_from(values.len()).expect("few");
        let before = cpu(&group, &values, count, target).replicas;
        let more: Vec<_> = values.iter().map(|value| value + extra).collect();
        prop_assert!(cpu(&group, &more, count, target).replicas >= before);
    }

    #[test]
    fn what_is_asked_for_suffices_and_no_less_would(
        values in prop::collection::vec(0_i128..400, 1..8), target in 1_i32..200,
    ) {
        let count = i32::try_from(values.len()).expect("few");
        let seen = cpu(&pods(values.len()), &values, count, target);
        let measured = i64::from(seen.utilization.expect("measured"));
        let (load, wanted) = (measured * i64::from(count), i64::from(target));
        if seen.replicas != count {
            prop_assert!(load <= wanted * i64::from(seen.replicas));
            prop_assert!(load > wanted * i64::from(seen.replicas - 1));
        } else {
            // Unchanged only where the change is within a tenth, or nothing would change.
            let off = (measured - wanted).abs() * 10 <= wanted;
            prop_assert!(off || (load <= wanted * i64::from(count) && load > wanted * i64::from(count - 1)));
        }
    }

    #[test]
    fn a_missing_pod_never_makes_the_change_greater(
        values in prop::collection::vec(0_i128..400, 2..8), target in 1_i32..200,
    ) {
        let count = i32::try_from(values.len()).expect("few");
        let group = pods(values.len());
        let seen = &values[..values.len() - 1];
        let without = cpu(&group[..seen.len()], seen, count, target).replicas;
        let with = cpu(&group, seen, count, target).replicas;
        if without > count {
            // Utilization is cut to whole percent of all pods together: fewer pods lose less of it.
            let cut = (count - 1) / target + 1;
            prop_assert!(count <= with && with <= without + cut, "{without} {with}");
        } else if without < count - 1 {
            prop_assert!(without <= with && with <= count, "{without} {with}");
        }
    }
}
