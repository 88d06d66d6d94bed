//! The host as the war room sees it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hikeshi_drill::{Command, Event, EventKind, visible_to};
use hikeshi_scenario::Milestone;
use hikeshi_server::api::budget::Budgets;
use hikeshi_server::api::{
    ApiError, ConsoleChunk, DrillHost, DrillState, DrillSummary, DrillView, Journey, JourneyPoint,
    JourneySeries, Lang, Objective, SeatPlan, ServiceMap, Text, UiCommand, Viewer,
};
use hikeshi_server::command_line::Programs;
use hikeshi_server::store;
use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc};

use crate::host::Host;
use crate::session::{Session, SubmitError};
use crate::told::Told;

/// How long a console command may run; one that follows is stopped later without being an error.
const CONSOLE_LIMIT: Duration = Duration::from_secs(60);
const FOLLOW_LIMIT: Duration = Duration::from_secs(600);

/// First questions for people who have never met the system.
const SUGGESTIONS: [&str; 4] = [
    "kubectl get pods",
    "kubectl top pods",
    "kubectl logs -l app=chirpy-server --since=5m",
    "kubectl get deployments",
];

fn text(text: &hikeshi_scenario::Text) -> Text {
    Text {
        ja: text.ja.clone(),
        en: text.en.clone(),
    }
}

fn refused(error: SubmitError) -> ApiError {
    match error {
        SubmitError::Refused(refusal) => ApiError::Refused {
            code: refusal.code,
            words: Text {
                ja: refusal.message_ja,
                en: refusal.message_en,
            },
        },
        SubmitError::Store(error) => ApiError::Unavailable(error.to_string()),
    }
}

fn not_now(code: &str, en: &str, ja: &str) -> ApiError {
    ApiError::Refused {
        code: code.into(),
        words: Text {
            ja: ja.into(),
            en: en.into(),
        },
    }
}

impl Host {
    fn told(&self, drill: &str) -> Option<Told> {
        if let Some(session) = self.session().filter(|session| session.id() == drill) {
            return Some(Told {
                id: drill.to_owned(),
                events: session.events_after(0),
                scenario: session.scenario.scenario.clone(),
                map: self.scenarios.map(&session.scenario.scenario.system).ok()?,
            });
        }
        Told::read(&self.drills, &self.scenarios, drill).ok()
    }

    fn ended(&self, drill: &str) -> Option<Told> {
        self.told(drill)
            .filter(|told| hikeshi_drill::replay(&told.events).ended())
    }

    fn state_of(&self, session: &Session) -> DrillState {
        session.with_state(|state| {
            if state.ended() {
                DrillState::Ended
            } else if state.reached(Milestone::Ready).is_some() {
                DrillState::Running
            } else if self.up.read().unwrap_or_else(PoisonError::into_inner).is_some() {
                DrillState::Briefing
            } else {
                DrillState::Preparing
            }
        })
    }

    fn on(&self) -> Result<Arc<Session>, ApiError> {
        self.running()
            .ok_or_else(|| not_now("no_drill", "No drill is on.", "演習は行われていません。"))
    }

    async fn begin(&self, session: &Session) -> Result<(), ApiError> {
        let up = *self.up.read().unwrap_or_else(PoisonError::into_inner);
        let Some((pods, seconds)) = up else {
            return Err(not_now(
                "starting",
                "The system is still starting.",
                "システムはまだ起動中です。",
            ));
        };
        if session.with_state(|state| state.reached(Milestone::Ready).is_some()) {
            return Ok(());
        }
        session
            .submit(Command::SystemReady { pods, seconds })
            .await
            .map(|_| ())
            .map_err(refused)
    }
}

#[async_trait]
impl DrillHost for Host {
    fn experiments(&self) -> Option<&dyn hikeshi_server::api::ExperimentHost> {
        Some(self)
    }

    fn lab(&self) -> Option<&dyn hikeshi_server::api::lab::LabHost> {
        self.labs
            .as_deref()
            .map(|labs| labs as &dyn hikeshi_server::api::lab::LabHost)
    }

    async fn drills(&self) -> Vec<DrillSummary> {
        let entries = store::list(&self.drills).unwrap_or_default();
        entries
            .into_iter()
            .map(|entry| {
                let title = self
                    .scenarios
                    .load(&entry.scenario)
                    .map(|loaded| text(&loaded.scenario.title));
                let state = match self.session().filter(|session| session.id() == entry.id) {
                    Some(session) => self.state_of(&session),
                    None => DrillState::Ended,
                };
                DrillSummary {
                    title: title.unwrap_or_else(|_| Text {
                        ja: entry.scenario.clone(),
                        en: entry.scenario.clone(),
                    }),
                    id: entry.id,
                    scenario: entry.scenario,
                    state,
                    created_at: entry.started_at,
                }
            })
            .collect()
    }

