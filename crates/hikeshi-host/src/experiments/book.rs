//! Every experiment that is known, and its history on disk.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use hikeshi_experiment::Experiment;
use hikeshi_experiment::api::{Experiments, Phase, Summary};
use jiff::Timestamp;

use super::history::{History, HistoryError};

/// What holds now is here; what is here is on disk.
pub(super) struct Book {
    pub all: BTreeMap<String, Experiment>,
    /// Uids that were seen in the cluster by this process: one not among them may not have arrived yet.
    pub met: HashSet<String>,
    history: History,
}

impl Book {
    pub fn open(folder: &Path) -> Result<Self, HistoryError> {
        let (history, all) = History::open(folder)?;
        Ok(Self {
            all,
            met: HashSet::new(),
            history,
        })
    }

    /// Writes an experiment down, then lets it hold.
    pub fn put(&mut self, experiment: Experiment) {
        if let Err(error) = self.history.append(&experiment) {
            // It goes on: its fault must end all the same. The next turn is written whole again.
            tracing::error!(%error, id = experiment.id, "an experiment could not be written to the history");
        }
        self.all.insert(experiment.id.clone(), experiment);
    }

    /// The ids of those that are not over, or that still have something to end.
    pub fn live(&self) -> Vec<String> {
        self.all
            .values()
            .filter(|experiment| experiment.phase != Phase::Ended)
            .map(|experiment| experiment.id.clone())
            .collect()
    }

    pub fn by_uid(&self, uid: &str) -> Option<&Experiment> {
        self.all
            .values()
            .find(|experiment| experiment.uid.as_deref() == Some(uid))
    }

    /// An id for a new experiment: sorts by time, says what it is, is taken by no other.
    pub fn new_id(&self, name: &str, now: Timestamp) -> String {
        let base = format!("{}-{name}", now.strftime("%Y%m%d-%H%M%S"));
        let mut id = base.clone();
        let mut more = 2;
        while self.all.contains_key(&id) {
            id = format!("{base}-{more}");
            more += 1;
        }
        id
    }

    /// Newest first. Those of a drill only when `drills` may be seen.
    pub fn list(&self, drills: bool) -> Experiments {
        let mut list = Experiments::default();
        let mut all: Vec<&Experiment> = self.all.values().filter(|one| drills || !one.drill).collect();
        all.sort_by_key(|one| std::cmp::Reverse((one.created_at, one.id.clone())));
        for experiment in all {
            let summary: Summary = experiment.summary();
            if experiment.phase == Phase::Ended {
                list.history.push(summary);
            } else {
                list.running.push(summary);
            }
        }
        list
    }
}
