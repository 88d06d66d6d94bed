//! A bounded pool of connections per node, shared by many callers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::Value;
use tokio::sync::Semaphore;

use super::redirect::{self, Carrier};
use super::{Cluster, Connection, RedisError};

/// At most `per_node` connections to each node; callers queue for them in order.
pub struct Pool {
    cluster: Arc<Cluster>,
    per_node: usize,
    /// A connection older than this is replaced when it is next free.
    max_age: Duration,
    nodes: Mutex<HashMap<String, Arc<Node>>>,
}

struct Node {
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub fn new(cluster: Arc<Cluster>, per_node: usize, max_age: Duration) -> Self {
        Self {
            cluster,
            per_node: per_node.max(1),
            max_age,
            nodes: Mutex::default(),
        }
    }

    fn node(&self, address: &str) -> Arc<Node> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes
            .entry(address.to_owned())
            .or_insert_with(|| {
                Arc::new(Node {
                    permits: Semaphore::new(self.per_node),
                    idle: Mutex::default(),
                })
            })
            .clone()
    }

    /// See [`redirect::run`].
    ///
    /// # Errors
    /// See there.
    pub async fn run(
        &self,
        slot: u16,
        packed: Vec<u8>,
        replies: usize,
        within: Duration,
    ) -> Result<Vec<Value>, RedisError> {
        redirect::run(self, &self.cluster, slot, &packed, replies, within).await
    }
}

impl Carrier for Pool {
    type Reply = Value;

    async fn call(&self, address: &str, packed: Vec<u8>, replies: usize) -> Result<Vec<Value>, RedisError> {
        let node = self.node(address);
        let Ok(_permit) = node.permits.acquire().await else {
            return Err(RedisError::NoNode(0));
        };
        let idle = node.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle.filter(|idle| idle.opened.elapsed() < self.max_age) {
            Some(idle) => idle,
            None => self.cluster.dial(address).await,
        };
        let outcome = connection.exchange(packed, replies).await;
        // An error reply leaves the connection in step; anything else does not.
        if outcome.is_ok() {
            node.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
        outcome
    }
}
