//! `decide(state, scenario, command, now)`: the events a command makes, or why it makes none. It never changes anything itself.

use hikeshi_scenario::Scenario;
use hikeshi_scenario::scenario::{SEATS, is_handle};
use jiff::Timestamp;

use crate::command::{Command, Refusal};
use crate::event::{Actor, Event, EventKind, LOG_VERSION};
use crate::output::{refused, tail};
use crate::people;
use crate::state::State;

/// Longest text taken from people, in characters.
pub const LONGEST_TEXT: usize = 4_000;
/// Most output kept of one command, in bytes; the end is kept, since that is where the error is.
pub const LONGEST_OUTPUT: usize = 4_096;

/// Events that a command makes now. The caller numbers and dates them with [`number`], stores them, then applies them.
///
/// # Errors
/// A refusal in both languages, when the command does not fit the state; nothing is to be stored then.
pub fn decide(
    state: &State,
    scenario: &Scenario,
    command: Command,
    now: Timestamp,
) -> Result<Vec<EventKind>, Refusal> {
    if let Command::Start {
        drill,
        scenario,
        system,
        slo_clock,
        rehearsal,
        seed,
    } = command
    {
        if state.started_at.is_some() {
            return Err(Refusal::new(
                "already_started",
                "the drill has already started",
                "演習はすでに始まっています",
            ));
        }
        if !(slo_clock.is_finite() && slo_clock > 0.0) {
            return Err(Refusal::new(
                "bad_clock",
                "the SLO clock must be a positive number",
                "SLO の時計は正の数で指定してください",
            ));
        }
        return Ok(vec![EventKind::DrillStarted {
            drill,
            scenario,
            system,
            slo_clock,
            rehearsal,
            seed,
        }]);
    }
    if state.started_at.is_none() {
        return Err(Refusal::new(
            "not_started",
            "the drill has not started yet",
            "演習はまだ始まっていません",
        ));
    }
    if state.ended() {
        return Err(Refusal::new(
            "drill_ended",
            "the drill is over; its record is closed",
            "演習は終了しています。記録は閉じられました",
        ));
    }
    match command {
        Command::Start { .. } => Ok(Vec::new()),
        Command::TakeSeat { .. } | Command::LeaveSeat { .. } => seats(state, scenario, command),
        Command::Tick => Ok(people::due(state, scenario, now)),
        Command::AskHint { by } => hint(state, scenario, &by, now),
        Command::SystemReady { .. }
        | Command::FaultInjected { .. }
        | Command::FaultEnded { .. }
        | Command::AlertFired { .. }
        | Command::AlertResolved { .. }
        | Command::CommandRun { .. }
        | Command::MetricSeen { .. }
        | Command::Sample { .. }
        | Command::OracleChecked { .. } => Ok(facts(state, command)),
        other => wish(state, other),
    }
}

/// Turns kinds into events after `state`: the next numbers, and a time that never goes back even if the machine's clock did.
pub fn number(state: &State, kinds: Vec<EventKind>, now: Timestamp) -> Vec<Event> {
    let at = state.last_at.map_or(now, |last| last.max(now));
    (state.last_seq + 1..)
        .zip(kinds)
        .map(|(seq, kind)| Event {
            v: LOG_VERSION,
            seq,
            at,
            kind,
        })
        .collect()
}

fn seats(state: &State, scenario: &Scenario, command: Command) -> Result<Vec<EventKind>, Refusal> {
    match command {
        Command::TakeSeat { name, seat, npc } => {
            if !is_handle(&name) {
                return Err(Refusal::new(
                    "bad_name",
                    format!("`{name}` cannot be a handle: 2 to 16 small letters a-z and digits"),
                    format!(
                        "「{name}」はハンドルネームにできません。小文字の英字と数字 2〜16 文字にしてください"
                    ),
                ));
            }
            if !SEATS.contains(&seat.as_str()) {
                return Err(Refusal::new(
                    "bad_seat",
                    format!("`{seat}` is not a seat; seats are {}", SEATS.join(", ")),
                    format!(
                        "「{seat}」という役割はありません。役割は {} です",
                        SEATS.join("、")
                    ),
                ));
            }
            if scenario.people.iter().any(|p| p.name == name) {
                return Err(Refusal::new(
                    "name_taken",
                    format!("`{name}` is someone in this story; choose another handle"),
                    format!("「{name}」はこの演習の登場人物です。別のハンドルネームにしてください"),
                ));
            }
            if state.seats.contains_key(&name) {
                return Err(Refusal::new(
                    "name_taken",
                    format!("`{name}` is already seated; leave the seat first or choose another handle"),
                    format!(
                        "「{name}」はすでに参加しています。いったん退席するか、別のハンドルネームにしてください"
                    ),
                ));
            }
            Ok(vec![EventKind::SeatTaken {
                actor: Actor { name, seat, npc },
            }])
        }
        Command::LeaveSeat { name } => Ok(vec![EventKind::SeatLeft {
            actor: seated(state, &name)?,
        }]),
        _ => Ok(Vec::new()),
    }
}

