//! One drill: its log, its state, and the only way to add to them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hikeshi_drill::{Command, Event, Refusal, State, apply, decide};
use hikeshi_server::store::{DrillLog, StoreError};
use jiff::Timestamp;
use tokio::sync::broadcast;

use crate::library::LoadedScenario;

/// Why a command changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error("{0}")]
    Refused(Refusal),
    /// The log could not be written; the command was not taken, so it can be given again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A drill that is on, or has just ended.
pub struct Session {
    pub scenario: Arc<LoadedScenario>,
    shared: Arc<Shared>,
}

struct Shared {
    scenario: Arc<LoadedScenario>,
    log: DrillLog,
    /// Held from deciding to applying: events are written in the order in which they are decided.
    writing: tokio::sync::Mutex<()>,
    record: Mutex<Record>,
    heard: broadcast::Sender<Arc<Event>>,
}

struct Record {
    state: State,
    events: Vec<Event>,
}

impl Session {
    /// Goes on with `events` (none for a new log).
    pub fn new(
        scenario: Arc<LoadedScenario>,
        log: DrillLog,
        events: Vec<Event>,
        heard: broadcast::Sender<Arc<Event>>,
    ) -> Self {
        let state = hikeshi_drill::replay(&events);
        let shared = Arc::new(Shared {
            scenario: scenario.clone(),
            log,
            writing: tokio::sync::Mutex::new(()),
            record: Mutex::new(Record { state, events }),
            heard,
        });
        Self { scenario, shared }
    }

    pub fn id(&self) -> &str {
        self.shared.log.id()
    }

    /// Decides, writes durably, applies, tells everybody: in that order, so that nobody sees what is not on disk.
    ///
    /// # Errors
    /// `Refused` by the engine, `Store` when the log cannot be written.
    pub async fn submit(&self, command: Command) -> Result<Vec<Event>, SubmitError> {
        // On a task of its own: whoever waits may go away (a browser tab is closed), and what is on disk must be applied.
        let shared = self.shared.clone();
        match tokio::spawn(async move { shared.submit(command).await }).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is ending, and with it whoever asked.
                Err(_) => std::future::pending().await,
            },
        }
    }

    pub fn state(&self) -> State {
        self.record().state.clone()
    }

    /// Looks at the state without copying it.
    pub fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.record().state)
    }

    /// All events after `seq`, in order.
    pub fn events_after(&self, seq: u64) -> Vec<Event> {
        let record = self.record();
        let from = record.events.partition_point(|event| event.seq <= seq);
        record.events[from..].to_vec()
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.shared.record()
    }
}

impl Shared {
    async fn submit(&self, command: Command) -> Result<Vec<Event>, SubmitError> {
        let _turn = self.writing.lock().await;
        let events = {
            let record = self.record();
            let now = Timestamp::now();
            let kinds =
                decide(&record.state, &self.scenario.scenario, command, now).map_err(SubmitError::Refused)?;
            hikeshi_drill::decide::number(&record.state, kinds, now)
        };
        if events.is_empty() {
            return Ok(events);
        }
        self.log.append(&events).await?;
        let mut record = self.record();
        for event in &events {
            apply(&mut record.state, event);
        }
        record.events.extend(events.iter().cloned());
        drop(record);
        for event in &events {
            // Nobody listening is no error.
            let _ = self.heard.send(Arc::new(event.clone()));
        }
        Ok(events)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // A panic while holding the lock cannot leave half an event behind: `apply` is total.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
