//! The contract between the web server and whoever runs the drill.
//!
//! Everything the page shows comes through `DrillHost`, so the server can be tested with a host that has no cluster.

pub mod budget;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
pub use hikeshi_drill::Lang;
use hikeshi_drill::event::{Actor, Event, JourneySample};
pub use hikeshi_experiment::api as experiment;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};

use crate::command_line::Programs;

pub mod lab;

/// Words in both languages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    pub ja: String,
    pub en: String,
}

/// Who is looking or acting: what a valid session says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Viewer {
    /// Handle, `[a-z0-9]{2,16}`.
    pub name: String,
    /// `commander`, `operator`, `communicator`, `scribe`, `observer` or `facilitator`.
    pub seat: String,
    /// Came by the host's own link: may begin and end the drill.
    pub host: bool,
}

impl Viewer {
    /// The same person as the event log writes them.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor {
            name: self.name.clone(),
            seat: self.seat.clone(),
            npc: false,
        }
    }
}

/// Where a drill is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrillState {
    /// The system is starting.
    Preparing,
    /// The system is healthy; people read the briefing and look at the normal state.
    Briefing,
    Running,
    Ended,
}

/// One line of the list of drills.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillSummary {
    pub id: String,
    pub scenario: String,
    pub title: Text,
    pub state: DrillState,
    pub created_at: Timestamp,
}

/// How many of a seat a scenario asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatPlan {
    pub seat: String,
    pub count: u32,
}

/// What the page needs to know of the current drill besides its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillView {
    pub id: String,
    pub scenario: String,
    pub system: String,
    pub title: Text,
    pub briefing: Text,
    pub goals: Vec<Text>,
    pub state: DrillState,
    /// What the system is waiting for while `preparing`; empty otherwise.
    #[serde(default)]
    pub progress: Text,
    /// When the briefing was left.
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// People and scripted people seated now.
    pub people: Vec<Actor>,
    pub seats: Vec<SeatPlan>,
    /// Programs the console accepts, for its help.
    pub programs: Vec<String>,
    /// Ready-made questions to the system, shown as starting points in the console.
    #[serde(default)]
    pub suggestions: Vec<String>,
    /// Whether hints are withheld just now, and until when.
    #[serde(default)]
    pub hints_from: Option<Timestamp>,
}

/// One objective of a journey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// `availability`, `latency` or `freshness`.
    pub sli: String,
    /// Share of good events, 0..=1.
    pub objective: f64,
    /// Seconds, where the SLI has a threshold.
    pub threshold_seconds: Option<f64>,
    /// The window as written, e.g. `30d`.
    pub window: String,
}

/// A critical user journey and what was promised about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journey {
    pub name: String,
    pub title: Text,
    /// The owner team.
    pub team: String,
    pub objectives: Vec<Objective>,
}

/// All journeys at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JourneyPoint {
    pub at: Timestamp,
    pub journeys: BTreeMap<String, JourneySample>,
}

/// What the charts draw.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JourneySeries {
    pub journeys: Vec<Journey>,
    pub points: Vec<JourneyPoint>,
}

/// One workload of the system under drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRole {
    pub name: String,
    pub does: Text,
}

/// What a dependency carries now, as the data plane counts it. What is not known is none; that nothing came is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MapFlow {
    /// HTTP requests.
    pub requests_per_second: Option<f64>,
    /// Commands of Redis or PostgreSQL.
    pub commands_per_second: Option<f64>,
    /// Payload, both directions.
    pub bytes_per_second: Option<f64>,
    /// Of the HTTP requests, 0..=1: answers of 5xx, and connections closed without one.
    pub error_share: Option<f64>,
    /// Seconds of an HTTP request, or else of a command.
    pub p99_s: Option<f64>,
}

/// `from` leans on `to`; both are roles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapEdge {
    pub from: String,
    pub to: String,
    pub why: Text,
    /// What breaks for users without it.
    pub without: Option<Text>,
    /// Ordinary traffic may never take this way.
    pub seldom: bool,
    pub flow: MapFlow,
}

/// The system under drill: who leans on whom, and what goes over it now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceMap {
    pub roles: Vec<MapRole>,
    pub edges: Vec<MapEdge>,
    /// Whether Prometheus answered: without it, no flow says anything.
    pub measured: bool,
}

/// What people do with the page's buttons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum UiCommand {
    Say {
        text: String,
    },
    /// Without a fingerprint: "I have noticed", before or apart from any alert.
    Acknowledge {
        fingerprint: Option<String>,
    },
    AssignCommander {
        name: String,
    },
    Impact {
        text: String,
    },
    AssignTask {
        name: String,
        text: String,
    },
    Status {
        text: String,
        eta_minutes: Option<u32>,
    },
    Hypothesis {
        text: String,
    },
    Mitigated {
        text: String,
    },
    Resolved {
        text: String,
    },
    AskHint,
    /// Leave the briefing.
    Begin,
    /// End the drill and go to the debrief.
    End,
}

/// Which of a program's two streams a chunk came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsoleStream {
    Stdout,
    Stderr,
}

/// Output of a console command, in the order it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleChunk {
    pub stream: ConsoleStream,
    pub text: String,
}

/// An alert as Alertmanager's webhook told it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertFact {
    pub fingerprint: String,
    pub name: String,
    pub severity: String,
    pub summary: String,
    pub labels: BTreeMap<String, String>,
    pub firing: bool,
    /// When it began (firing) or ended (not firing), by Alertmanager's clock.
    pub at: Option<Timestamp>,
}