    async fn current(&self) -> Option<DrillView> {
        let session = self.session()?;
        let scenario = &session.scenario.scenario;
        let progress = self
            .progress
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let goals = scenario.goals.ja.iter().zip(&scenario.goals.en);
        let state = session.state();
        let hint = usize::try_from(state.hints_given)
            .ok()
            .and_then(|given| scenario.hints.get(given));
        let hints_from = hint.zip(state.last_progress).and_then(|(hint, since)| {
            since
                .checked_add(jiff::SignedDuration::try_from(hint.after_stall.get()).ok()?)
                .ok()
        });
        Some(DrillView {
            id: session.id().to_owned(),
            scenario: scenario.metadata.name.clone(),
            system: scenario.system.clone(),
            title: text(&scenario.title),
            briefing: text(&scenario.briefing),
            goals: goals
                .map(|(ja, en)| Text {
                    ja: ja.clone(),
                    en: en.clone(),
                })
                .collect(),
            state: self.state_of(&session),
            progress: Text {
                ja: progress.clone(),
                en: progress,
            },
            started_at: state.reached(Milestone::Ready),
            ended_at: state.ended_at,
            people: state.seats.values().cloned().collect(),
            seats: scenario
                .seats
                .iter()
                .map(|(seat, count)| SeatPlan {
                    seat: seat.clone(),
                    count: *count,
                })
                .collect(),
            programs: Programs::default().names(),
            suggestions: SUGGESTIONS.map(str::to_owned).into(),
            hints_from,
        })
    }

    async fn take_seat(&self, viewer: &Viewer) -> Result<(), ApiError> {
        // Without a drill there are no seats to be taken: people come in for the lab, or to look.
        let Some(session) = self.running() else {
            return Ok(());
        };
        let command = Command::TakeSeat {
            name: viewer.name.clone(),
            seat: viewer.seat.clone(),
            npc: false,
        };
        session.submit(command).await.map(|_| ()).map_err(refused)
    }

    async fn leave_seat(&self, viewer: &Viewer) {
        if let Some(session) = self.running() {
            // Somebody who was not seated cannot get up: nothing to tell.
            let _ = session
                .submit(Command::LeaveSeat {
                    name: viewer.name.clone(),
                })
                .await;
        }
    }

    async fn events(&self, drill: &str, after_seq: u64, viewer: &Viewer) -> Result<Vec<Event>, ApiError> {
        let told = self
            .told(drill)
            .ok_or_else(|| ApiError::NotFound(format!("no drill is called {drill}")))?;
        let ended = hikeshi_drill::replay(&told.events).ended();
        let seen = |event: &Event| event.seq > after_seq && visible_to(&viewer.seat, event, ended);
        Ok(told.events.into_iter().filter(seen).collect())
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.heard.subscribe()
    }

    fn visible(&self, event: &Event, viewer: &Viewer) -> bool {
        let ended = self
            .session()
            .is_some_and(|session| session.with_state(hikeshi_drill::State::ended));
        visible_to(&viewer.seat, event, ended)
    }

    async fn command(&self, viewer: &Viewer, command: UiCommand) -> Result<(), ApiError> {
        let session = self.on()?;
        let by = viewer.name.clone();
        let text_ja = None;
        let command = match command {
            UiCommand::Say { text } => Command::Say { by, text, text_ja },
            UiCommand::Acknowledge { fingerprint } => Command::Acknowledge { by, fingerprint },
            UiCommand::AssignCommander { name } => Command::AssignCommander { by, name },
            UiCommand::Impact { text } => Command::StateImpact { by, text, text_ja },
            UiCommand::AssignTask { name, text } => Command::AssignTask {
                by,
                name,
                text,
                text_ja,
            },
            UiCommand::Status { text, eta_minutes } => Command::PostStatus {
                by,
                text,
                text_ja,
                eta_minutes,
            },
            UiCommand::Hypothesis { text } => Command::ProposeHypothesis { by, text, text_ja },
            UiCommand::Mitigated { text } => Command::DeclareMitigated { by, text, text_ja },
            UiCommand::Resolved { text } => Command::DeclareResolved { by, text, text_ja },
            UiCommand::AskHint => Command::AskHint { by },
            UiCommand::Begin => return self.begin(&session).await,
            UiCommand::End => Command::End {
                by: Some(by),
                reason: "ended in the war room".into(),
            },
        };
        let (resolved, ended) = (
            matches!(command, Command::DeclareResolved { .. }),
            matches!(command, Command::End { .. }),
        );
        session.submit(command).await.map_err(refused)?;
        if ended {
            self.lift(&session).await;
        }
        if resolved {
            self.judge_soon(session);
        }
        Ok(())
    }

