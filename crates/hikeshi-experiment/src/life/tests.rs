mod edges;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::Flow;
use crate::check::Op;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn check(role: Role, op: Op, threshold: f64) -> Check {
    Check {
        name: "p99".into(),
        role,
        said: "p99 < 0.5".into(),
        query: "p99".into(),
        op,
        threshold,
        unit: "seconds".into(),
    }
}

fn hypothesis() -> Check {
    check(Role::Hypothesis, Op::Less, 0.5)
}

fn guard() -> Check {
    check(Role::Guard, Op::More, 2.0)
}

fn experiment(checks: Vec<Check>, spec: Value) -> Experiment {
    Experiment::new(Asked {
        id: "1-http-delay".into(),
        name: "http-delay".into(),
        namespace: "default".into(),
        kind: "HTTPChaos".into(),
        object: json!({"kind": "HTTPChaos", "metadata": {"name": "http-delay"}, "spec": spec}),
        checks,
        by: "pika7".into(),
        drill: false,
        owned: true,
        limit_s: None,
        at: at(0),
    })
}

fn object(phase: &str, desired: &str) -> Option<Value> {
    Some(
        json!({"kind": "HTTPChaos", "metadata": {"name": "http-delay"}, "spec": {},
        "status": {"experiment": {"desiredPhase": desired,
            "containerRecords": [{"id": "default/nginx-1", "selectorKey": ".", "phase": phase}]}}}),
    )
}

fn seen(second: i64, object: Option<Value>, values: &[f64]) -> Seen {
    Seen {
        now: at(second),
        object,
        children: Vec::new(),
        values: values.iter().map(|value| Some(vec![*value])).collect(),
        edges: Vec::new(),
        ready: Some(2),
    }
}

/// Steady before, hit at second 1.
fn hit(checks: Vec<Check>, values: &[f64]) -> Experiment {
    let mut it = experiment(checks, json!({"duration": "60s"}));
    let before: Vec<_> = values.iter().map(|value| Some(vec![*value])).collect();
    assert!(it.before(at(0), &before, Some(2)));
    step(&mut it, &seen(1, object("Injected", "Run"), values));
    assert_eq!((it.phase, it.hit()), (Phase::Running, 1));
    it
}

#[test]
fn a_steady_state_that_holds_throughout_is_held() {
    let mut it = hit(vec![hypothesis(), guard()], &[0.1, 0.1]);
    step(&mut it, &seen(30, object("Injected", "Run"), &[0.3, 0.3]));
    step(&mut it, &seen(60, object("Not Injected", "Stop"), &[0.3, 0.3]));
    assert_eq!(it.phase, Phase::Recovering);
    step(&mut it, &seen(62, object("Not Injected", "Stop"), &[0.2, 0.2]));
    assert_eq!(it.phase, Phase::Recovering, "one look is not yet a steady state");
    let actions = step(&mut it, &seen(67, object("Not Injected", "Stop"), &[0.2, 0.2]));
    assert_eq!((it.phase, it.verdict), (Phase::Ended, Some(Verdict::Held)));
    assert!(
        actions.contains(&Action::End) && actions.contains(&Action::Save),
        "{actions:?}"
    );
    let detail = it.detail();
    assert_eq!(
        detail.recovery,
        Recovery {
            verified: Some(true),
            seconds: Some(2.0)
        }
    );
    let first = &detail.checks[0];
    assert_eq!(
        (first.before, first.during, first.after, first.holds),
        (Some(0.1), Some(0.3), Some(0.2), Some(true))
    );
    assert_eq!(detail.checks[1].holds, Some(true));
    assert!(detail.records[0].injected_at.is_some() && detail.records[0].recovered_at.is_some());
}

