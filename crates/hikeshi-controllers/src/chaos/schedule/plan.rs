//! The next steps of a Schedule.

use std::sync::Arc;
use std::time::Duration;

use hikeshi_chaos::annotations::{PAUSE, shapes};
use hikeshi_chaos::schedule::{Policy, Spec, embedded_field};
use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::lifecycle::is_over;
use crate::object::{NAME_LETTERS, annotation, created, name_of};
use crate::runtime::EventType;
use hikeshi_chaos::cron::Schedule;

/// The label by which Chaos Mesh finds what a schedule made.
const MANAGED_BY: &str = "managed-by";
/// In the status: the schedule was paused when it was last looked at.
const PAUSED: &str = "paused";

#[derive(Debug)]
pub(super) struct Plan {
    /// Finished children beyond the history limit.
    pub forget: Vec<Arc<DynamicObject>>,
    pub create: Option<DynamicObject>,
    /// Running children whose pause must become the schedule's.
    pub pause: Vec<(Arc<DynamicObject>, bool)>,
    /// As it is before `create` is carried out.
    pub status: Value,
    /// Told when the status changes.
    pub news: Vec<(EventType, &'static str, String)>,
    pub recheck: Option<Duration>,
}

/// How the status refers to a child.
pub(super) fn reference(kind: &str, child: &DynamicObject) -> Value {
    json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": kind, "name": child.metadata.name,
        "namespace": child.metadata.namespace, "uid": child.metadata.uid})
}

/// A suffix that depends on the time only: a time never starts two children.
fn suffix(due: Timestamp) -> String {
    let mut number = due.as_second().unsigned_abs();
    let base = NAME_LETTERS.len() as u64;
    let letters = (0..5).map(|_| {
        let letter = NAME_LETTERS[usize::try_from(number % base).unwrap_or(0)];
        number /= base;
        char::from(letter)
    });
    letters.collect()
}

fn child(schedule: &DynamicObject, kind: &str, due: Timestamp) -> Option<DynamicObject> {
    let spec = schedule.data["spec"].get(embedded_field(kind)?)?;
    let annotations = schedule.metadata.annotations.iter().flatten();
    // The extensions are the experiment's; whether the schedule is paused is not.
    let annotations: Value = annotations
        .filter(|(name, _)| shapes(name))
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let name = name_of(schedule);
    let made = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": kind, "metadata": {
        "name": format!("{name}-{}", suffix(due)), "namespace": schedule.metadata.namespace,
        "labels": {MANAGED_BY: name}, "annotations": annotations,
        "ownerReferences": [{"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "Schedule", "name": name,
            "uid": schedule.metadata.uid, "controller": true, "blockOwnerDeletion": true}]},
        "spec": spec});
    serde_json::from_value(made).ok()
}

/// As in Chaos Mesh the running children pause and go on with their schedule; workflows cannot pause.
fn hand_down(plan: &mut Plan, kind: &str, paused: bool, active: &[Arc<DynamicObject>]) {
    let before = plan.status[PAUSED] == true;
    if paused != before {
        plan.status[PAUSED] = json!(paused);
    }
    if kind == "Workflow" {
        if paused && !before {
            let message = "pausing a schedule of workflows starts no more of them; those that run go on \
                until they are aborted (annotation workflow.chaos-mesh.org/abort)";
            plan.news
                .push((EventType::Warning, "NotSupported", message.to_owned()));
        }
        return;
    }
    // Only when it is written that the schedule paused: else nobody would know that its children are to go on with it,
    // if it goes on at once. And whom somebody paused by hand is left alone while the schedule runs.
    if before {
        let differs =
            |child: &&Arc<DynamicObject>| (annotation(&child.metadata, PAUSE) == Some("true")) != paused;
        plan.pause = active
            .iter()
            .filter(differs)
            .map(|child| (child.clone(), paused))
            .collect();
    }
}

