//! What a drill measures, each thing on its own. Seconds throughout; every figure carries the events it comes from.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use hikeshi_scenario::Scenario;
use jiff::Timestamp;
use regex::Regex;
use serde::Serialize;

use crate::event::{Event, EventKind};
use crate::people::mentions;

/// Figures of one drill.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Metrics {
    pub injected: Option<Mark>,
    pub alert: Option<Mark>,
    /// 検知.
    pub acknowledged: Option<Mark>,
    /// アサイン.
    pub commander: Option<Mark>,
    pub impact: Option<Mark>,
    /// The first status, or the first word to a stakeholder.
    pub notified: Option<Mark>,
    /// 暫定復旧: the last declaration, unless a page fired after it.
    pub mitigated: Option<Mark>,
    /// Declared, then a page fired or it had to be declared again.
    pub relapsed_mitigations: Vec<Mark>,
    /// 復旧: the last declaration.
    pub resolved: Option<Mark>,
    /// The oracle's last word after `resolved`; none where nobody asked it.
    pub oracle: Option<Mark>,
    pub oracle_green: Option<bool>,
    /// Fault to alert.
    pub to_alert: Option<f64>,
    /// Alert to acknowledgement, and so on: the start is always the first alert.
    pub to_acknowledge: Option<f64>,
    pub to_assign: Option<f64>,
    pub to_impact: Option<f64>,
    pub to_mitigate: Option<f64>,
    pub to_resolve: Option<f64>,
    pub to_notify: Option<f64>,
    pub duplicated_work: Vec<Duplicate>,
    pub unanswered_calls: Vec<Mark>,
    /// Longest silence toward each stakeholder, from the first alert until it was over.
    pub silences: Vec<Silence>,
    pub promises: Vec<Promise>,
    pub hypotheses: Vec<Mark>,
    pub actions: Vec<Action>,
    pub hints: Vec<Mark>,
    /// By journey.
    pub budget_burned: BTreeMap<String, Burn>,
}

/// An event and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Mark {
    pub seq: u64,
    pub at: Timestamp,
}

/// The same command by two people within three minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    pub command: String,
    pub by: [String; 2],
    pub seqs: [u64; 2],
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Silence {
    pub toward: String,
    pub seconds: f64,
    /// Events at both ends.
    pub seqs: [u64; 2],
}

/// An ETA and whether a status came in time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Promise {
    pub seq: u64,
    pub due: Timestamp,
    pub kept: bool,
}

/// A change made to the system.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Action {
    pub seq: u64,
    pub by: String,
    pub command: String,
    /// A hypothesis had been written before it.
    pub after_hypothesis: bool,
    /// What it cost: budget share (worst journey) spent in the two minutes after it; negative is relief.
    pub price: Option<f64>,
}

/// What a journey spent of its error budget between the first and the lowest sample.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Burn {
    pub share: f64,
    /// Those two samples; one where nothing was spent.
    pub seqs: Vec<u64>,
}

const SAME_WORK_SECONDS: f64 = 180.0;
const ANSWER_SECONDS: f64 = 120.0;

/// Measures a log, finished or not.
pub fn metrics(events: &[Event], scenario: &Scenario) -> Metrics {
    let first = |is: fn(&EventKind) -> bool| events.iter().find(|e| is(&e.kind)).map(mark);
    let all = |is: fn(&EventKind) -> bool| {
        events
            .iter()
            .filter(|e| is(&e.kind))
            .map(mark)
            .collect::<Vec<_>>()
    };
    // What rang while the system was starting is not the incident.
    let begun = first(|k| matches!(k, EventKind::SystemReady { .. })).map_or(0, |ready| ready.seq);
    let alert = events
        .iter()
        .find(|e| e.seq > begun && matches!(e.kind, EventKind::AlertFired { .. }))
        .map(mark);
    let resolved = events
        .iter()
        .rev()
        .find(|e| matches!(e.kind, EventKind::ResolvedDeclared { .. }))
        .map(mark);
    // A later declaration says that the one before did not hold, whether or not the alert had gone in between.
    let mut relapsed_mitigations = all(|k| matches!(k, EventKind::MitigationDeclared { .. }));
    let last = relapsed_mitigations.pop();
    let mitigated = last.filter(|m| !page_after(events, *m, resolved));
    relapsed_mitigations.extend(last.filter(|_| mitigated.is_none()));
    let since = |m: Option<Mark>| Some(seconds(alert?.at, m?.at));
    let injected = first(|k| matches!(k, EventKind::FaultInjected { .. }));
    let acknowledged = first(|k| matches!(k, EventKind::Acknowledged { .. }));
    let commander = first(|k| matches!(k, EventKind::CommanderAssigned { .. }));
    let impact = first(|k| matches!(k, EventKind::ImpactStated { .. }));
    let notified = notified(events, scenario, alert);
    let oracle = resolved.and_then(|r| oracle_after(events, r));
    Metrics {
        to_alert: injected.zip(alert).map(|(i, a)| seconds(i.at, a.at)),
        to_acknowledge: since(acknowledged),
        to_assign: since(commander),
        to_impact: since(impact),
        to_mitigate: since(mitigated),
        to_resolve: since(resolved),
        to_notify: since(notified),
        oracle: oracle.map(|(m, _)| m),
        oracle_green: oracle.map(|(_, green)| green),
        duplicated_work: duplicated_work(events),
        unanswered_calls: unanswered_calls(events),
        silences: silences(events, scenario, alert, resolved),
        promises: promises(events),
        hypotheses: all(|k| matches!(k, EventKind::HypothesisProposed { .. })),
        actions: actions(events),
        hints: all(|k| matches!(k, EventKind::HintGiven { .. })),
        budget_burned: budget_burned(events),
        injected,
        alert,
        acknowledged,
        commander,
        impact,
        notified,
        mitigated,
        relapsed_mitigations,
        resolved,
    }
}