#[test]
fn a_figure_from_before_the_end_is_no_recovery() {
    let mut it = hit(vec![hypothesis()], &[0.1]);
    step(&mut it, &seen(60, None, &[0.1]));
    // The last sample was good by chance; the next one tells of the fault's last moments.
    step(&mut it, &seen(61, None, &[0.1]));
    step(&mut it, &seen(63, None, &[0.9]));
    step(&mut it, &seen(65, None, &[0.1]));
    step(&mut it, &seen(67, None, &[0.1]));
    assert_eq!(it.phase, Phase::Recovering);
    step(&mut it, &seen(70, None, &[0.1]));
    assert_eq!((it.phase, it.recovery.seconds), (Phase::Ended, Some(5.0)));
}

#[test]
fn a_steady_state_that_breaks_is_refuted_and_said_once() {
    let mut it = hit(vec![hypothesis()], &[0.1]);
    for second in 2..5 {
        step(&mut it, &seen(second, object("Injected", "Run"), &[1.1]));
    }
    step(&mut it, &seen(60, None, &[1.1]));
    // Traffic is back, the window of the figure not yet.
    step(&mut it, &seen(61, None, &[0.9]));
    assert_eq!(it.phase, Phase::Recovering);
    step(&mut it, &seen(70, None, &[0.1]));
    step(&mut it, &seen(75, None, &[0.1]));
    assert_eq!(it.verdict, Some(Verdict::Refuted));
    assert_eq!(it.recovery.seconds, Some(10.0));
    let said = it
        .events
        .iter()
        .filter(|note| note.text.en.contains("does not hold"))
        .count();
    assert_eq!(said, 1, "{:?}", it.events);
    assert!(it.reason.unwrap().en.contains("1.1 s >= 0.5 s"));
}

#[test]
fn a_guard_that_trips_ends_it_with_the_figure() {
    let mut it = hit(vec![hypothesis(), guard()], &[0.1, 0.1]);
    let actions = step(&mut it, &seen(3, object("Injected", "Run"), &[0.4, 2.5]));
    assert!(actions.contains(&Action::End), "{actions:?}");
    assert!(
        actions
            .iter()
            .any(|a| matches!(a, Action::Tell("GuardTripped", said) if said.contains("2.5 s > 2 s"))),
        "{actions:?}"
    );
    // The API did not answer: asked again.
    assert!(step(&mut it, &seen(4, object("Injected", "Run"), &[0.4, 2.5])).contains(&Action::End));
    step(&mut it, &seen(5, None, &[0.1, 0.1]));
    step(&mut it, &seen(6, None, &[0.1, 0.1]));
    step(&mut it, &seen(11, None, &[0.1, 0.1]));
    assert_eq!((it.phase, it.verdict), (Phase::Ended, Some(Verdict::Stopped)));
    assert_eq!(it.detail().checks[1].holds, Some(false));
}

#[test]
fn a_guard_that_sees_nothing_is_no_guard() {
    let mut it = hit(vec![guard()], &[0.1]);
    let blind = |second| Seen {
        values: vec![None],
        ..seen(second, object("Injected", "Run"), &[])
    };
    assert!(!step(&mut it, &blind(10)).contains(&Action::End));
    assert!(step(&mut it, &blind(17)).contains(&Action::End));
    assert_eq!(it.verdict, Some(Verdict::Stopped));
}

#[test]
fn without_a_steady_state_nothing_is_shown() {
    let mut it = experiment(vec![hypothesis()], json!({}));
    assert!(!it.before(at(0), &[Some(vec![0.9])], Some(2)));
    assert_eq!(it.verdict, Some(Verdict::Void));
    assert!(it.reason.unwrap().en.contains("0.9 s >= 0.5 s"));
    let mut it = experiment(vec![hypothesis()], json!({}));
    assert!(!it.before(at(0), &[Some(vec![])], Some(2)));
    let mut it = experiment(vec![guard()], json!({}));
    assert!(
        !it.before(at(0), &[Some(vec![3.0])], Some(2)),
        "a guard that is true already"
    );
}

