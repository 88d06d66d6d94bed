//! Plays a cast's script: pure. The host asks for the next action, does it on the real system, and reports what was really seen.

use std::collections::BTreeMap;
use std::time::Duration;

use hikeshi_scenario::cast::{Query, Until};
use hikeshi_scenario::{Cast, CommandLine, Declare, Dur, Reply, Step, Text, When};
use jiff::Timestamp;
use regex::Regex;

use crate::command::Command;
use crate::people::later;
use crate::state::State;
use crate::timeline::value_text;

mod seen;

use seen::capture;
pub use seen::fill;

/// What the host does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Give it to `decide`; a refusal is a failed rehearsal.
    Command(Command),
    /// Run it with `by`'s identity, record `Command::CommandRun` (source `rehearsal`) with this `step`, then call
    /// [`Rehearsal::ran`].
    Run {
        by: String,
        command: CommandLine,
        step: u32,
    },
    /// Ask Prometheus, record `Command::MetricSeen` with this `step` if there is a value, then call
    /// [`Rehearsal::measured`].
    Query {
        by: String,
        query: Query,
        step: u32,
    },
    /// Nothing before this time unless an event comes; None: only an event helps.
    Wait {
        until: Option<Timestamp>,
    },
    /// The real system did not do what the script says.
    Failed {
        step: usize,
        reason: String,
    },
    Done,
}

/// How long a script waits for anything of the system before it gives up.
const PATIENCE: Duration = Duration::from_secs(600);
/// How a person looks again at a graph.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const LOOK_FOR: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// The nth engineer takes the seat.
    Seats(usize),
    /// For `when`, since this moment.
    Waiting(Timestamp),
    Thinking(Timestamp),
    Say,
    Act,
    /// The host is acting.
    Acting,
    Again(Timestamp),
    Then,
    Declare,
    Failed(String),
}

/// Where the script stands and what its people have seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsal {
    pace: f64,
    step: usize,
    phase: Phase,
    /// First look of this step.
    first_look: Option<Timestamp>,
    step_ended: Option<Timestamp>,
    seen: BTreeMap<String, String>,
    /// Per scripted person: replies given, and the question answered last.
    replied: BTreeMap<String, (usize, Timestamp)>,
}

impl Rehearsal {
    /// `pace` divides people's thinking time; 1 is a real team, and anything below 1 counts as 1.
    pub fn new(pace: f64) -> Self {
        let pace = if pace.is_finite() { pace.max(1.0) } else { 1.0 };
        Self {
            pace,
            step: 0,
            phase: Phase::Seats(0),
            first_look: None,
            step_ended: None,
            seen: BTreeMap::new(),
            replied: BTreeMap::new(),
        }
    }

    /// Placeholders so far.
    pub fn seen(&self) -> &BTreeMap<String, String> {
        &self.seen
    }

    /// The step being played, from 0.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The next action. Asking again after a `Wait` is harmless; each other action is given once.
    pub fn next(&mut self, state: &State, cast: &Cast, now: Timestamp) -> Action {
        if let Phase::Failed(reason) = &self.phase {
            return Action::Failed {
                step: self.step,
                reason: reason.clone(),
            };
        }
        if self.phase == Phase::Acting {
            return Action::Wait { until: None };
        }
        let mut reply_due = None;
        if !matches!(self.phase, Phase::Seats(_)) {
            match self.reply(state, cast, now) {
                Ok((Some(action), _)) => return action,
                Ok((None, due)) => reply_due = due,
                Err(reason) => return self.fail(reason),
            }
        }
        match self.advance(state, cast, now) {
            Ok(Action::Wait { until }) => Action::Wait {
                until: [until, reply_due].into_iter().flatten().min(),
            },
            Ok(action) => action,
            Err(reason) => self.fail(reason),
        }
    }

    /// What a command printed (standard output and error).
    pub fn ran(&mut self, cast: &Cast, output: &str, now: Timestamp) {
        let Some(step) = cast.steps.get(self.step) else {
            return;
        };
        self.phase = Phase::Then;
        let Some(expect) = &step.expect else { return };
        let captures = match Regex::new(&expect.matches) {
            Ok(regex) => capture(&regex, output),
            Err(e) => {
                self.phase = Phase::Failed(format!("expect.matches: {e}"));
                return;
            }
        };
        match captures {
            Some(found) => self.seen.extend(found),
            None => {
                let first = *self.first_look.get_or_insert(now);
                let retry = expect.retry.filter(|r| now < later(first, r.lasts.get()));
                self.phase = match retry {
                    Some(r) => Phase::Again(later(now, r.every.get())),
                    None => Phase::Failed(format!(
                        "`{}` was not in what was printed: {}",
                        expect.matches,
                        crate::output::tail(output, 400)
                    )),
                };
            }
        }
    }