/// `children` are those that the schedule controls.
pub(super) fn plan(
    schedule: &DynamicObject,
    kind: &str,
    children: &[Arc<DynamicObject>],
    now: Timestamp,
) -> Plan {
    let before = &schedule.data["status"];
    let mut plan = Plan {
        forget: Vec::new(),
        create: None,
        pause: Vec::new(),
        status: if before.is_object() {
            before.clone()
        } else {
            json!({})
        },
        news: Vec::new(),
        recheck: None,
    };
    let spec = match Spec::deserialize(&schedule.data["spec"]) {
        Ok(spec) => spec,
        Err(error) => {
            plan.news
                .push((EventType::Warning, "Failed", format!("spec: {error}")));
            return plan;
        }
    };
    let (mut over, active): (Vec<_>, Vec<_>) = children
        .iter()
        .cloned()
        .partition(|child| is_over(kind, child, now));
    over.sort_by_key(|child| (created(&child.metadata), child.metadata.name.clone()));
    let keep = usize::try_from(spec.history_limit.unwrap_or(1)).unwrap_or(usize::MAX);
    over.truncate(over.len().saturating_sub(keep));
    plan.forget = over;
    plan.status["active"] = active.iter().map(|child| reference(kind, child)).collect();
    let paused = annotation(&schedule.metadata, PAUSE) == Some("true");
    hand_down(&mut plan, kind, paused, &active);
    if paused {
        return plan;
    }

    let times = match Schedule::parse(&spec.schedule, None) {
        Ok(times) => times,
        Err(error) => {
            let message = format!("spec.schedule: {error}");
            if plan.status["message"] != message.as_str() {
                plan.news.push((EventType::Warning, "Failed", message.clone()));
            }
            plan.status["message"] = json!(message);
            return plan;
        }
    };
    plan.recheck = times
        .next_after(now)
        .and_then(|next| Duration::try_from(next.duration_since(now)).ok());
    let last = before["time"]
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok());
    let since = last.unwrap_or_else(|| created(&schedule.metadata));
    let deadline = spec
        .starting_deadline_seconds
        .and_then(|seconds| i64::try_from(seconds).ok());
    let earliest = deadline.and_then(|s| now.checked_sub(SignedDuration::from_secs(s)).ok());
    // From the last run on, also with a deadline: @every counts from there.
    let missed = times.missed(since, now);
    let Some(missed) = missed.filter(|missed| earliest.is_none_or(|earliest| missed.last >= earliest)) else {
        return plan;
    };
    if spec.concurrency_policy == Policy::Forbid && !active.is_empty() {
        // Not remembered as done: it starts as soon as the other is over, if the deadline lets it.
        return plan;
    }
    plan.create = child(schedule, kind, missed.last);
    let time = format!("{:.0}", missed.last);
    // Chaos Mesh's own name for it is `time`.
    plan.status["time"] = json!(time);
    plan.status["lastScheduleTime"] = json!(time);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(extra: Value) -> DynamicObject {
        let mut base = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "Schedule", "metadata": {"namespace": "ns",
            "name": "often", "uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"hikeshi.dev/percent": "5"}},
            "spec": {"schedule": "@every 30s", "type": "HTTPChaos", "historyLimit": 1, "httpChaos": {"duration": "10s"}}});
        crate::pods::testing::merge(&mut base, &extra);
        serde_json::from_value(base).expect("a schedule")
    }

    fn at(seconds: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time") + SignedDuration::from_secs(seconds)
    }

    fn run(object: &DynamicObject, children: &[Arc<DynamicObject>], seconds: i64) -> Plan {
        plan(object, "HTTPChaos", children, at(seconds))
    }

    /// A child made at `seconds`, as the API would have it.
    fn made(plan: Plan, seconds: i64) -> Arc<DynamicObject> {
        let mut child = plan.create.expect("a child");
        child.metadata.creation_timestamp = Some(crate::object::time(at(seconds)));
        Arc::new(child)
    }

    #[test]
    fn a_child_starts_on_time_and_once() {
        let object = schedule(json!({}));
        let early = run(&object, &[], 29);
        assert!(early.create.is_none());
        assert_eq!(early.recheck, Some(Duration::from_secs(30)));
        let due = run(&object, &[], 31);
        let child = due.create.as_ref().expect("a child");
        let name = child.metadata.name.clone().expect("a name");
        assert!(
            name.starts_with("often-") && name.len() == "often-".len() + 5,
            "{name}"
        );
        assert_eq!(child.data["spec"], json!({"duration": "10s"}));
        assert_eq!(annotation(&child.metadata, "hikeshi.dev/percent"), Some("5"));
        assert_eq!(due.status["time"], "2026-01-01T00:00:30Z");
        let again = run(&object, &[], 32).create.expect("a child");
        assert_eq!(
            again.metadata.name,
            Some(name),
            "the same time has the same child"
        );
        let told = schedule(json!({"status": due.status}));
        assert!(run(&told, &[made(due, 31)], 32).create.is_none());
    }

    #[test]
    fn forbid_waits_allow_does_not_and_history_is_kept_short() {
        let forbid = schedule(json!({"spec": {"httpChaos": {"duration": "45s"}}}));
        let first = run(&forbid, &[], 30);
        let told = json!({"status": first.status});
        let child = made(first, 30);
        let waiting = run(
            &schedule(merged(&told, json!({"spec": {"httpChaos": {"duration": "45s"}}}))),
            std::slice::from_ref(&child),
            61,
        );
        assert!(waiting.create.is_none());
        assert_eq!(waiting.status["active"].as_array().map(Vec::len), Some(1));
        let allow = json!({"spec": {"concurrencyPolicy": "Allow", "httpChaos": {"duration": "45s"}}});
        let second = run(
            &schedule(merged(&told, allow.clone())),
            std::slice::from_ref(&child),
            61,
        );
        let other = made(second, 61);
        let later = run(&schedule(merged(&told, allow)), &[child, other], 130);
        assert_eq!(later.forget.len(), 1, "both are over, one is kept");
    }

    fn merged(one: &Value, other: Value) -> Value {
        let mut both = one.clone();
        crate::pods::testing::merge(&mut both, &other);
        both
    }

    #[test]
    fn running_children_pause_and_go_on_with_their_schedule() {
        let endless = json!({"spec": {"httpChaos": {"duration": null}}});
        let child = made(run(&schedule(endless.clone()), &[], 30), 30);
        let pause = json!({"metadata": {"annotations": {PAUSE: "true"}}});
        let halted = merged(&endless, pause.clone());
        let told = run(&schedule(halted.clone()), std::slice::from_ref(&child), 40);
        assert!(
            told.pause.is_empty() && told.status[PAUSED] == true,
            "written first"
        );
        let halted = merged(&halted, json!({"status": told.status}));
        let paused = run(&schedule(halted), std::slice::from_ref(&child), 40);
        assert_eq!(paused.pause, [(child.clone(), true)]);
        let mut stopped = child.as_ref().clone();
        stopped.metadata.annotations = Some([(PAUSE.to_owned(), "true".to_owned())].into());
        let stopped = [Arc::new(stopped)];
        let status = json!({"status": paused.status});
        let settled = run(
            &schedule(merged(&merged(&endless, pause.clone()), status.clone())),
            &stopped,
            41,
        );
        assert_eq!((settled.pause.len(), &settled.status), (0, &paused.status));
        let on = run(&schedule(merged(&endless, status)), &stopped, 50);
        assert_eq!(on.pause, [(stopped[0].clone(), false)]);
        let by_hand = run(&schedule(endless), &stopped, 50);
        assert!(by_hand.pause.is_empty(), "the schedule has not been paused");
        let flows = plan(&schedule(pause), "Workflow", &[child], at(40));
        assert!(flows.pause.is_empty() && flows.news[0].1 == "NotSupported");
    }

    #[test]
    fn a_pause_a_deadline_and_a_wrong_line_start_nothing() {
        let paused = schedule(json!({"metadata": {"annotations": {PAUSE: "true"}}}));
        assert!(run(&paused, &[], 31).create.is_none());
        let strict = schedule(json!({"spec": {"startingDeadlineSeconds": 5}}));
        assert!(run(&strict, &[], 40).create.is_none(), "ten seconds late");
        assert!(run(&strict, &[], 33).create.is_some());
        let wrong = run(&schedule(json!({"spec": {"schedule": "often"}})), &[], 31);
        assert!(wrong.news[0].2.contains("spec.schedule"), "{:?}", wrong.news);
    }
}