#[test]
fn what_hits_nobody_or_is_refused_is_void() {
    let mut it = experiment(vec![], json!({}));
    assert!(it.before(at(0), &[], Some(0)));
    let none = Some(json!({"metadata": {}, "spec": {}}));
    assert!(!step(&mut it, &seen(29, none.clone(), &[])).contains(&Action::End));
    assert!(step(&mut it, &seen(31, none, &[])).contains(&Action::End));
    assert_eq!(it.verdict, Some(Verdict::Void));
    let mut it = experiment(vec![], json!({}));
    it.before(at(0), &[], Some(0));
    let refused = json!({"metadata": {}, "spec": {}, "status": {"conditions": [
        {"type": "Supported", "status": "False", "reason": "spec.tls is not supported"}]}});
    assert!(step(&mut it, &seen(1, Some(refused), &[])).contains(&Action::End));
    assert!(it.reason.unwrap().en.contains("spec.tls"));
}

#[test]
fn what_does_not_come_back_is_refuted() {
    let mut it = hit(vec![], &[]);
    let gone = |second, ready| Seen {
        ready: Some(ready),
        ..seen(second, None, &[])
    };
    step(&mut it, &gone(10, 2));
    step(&mut it, &gone(11, 1));
    assert_eq!(it.phase, Phase::Recovering);
    step(&mut it, &gone(131, 1));
    assert_eq!((it.phase, it.verdict), (Phase::Ended, Some(Verdict::Refuted)));
    assert_eq!(it.recovery.verified, Some(false));
}

#[test]
fn a_fault_without_an_end_is_leased_and_not_put_in_again_after_a_long_absence() {
    let mut it = experiment(vec![], json!({}));
    it.before(at(0), &[], Some(2));
    let first = step(&mut it, &seen(1, object("Injected", "Run"), &[]));
    assert!(first.contains(&Action::Renew(at(61))), "{first:?}");
    assert!(
        !step(&mut it, &seen(10, object("Injected", "Run"), &[]))
            .iter()
            .any(|a| matches!(a, Action::Renew(_)))
    );
    assert!(step(&mut it, &seen(30, object("Injected", "Run"), &[])).contains(&Action::Renew(at(90))));
    let back = step(&mut it, &seen(300, object("Injected", "Run"), &[]));
    assert!(back.contains(&Action::End), "{back:?}");
    // One with a duration needs none.
    let mut it = hit(vec![], &[]);
    let own = Some(json!({"kind": "HTTPChaos", "metadata": {}, "spec": {"duration": "60s"}}));
    assert!(
        !step(&mut it, &seen(2, own, &[]))
            .iter()
            .any(|a| matches!(a, Action::Renew(_)))
    );
}

fn paused(phase: &str) -> Option<Value> {
    let mut object = object(phase, "Stop").unwrap();
    object["metadata"]["annotations"] = json!({"experiment.chaos-mesh.org/pause": "true"});
    Some(object)
}

#[test]
fn a_pause_is_no_end_and_what_comes_back_is_watched_again() {
    let mut it = hit(vec![hypothesis(), guard()], &[0.1, 0.1]);
    let actions = step(&mut it, &seen(10, paused("Not Injected"), &[0.9, 0.1]));
    assert_eq!((it.phase, it.paused), (Phase::Running, true));
    assert!(actions.contains(&Action::Save) && !actions.contains(&Action::End));
    let mut going_on = object("Not Injected", "Stop").unwrap();
    going_on["status"]["conditions"] = json!([{"type": "Paused", "status": "True"}]);
    step(&mut it, &seen(19, Some(going_on), &[0.1, 0.1]));
    step(&mut it, &seen(20, object("Injected", "Run"), &[0.1, 0.1]));
    assert_eq!((it.phase, it.paused), (Phase::Running, false));
    assert!(!it.measured[0].broken, "no fault was on");
    let actions = step(&mut it, &seen(30, object("Injected", "Run"), &[0.1, 9.0]));
    assert!(actions.contains(&Action::End), "its guard is on again");
    assert_eq!(it.verdict, Some(Verdict::Stopped));
}

