//! The host: which drill is on, and everything it needs to run.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use hikeshi_drill::{Command, Event};
use hikeshi_server::api::AlertFact;
use hikeshi_server::store::{self, DrillLog, StoreError};
use hikeshi_slo::Cujs;
use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::budgets::Budgets;
use crate::console::Shell;
use crate::experiments::{Creator, Experiments, HistoryError};
use crate::faults::Faults;
use crate::lab::{LabConfig, Labs};
use crate::library::{Library, LibraryError};
use crate::oracle::Oracle;
use crate::prometheus::Prometheus;
use crate::service_map::Flows;
use crate::session::{Session, SubmitError};
use hikeshi_drill::audit::AuditRecord;

/// Events a slow listener may be behind before it has to ask for them again.
const BACKLOG: usize = 4096;

/// Answers the base URL (`http://127.0.0.1:PORT`) of a named listener, once it is bound.
pub type UpstreamOf = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the host is given.
pub struct HostConfig {
    pub client: kube::Client,
    /// `drills/` of the state folder.
    pub drills: PathBuf,
    /// The folder of the experiments' history.
    pub experiments: PathBuf,
    /// The folder of the objectives' history and of marked incidents.
    pub slo: PathBuf,
    /// Who creates chaos objects, from the API server's audit.
    pub creators: mpsc::UnboundedReceiver<Creator>,
    pub library: Library,
    /// The system's journeys and objectives.
    pub cujs: Cujs,
    pub shell: Shell,
    /// `prometheus`, `alertmanager`, `chirpy`, `load` to the base URL on this host, once it is bound.
    pub upstream: UpstreamOf,
    /// How many times faster than written the SLO windows run.
    pub slo_clock: f64,
    /// Where an experiment goes that names no namespace.
    pub namespace: String,
    /// None: the system has no lab.
    pub lab: Option<LabConfig>,
}

