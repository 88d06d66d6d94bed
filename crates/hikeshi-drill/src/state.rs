//! What is known at one moment: a fold over the log, nothing else.

use std::collections::BTreeMap;

use hikeshi_scenario::Milestone;
use jiff::Timestamp;
use serde::Serialize;

use crate::event::{Actor, Event, EventKind, JourneySample};

/// The drill so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct State {
    /// Number of the last event, 0 before the first.
    pub last_seq: u64,
    pub last_at: Option<Timestamp>,
    pub drill: String,
    pub scenario: String,
    pub system: String,
    pub slo_clock: f64,
    pub rehearsal: bool,
    pub seed: u64,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub end_reason: Option<String>,
    /// By handle, those sitting now.
    pub seats: BTreeMap<String, Actor>,
    pub commander: Option<String>,
    /// By fingerprint.
    pub alerts: BTreeMap<String, AlertState>,
    /// When each was first reached.
    pub milestones: BTreeMap<Milestone, Timestamp>,
    /// Faults now in place, with the time of injection.
    pub faults: BTreeMap<String, Timestamp>,
    /// How often each fault file was injected.
    pub injected: BTreeMap<String, u32>,
    pub hints_given: u32,
    /// Alert, step forward or hint: thinking time counts from here.
    pub last_progress: Option<Timestamp>,
    /// By handle of the scripted person.
    pub people: BTreeMap<String, PersonState>,
    /// Last word of the commander to everybody.
    pub last_status: Option<Timestamp>,
    pub oracle_green: Option<bool>,
    pub journeys: BTreeMap<String, JourneySample>,
    /// When the last page-severity alert stopped firing; none while one fires or before the first.
    pub quiet_since: Option<Timestamp>,
    /// Last `ResolvedDeclared`, cleared when a page fires again.
    pub resolved_at: Option<Timestamp>,
}

/// One alert, keyed by its fingerprint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertState {
    pub name: String,
    pub severity: String,
    pub summary: String,
    /// First time it fired.
    pub first_fired_at: Timestamp,
    /// Latest time it fired.
    pub fired_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    pub acknowledged_at: Option<Timestamp>,
    pub times: u32,
}

impl AlertState {
    pub fn firing(&self) -> bool {
        self.resolved_at.is_none()
    }
}

/// What a scripted person has said and heard.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PersonState {
    pub last_said: Option<Timestamp>,
    /// Times each line was said, by its index in `say`.
    pub said: BTreeMap<usize, u32>,
    pub last_said_cue: BTreeMap<usize, Timestamp>,
    /// Last word to this person: a mention, or a status to all.
    pub last_heard: Option<Timestamp>,
}

impl PersonState {
    /// The person asked something and nobody has answered.
    pub fn waiting(&self) -> bool {
        self.last_said
            .is_some_and(|said| self.last_heard.is_none_or(|heard| heard < said))
    }
}

impl State {
    pub fn ended(&self) -> bool {
        self.ended_at.is_some()
    }

    pub fn reached(&self, milestone: Milestone) -> Option<Timestamp> {
        self.milestones.get(&milestone).copied()
    }

    /// Alerts firing now, oldest first.
    pub fn firing(&self) -> Vec<(&str, &AlertState)> {
        let mut out: Vec<_> = self
            .alerts
            .iter()
            .filter(|(_, a)| a.firing())
            .map(|(f, a)| (f.as_str(), a))
            .collect();
        out.sort_by_key(|(_, a)| a.fired_at);
        out
    }

    /// A page is firing.
    pub fn paging(&self) -> bool {
        self.alerts.values().any(|a| a.firing() && a.severity == "page")
    }
}

