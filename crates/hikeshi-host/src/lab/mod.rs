//! The lab: a thin shell over `hikeshi_lab`. It puts levels in through the Kubernetes API, measures at the ingress through
//! Prometheus, writes every turn down, and takes everything out when nobody says any more that they are there.

mod book;
mod cluster;
mod keeper;
mod measure;
mod served;
mod stage;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hikeshi_lab::{Lab, LabFile};
use hikeshi_slo::Cujs;
use tokio::time::Instant;

use crate::prometheus::Prometheus;
use book::Book;
use cluster::Cluster;
pub(crate) use keeper::run as keep;

/// Who sits in the lab and is not heard of for so long has gone.
const GONE: Duration = Duration::from_secs(20);
/// How long what a lab has put in stays when control no longer renews it.
const LEASE: Duration = Duration::from_secs(30);

/// Writes another `cujs.yaml`: its text, who, and why. The history is written with it.
pub type Keep = Arc<dyn Fn(&str, &str, &str) -> Result<(), String> + Send + Sync>;

/// What a host needs for labs.
pub struct LabConfig {
    pub file: LabFile,
    /// `cujs.yaml`, read anew for every export.
    pub cujs: PathBuf,
    /// Where labs are written down.
    pub folder: PathBuf,
    pub keep: Keep,
}

pub(crate) struct Labs {
    file: LabFile,
    cujs_path: PathBuf,
    cujs: Cujs,
    keep: Keep,
    cluster: Cluster,
    prometheus: Prometheus,
    /// The ingress' base URL.
    ingress: crate::host::UpstreamOf,
    /// A lab's ingress is served.
    open: AtomicBool,
    state: tokio::sync::Mutex<State>,
}

/// The lab that is on, and what is known of it only while this process lives.
struct State {
    book: Book,
    lab: Option<Lab>,
    /// The person's cookie.
    token: String,
    /// When who sits in it was last heard of.
    heard: Instant,
    /// The first group's Deployment.
    deployment: serde_json::Value,
    /// Presentations so far: their objects have names of their own.
    number: u64,
    /// The counters when what is on began.
    begun: measure::Counters,
    /// Mean seconds of the requests on trial at the normal state.
    normal: Option<f64>,
    /// Nothing of any lab is left in the cluster, as far as is known.
    clean: bool,
    /// The journey and the token that the ingress leads by.
    routed: Option<(String, Option<String>)>,
}

impl Labs {
    /// # Errors
    /// When the labs of before cannot be read.
    pub fn open(
        config: LabConfig,
        client: kube::Client,
        cujs: Cujs,
        prometheus: Prometheus,
        ingress: crate::host::UpstreamOf,
    ) -> std::io::Result<Self> {
        let LabConfig {
            file,
            cujs: cujs_path,
            folder,
            keep,
        } = config;
        Ok(Self {
            file,
            cujs_path,
            cujs,
            keep,
            cluster: Cluster::new(client),
            prometheus,
            ingress,
            open: AtomicBool::new(false),
            state: tokio::sync::Mutex::new(State {
                book: Book::open(folder)?,
                lab: None,
                token: String::new(),
                heard: Instant::now(),
                deployment: serde_json::Value::Null,
                number: 0,
                begun: measure::Counters::default(),
                normal: None,
                clean: false,
                routed: None,
            }),
        })
    }

    /// Whether the app must be reached through the ingress now.
    pub fn is_on(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// How often a journey is done before a person judges.
    fn uses(&self, kind: hikeshi_lab::Kind, journey: &str) -> u32 {
        let uses = self
            .file
            .journey(journey)
            .map(|journey| journey.uses)
            .unwrap_or_default();
        match kind {
            hikeshi_lab::Kind::Latency => uses.latency,
            hikeshi_lab::Kind::Availability => uses.availability,
        }
    }
}