/// Why a drill was not started.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Submit(#[from] SubmitError),
    #[error("drill {0} is on; end it first")]
    Busy(String),
    #[error("no drill is on")]
    NoDrill,
    #[error("the experiments' history: {0}")]
    History(#[from] HistoryError),
    #[error("the labs of before: {0}")]
    Labs(#[from] std::io::Error),
}

/// Runs one drill at a time.
pub struct Host {
    pub(crate) drills: PathBuf,
    pub(crate) scenarios: Library,
    pub(crate) cujs: Cujs,
    pub(crate) shell: Shell,
    pub(crate) upstream: UpstreamOf,
    pub(crate) slo_clock: f64,
    pub(crate) prometheus: Prometheus,
    pub(crate) flows: Flows,
    pub(crate) faults: Faults,
    pub(crate) experiments: Arc<Experiments>,
    pub(crate) labs: Option<Arc<Labs>>,
    pub(crate) oracle: Oracle,
    pub(crate) budgets: Budgets,
    pub(crate) heard: broadcast::Sender<Arc<Event>>,
    pub(crate) progress: RwLock<String>,
    /// Pods and seconds of the start, once the system is up.
    pub(crate) up: RwLock<Option<(u32, f64)>>,
    pub(crate) judging: Arc<tokio::sync::Mutex<()>>,
    session: RwLock<Option<Arc<Session>>>,
}

impl Host {
    /// Starts the host's own tasks: clock, sampler, the intake of alerts and audit records, and the experiments' supervisor.
    ///
    /// # Errors
    /// `History` when the experiments' history cannot be opened.
    pub fn start(
        config: HostConfig,
        alerts: mpsc::UnboundedReceiver<AlertFact>,
        audit: mpsc::UnboundedReceiver<AuditRecord>,
        shutdown: &CancellationToken,
    ) -> Result<Arc<Self>, HostError> {
        let HostConfig {
            client,
            drills,
            experiments,
            slo,
            creators,
            library,
            cujs,
            shell,
            upstream,
            slo_clock,
            namespace,
            lab,
        } = config;
        let base = upstream.clone();
        let prometheus = Prometheus::new(Arc::new(move || {
            base("prometheus").map(|url| format!("{url}/prometheus"))
        }));
        let oracle = Oracle::new(client.clone(), prometheus.clone(), &cujs, slo_clock);
        let experiments = Experiments::open(
            &client,
            prometheus.clone(),
            cujs.clone(),
            slo_clock,
            namespace,
            &experiments,
        )?;
        let experiments = Arc::new(experiments);
        let labs = lab.map(|lab| {
            Labs::open(
                lab,
                client.clone(),
                cujs.clone(),
                prometheus.clone(),
                upstream.clone(),
            )
            .map(Arc::new)
        });
        let labs = labs.transpose()?;
        let host = Arc::new(Self {
            drills,
            scenarios: library,
            cujs,
            shell,
            upstream,
            slo_clock,
            prometheus,
            flows: Flows::default(),
            faults: Faults::new(client),
            experiments: experiments.clone(),
            labs: labs.clone(),
            oracle,
            budgets: Budgets::new(slo),
            heard: broadcast::channel(BACKLOG).0,
            progress: RwLock::default(),
            up: RwLock::default(),
            judging: Arc::default(),
            session: RwLock::default(),
        });
        let heard = experiments.clone();
        let tasks: [std::pin::Pin<Box<dyn Future<Output = ()> + Send>>; 6] = [
            Box::pin(crate::ticker::run(host.clone())),
            Box::pin(crate::sampler::run(host.clone())),
            Box::pin(crate::intake::alerts(host.clone(), alerts)),
            Box::pin(crate::intake::audit(host.clone(), audit)),
            Box::pin(async move { heard.hear(creators).await }),
            Box::pin(async move { experiments.run().await }),
        ];
        let keeper = labs.map(|labs| {
            Box::pin(crate::lab::keep(labs)) as std::pin::Pin<Box<dyn Future<Output = ()> + Send>>
        });
        for task in tasks.into_iter().chain(keeper) {
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                tokio::select! { () = task => {}, () = shutdown.cancelled() => {} }
            });
        }
        Ok(host)
    }

    /// The drill that is on, or the last one.
    pub fn session(&self) -> Option<Arc<Session>> {
        self.session
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The drill that is on.
    pub fn running(&self) -> Option<Arc<Session>> {
        self.session()
            .filter(|session| session.with_state(|state| !state.ended()))
    }

    /// Opens a new log for `scenario`. The drill waits in preparation until [`Host::ready`].
    ///
    /// # Errors
    /// `Busy`, an unknown or invalid scenario, or a log that cannot be written.
    pub async fn open(&self, scenario: &str, rehearsal: bool, seed: u64) -> Result<Arc<Session>, HostError> {
        if let Some(session) = self.running() {
            return Err(HostError::Busy(session.id().to_owned()));
        }
        let loaded = Arc::new(self.scenarios.load(scenario)?);
        let id = new_id(scenario);
        let log = DrillLog::create(&self.drills, &id)?;
        let system = loaded.scenario.system.clone();
        let session = Arc::new(Session::new(loaded, log, Vec::new(), self.heard.clone()));
        let start = Command::Start {
            drill: id,
            scenario: scenario.to_owned(),
            system,
            slo_clock: self.slo_clock,
            rehearsal,
            seed,
        };
        session.submit(start).await?;
        self.set(session.clone());
        Ok(session)
    }

    /// Goes on with drill `id` if it has not ended (control was restarted in its middle).
    ///
    /// # Errors
    /// When its log or its scenario cannot be read.
    pub fn resume(&self, id: &str) -> Result<Option<Arc<Session>>, HostError> {
        let Some(entry) = store::list(&self.drills)?
            .into_iter()
            .find(|entry| entry.id == id && !entry.ended)
        else {
            return Ok(None);
        };
        let loaded = Arc::new(self.scenarios.load(&entry.scenario)?);
        let (log, events) = DrillLog::open(&self.drills, &entry.id)?;
        let session = Arc::new(Session::new(loaded, log, events, self.heard.clone()));
        self.set(session.clone());
        Ok(Some(session))
    }

    /// Says in the war room what is being waited for while the system starts.
    pub fn progress(&self, text: String) {
        *self.progress.write().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// Waits until users are served as promised, for at most `limit`: people are to meet the normal state first. A system
    /// that is not well by then opens all the same, and the page says so.
    pub async fn settle(&self, limit: std::time::Duration) {
        let well = async {
            while !self.oracle.users_are_well().await {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        };
        if tokio::time::timeout(limit, well).await.is_err() {
            tracing::warn!("the system is up, but its journeys are not within their objectives");
        }
    }

    /// The system is up: people may look at its normal state, and begin when they are ready.
    pub fn system_is_up(&self, pods: u32, seconds: f64) {
        *self.up.write().unwrap_or_else(PoisonError::into_inner) = Some((pods, seconds));
        self.progress(String::new());
    }

    /// Ends the drill that is on and lifts its faults.
    ///
    /// # Errors
    /// `NoDrill`, or a log that cannot be written.
    pub async fn end(&self, reason: &str) -> Result<String, HostError> {
        let session = self.running().ok_or(HostError::NoDrill)?;
        session
            .submit(Command::End {
                by: None,
                reason: reason.to_owned(),
            })
            .await?;
        self.lift(&session).await;
        Ok(session.id().to_owned())
    }

    /// Deletes every fault object of the drill's scenario; one that is not there is no error.
    pub(crate) async fn lift(&self, session: &Session) {
        self.faults.lift(&session.scenario).await;
    }

    fn set(&self, session: Arc<Session>) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }
}

/// `20261121-102530-timelines-stop-updating`: sorts by time, says what it was.
fn new_id(scenario: &str) -> String {
    format!("{}-{scenario}", Timestamp::now().strftime("%Y%m%d-%H%M%S"))
}