fn mark(event: &Event) -> Mark {
    Mark {
        seq: event.seq,
        at: event.at,
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

fn page_after(events: &[Event], mitigated: Mark, resolved: Option<Mark>) -> bool {
    let until = resolved.map_or(u64::MAX, |r| r.seq);
    events.iter().any(|e| {
        let page = matches!(&e.kind, EventKind::AlertFired { severity, .. } if severity == "page");
        page && e.seq > mitigated.seq && (e.seq < until || until < mitigated.seq)
    })
}

fn oracle_after(events: &[Event], resolved: Mark) -> Option<(Mark, bool)> {
    events
        .iter()
        .rev()
        .filter(|e| e.seq > resolved.seq)
        .find_map(|e| match &e.kind {
            EventKind::OracleChecked { green, .. } => Some((mark(e), *green)),
            _ => None,
        })
}

/// People told: all stakeholders by a status, or one by a mention.
fn told(event: &Event, who: &str) -> bool {
    match &event.kind {
        EventKind::StatusPosted { .. } => true,
        EventKind::Message {
            actor,
            text,
            cue: None,
            ..
        } => actor.name != who && mentions(text, who),
        _ => false,
    }
}

fn notified(events: &[Event], scenario: &Scenario, alert: Option<Mark>) -> Option<Mark> {
    let alert = alert?;
    events
        .iter()
        .filter(|e| e.seq > alert.seq)
        .find(|e| {
            matches!(e.kind, EventKind::StatusPosted { .. })
                || scenario.people.iter().any(|p| told(e, &p.name))
        })
        .map(mark)
}

fn silences(
    events: &[Event],
    scenario: &Scenario,
    alert: Option<Mark>,
    resolved: Option<Mark>,
) -> Vec<Silence> {
    let Some(start) = alert else { return Vec::new() };
    let Some(end) = resolved
        .filter(|r| r.seq > start.seq)
        .or_else(|| events.last().map(mark))
    else {
        return Vec::new();
    };
    scenario
        .people
        .iter()
        .filter_map(|person| {
            let words = events
                .iter()
                .filter(|e| e.seq > start.seq && e.seq < end.seq && told(e, &person.name))
                .map(mark);
            let marks: Vec<Mark> = std::iter::once(start).chain(words).chain([end]).collect();
            let widest = marks
                .windows(2)
                .max_by(|a, b| seconds(a[0].at, a[1].at).total_cmp(&seconds(b[0].at, b[1].at)))?;
            Some(Silence {
                toward: person.name.clone(),
                seconds: seconds(widest[0].at, widest[1].at),
                seqs: [widest[0].seq, widest[1].seq],
            })
        })
        .collect()
}

fn promises(events: &[Event]) -> Vec<Promise> {
    let Some(last) = events.last() else {
        return Vec::new();
    };
    let statuses: Vec<&Event> = events
        .iter()
        .filter(|e| {
            matches!(
                e.kind,
                EventKind::StatusPosted { .. } | EventKind::ResolvedDeclared { .. }
            )
        })
        .collect();
    let mut out = Vec::new();
    for event in &statuses {
        let EventKind::StatusPosted {
            eta_minutes: Some(minutes),
            ..
        } = event.kind
        else {
            continue;
        };
        let due = crate::people::later(event.at, std::time::Duration::from_secs(u64::from(minutes) * 60));
        let kept = statuses.iter().any(|next| next.seq > event.seq && next.at <= due);
        // Not yet due and not yet answered: nothing to say about it.
        if kept || due <= last.at {
            out.push(Promise {
                seq: event.seq,
                due,
                kept,
            });
        }
    }
    out
}

fn duplicated_work(events: &[Event]) -> Vec<Duplicate> {
    let mut last: BTreeMap<&str, (&str, u64, Timestamp)> = BTreeMap::new();
    let mut out = Vec::new();
    for event in events {
        let EventKind::CommandRun { actor, command, .. } = &event.kind else {
            continue;
        };
        if let Some((name, seq, at)) = last.get(command.as_str())
            && *name != actor.name
            && seconds(*at, event.at) <= SAME_WORK_SECONDS
        {
            out.push(Duplicate {
                command: command.clone(),
                by: [(*name).to_owned(), actor.name.clone()],
                seqs: [*seq, event.seq],
            });
        }
        last.insert(command, (&actor.name, event.seq, event.at));
    }
    out
}

fn unanswered_calls(events: &[Event]) -> Vec<Mark> {
    // The patterns are constants covered by a test; an empty fold is what an impossible failure would mean.
    static CALL: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?i)誰か|だれか|どなたか|\b(can|could|would|will) (any|some)(one|body)\b").ok()
    });
    static VOLUNTEER: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"(?i)やります|やるわ|やるよ|見ます|見る[わよ]|見てみ|調べ|\b(I'll|I will|I can|on it|let me)\b",
        )
        .ok()
    });
    let (Some(call), Some(volunteer)) = (CALL.as_ref(), VOLUNTEER.as_ref()) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for event in events {
        let EventKind::Message {
            actor,
            text,
            text_ja,
            cue: None,
        } = &event.kind
        else {
            continue;
        };
        if !call.is_match(text) && !text_ja.as_ref().is_some_and(|t| call.is_match(t)) {
            continue;
        }
        let answered = events
            .iter()
            .filter(|e| e.seq > event.seq && seconds(event.at, e.at) <= ANSWER_SECONDS)
            .any(|e| match &e.kind {
                EventKind::TaskAssigned { .. } => true,
                EventKind::Message {
                    actor: other,
                    text,
                    text_ja,
                    ..
                } => {
                    let willing =
                        volunteer.is_match(text) || text_ja.as_ref().is_some_and(|t| volunteer.is_match(t));
                    other.name != actor.name && (willing || mentions(text, &actor.name))
                }
                _ => false,
            });
        if !answered {
            out.push(mark(event));
        }
    }
    out
}

