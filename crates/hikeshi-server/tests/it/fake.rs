//! A drill host without a cluster: it keeps events in memory and answers the console from a table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hikeshi_drill::event::{Event, EventKind, LOG_VERSION};
use hikeshi_server::api::budget::Budgets;
use hikeshi_server::api::{
    ApiError, ConsoleChunk, ConsoleStream, DrillHost, DrillState, DrillSummary, DrillView, JourneyPoint,
    JourneySeries, Lang, MapEdge, MapFlow, MapRole, SeatPlan, ServiceMap, Text, UiCommand, Viewer,
};
use hikeshi_server::command_line::Programs;
use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc};

pub struct FakeHost {
    state: Mutex<State>,
    events: broadcast::Sender<Arc<Event>>,
    /// Signalled when a console command that never ends by itself was told to stop.
    pub stopped: tokio::sync::Notify,
}

pub struct State {
    pub view: DrillView,
    pub events: Vec<Event>,
    pub series: JourneySeries,
    pub score: Option<serde_json::Value>,
    pub documents: Option<String>,
    pub budgets: Option<Arc<Budgets>>,
    pub upstreams: HashMap<String, String>,
    /// Output by kubectl arguments.
    pub outputs: HashMap<String, String>,
}

pub fn text(ja: &str, en: &str) -> Text {
    Text {
        ja: ja.to_owned(),
        en: en.to_owned(),
    }
}

impl FakeHost {
    pub fn new(id: &str) -> Self {
        let seat = |seat: &str, count| SeatPlan {
            seat: seat.to_owned(),
            count,
        };
        let view = DrillView {
            id: id.to_owned(),
            scenario: "timelines-stop-updating".into(),
            system: "chirpy".into(),
            title: text("一部のタイムラインが更新されない", "Some timelines stop updating"),
            briefing: text("briefing-ja", "briefing-en"),
            goals: vec![],
            state: DrillState::Briefing,
            progress: Text::default(),
            started_at: None,
            ended_at: None,
            people: vec![],
            seats: vec![seat("commander", 1), seat("operator", 2), seat("scribe", 1)],
            programs: Programs::default().names(),
            suggestions: vec![],
            hints_from: None,
        };
        let host = Self {
            state: Mutex::new(State {
                view,
                events: vec![],
                series: JourneySeries::default(),
                score: None,
                documents: None,
                budgets: None,
                upstreams: HashMap::new(),
                outputs: HashMap::new(),
            }),
            events: broadcast::channel(16).0,
            stopped: tokio::sync::Notify::new(),
        };
        host.add(EventKind::DrillStarted {
            drill: id.to_owned(),
            scenario: "timelines-stop-updating".into(),
            system: "chirpy".into(),
            slo_clock: 60.0,
            rehearsal: false,
            seed: 1,
        });
        host
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, kind: EventKind) {
        self.add_at(Timestamp::now(), kind);
    }

    pub fn add_at(&self, at: Timestamp, kind: EventKind) {
        let mut state = self.state();
        let event = Event {
            v: LOG_VERSION,
            seq: state.events.len() as u64 + 1,
            at,
            kind,
        };
        state.events.push(event.clone());
        drop(state);
        // Nobody listening is no error.
        drop(self.events.send(Arc::new(event)));
    }

    fn ended(&self) -> bool {
        self.state().view.state == DrillState::Ended
    }
}

fn event_of(viewer: &Viewer, command: UiCommand) -> Option<EventKind> {
    let actor = viewer.actor();
    Some(match command {
        UiCommand::Say { text } => EventKind::Message {
            actor,
            text,
            text_ja: None,
            cue: None,
        },
        UiCommand::Acknowledge { fingerprint } => EventKind::Acknowledged { actor, fingerprint },
        UiCommand::AssignCommander { name } => EventKind::CommanderAssigned { by: actor, name },
        UiCommand::Impact { text } => EventKind::ImpactStated {
            actor,
            text,
            text_ja: None,
        },
        UiCommand::AssignTask { name, text } => EventKind::TaskAssigned {
            by: actor,
            name,
            text,
            text_ja: None,
        },
        UiCommand::Status { text, eta_minutes } => EventKind::StatusPosted {
            actor,
            text,
            text_ja: None,
            eta_minutes,
        },
        UiCommand::Hypothesis { text } => EventKind::HypothesisProposed {
            actor,
            text,
            text_ja: None,
        },
        UiCommand::Mitigated { text } => EventKind::MitigationDeclared {
            actor,
            text,
            text_ja: None,
        },
        UiCommand::Resolved { text } => EventKind::ResolvedDeclared {
            actor,
            text,
            text_ja: None,
        },
        UiCommand::AskHint => EventKind::HintAsked { actor },
        UiCommand::End => EventKind::DrillEnded {
            reason: "ended by the host".into(),
        },
        UiCommand::Begin => return None,
    })
}

#[async_trait]
impl DrillHost for FakeHost {
    async fn drills(&self) -> Vec<DrillSummary> {
        let view = self.state().view.clone();
        vec![DrillSummary {
            id: view.id,
            scenario: view.scenario,
            title: view.title,
            state: view.state,
            created_at: self.state().events[0].at,
        }]
    }

    async fn current(&self) -> Option<DrillView> {
        Some(self.state().view.clone())
    }

