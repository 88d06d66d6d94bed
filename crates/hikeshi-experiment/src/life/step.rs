//! One look at an experiment, and what follows from it.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    BLIND, Experiment, GRACE, HIT, LEASE, Measured, RECOVERY, RENEW, STEADY, Seen, is_aborted, is_paused,
    records, text,
};
use crate::annotations::{LEASE_UNTIL, Role};
use crate::api::{Phase, Verdict};
use crate::duration::{words, words_ja};
use crate::manifest::takes_duration;

/// What the host is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Delete the object; a Schedule that others made is paused instead, a Workflow aborted.
    End,
    /// Write the lease annotation.
    Renew(Timestamp),
    /// Tell it as a Kubernetes Event on the object: reason and message.
    Tell(&'static str, String),
    /// Write the experiment to the history now.
    Save,
}

/// Takes one look into account.
pub fn step(it: &mut Experiment, seen: &Seen) -> Vec<Action> {
    let mut actions = Vec::new();
    let before = turn(it);
    pause(it, seen);
    measure(it, seen);
    for (side, edges) in &seen.edges {
        it.take_edges(*side, edges.clone());
    }
    let there = seen.object.as_ref();
    let objects: Vec<&Value> = there.into_iter().chain(&seen.children).collect();
    // A pod that was killed stays hit, however its record ends.
    records::merge(&mut it.records, &objects, seen.now);
    match it.phase {
        Phase::Pending | Phase::Injecting => injecting(it, seen, &mut actions),
        Phase::Running => running(it, seen, &mut actions),
        Phase::Recovering => recovering(it, seen, &mut actions),
        Phase::Ended => {}
    }
    // Asked for again until it is so: the API may have been away.
    let end = it.ending && there.is_some_and(is_on);
    if end && !actions.contains(&Action::End) {
        actions.push(Action::End);
    }
    if !end && let Some(object) = there {
        lease(it, object, seen.now, &mut actions);
    }
    if before != turn(it) {
        actions.push(Action::Save);
    }
    actions
}

/// What must not be lost when control dies: figures are measured again, but what has been shown stays shown.
fn turn(it: &Experiment) -> impl PartialEq + use<> {
    let broken = it.measured.iter().filter(|measured| measured.broken).count();
    (
        it.phase,
        it.verdict,
        it.hit(),
        broken,
        it.events.len(),
        it.ending,
        it.paused,
    )
}

/// A pause is no end: whoever takes it back wants the fault, its guards and its hypothesis again.
fn pause(it: &mut Experiment, seen: &Seen) {
    let paused = !it.ending && it.phase != Phase::Ended && seen.object.as_ref().is_some_and(is_paused);
    if paused != it.paused {
        it.paused = paused;
        let words = if paused {
            text("一時停止しました", "paused")
        } else {
            text("一時停止が終わりました", "no longer paused")
        };
        it.say(seen.now, words);
    }
}

/// A kill is done at once and never stops by itself: it knows no duration. Also a schedule's.
fn is_one_shot(it: &Experiment) -> bool {
    let spec = &it.object["spec"];
    let (kind, spec) = match it.kind.as_str() {
        "Schedule" => (spec["type"].as_str().unwrap_or_default(), &spec["podChaos"]),
        kind => (kind, spec),
    };
    kind == "PodChaos" && matches!(spec["action"].as_str(), Some("pod-kill" | "container-kill"))
}

/// Whether an object is neither leaving nor paused nor aborted.
fn is_on(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_null() && !is_paused(object) && !is_aborted(object)
}

/// Whether an object's fault is over for good, as far as its status says: a paused one is stopped too, but may go on.
fn is_over(it: &Experiment, object: &Value) -> bool {
    if it.paused {
        return !object["metadata"]["deletionTimestamp"].is_null() || is_aborted(object);
    }
    // The annotation may have gone a moment before the controller takes the pause back.
    let still_paused = condition(object, "Paused");
    !is_on(object) || (object["status"]["experiment"]["desiredPhase"] == "Stop" && !still_paused)
}

/// Whether a condition of an object is True.
fn condition(object: &Value, name: &str) -> bool {
    object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == name && condition["status"] == "True")
}