#[test]
fn a_paused_fault_without_an_end_keeps_its_lease() {
    let mut it = experiment(vec![], json!({}));
    assert!(it.before(at(0), &[], Some(2)));
    step(&mut it, &seen(1, object("Injected", "Run"), &[]));
    for second in 2..200 {
        let actions = step(&mut it, &seen(second, paused("Not Injected"), &[]));
        assert!(!actions.contains(&Action::End), "second {second}");
    }
    let until = it.lease_until.unwrap();
    assert!(until > at(200));
    // Control dies; what the history knows of the lease is older than what the object says.
    it.lease_until = Some(at(60));
    let mut there = object("Injected", "Run").unwrap();
    there["metadata"]["annotations"] = json!({"hikeshi.dev/lease-until": until.to_string()});
    let actions = step(&mut it, &seen(201, Some(there), &[]));
    assert!(!actions.contains(&Action::End), "{actions:?}");
}

#[test]
fn what_was_shown_is_written_at_once() {
    let mut it = hit(vec![hypothesis()], &[0.1]);
    let actions = step(&mut it, &seen(10, object("Injected", "Run"), &[0.9]));
    assert!(it.measured[0].broken && actions.contains(&Action::Save));
    let actions = step(&mut it, &seen(11, object("Injected", "Run"), &[0.9]));
    assert!(!actions.contains(&Action::Save), "{actions:?}");
}

#[test]
fn a_fault_that_came_and_went_between_two_looks_was_a_hit() {
    let mut it = experiment(vec![], json!({"duration": "500ms"}));
    assert!(it.before(at(0), &[], Some(2)));
    let mut gone = object("Not Injected", "Stop").unwrap();
    gone["status"]["experiment"]["containerRecords"][0]["injectedCount"] = json!(1);
    step(&mut it, &seen(1, Some(gone.clone()), &[]));
    assert_eq!((it.phase, it.hit()), (Phase::Running, 1));
    step(&mut it, &seen(2, Some(gone), &[]));
    assert_eq!(it.phase, Phase::Recovering);
}

#[test]
fn what_ends_without_having_hit_anybody_is_over() {
    let mut it = experiment(vec![], json!({"duration": "10s"}));
    it.owned = false;
    assert!(it.before(at(0), &[], Some(2)));
    let empty = json!({"kind": "HTTPChaos", "metadata": {"name": "http-delay"}, "spec": {},
        "status": {"experiment": {"desiredPhase": "Stop"}}});
    step(&mut it, &seen(11, Some(empty.clone()), &[]));
    step(&mut it, &seen(20, Some(empty), &[]));
    assert_eq!((it.phase, it.verdict), (Phase::Ended, Some(Verdict::Void)));
}

#[test]
fn a_kill_is_watched_and_its_pods_must_come_back() {
    for action in ["pod-kill", "container-kill"] {
        let mut it = experiment(vec![hypothesis()], json!({}));
        it.kind = "PodChaos".into();
        it.object = json!({"kind": "PodChaos", "spec": {"action": action}});
        it.limit_s = Some(WATCH);
        it.before(at(0), &[Some(vec![0.1])], Some(2));
        let killed = || {
            let record = json!({"id": "default/a", "selectorKey": ".", "phase": "Injected"});
            Some(
                json!({"kind": "PodChaos", "metadata": {}, "spec": {"action": action},
                "status": {"experiment": {"desiredPhase": "Run", "containerRecords": [record]}}}),
            )
        };
        step(&mut it, &seen(1, killed(), &[0.1]));
        assert!(step(&mut it, &seen(32, killed(), &[0.2])).contains(&Action::End));
        step(&mut it, &seen(33, None, &[0.2]));
        step(&mut it, &seen(34, None, &[0.2]));
        step(&mut it, &seen(39, None, &[0.2]));
        assert_eq!(
            (it.phase, it.verdict),
            (Phase::Ended, Some(Verdict::Held)),
            "{action}"
        );
    }
}