fn actions(events: &[Event]) -> Vec<Action> {
    let mut thought = false;
    let mut out = Vec::new();
    for event in events {
        match &event.kind {
            EventKind::HypothesisProposed { .. } => thought = true,
            EventKind::CommandRun {
                actor,
                command,
                mutating: true,
                ..
            } => {
                let price = budget_at(events, event.at, 0.0)
                    .zip(budget_at(events, event.at, 120.0))
                    .map(|(before, after)| before - after);
                out.push(Action {
                    seq: event.seq,
                    by: actor.name.clone(),
                    command: command.clone(),
                    after_hypothesis: thought,
                    price,
                });
            }
            // A new incident needs a new thought.
            EventKind::ResolvedDeclared { .. } => thought = false,
            _ => {}
        }
    }
    out
}

/// Worst budget left at the last sample not later than `at + after`; none without samples.
fn budget_at(events: &[Event], at: Timestamp, after: f64) -> Option<f64> {
    events
        .iter()
        .rev()
        .filter(|e| seconds(at, e.at) <= after)
        .find_map(|e| match &e.kind {
            EventKind::Sample { journeys } => journeys
                .values()
                .filter_map(|j| j.budget_left)
                .min_by(f64::total_cmp),
            _ => None,
        })
}

fn budget_burned(events: &[Event]) -> BTreeMap<String, Burn> {
    // Of each journey the first sample and the lowest, with their events.
    let mut ends: BTreeMap<&str, [(u64, f64); 2]> = BTreeMap::new();
    for event in events {
        let EventKind::Sample { journeys } = &event.kind else {
            continue;
        };
        for (name, left) in journeys.iter().filter_map(|(n, j)| Some((n, j.budget_left?))) {
            let here = (event.seq, left);
            let [_, lowest] = ends.entry(name.as_str()).or_insert([here, here]);
            if left < lowest.1 {
                *lowest = here;
            }
        }
    }
    ends.into_iter()
        .map(|(name, [first, lowest])| {
            let mut seqs = vec![first.0, lowest.0];
            seqs.dedup();
            let share = first.1 - lowest.1;
            (name.to_owned(), Burn { share, seqs })
        })
        .collect()
}