fn wish(state: &State, command: Command) -> Result<Vec<EventKind>, Refusal> {
    let event = match command {
        Command::Say { by, text, text_ja } => EventKind::Message {
            actor: seated(state, &by)?,
            text: words(text)?,
            text_ja: text_ja.map(words).transpose()?,
            cue: None,
        },
        Command::Acknowledge { by, fingerprint } => acknowledge(state, &by, fingerprint)?,
        Command::AssignCommander { by, name } => {
            let by = acting(state, &by)?;
            let chosen = acting(state, &name)?;
            if state.commander.as_ref() == Some(&chosen.name) {
                let (en, ja) = (
                    format!("{name} is already in command"),
                    format!("{name} さんがすでに指揮官です"),
                );
                return Err(Refusal::new("already_commander", en, ja));
            }
            EventKind::CommanderAssigned {
                by,
                name: chosen.name,
            }
        }
        Command::StateImpact { by, text, text_ja } => EventKind::ImpactStated {
            actor: acting(state, &by)?,
            text: words(text)?,
            text_ja: text_ja.map(words).transpose()?,
        },
        Command::AssignTask {
            by,
            name,
            text,
            text_ja,
        } => {
            let by = acting(state, &by)?;
            EventKind::TaskAssigned {
                by,
                name: acting(state, &name)?.name,
                text: words(text)?,
                text_ja: text_ja.map(words).transpose()?,
            }
        }
        Command::PostStatus {
            by,
            text,
            text_ja,
            eta_minutes,
        } => EventKind::StatusPosted {
            actor: acting(state, &by)?,
            text: words(text)?,
            text_ja: text_ja.map(words).transpose()?,
            eta_minutes,
        },
        Command::ProposeHypothesis { by, text, text_ja } => EventKind::HypothesisProposed {
            actor: acting(state, &by)?,
            text: words(text)?,
            text_ja: text_ja.map(words).transpose()?,
        },
        Command::DeclareMitigated { by, text, text_ja } => {
            let actor = incident(state, &by)?;
            EventKind::MitigationDeclared {
                actor,
                text: words(text)?,
                text_ja: text_ja.map(words).transpose()?,
            }
        }
        Command::DeclareResolved { by, text, text_ja } => {
            let actor = incident(state, &by)?;
            EventKind::ResolvedDeclared {
                actor,
                text: words(text)?,
                text_ja: text_ja.map(words).transpose()?,
            }
        }
        Command::End { by, reason } => {
            if let Some(by) = by {
                acting(state, &by)?;
            }
            EventKind::DrillEnded {
                reason: words(reason)?,
            }
        }
        // Every other command is handled by `decide` before it comes here.
        _ => return Ok(Vec::new()),
    };
    Ok(vec![event])
}

fn acknowledge(state: &State, by: &str, fingerprint: Option<String>) -> Result<EventKind, Refusal> {
    let actor = acting(state, by)?;
    let open = |f: &str| {
        state
            .alerts
            .get(f)
            .is_some_and(|a| a.firing() && a.acknowledged_at.is_none())
    };
    let any = match &fingerprint {
        Some(f) => open(f),
        None => state.alerts.keys().any(|f| open(f)),
    };
    if any {
        Ok(EventKind::Acknowledged { actor, fingerprint })
    } else {
        Err(Refusal::new(
            "nothing_to_acknowledge",
            "no firing alert is waiting for an acknowledgement",
            "確認待ちの発報中アラートはありません",
        ))
    }
}

fn hint(state: &State, scenario: &Scenario, by: &str, now: Timestamp) -> Result<Vec<EventKind>, Refusal> {
    let actor = acting(state, by)?;
    let number = state.hints_given + 1;
    let Some(hint) = usize::try_from(state.hints_given)
        .ok()
        .and_then(|n| scenario.hints.get(n))
    else {
        return Err(Refusal::new(
            "no_more_hints",
            "there are no more hints",
            "ヒントはもうありません",
        ));
    };
    let Some(since) = state.last_progress else {
        return Err(Refusal::new(
            "not_ready",
            "the system is still starting",
            "システムはまだ起動中です",
        ));
    };
    let due = people::later(since, hint.after_stall.get());
    if now < due {
        let seconds = due.duration_since(now).as_secs().max(1);
        return Err(Refusal::new(
            "hint_too_early",
            format!("keep thinking: this hint opens in {seconds} s if nothing moves"),
            format!("もう少し考えてみましょう。進展がなければ、あと {seconds} 秒でこのヒントが開きます"),
        ));
    }
    Ok(vec![
        EventKind::HintAsked { actor },
        EventKind::HintGiven {
            number,
            text: hint.text.en.clone(),
            text_ja: hint.text.ja.clone(),
        },
    ])
}

