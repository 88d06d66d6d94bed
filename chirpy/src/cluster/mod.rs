//! A client of Redis Cluster: the `redis` crate encodes and decodes, the connections are managed here.

mod connection;
mod multiplexed;
mod pool;
mod redirect;
mod resp;
#[cfg(test)]
pub mod scripted;
pub mod slots;
mod store;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

pub use connection::{Connection, RedisError};
pub use multiplexed::Multiplexed;
pub use pool::Pool;
pub use resp::Reply;
use slots::SlotMap;
pub use store::Store;

use crate::retry::Pauses;
use crate::service::{Labels, Service, parse_env, text_env};

/// The cluster as one process sees it.
pub struct Cluster {
    client_name: &'static str,
    seeds: Vec<String>,
    map: RwLock<Arc<SlotMap>>,
    /// When the map was last asked for; held while asking, so that a hundred failures ask once.
    refreshed: tokio::sync::Mutex<Option<Instant>>,
    connect_timeout: Duration,
    /// Between attempts to connect. There is no limit to their number: whoever asks has a deadline of his own.
    dial_pauses: Pauses,
    dials: Family<Labels, Counter>,
    dial_errors: Family<Labels, Counter>,
}

/// Two failures closer than this share one look at the slot map.
const REFRESH_INTERVAL: Duration = Duration::from_millis(250);

impl Cluster {
    /// From `REDIS_NODES` (`host:port`, comma separated), `REDIS_CONNECT_TIMEOUT_MS`, `REDIS_DIAL_PAUSE_MS` and
    /// `REDIS_DIAL_MAX_PAUSE_MS` (0: the pause does not grow).
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env(service: &mut Service) -> anyhow::Result<Arc<Self>> {
        let seeds = text_env("REDIS_NODES", "redis-cluster.chirpy.svc.cluster.local:6379");
        Ok(Arc::new(Self {
            client_name: service.name,
            seeds: seeds
                .split(',')
                .map(|seed| seed.trim().to_owned())
                .filter(|seed| !seed.is_empty())
                .collect(),
            map: RwLock::default(),
            refreshed: tokio::sync::Mutex::default(),
            connect_timeout: Duration::from_millis(parse_env("REDIS_CONNECT_TIMEOUT_MS", 1000)?),
            dial_pauses: Pauses {
                base: Duration::from_millis(parse_env("REDIS_DIAL_PAUSE_MS", 25)?),
                max: Duration::from_millis(parse_env("REDIS_DIAL_MAX_PAUSE_MS", 0)?),
            },
            dials: service.counter("redis_dials", "Connections opened or tried to Redis, by node"),
            dial_errors: service.counter(
                "redis_dial_errors",
                "Connections to Redis that failed, by node and reason",
            ),
        }))
    }

    /// The slot map, asked for first while some slots have no primary that is known: a client that looked while the
    /// cluster was still joining must not stay with half of it.
    pub async fn map(&self) -> Arc<SlotMap> {
        let map = self.known();
        if map.covered() == usize::from(slots::SLOTS) {
            return map;
        }
        self.refresh().await;
        self.known()
    }

    fn known(&self) -> Arc<SlotMap> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the nodes, in random order, then the seeds, for the slot map.
    pub async fn refresh(&self) {
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.is_some_and(|at| at.elapsed() < REFRESH_INTERVAL) {
            return;
        }
        let known = self.known();
        let mut nodes: Vec<String> = known.nodes().into_iter().map(str::to_owned).collect();
        fastrand::shuffle(&mut nodes);
        nodes.extend(self.seeds.iter().cloned());
        for node in nodes {
            if let Some(map) = self.ask(&node).await {
                if map != *known {
                    tracing::info!(nodes = %map.nodes().join(" "), slots = map.covered(), "Redis Cluster's slot map changed");
                }
                *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
                break;
            }
        }
        *refreshed = Some(Instant::now());
    }

    async fn ask(&self, node: &str) -> Option<SlotMap> {
        let within = Duration::from_millis(700);
        let ask = async {
            let mut connection = Connection::open(node, self.client_name, within).await.ok()?;
            let replies = connection
                .pipeline(redis::cmd("CLUSTER").arg("SLOTS").get_packed_command(), 1)
                .await
                .ok()?;
            SlotMap::parse(replies.first()?, node).filter(|map| map.covered() > 0)
        };
        tokio::time::timeout(within, ask).await.ok().flatten()
    }

    /// A new connection to `node`, tried again after each failure until it succeeds.
    pub async fn dial(&self, node: &str) -> Connection {
        let mut failures = 0;
        loop {
            if let Some(connection) = self.try_dial(node, &mut failures).await {
                return connection;
            }
        }
    }

    /// The same, for as long as `node` is a primary of the slot map: one that was replaced may never come back.
    pub async fn dial_while_known(&self, node: &str) -> Option<Connection> {
        let mut failures = 0;
        loop {
            if let Some(connection) = self.try_dial(node, &mut failures).await {
                return Some(connection);
            }
            if !self.known().nodes().contains(&node) {
                return None;
            }
        }
    }

    /// One attempt, and the pause after it when it failed.
    async fn try_dial(&self, node: &str, failures: &mut u32) -> Option<Connection> {
        let label = vec![("node", node.to_owned())];
        self.dials.get_or_create(&label).inc();
        match Connection::open(node, self.client_name, self.connect_timeout).await {
            Ok(connection) => return Some(connection),
            Err(error) => {
                let reason = error.reason().to_owned();
                self.dial_errors
                    .get_or_create(&vec![("node", node.to_owned()), ("reason", reason)])
                    .inc();
                tracing::debug!(%error, "Dial failed");
                *failures += 1;
            }
        }
        self.refresh().await;
        tokio::time::sleep(self.dial_pauses.after(*failures, fastrand::f64())).await;
        None
    }
}