/// Why something asked for by the page was not done. The words are shown to the person as they are.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense as written.
    #[error("{0}")]
    Invalid(String),
    /// This seat may not do that.
    #[error("{0}")]
    Forbidden(String),
    /// Not now: the drill is in another state, or the name is taken.
    #[error("{0}")]
    Conflict(String),
    /// A part the answer depends on is missing or failed.
    #[error("{0}")]
    Unavailable(String),
    /// The drill's rules say no, in both languages; `code` is stable.
    #[error("{}", words.en)]
    Refused { code: String, words: Text },
}

/// Runs drills; seen by the web server as this.
#[async_trait]
pub trait DrillHost: Send + Sync + 'static {
    /// Every drill on disk, newest first.
    async fn drills(&self) -> Vec<DrillSummary>;

    /// The drill that is on now, or the one that has just ended; none before the first.
    async fn current(&self) -> Option<DrillView>;

    /// A person sits down. Sitting down again with the same name and seat is not an error.
    ///
    /// # Errors
    /// `Conflict` when the name or the last such seat is taken by another. Without a drill anybody may come in.
    async fn take_seat(&self, viewer: &Viewer) -> Result<(), ApiError>;

    /// A person gets up. Unknown people are ignored.
    async fn leave_seat(&self, viewer: &Viewer);

    /// Events with `seq > after_seq`, in order, without those this viewer may not see yet.
    ///
    /// # Errors
    /// `NotFound` for an unknown drill.
    async fn events(&self, drill: &str, after_seq: u64, viewer: &Viewer) -> Result<Vec<Event>, ApiError>;

    /// Every event of the current drill as it is written, *unfiltered*: ask `visible` before showing one.
    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>>;

    /// Whether this viewer may see this event of the current drill now.
    fn visible(&self, event: &Event, viewer: &Viewer) -> bool;

    /// Does what a button says.
    ///
    /// # Errors
    /// `Forbidden` or `Conflict` with words for the person who pressed it.
    async fn command(&self, viewer: &Viewer, command: UiCommand) -> Result<(), ApiError>;

    /// Runs one console command with the seat's identity, streaming its output; answers its exit code.
    /// When `out` closes (the person cancelled, or a limit was reached) the host stops the command and returns.
    ///
    /// # Errors
    /// `Invalid` when the line is refused, `Unavailable` when the program cannot be started.
    async fn console(
        &self,
        viewer: &Viewer,
        line: &str,
        out: mpsc::Sender<ConsoleChunk>,
    ) -> Result<i32, ApiError>;

    /// What the console accepts: a line that cannot be run is refused, in both languages, before [`Self::console`].
    fn programs(&self) -> Programs {
        Programs::default()
    }

    /// Journeys and their points after `since`, oldest first; all that are kept when `since` is none.
    async fn journeys(&self, since: Option<Timestamp>) -> JourneySeries;

    /// The map of the system that the current drill breaks; none where there is no drill, or the system has no map.
    async fn service_map(&self) -> Option<ServiceMap> {
        None
    }

    /// What is left of every error budget.
    ///
    /// # Errors
    /// `Unavailable` when Prometheus is not up, or nobody keeps objectives here.
    async fn budgets(&self) -> Result<Arc<budget::Budgets>, ApiError> {
        Err(ApiError::Unavailable("no objectives are kept here".to_owned()))
    }

    /// The score of an ended drill.
    async fn score(&self, drill: &str) -> Option<serde_json::Value>;

    /// The timeline, as far as this viewer may see it.
    async fn timeline(&self, drill: &str, viewer: &Viewer) -> Option<serde_json::Value>;

    /// The story of an ended drill, as Markdown.
    async fn story(&self, drill: &str, lang: Lang) -> Option<String>;

    /// The postmortem draft of an ended drill, as Markdown.
    async fn postmortem(&self, drill: &str, lang: Lang) -> Option<String>;

    /// Base URL (`http://127.0.0.1:PORT`) of `prometheus`, `alertmanager` or `chirpy`; none while it is not up.
    fn upstream(&self, name: &str) -> Option<String>;

    /// Experiments; none where nobody runs them.
    fn experiments(&self) -> Option<&dyn ExperimentHost> {
        None
    }

    /// The lab; none where the system has none.
    fn lab(&self) -> Option<&dyn lab::LabHost> {
        None
    }
}

/// Why an experiment was not started.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// The manifest is wrong at these places.
    #[error("the manifest cannot be run as it is")]
    Problems(Vec<experiment::Problem>),
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// An experiment that somebody wants to begin.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// YAML or JSON.
    pub manifest: &'a str,
    /// On whose behalf.
    pub by: &'a str,
    /// Ends what has no duration of its own.
    pub seconds: Option<f64>,
    /// Where an object goes that names no namespace; none: where kubectl puts it.
    pub namespace: Option<&'a str>,
}

/// Runs experiments. Only whoever runs the drill is let through to it.
#[async_trait]
pub trait ExperimentHost: Send + Sync {
    /// Those that are on and those that were; a drill's own only when it is over.
    async fn list(&self) -> experiment::Experiments;

    /// What a manifest would do now; `namespace` as in [`Wanted`].
    async fn preview(&self, manifest: &str, namespace: Option<&str>) -> experiment::Preview;

    /// Begins one: its steady state is looked at first. Answers its id.
    ///
    /// # Errors
    /// `Problems` for a wrong manifest, `Conflict` when an object of that name is there already.
    async fn start(&self, wanted: Wanted<'_>) -> Result<String, NotStarted>;

    /// What there is to aim at.
    ///
    /// # Errors
    /// `Unavailable` when the cluster cannot be looked at.
    async fn targets(&self) -> Result<experiment::Targets, ApiError>;

    /// Everything about one.
    async fn show(&self, id: &str) -> Option<experiment::Detail>;

    /// Ends one; its recovery is verified after that.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` when it is over already.
    async fn stop(&self, id: &str, by: &str) -> Result<(), ApiError>;
}
