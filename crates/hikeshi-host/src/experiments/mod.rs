//! Experiments: a thin shell over `hikeshi_experiment`. What is seen in the cluster and measured in Prometheus goes in, what
//! the state machine asks for is done, and every turn is written to the history before anybody is told.

mod book;
mod cluster;
mod history;
mod measure;
mod served;
mod supervisor;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hikeshi_slo::Cujs;
use tokio::sync::{Notify, mpsc};

use crate::prometheus::Prometheus;
use book::Book;
use cluster::Chaos;
pub use history::HistoryError;

/// Where a drill's faults live.
const DRILL_NAMESPACE: &str = "hikeshi-faults";

/// Who created a chaos object, as the API server's audit says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creator {
    /// The certificate's common name.
    pub user: String,
    /// The plural, e.g. `httpchaos`.
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

/// Watches over every experiment of the cluster.
pub(crate) struct Experiments {
    chaos: Chaos,
    prometheus: Prometheus,
    cujs: Cujs,
    slo_clock: f64,
    /// Where an object goes that names no namespace.
    namespace: String,
    book: tokio::sync::Mutex<Book>,
    /// The newest creator of each resource, namespace and name.
    creators: Mutex<HashMap<(String, String, String), String>>,
    changed: Arc<Notify>,
}

impl Experiments {
    /// Opens the history in `folder` and starts watching the cluster; [`Experiments::run`] does the rest.
    ///
    /// # Errors
    /// When the history cannot be opened.
    pub fn open(
        client: &kube::Client,
        prometheus: Prometheus,
        cujs: Cujs,
        slo_clock: f64,
        namespace: String,
        folder: &Path,
    ) -> Result<Self, HistoryError> {
        let changed = Arc::new(Notify::new());
        Ok(Self {
            chaos: Chaos::watch(client, &changed),
            prometheus,
            cujs,
            slo_clock,
            namespace,
            book: tokio::sync::Mutex::new(Book::open(folder)?),
            creators: Mutex::default(),
            changed,
        })
    }

    /// Learns who created what.
    pub async fn hear(&self, mut creators: mpsc::UnboundedReceiver<Creator>) {
        while let Some(creator) = creators.recv().await {
            let key = (creator.resource, creator.namespace, creator.name);
            self.creators
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key, creator.user);
            self.changed.notify_one();
        }
    }

    fn creator(&self, kind: &str, namespace: &str, name: &str) -> Option<String> {
        let key = (hikeshi_chaos::plural(kind), namespace.to_owned(), name.to_owned());
        self.creators
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned()
    }
}