    async fn console(
        &self,
        viewer: &Viewer,
        line: &str,
        out: mpsc::Sender<ConsoleChunk>,
    ) -> Result<i32, ApiError> {
        let session = self.on()?;
        // A cookie outlives its seat, when its person has taken another since.
        let seat = session.with_state(|state| state.seats.get(&viewer.name).map(|actor| actor.seat.clone()));
        if let Some(seat) = seat.filter(|seat| *seat != viewer.seat) {
            return Err(ApiError::Forbidden(format!(
                "{} sits as {seat} now, not as {}: join again by your link",
                viewer.name, viewer.seat
            )));
        }
        let resolved = Programs::default()
            .resolve(line)
            .map_err(|error| ApiError::Invalid(error.to_string()))?;
        let limit = if resolved.follows {
            FOLLOW_LIMIT
        } else {
            CONSOLE_LIMIT
        };
        let finished = self
            .shell
            .run(&viewer.name, &viewer.seat, &resolved.args, limit, Some(out))
            .await
            .map_err(ApiError::Unavailable)?;
        let record = Command::CommandRun {
            by: viewer.name.clone(),
            command: line.trim().to_owned(),
            mutating: resolved.mutating,
            source: "console".to_owned(),
            exit_code: Some(finished.exit_code),
            output: finished.output,
            seconds: finished.seconds,
            step: None,
        };
        session.submit(record).await.map_err(refused)?;
        Ok(finished.exit_code)
    }

    async fn journeys(&self, since: Option<Timestamp>) -> JourneySeries {
        let queries = hikeshi_slo::journey_queries(&self.cujs, self.slo_clock);
        let journeys = self
            .cujs
            .cujs
            .iter()
            .map(|cuj| Journey {
                name: cuj.name.clone(),
                title: text(&cuj.title),
                team: cuj.owner.clone(),
                objectives: cuj
                    .slos
                    .iter()
                    .map(|slo| Objective {
                        sli: slo.sli.name().to_owned(),
                        objective: 1.0 - slo.budget(),
                        threshold_seconds: queries
                            .iter()
                            .find(|query| query.journey == cuj.name && slo.sli.name() == "latency")
                            .and_then(|query| query.objectives.latency_seconds),
                        window: "30d".to_owned(),
                    })
                    .collect(),
            })
            .collect();
        let points = match self.session() {
            None => Vec::new(),
            Some(session) => session
                .events_after(0)
                .into_iter()
                .filter(|event| since.is_none_or(|since| event.at > since))
                .filter_map(|event| match event.kind {
                    EventKind::Sample { journeys } => Some(JourneyPoint {
                        at: event.at,
                        journeys,
                    }),
                    _ => None,
                })
                .collect(),
        };
        JourneySeries { journeys, points }
    }

    async fn service_map(&self) -> Option<ServiceMap> {
        let session = self.session()?;
        let map = self.scenarios.map(&session.scenario.scenario.system);
        let map = map.inspect_err(|error| tracing::warn!(%error, "the system's map cannot be read"));
        Some(self.flows.on(map.ok()?, &self.prometheus).await)
    }

    async fn budgets(&self) -> Result<Arc<Budgets>, ApiError> {
        self.budgets_now().await
    }

    async fn score(&self, drill: &str) -> Option<serde_json::Value> {
        Some(self.ended(drill)?.score())
    }

    async fn timeline(&self, drill: &str, viewer: &Viewer) -> Option<serde_json::Value> {
        Some(self.told(drill)?.timeline(&viewer.seat))
    }

    async fn story(&self, drill: &str, lang: Lang) -> Option<String> {
        Some(self.ended(drill)?.story(words(lang)))
    }

    async fn postmortem(&self, drill: &str, lang: Lang) -> Option<String> {
        Some(self.ended(drill)?.postmortem(words(lang)))
    }

    fn upstream(&self, name: &str) -> Option<String> {
        self.way_to(name)
    }
}

fn words(lang: Lang) -> hikeshi_drill::Lang {
    match lang {
        Lang::Ja => hikeshi_drill::Lang::Ja,
        Lang::En => hikeshi_drill::Lang::En,
    }
}
