//! The two ways in which many callers share connections to the cluster.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::redirect::Told as _;
use super::{Cluster, Multiplexed, Pool, RedisError, Reply};

/// Shared connections.
pub enum Store {
    /// Some connections per node; a caller has one to itself while it uses it.
    Pooled(Pool),
    /// One connection per node; commands of concurrent callers leave together.
    Multiplexed(Multiplexed),
}

impl Store {
    /// `per_node` connections of at most `max_age`; zero: one, multiplexed, kept as long as it works.
    pub fn new(cluster: Arc<Cluster>, per_node: usize, max_age: Duration) -> Self {
        if per_node == 0 {
            Self::Multiplexed(Multiplexed::new(cluster))
        } else {
            Self::Pooled(Pool::new(cluster, per_node, max_age))
        }
    }

    /// Sends `replies` packed commands, all for keys of `slot`, to the slot's primary within `within`.
    ///
    /// # Errors
    /// An error reply, or [`RedisError::Timeout`] when there was no connection or no answer in time.
    pub async fn run(
        &self,
        slot: u16,
        packed: Vec<u8>,
        replies: usize,
        within: Duration,
    ) -> Result<Vec<Reply>, RedisError> {
        match self {
            Self::Pooled(pool) => {
                let values = pool.run(slot, packed, replies, within).await?;
                Ok(values.into_iter().map(reply).collect())
            }
            Self::Multiplexed(shared) => shared.run(slot, packed, replies, within).await,
        }
    }

    /// Commands of one reply each, every one for a key of its slot and with an outcome of its own, in the same order.
    pub async fn run_each(
        &self,
        commands: &[(u16, Vec<u8>)],
        within: Duration,
    ) -> Vec<Result<Reply, RedisError>> {
        if let Self::Multiplexed(shared) = self {
            return shared.run_each(commands, within).await;
        }
        let runs = commands.iter().map(|(slot, packed)| async move {
            let replies = self.run(*slot, packed.clone(), 1, within).await?;
            Ok(replies.into_iter().next().unwrap_or(Reply::Nil))
        });
        futures::future::join_all(runs).await
    }
}

/// RESP3's kinds do not occur: no connection of ours asks for them.
fn reply(value: Value) -> Reply {
    if let Some(message) = value.error() {
        return Reply::Error(message);
    }
    match value {
        Value::Int(number) => Reply::Int(number),
        Value::BulkString(bytes) => Reply::Bulk(Bytes::from(bytes)),
        Value::SimpleString(text) => Reply::Simple(Bytes::from(text)),
        Value::Okay => Reply::Simple(Bytes::from_static(b"OK")),
        Value::Array(values) => Reply::Array(values.into_iter().map(reply).collect()),
        _ => Reply::Nil,
    }
}