    async fn take_seat(&self, viewer: &Viewer) -> Result<(), ApiError> {
        let mut state = self.state();
        if let Some(there) = state.view.people.iter().find(|p| p.name == viewer.name) {
            if there.seat == viewer.seat {
                return Ok(());
            }
            return Err(ApiError::Refused {
                code: "bad_name".into(),
                words: text("その名前は使われています", "that name is taken"),
            });
        }
        state.view.people.push(viewer.actor());
        drop(state);
        self.add(EventKind::SeatTaken {
            actor: viewer.actor(),
        });
        Ok(())
    }

    async fn leave_seat(&self, viewer: &Viewer) {
        self.state().view.people.retain(|p| p.name != viewer.name);
        self.add(EventKind::SeatLeft {
            actor: viewer.actor(),
        });
    }

    async fn events(&self, drill: &str, after_seq: u64, viewer: &Viewer) -> Result<Vec<Event>, ApiError> {
        if drill != self.state().view.id {
            return Err(ApiError::NotFound(format!("no drill {drill}")));
        }
        let events = self.state().events.clone();
        Ok(events
            .into_iter()
            .filter(|e| e.seq > after_seq && self.visible(e, viewer))
            .collect())
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    fn visible(&self, event: &Event, viewer: &Viewer) -> bool {
        hikeshi_drill::visible_to(&viewer.seat, event, self.ended())
    }

    async fn command(&self, viewer: &Viewer, command: UiCommand) -> Result<(), ApiError> {
        let (begins, ends) = (command == UiCommand::Begin, command == UiCommand::End);
        let kind = event_of(viewer, command);
        {
            let mut state = self.state();
            if begins {
                state.view.state = DrillState::Running;
                state.view.started_at = Some(Timestamp::now());
            }
            if ends {
                state.view.state = DrillState::Ended;
                state.view.ended_at = Some(Timestamp::now());
            }
        }
        if let Some(kind) = kind {
            self.add(kind);
        }
        Ok(())
    }

    async fn console(
        &self,
        viewer: &Viewer,
        line: &str,
        out: mpsc::Sender<ConsoleChunk>,
    ) -> Result<i32, ApiError> {
        let command = Programs::default()
            .resolve(line)
            .map_err(|e| ApiError::Invalid(e.to_string()))?;
        let chunk = |stream, text: &str| ConsoleChunk {
            stream,
            text: text.to_owned(),
        };
        let args = command.args.join(" ");
        let output = self.state().outputs.get(&args).cloned();
        let mut exit_code = i32::from(output.is_none());
        if command.follows {
            while out
                .send(chunk(ConsoleStream::Stdout, "one more line\n"))
                .await
                .is_ok()
            {}
            self.stopped.notify_one();
            exit_code = 130;
        } else {
            let (stream, words) = match &output {
                Some(output) => (ConsoleStream::Stdout, output.as_str()),
                None => (ConsoleStream::Stderr, "error: not in the table\n"),
            };
            for part in words.split_inclusive('\n') {
                if out.send(chunk(stream, part)).await.is_err() {
                    break;
                }
            }
        }
        drop(out);
        self.add(EventKind::CommandRun {
            actor: viewer.actor(),
            command: line.to_owned(),
            mutating: command.mutating,
            source: "console".into(),
            exit_code: Some(exit_code),
            output: output.unwrap_or_default(),
            seconds: 0.1,
            step: None,
        });
        Ok(exit_code)
    }

    async fn journeys(&self, since: Option<Timestamp>) -> JourneySeries {
        let series = self.state().series.clone();
        let new = |p: &JourneyPoint| since.is_none_or(|since| p.at > since);
        JourneySeries {
            points: series.points.into_iter().filter(new).collect(),
            ..series
        }
    }

    async fn service_map(&self) -> Option<ServiceMap> {
        let role = |name: &str| MapRole {
            name: name.to_owned(),
            does: text("役割", "its part"),
        };
        Some(ServiceMap {
            roles: vec![role("gateway"), role("postgres")],
            edges: vec![MapEdge {
                from: "gateway".into(),
                to: "postgres".into(),
                why: text("理由", "why"),
                without: None,
                seldom: false,
                flow: MapFlow {
                    commands_per_second: Some(40.0),
                    ..MapFlow::default()
                },
            }],
            measured: true,
        })
    }

    async fn budgets(&self) -> Result<Arc<Budgets>, ApiError> {
        let budgets = self.state().budgets.clone();
        budgets.ok_or_else(|| ApiError::Unavailable("Prometheus is not up yet".to_owned()))
    }

    async fn score(&self, _drill: &str) -> Option<serde_json::Value> {
        if self.ended() {
            self.state().score.clone()
        } else {
            None
        }
    }

    async fn timeline(&self, _drill: &str, _viewer: &Viewer) -> Option<serde_json::Value> {
        None
    }

    async fn story(&self, _drill: &str, _lang: Lang) -> Option<String> {
        if self.ended() {
            self.state().documents.clone()
        } else {
            None
        }
    }

    async fn postmortem(&self, _drill: &str, _lang: Lang) -> Option<String> {
        if self.ended() {
            self.state().documents.clone()
        } else {
            None
        }
    }

    fn upstream(&self, name: &str) -> Option<String> {
        self.state().upstreams.get(name).cloned()
    }
}