#[test]
fn what_others_schedule_recovers_although_its_kills_stay_done() {
    let mut it = experiment(vec![hypothesis()], json!({}));
    it.kind = "Schedule".into();
    it.object = json!({"kind": "Schedule", "spec": {"type": "PodChaos", "podChaos": {"action": "pod-kill"}}});
    it.before(at(0), &[Some(vec![0.1])], Some(2));
    let look = |second, paused: &str| {
        let annotations = json!({"experiment.chaos-mesh.org/pause": paused});
        let mut seen = seen(
            second,
            Some(json!({"kind": "Schedule", "metadata": {"annotations": annotations}})),
            &[0.1],
        );
        seen.children = vec![
            json!({"kind": "PodChaos", "metadata": {}, "status": {"experiment": {
            "containerRecords": [{"id": "default/a", "selectorKey": ".", "phase": "Injected"}]}}}),
        ];
        seen
    };
    step(&mut it, &look(1, "false"));
    assert_eq!(it.phase, Phase::Running);
    it.stop(at(9), "pika7");
    for second in [10, 11, 12, 20] {
        step(&mut it, &look(second, "true"));
    }
    assert_eq!(it.phase, Phase::Ended);
    assert_eq!(it.recovery.verified, Some(true));
}

#[test]
fn it_is_written_and_read_back_whole() {
    let mut it = hit(vec![hypothesis(), guard()], &[0.1, 0.1]);
    step(&mut it, &seen(3, object("Injected", "Run"), &[0.4, 2.5]));
    let line = serde_json::to_string(&it).unwrap();
    assert_eq!(serde_json::from_str::<Experiment>(&line).unwrap(), it);
}

#[test]
fn figures_of_the_past_stand_before_the_start() {
    let mut it = experiment(vec![hypothesis()], json!({}));
    it.before(at(60), &[Some(vec![0.1])], Some(2));
    let start = at(60).as_duration().as_secs_f64();
    it.past(
        vec![],
        vec![vec![(start - 2.0, 0.2), (start - 1.0, f64::NAN), (start, 0.3)]],
    );
    assert_eq!(it.detail().figures[0].points, [(start - 2.0, 0.2), (start, 0.1)]);
}

fn any_seen() -> impl Strategy<Value = (i64, u8, Option<f64>, Option<f64>, usize)> {
    let figure = prop::option::of(0.0..3.0_f64);
    (0..30_i64, 0..5_u8, figure.clone(), figure, 0..3_usize)
}

proptest! {
    /// Whatever is seen in whatever order: an end is final, verdict and phase never go back, what is over is asked to
    /// end while it is there, and a broken guard is never called held.
    #[test]
    fn any_course_of_events_ends_soundly(looks in prop::collection::vec(any_seen(), 1..40)) {
        let mut it = experiment(vec![hypothesis(), guard()], json!({"duration": "60s"}));
        it.before(at(0), &[Some(vec![0.1]), Some(vec![0.1])], Some(2));
        let mut now = 0;
        for (pause, what, p99, other, ready) in looks {
            now += pause;
            let thing = match what {
                0 => None,
                1 => object("Not Injected", "Stop"),
                2 => Some(json!({"metadata": {"deletionTimestamp": "x"}, "spec": {}})),
                _ => object("Injected", "Run"),
            };
            let looked = Seen {
                now: at(now),
                object: thing.clone(),
                children: Vec::new(),
                values: vec![p99.map(|v| vec![v]), other.map(|v| vec![v])],
                edges: Vec::new(),
                ready: Some(ready),
            };
            let (phase, verdict) = (it.phase, it.verdict);
            let actions = step(&mut it, &looked);
            prop_assert!(phase as u8 <= it.phase as u8);
            prop_assert!(verdict.is_none() || verdict == it.verdict);
            if it.ending && what >= 3 {
                prop_assert!(actions.contains(&Action::End));
            }
            let tripped = it.measured[1].broken;
            prop_assert!(!(tripped && it.verdict == Some(Verdict::Held)));
            if it.phase == Phase::Ended {
                prop_assert!(it.ended_at.is_some() && it.recovery.verified.is_some());
            }
        }
    }
}