/// Facts are never refused: what is known already, or does not fit, makes no event.
fn facts(state: &State, command: Command) -> Vec<EventKind> {
    let event = match command {
        Command::SystemReady { pods, seconds } => {
            if state.reached(hikeshi_scenario::Milestone::Ready).is_some() {
                return Vec::new();
            }
            EventKind::SystemReady {
                pods,
                seconds: finite(seconds),
            }
        }
        Command::FaultInjected { name, object } => {
            if state.faults.contains_key(&name) {
                return Vec::new();
            }
            EventKind::FaultInjected { name, object }
        }
        Command::FaultEnded { name } => {
            if !state.faults.contains_key(&name) {
                return Vec::new();
            }
            EventKind::FaultEnded { name }
        }
        Command::AlertFired {
            fingerprint,
            name,
            severity,
            summary,
            labels,
        } => {
            // Alertmanager repeats itself: the same alert, still firing, is one alert.
            if state
                .alerts
                .get(&fingerprint)
                .is_some_and(super::state::AlertState::firing)
            {
                return Vec::new();
            }
            EventKind::AlertFired {
                fingerprint,
                name,
                severity,
                summary,
                labels,
            }
        }
        Command::AlertResolved { fingerprint } => match state.alerts.get(&fingerprint) {
            Some(alert) if alert.firing() => EventKind::AlertResolved {
                name: alert.name.clone(),
                summary: alert.summary.clone(),
                fingerprint,
            },
            _ => return Vec::new(),
        },
        Command::CommandRun {
            by,
            command,
            mutating,
            source,
            exit_code,
            output,
            seconds,
            step,
        } => EventKind::CommandRun {
            actor: outside(state, by),
            command,
            mutating: mutating && !refused(exit_code, &output),
            source,
            exit_code,
            output: tail(&output, LONGEST_OUTPUT),
            seconds: finite(seconds),
            step,
        },
        Command::MetricSeen {
            by,
            query,
            value,
            baseline,
            unit,
            step,
        } => {
            // NaN is not a value that anybody saw.
            if !value.is_finite() {
                return Vec::new();
            }
            EventKind::MetricSeen {
                actor: outside(state, by),
                query,
                value,
                baseline: baseline.filter(|b| b.is_finite()),
                unit,
                step,
            }
        }
        Command::Sample { mut journeys } => {
            for sample in journeys.values_mut() {
                for value in [
                    &mut sample.availability,
                    &mut sample.latency_good,
                    &mut sample.p99,
                    &mut sample.freshness,
                    &mut sample.budget_left,
                    &mut sample.requests_per_second,
                ] {
                    *value = value.filter(|v| v.is_finite());
                }
            }
            EventKind::Sample { journeys }
        }
        Command::OracleChecked { green, reasons } => EventKind::OracleChecked { green, reasons },
        _ => return Vec::new(),
    };
    vec![event]
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

/// Somebody in a seat, or a name known only to the API server.
fn outside(state: &State, by: String) -> Actor {
    match state.seats.get(&by) {
        Some(actor) => actor.clone(),
        None => Actor {
            name: by,
            seat: "outside".to_owned(),
            npc: false,
        },
    }
}

fn seated(state: &State, name: &str) -> Result<Actor, Refusal> {
    state.seats.get(name).cloned().ok_or_else(|| {
        Refusal::new(
            "not_seated",
            format!("`{name}` has no seat in this drill; take a seat first"),
            format!("「{name}」さんはこの演習に参加していません。先に役割を選んでください"),
        )
    })
}

/// Seated, and not only watching.
fn acting(state: &State, name: &str) -> Result<Actor, Refusal> {
    let actor = seated(state, name)?;
    if actor.seat == "observer" {
        return Err(Refusal::new(
            "seat_may_not",
            format!("`{name}` is an observer: observers may talk, but not act or be given work"),
            format!("「{name}」さんは傍観者です。発言はできますが、操作や宣言、担当はできません"),
        ));
    }
    Ok(actor)
}

/// Acting, in an incident: there is nothing to mitigate before an alert or a stated impact.
fn incident(state: &State, name: &str) -> Result<Actor, Refusal> {
    use hikeshi_scenario::Milestone::{Alert, Impact};
    let actor = acting(state, name)?;
    if state.reached(Alert).is_none() && state.reached(Impact).is_none() {
        return Err(Refusal::new(
            "no_incident",
            "no alert has fired and no impact has been stated: there is nothing to declare over",
            "アラートも影響の報告もまだありません。宣言する対象がありません",
        ));
    }
    Ok(actor)
}

fn words(text: String) -> Result<String, Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Refusal::new("empty_text", "the text is empty", "本文が空です"));
    }
    let length = text.chars().count();
    if length > LONGEST_TEXT {
        return Err(Refusal::new(
            "text_too_long",
            format!("the text has {length} characters; {LONGEST_TEXT} is the most"),
            format!("本文が {length} 文字あります。上限は {LONGEST_TEXT} 文字です"),
        ));
    }
    Ok(text.to_owned())
}