/// Folds one event in. Total: an event that does not fit (a hand-edited log) changes what it can and nothing else.
pub fn apply(state: &mut State, event: &Event) {
    let at = event.at;
    state.last_seq = event.seq;
    state.last_at = Some(at);
    match &event.kind {
        EventKind::DrillStarted {
            drill,
            scenario,
            system,
            slo_clock,
            rehearsal,
            seed,
        } => {
            state.drill.clone_from(drill);
            state.scenario.clone_from(scenario);
            state.system.clone_from(system);
            state.slo_clock = *slo_clock;
            state.rehearsal = *rehearsal;
            state.seed = *seed;
            state.started_at = Some(at);
        }
        EventKind::SystemReady { .. } => {
            reach(state, Milestone::Ready, at);
            state.last_progress = Some(at);
        }
        EventKind::SeatTaken { actor } => {
            state.seats.insert(actor.name.clone(), actor.clone());
        }
        EventKind::SeatLeft { actor } => {
            state.seats.remove(&actor.name);
            if state.commander.as_ref() == Some(&actor.name) {
                state.commander = None;
            }
        }
        EventKind::FaultInjected { name, .. } => {
            state.faults.insert(name.clone(), at);
            *state.injected.entry(name.clone()).or_default() += 1;
            reach(state, Milestone::Injected, at);
        }
        EventKind::FaultEnded { name } => {
            state.faults.remove(name);
        }
        EventKind::AlertFired { .. } | EventKind::AlertResolved { .. } => apply_alert(state, &event.kind, at),
        EventKind::Message { actor, text, cue, .. } => apply_message(state, actor, text, cue.as_deref(), at),
        EventKind::Acknowledged { fingerprint, .. } => {
            for (key, alert) in &mut state.alerts {
                let meant = fingerprint.as_ref().is_none_or(|f| f == key);
                if meant && alert.firing() && alert.acknowledged_at.is_none() {
                    alert.acknowledged_at = Some(at);
                }
            }
            progress(state, Milestone::Acknowledged, at);
        }
        EventKind::CommanderAssigned { name, .. } => {
            state.commander = Some(name.clone());
            progress(state, Milestone::Commander, at);
        }
        EventKind::ImpactStated { .. } => progress(state, Milestone::Impact, at),
        EventKind::TaskAssigned { .. } => state.last_progress = Some(at),
        EventKind::StatusPosted { .. } => {
            state.last_status = Some(at);
            for person in state.people.values_mut() {
                person.last_heard = Some(at);
            }
        }
        EventKind::HypothesisProposed { .. } => progress(state, Milestone::Hypothesis, at),
        EventKind::MitigationDeclared { .. } => progress(state, Milestone::Mitigated, at),
        EventKind::ResolvedDeclared { .. } => {
            state.resolved_at = Some(at);
            progress(state, Milestone::Resolved, at);
        }
        EventKind::HintGiven { number, .. } => {
            state.hints_given = *number;
            state.last_progress = Some(at);
        }
        EventKind::OracleChecked { green, .. } => state.oracle_green = Some(*green),
        EventKind::Sample { journeys } => state.journeys.clone_from(journeys),
        EventKind::DrillEnded { reason } => {
            state.ended_at = Some(at);
            state.end_reason = Some(reason.clone());
        }
        EventKind::HintAsked { .. } | EventKind::CommandRun { .. } | EventKind::MetricSeen { .. } => {}
    }
}

/// The state after a whole log.
pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> State {
    let mut state = State::default();
    for event in events {
        apply(&mut state, event);
    }
    state
}

fn reach(state: &mut State, milestone: Milestone, at: Timestamp) {
    state.milestones.entry(milestone).or_insert(at);
}

fn progress(state: &mut State, milestone: Milestone, at: Timestamp) {
    reach(state, milestone, at);
    state.last_progress = Some(at);
}

fn apply_alert(state: &mut State, kind: &EventKind, at: Timestamp) {
    match kind {
        EventKind::AlertFired {
            fingerprint,
            name,
            severity,
            summary,
            ..
        } => {
            let alert = state
                .alerts
                .entry(fingerprint.clone())
                .or_insert_with(|| AlertState {
                    name: name.clone(),
                    severity: severity.clone(),
                    summary: summary.clone(),
                    first_fired_at: at,
                    fired_at: at,
                    resolved_at: None,
                    acknowledged_at: None,
                    times: 0,
                });
            alert.summary.clone_from(summary);
            alert.severity.clone_from(severity);
            alert.fired_at = at;
            alert.resolved_at = None;
            alert.acknowledged_at = None;
            alert.times += 1;
            if severity == "page" {
                state.quiet_since = None;
                state.resolved_at = None;
            }
            // What rings while the system is still starting is not the incident that people were told to wait for.
            if state.reached(Milestone::Ready).is_some() {
                progress(state, Milestone::Alert, at);
            }
        }
        EventKind::AlertResolved { fingerprint, .. } => {
            let was_paging = state.paging();
            if let Some(alert) = state.alerts.get_mut(fingerprint) {
                alert.resolved_at = Some(at);
            }
            if was_paging && !state.paging() {
                state.quiet_since = Some(at);
            }
        }
        _ => {}
    }
}

fn apply_message(state: &mut State, actor: &Actor, text: &str, cue: Option<&str>, at: Timestamp) {
    if let Some((name, index)) = cue.and_then(crate::people::cue_parts) {
        let person = state.people.entry(name.to_owned()).or_default();
        person.last_said = Some(at);
        *person.said.entry(index).or_default() += 1;
        person.last_said_cue.insert(index, at);
        return;
    }
    for (name, person) in &mut state.people {
        if *name != actor.name && crate::people::mentions(text, name) {
            person.last_heard = Some(at);
        }
    }
}