fn measure(it: &mut Experiment, seen: &Seen) {
    let on = it.phase == Phase::Running && !it.paused;
    let over = it.phase == Phase::Recovering;
    for (measured, values) in it.measured.iter_mut().zip(&seen.values) {
        let values = values.as_deref().unwrap_or_default();
        let Some(value) = measured.check.worst(values) else {
            continue;
        };
        measured.note(seen.now, Some(value));
        if on {
            let worst: Vec<f64> = measured.during.into_iter().chain([value]).collect();
            measured.during = measured.check.worst(&worst);
        }
        if over {
            measured.after = Some(value);
        }
    }
}

/// Whether the check's last look said what must not be.
fn is_bad(measured: &Measured, values: Option<&Option<Vec<f64>>>) -> Option<f64> {
    let values = values?.as_deref()?;
    let bad = match measured.check.role {
        Role::Hypothesis => measured.check.is_true(values) == Some(false),
        Role::Guard => measured.check.is_true(values) == Some(true),
    };
    bad.then(|| measured.check.worst(values)).flatten()
}

fn injecting(it: &mut Experiment, seen: &Seen, actions: &mut Vec<Action>) {
    let now = seen.now;
    it.phase = Phase::Injecting;
    let Some(object) = &seen.object else {
        it.conclude(
            now,
            Verdict::Void,
            text(
                "何も注入されないうちに消えました",
                "it was gone before anything was hit",
            ),
        );
        it.lifted_at = Some(now);
        it.phase = Phase::Recovering;
        return recovering(it, seen, actions);
    };
    if it.hit() > 0 {
        it.phase = Phase::Running;
        it.started_at = Some(now);
        let hit = it.hit();
        it.say(
            now,
            text(
                format!("{hit} 個の Pod に注入しました"),
                format!("{hit} pod(s) hit"),
            ),
        );
        // The first figures of the fault are measured at the next look.
        return;
    }
    guards(it, seen, actions);
    let waiting = matches!(it.kind.as_str(), "Schedule" | "Workflow");
    if let Some(why) = records::refusal(object) {
        let reason = text(
            format!("この障害は注入できません: {why}"),
            format!("it cannot be injected: {why}"),
        );
        it.conclude(now, Verdict::Void, reason);
        it.ending |= it.owned;
    } else if it.owned && !waiting && now.duration_since(it.created_at) > HIT {
        let seconds = HIT.as_secs();
        let reason = text(
            format!("{seconds} 秒待ってもどの Pod にも注入されませんでした"),
            format!("no pod was hit within {seconds} s"),
        );
        it.conclude(now, Verdict::Void, reason);
        it.ending = true;
    }
    if is_over(it, object) {
        it.lifted_at = Some(now);
        it.phase = Phase::Recovering;
    }
}

fn running(it: &mut Experiment, seen: &Seen, actions: &mut Vec<Action>) {
    let now = seen.now;
    for index in 0..it.measured.len() {
        let measured = &it.measured[index];
        if it.paused || measured.broken || measured.check.role != Role::Hypothesis {
            continue;
        }
        if let Some(value) = is_bad(measured, seen.values.get(index)) {
            let line = format!("{}: {}", measured.check.name, measured.check.compared(value));
            it.measured[index].broken = true;
            it.say(
                now,
                text(
                    format!("仮説が崩れました。{line}"),
                    format!("the hypothesis does not hold: {line}"),
                ),
            );
        }
    }
    guards(it, seen, actions);
    let lasted = it
        .started_at
        .map_or(0.0, |started| now.duration_since(started).as_secs_f64());
    if let Some(limit) = it.limit_s {
        // A fault with a duration of its own ends by itself; this is for what does not.
        let own = it.object["spec"]["duration"].is_string() && takes_duration(&it.object);
        if lasted >= if own { limit + GRACE } else { limit } {
            it.ending = true;
        }
    }
    let once = is_one_shot(it);
    let over = match &seen.object {
        None => true,
        Some(object) => {
            let group = matches!(it.kind.as_str(), "Schedule" | "Workflow");
            let finished = group && condition(object, "Accomplished");
            // What nobody here may delete, but is over all the same: a kill that was watched long enough.
            let watched = once && it.ending && !it.owned;
            is_over(it, object) || finished || watched
        }
    };
    if over {
        it.lifted_at = Some(now);
        it.phase = Phase::Recovering;
        let after = words(lasted);
        it.say(
            now,
            text(
                format!("障害を解除しています ({}経過)", words_ja(lasted)),
                format!("the fault is being lifted, after {after}"),
            ),
        );
    }
}