    /// What Prometheus answered; None when there was no sample.
    pub fn measured(&mut self, cast: &Cast, value: Option<f64>, baseline: Option<f64>, now: Timestamp) {
        let Some(query) = cast.steps.get(self.step).and_then(|s| s.query.as_ref()) else {
            return;
        };
        let (value, baseline) = (
            value.filter(|v| v.is_finite()),
            baseline.filter(|v| v.is_finite()),
        );
        let good = match (query.until, value, baseline) {
            (_, None, _) => false,
            (None, ..) => query.baseline.is_none() || baseline.is_some(),
            (Some(Until::WorseThanBaseline), Some(v), Some(b)) => v >= 3.0 * b,
            (Some(Until::LikeBaseline), Some(v), Some(b)) => v <= 1.5 * b,
            (Some(_), _, None) => false,
        };
        if good {
            if let Some(v) = value {
                self.seen.insert(query.name.clone(), value_text(v, &query.unit));
            }
            if let (Some(v), Some(b)) = (value, baseline) {
                self.seen
                    .insert(format!("{}_baseline", query.name), value_text(b, &query.unit));
                if b.abs() > f64::EPSILON {
                    let ratio = v / b;
                    self.seen.insert(
                        format!("{}_ratio", query.name),
                        if ratio >= 10.0 {
                            format!("{ratio:.0}")
                        } else {
                            format!("{ratio:.1}")
                        },
                    );
                }
            }
            self.phase = Phase::Then;
            return;
        }
        let first = *self.first_look.get_or_insert(now);
        self.phase = if now < later(first, LOOK_FOR) {
            Phase::Again(later(now, LOOK_AGAIN))
        } else {
            Phase::Failed(format!(
                "`{}` never became what the script says (last value {value:?}, baseline {baseline:?})",
                query.promql
            ))
        };
    }

    /// The step as events carry it.
    fn number(&self) -> u32 {
        u32::try_from(self.step).unwrap_or(u32::MAX)
    }

    fn fail(&mut self, reason: String) -> Action {
        self.phase = Phase::Failed(reason.clone());
        Action::Failed {
            step: self.step,
            reason,
        }
    }

    fn thinking(&self, think: Dur) -> Duration {
        think.get().div_f64(self.pace)
    }

    fn advance(&mut self, state: &State, cast: &Cast, now: Timestamp) -> Result<Action, String> {
        loop {
            if let Phase::Seats(n) = self.phase {
                let Some(member) = cast.engineers.get(n) else {
                    self.phase = Phase::Waiting(now);
                    continue;
                };
                self.phase = Phase::Seats(n + 1);
                if state.seats.contains_key(&member.name) {
                    continue;
                }
                return Ok(Action::Command(Command::TakeSeat {
                    name: member.name.clone(),
                    seat: member.seat.clone(),
                    npc: true,
                }));
            }
            let Some(step) = cast.steps.get(self.step) else {
                return Ok(Action::Done);
            };
            match self.phase.clone() {
                Phase::Waiting(since) => match self.waits(state, step, since, now)? {
                    None => self.phase = Phase::Thinking(later(now, self.thinking(step.think))),
                    Some(until) => return Ok(Action::Wait { until: Some(until) }),
                },
                Phase::Thinking(until) if now < until => return Ok(Action::Wait { until: Some(until) }),
                Phase::Thinking(_) => self.phase = Phase::Say,
                Phase::Say => {
                    self.phase = Phase::Act;
                    if let Some(text) = &step.say {
                        return self.say(&step.who, text);
                    }
                }
                Phase::Act => {
                    self.phase = Phase::Acting;
                    if let Some(command) = &step.run {
                        return Ok(Action::Run {
                            by: step.who.clone(),
                            command: command.clone(),
                            step: self.number(),
                        });
                    }
                    if let Some(query) = &step.query {
                        return Ok(Action::Query {
                            by: step.who.clone(),
                            query: query.clone(),
                            step: self.number(),
                        });
                    }
                    self.phase = Phase::Then;
                }
                Phase::Acting => return Ok(Action::Wait { until: None }),
                Phase::Again(until) if now < until => return Ok(Action::Wait { until: Some(until) }),
                Phase::Again(_) => self.phase = Phase::Act,
                Phase::Then => {
                    self.phase = Phase::Declare;
                    if let Some(text) = &step.then {
                        return self.say(&step.who, text);
                    }
                }
                Phase::Declare => {
                    self.step += 1;
                    self.first_look = None;
                    self.step_ended = Some(now);
                    self.phase = Phase::Waiting(now);
                    if let Some(command) = step
                        .declare
                        .as_ref()
                        .map(|d| self.declare(state, &step.who, d))
                        .transpose()?
                        .flatten()
                    {
                        return Ok(Action::Command(command));
                    }
                }
                Phase::Seats(_) | Phase::Failed(_) => return Ok(Action::Wait { until: None }),
            }
        }
    }

