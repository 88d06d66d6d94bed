//! One experiment's life: what has been seen of it, what to do next, what it has shown. Time and observations come in,
//! actions go out.

use std::collections::BTreeSet;

use hikeshi_scenario::Text;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::annotations::{PAUSE, Role};
use crate::api::{EdgeFigures, Note, Phase, Recovery, TargetRecord, Verdict};
use crate::check::Check;
use crate::manifest::duration_of;

mod edges;
mod records;
mod step;
mod told;

pub use edges::{EdgeFlow, Side, Window};
pub use step::{Action, step};

/// Over how long before the start figures are looked at, in seconds.
pub const BEFORE: f64 = 60.0;

/// A guard that cannot be measured for so long is no guard: the experiment ends.
const BLIND: SignedDuration = SignedDuration::from_secs(15);
/// In which the steady state must be back: a rate over a minute needs that minute.
const RECOVERY: SignedDuration = SignedDuration::from_secs(120);
/// For how long the steady state must have held again: what is measured at once may still be from before the end.
const STEADY: SignedDuration = SignedDuration::from_secs(5);
/// How long a kill is watched, which is over at once.
const WATCH: f64 = 30.0;
/// A fault that should have ended by itself is ended after so much more.
const GRACE: f64 = 5.0;
/// In which something must be hit by an experiment that control itself created.
const HIT: SignedDuration = SignedDuration::from_secs(30);
/// For how long a fault without a duration is allowed at a time, and when that is renewed.
const LEASE: SignedDuration = SignedDuration::from_secs(60);
const RENEW: SignedDuration = SignedDuration::from_secs(20);
/// More points than this are thinned to every other one.
const MOST_POINTS: usize = 1_200;

/// A check and what it measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    #[serde(flatten)]
    pub check: Check,
    pub before: Option<f64>,
    /// The worst while the fault was on.
    pub during: Option<f64>,
    pub after: Option<f64>,
    /// Whether a hypothesis was ever false, or a guard ever true, while the fault was on.
    pub broken: bool,
    /// Unix seconds and value.
    pub points: Vec<(f64, f64)>,
    /// When it was last measured.
    pub last: Option<Timestamp>,
}

/// Everything known of one experiment. Written whole to the history at each turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    pub id: String,
    /// Of the object, once it is there.
    pub uid: Option<String>,
    pub name: String,
    pub namespace: String,
    pub kind: String,
    /// The object as it was asked for.
    pub object: Value,
    /// Who asked for it; empty while that is not known.
    pub by: String,
    /// Part of a drill: not to be shown while the drill is on.
    pub drill: bool,
    /// Control created the object, and so deletes it.
    pub owned: bool,
    pub phase: Phase,
    pub created_at: Timestamp,
    /// The first hit.
    pub started_at: Option<Timestamp>,
    /// The fault's end.
    pub lifted_at: Option<Timestamp>,
    /// Recovery verified, or given up.
    pub ended_at: Option<Timestamp>,
    /// Seconds after which the fault is ended; none: when it is stopped.
    pub limit_s: Option<f64>,
    pub verdict: Option<Verdict>,
    /// Why the verdict is what it is.
    pub reason: Option<Text>,
    pub measured: Vec<Measured>,
    /// Names under which the data plane counts what the selector matched at the start.
    #[serde(default)]
    pub workloads: BTreeSet<String>,
    /// Their edges' requests before, during and after.
    #[serde(default)]
    pub edges: Vec<EdgeFigures>,
    pub records: Vec<TargetRecord>,
    /// Pods of the selector that were ready before.
    pub ready_before: Option<usize>,
    pub recovery: Recovery,
    /// Since when, after the fault's end, everything has been as before it.
    #[serde(default)]
    pub steady_since: Option<Timestamp>,
    pub lease_until: Option<Timestamp>,
    pub events: Vec<Note>,
    /// The end has been asked for.
    pub ending: bool,
    /// Its fault is lifted for now, by the pause annotation; it may come back.
    #[serde(default)]
    pub paused: bool,
}

/// What is asked for when an experiment begins.
#[derive(Debug, Clone)]
pub struct Asked {
    pub id: String,
    pub name: String,
    pub namespace: String,
    pub kind: String,
    pub object: Value,
    pub checks: Vec<Check>,
    pub by: String,
    pub drill: bool,
    pub owned: bool,
    pub limit_s: Option<f64>,
    pub at: Timestamp,
}

/// One look at an experiment.
#[derive(Debug, Clone)]
pub struct Seen {
    pub now: Timestamp,
    /// None: it is gone.
    pub object: Option<Value>,
    /// Chaos objects that a Schedule or Workflow has made.
    pub children: Vec<Value>,
    /// Per check, in order: its series; none when it could not be asked.
    pub values: Vec<Option<Vec<f64>>>,
    /// The edges' requests over each of [`Experiment::windows`].
    pub edges: Vec<(Side, Vec<EdgeFlow>)>,
    /// Ready pods of the selector; none when it could not be asked.
    pub ready: Option<usize>,
}

fn text(ja: impl Into<String>, en: impl Into<String>) -> Text {
    Text {
        ja: ja.into(),
        en: en.into(),
    }
}