/// Ends the experiment when a guard trips, or cannot be measured any more.
fn guards(it: &mut Experiment, seen: &Seen, actions: &mut Vec<Action>) {
    let now = seen.now;
    for index in 0..it.measured.len() {
        let measured = &it.measured[index];
        if measured.check.role != Role::Guard || measured.broken {
            continue;
        }
        let name = measured.check.name.clone();
        let since = measured.last.or(it.started_at).unwrap_or(it.created_at);
        let asked = seen.values.get(index).is_some_and(Option::is_some);
        let (ja, en) = if let Some(value) = is_bad(measured, seen.values.get(index)) {
            let figures = measured.check.compared(value);
            (
                format!("ガード {name} が作動しました: {figures}"),
                format!("guard {name} tripped: {figures} ({})", measured.check.said),
            )
        } else if !asked && now.duration_since(since) > BLIND {
            let seconds = BLIND.as_secs();
            (
                format!("ガード {name} を {seconds} 秒間測定できませんでした"),
                format!("guard {name} could not be measured for {seconds} s"),
            )
        } else {
            continue;
        };
        it.measured[index].broken = true;
        it.ending = true;
        actions.push(Action::Tell("GuardTripped", en.clone()));
        it.conclude(now, Verdict::Stopped, text(ja, en));
    }
}

fn recovering(it: &mut Experiment, seen: &Seen, actions: &mut Vec<Action>) {
    let now = seen.now;
    let lifted = it.lifted_at.unwrap_or(now);
    let past = now.duration_since(lifted);
    let mut missing = Vec::new();
    let once = is_one_shot(it);
    // A killed pod's record stays as long as its object; the pod that comes in its place is what counts.
    if !once && records::any_injected(&it.records) {
        missing.push(text("注入されたままの Pod がある", "a pod is still hit"));
    }
    if let (Some(before), Some(ready)) = (it.ready_before, seen.ready)
        && ready < before
    {
        missing.push(text(
            format!("Ready の Pod が {ready}/{before}"),
            format!("{ready} of {before} pods are ready"),
        ));
    }
    if seen.ready.is_none() && it.ready_before.is_some() {
        missing.push(text(
            "Pod の状態を確認できない",
            "the pods could not be looked at",
        ));
    }
    if it.hit() > 0 {
        for (measured, values) in it.measured.iter().zip(&seen.values) {
            if measured.check.role != Role::Hypothesis {
                continue;
            }
            let values = values.as_deref().unwrap_or_default();
            if measured.check.is_true(values) != Some(true) {
                let name = &measured.check.name;
                let figures = measured
                    .check
                    .worst(values)
                    .map_or_else(|| "-".to_owned(), |value| measured.check.compared(value));
                missing.push(text(format!("{name}: {figures}"), format!("{name}: {figures}")));
            }
        }
    }
    if missing.is_empty() {
        let since = *it.steady_since.get_or_insert(now);
        let measured = !it.edges.is_empty() || it.measured.iter().any(|m| m.check.role == Role::Hypothesis);
        let figures = it.hit() > 0 && measured;
        if figures && now.duration_since(since) < STEADY {
            return;
        }
        let took = since.duration_since(lifted).as_secs_f64().max(0.0);
        it.recovery.verified = Some(true);
        it.recovery.seconds = Some(took);
        let took = format!("{took:.1}");
        if it.hit() > 0 {
            it.say(
                now,
                text(
                    format!("復旧を確認しました ({took} 秒)"),
                    format!("recovery verified after {took} s"),
                ),
            );
        }
        return close(it, now, actions);
    }
    it.steady_since = None;
    if past < RECOVERY {
        return;
    }
    it.recovery.verified = Some(false);
    let join =
        |pick: fn(&hikeshi_scenario::Text) -> &str| missing.iter().map(pick).collect::<Vec<_>>().join("; ");
    let reason = text(
        format!(
            "{} 秒たっても元に戻りませんでした ({})",
            RECOVERY.as_secs(),
            join(|t| &t.ja)
        ),
        format!(
            "not recovered after {} s ({})",
            RECOVERY.as_secs(),
            join(|t| &t.en)
        ),
    );
    actions.push(Action::Tell("NotRecovered", reason.en.clone()));
    if it.verdict.is_some() {
        it.say(now, reason);
    } else {
        it.conclude(now, Verdict::Refuted, reason);
    }
    close(it, now, actions);
}