    /// None: go on; else when to look again. `Err` once patience is at its end.
    fn waits(
        &self,
        state: &State,
        step: &Step,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, String> {
        let Some(when) = &step.when else { return Ok(None) };
        let limit = later(since, PATIENCE);
        let (met, look) = match when {
            When::Milestone(m) => (state.reached(*m).is_some(), limit),
            When::Alert(pattern) => {
                let regex = Regex::new(pattern).map_err(|e| format!("when.alert: {e}"))?;
                let firing = state.firing();
                (
                    firing
                        .iter()
                        .any(|(_, a)| regex.is_match(&a.name) || regex.is_match(&a.summary)),
                    limit,
                )
            }
            When::Quiet(d) => {
                let quiet = state.quiet_since.map(|q| later(q, d.get()));
                (quiet.is_some_and(|q| q <= now), quiet.unwrap_or(limit))
            }
            When::Wait(d) => {
                let until = later(self.step_ended.unwrap_or(since), d.get());
                (until <= now, until)
            }
        };
        if met {
            Ok(None)
        } else if now >= limit {
            Err(format!("waited {} s for {when:?}", PATIENCE.as_secs()))
        } else {
            Ok(Some(look.min(limit)))
        }
    }

    fn say(&self, who: &str, text: &Text) -> Result<Action, String> {
        let text = self.filled(text)?;
        Ok(Action::Command(Command::Say {
            by: who.to_owned(),
            text: text.en,
            text_ja: Some(text.ja),
        }))
    }

    fn filled(&self, text: &Text) -> Result<Text, String> {
        Ok(Text {
            ja: fill(&text.ja, &self.seen)?,
            en: fill(&text.en, &self.seen)?,
        })
    }

    fn declare(&self, state: &State, who: &str, declare: &Declare) -> Result<Option<Command>, String> {
        let by = who.to_owned();
        Ok(Some(match declare {
            Declare::Ack => {
                let open = state.firing().iter().any(|(_, a)| a.acknowledged_at.is_none());
                if !open {
                    return Ok(None);
                }
                Command::Acknowledge {
                    by,
                    fingerprint: None,
                }
            }
            Declare::Commander if state.commander.as_deref() == Some(who) => return Ok(None),
            Declare::Commander => Command::AssignCommander { name: by.clone(), by },
            Declare::Impact(text) => {
                let text = self.filled(text)?;
                Command::StateImpact {
                    by,
                    text: text.en,
                    text_ja: Some(text.ja),
                }
            }
            Declare::Hypothesis(text) => {
                let text = self.filled(text)?;
                Command::ProposeHypothesis {
                    by,
                    text: text.en,
                    text_ja: Some(text.ja),
                }
            }
            Declare::Task(task) => {
                let text = self.filled(&task.text)?;
                Command::AssignTask {
                    by,
                    name: task.name.clone(),
                    text: text.en,
                    text_ja: Some(text.ja),
                }
            }
            Declare::Status(status) => {
                let text = self.filled(&status.text)?;
                Command::PostStatus {
                    by,
                    text: text.en,
                    text_ja: Some(text.ja),
                    eta_minutes: status.eta_minutes,
                }
            }
            Declare::Mitigated(text) => {
                let text = self.filled(text)?;
                Command::DeclareMitigated {
                    by,
                    text: text.en,
                    text_ja: Some(text.ja),
                }
            }
            Declare::Resolved(text) => {
                let text = self.filled(text)?;
                Command::DeclareResolved {
                    by,
                    text: text.en,
                    text_ja: Some(text.ja),
                }
            }
        }))
    }

    /// An answer that is due now, or the time of the next one.
    fn reply(
        &mut self,
        state: &State,
        cast: &Cast,
        now: Timestamp,
    ) -> Result<(Option<Action>, Option<Timestamp>), String> {
        let mut next: Option<Timestamp> = None;
        for (name, person) in &state.people {
            let Some(asked) = person.last_said.filter(|_| person.waiting()) else {
                continue;
            };
            let (given, answered) = self.replied.get(name).copied().unwrap_or((0, Timestamp::MIN));
            let replies: Vec<&Reply> = cast.replies.iter().filter(|r| r.to == *name).collect();
            let Some(reply) = replies.get(given).or(replies.last()) else {
                continue;
            };
            if answered >= asked {
                continue;
            }
            let due = later(asked, self.thinking(reply.think));
            if now < due {
                next = Some(next.map_or(due, |n| n.min(due)));
                continue;
            }
            let text = self.filled(&reply.say)?;
            self.replied.insert(name.clone(), (given + 1, asked));
            let to = |t: &str| format!("@{name} {t}");
            let (by, text, text_ja) = (reply.who.clone(), to(&text.en), Some(to(&text.ja)));
            let command = match reply.eta_minutes {
                Some(_) => Command::PostStatus {
                    by,
                    text,
                    text_ja,
                    eta_minutes: reply.eta_minutes,
                },
                None => Command::Say { by, text, text_ja },
            };
            return Ok((Some(Action::Command(command)), None));
        }
        Ok((None, next))
    }
}