impl Experiment {
    /// A new one: nothing is injected yet.
    pub fn new(asked: Asked) -> Self {
        let measured = asked
            .checks
            .into_iter()
            .map(|check| Measured {
                check,
                before: None,
                during: None,
                after: None,
                broken: false,
                points: Vec::new(),
                last: None,
            })
            .collect();
        let limit = asked.limit_s.or_else(|| duration_of(&asked.object));
        let once = asked.kind == "PodChaos" && asked.object["spec"]["action"] != "pod-failure";
        Self {
            id: asked.id,
            uid: None,
            name: asked.name,
            namespace: asked.namespace,
            kind: asked.kind,
            object: asked.object,
            by: asked.by,
            drill: asked.drill,
            owned: asked.owned,
            phase: Phase::Pending,
            created_at: asked.at,
            started_at: None,
            lifted_at: None,
            ended_at: None,
            limit_s: limit.or(once.then_some(WATCH)),
            verdict: None,
            reason: None,
            measured,
            workloads: BTreeSet::new(),
            edges: Vec::new(),
            records: Vec::new(),
            ready_before: None,
            recovery: Recovery::default(),
            steady_since: None,
            lease_until: None,
            events: Vec::new(),
            ending: false,
            paused: false,
        }
    }

    /// Writes down the figures before the fault. False: there is no steady state to begin with, and nothing may be
    /// injected (or what is must go).
    pub fn before(&mut self, now: Timestamp, values: &[Option<Vec<f64>>], ready: Option<usize>) -> bool {
        self.ready_before = ready;
        let mut unsteady = Vec::new();
        for (measured, values) in self.measured.iter_mut().zip(values) {
            let values = values.as_deref().unwrap_or_default();
            measured.before = measured.check.worst(values);
            measured.note(now, measured.before);
            let truth = measured.check.is_true(values);
            let name = &measured.check.name;
            match (measured.check.role, truth, measured.before) {
                (Role::Hypothesis, Some(false), Some(value)) | (Role::Guard, Some(true), Some(value)) => {
                    let figures = measured.check.compared(value);
                    unsteady.push(text(format!("{name}: {figures}"), format!("{name}: {figures}")));
                }
                (Role::Hypothesis, None, _) => unsteady.push(text(
                    format!("{name}: データがありません"),
                    format!("{name}: no data"),
                )),
                _ => {}
            }
        }
        if unsteady.is_empty() {
            return true;
        }
        let join = |pick: fn(&Text) -> &str| unsteady.iter().map(pick).collect::<Vec<_>>().join("; ");
        let reason = text(
            format!("はじめから定常状態ではありませんでした ({})", join(|t| &t.ja)),
            format!("there was no steady state to begin with ({})", join(|t| &t.en)),
        );
        self.conclude(now, Verdict::Void, reason);
        false
    }

    /// A person's wish to end it.
    pub fn stop(&mut self, now: Timestamp, by: &str) {
        if !self.ending && self.phase != Phase::Ended {
            self.say(
                now,
                text(format!("{by} が停止しました"), format!("stopped by {by}")),
            );
        }
        self.ending = true;
    }

    /// Nothing was ever injected: it is over.
    pub fn give_up(&mut self, now: Timestamp) {
        self.phase = Phase::Ended;
        self.ended_at = Some(now);
    }

    /// Its object never came to be: it is over.
    pub fn never_created(&mut self, now: Timestamp) {
        let reason = text(
            "オブジェクトが作成されませんでした",
            "its object was never created",
        );
        self.conclude(now, Verdict::Void, reason);
        self.give_up(now);
    }

    /// Adds to its record of events.
    pub fn say(&mut self, at: Timestamp, text: Text) {
        self.events.push(Note { at, text });
    }

    /// Pods that were really hit.
    pub fn hit(&self) -> usize {
        let mut pods: Vec<&str> = self
            .records
            .iter()
            .filter(|record| record.injected_at.is_some())
            .map(|record| record.pod.as_str())
            .collect();
        pods.sort_unstable();
        pods.dedup();
        pods.len()
    }

    /// The verdict, once: what came first stays.
    fn conclude(&mut self, now: Timestamp, verdict: Verdict, reason: Text) {
        if self.verdict.is_none() {
            self.verdict = Some(verdict);
            self.say(now, reason.clone());
            self.reason = Some(reason);
        }
    }
}

impl Measured {
    fn note(&mut self, now: Timestamp, value: Option<f64>) {
        let Some(value) = value else { return };
        self.last = Some(now);
        if self.points.len() >= MOST_POINTS {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        self.points.push((now.as_duration().as_secs_f64(), value));
    }
}

/// Whether an object's fault is lifted for now by its pause annotation.
fn is_paused(object: &Value) -> bool {
    object["metadata"]["annotations"][PAUSE] == "true"
}

/// Whether a Workflow, which cannot pause, was ended by its abort annotation.
fn is_aborted(object: &Value) -> bool {
    object["metadata"]["annotations"]["workflow.chaos-mesh.org/abort"] == "true"
}

#[cfg(test)]
mod tests;