/// The verdict, where none came earlier.
fn close(it: &mut Experiment, now: Timestamp, actions: &mut Vec<Action>) {
    it.phase = Phase::Ended;
    it.ended_at = Some(now);
    // What control created leaves nothing behind.
    it.ending |= it.owned;
    if it.verdict.is_none() {
        let hypotheses = || it.measured.iter().filter(|m| m.check.role == Role::Hypothesis);
        let unseen = hypotheses()
            .find(|m| m.during.is_none())
            .map(|m| m.check.name.clone());
        let broken = hypotheses().find(|m| m.broken).and_then(|m| {
            let line = m.during.map(|value| m.check.compared(value))?;
            Some(format!("{}: {line}", m.check.name))
        });
        if it.hit() == 0 {
            it.conclude(
                now,
                Verdict::Void,
                text("どの Pod にも注入されませんでした", "no pod was hit"),
            );
        } else if let Some(line) = broken {
            it.conclude(
                now,
                Verdict::Refuted,
                text(
                    format!("障害中に定常状態が崩れました ({line})"),
                    format!("the steady state did not hold during the fault ({line})"),
                ),
            );
        } else if let Some(name) = unseen {
            it.conclude(
                now,
                Verdict::Void,
                text(
                    format!("障害中に {name} を測定できませんでした"),
                    format!("{name} could not be measured during the fault"),
                ),
            );
        } else if hypotheses().next().is_some() {
            it.conclude(
                now,
                Verdict::Held,
                text(
                    "定常状態は、前も、最中も、後も保たれました",
                    "the steady state held before, during and after",
                ),
            );
        }
    }
    let word = it.verdict.map_or("ended", |verdict| match verdict {
        Verdict::Held => "held",
        Verdict::Refuted => "refuted",
        Verdict::Stopped => "stopped by guard",
        Verdict::Void => "void",
    });
    let reason = it
        .reason
        .as_ref()
        .map_or(String::new(), |reason| format!(": {}", reason.en));
    actions.push(Action::Tell("ExperimentEnded", format!("{word}{reason}")));
    if it.owned {
        actions.push(Action::End);
    }
}

/// A fault without an end of its own may live a minute at a time: should control be away longer, it is ended when
/// control is back rather than put in again.
fn lease(it: &mut Experiment, object: &Value, now: Timestamp, actions: &mut Vec<Action>) {
    let endless =
        takes_duration(object) && object["spec"]["duration"].as_str().unwrap_or_default().is_empty();
    // A drill's clock is the lease of its faults.
    if it.drill || !endless || !matches!(it.phase, Phase::Injecting | Phase::Running) {
        return;
    }
    // What the object says was written by us, perhaps after this was last written to the history.
    let said = object["metadata"]["annotations"][LEASE_UNTIL].as_str();
    let said = said.and_then(|until| until.parse().ok());
    it.lease_until = it.lease_until.max(said);
    match it.lease_until {
        Some(until) if until < now => {
            let late = now.duration_since(until).as_secs_f64();
            let away = words(late);
            let said = text(
                format!("リースが切れていたので終了します (期限から {})", words_ja(late)),
                format!("its lease had run out ({away} ago): it is ended"),
            );
            it.say(now, said);
            it.ending = true;
            actions.push(Action::End);
        }
        Some(until) if until.duration_since(now) > LEASE - RENEW => {}
        _ => {
            let until = now.checked_add(LEASE).unwrap_or(now);
            it.lease_until = Some(until);
            actions.push(Action::Renew(until));
        }
    }
}

// A lease must outlive a renewal that fails once.
const _: () = assert!(RENEW.as_secs() * 2 < LEASE.as_secs());
