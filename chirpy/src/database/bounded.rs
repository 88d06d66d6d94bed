//! What is asked of PostgreSQL within a limit.
//!
//! A server that is frozen ends no connection, and a pooler before it keeps its own open: whoever waits for the answer waits
//! for ever, and whoever is given that connection next waits behind them, even after a failover. So only a connection on
//! which everything was answered goes back to its pool; any other is closed.

use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError};
use tokio_postgres::Row;

use super::reads::Parameters;
use crate::service::parse_env;

/// There was no answer within the limit: what was asked may have been done, or may be done yet.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL did not answer within {0:?}")]
pub struct Late(pub Duration);

/// How long a service waits for what it asks of PostgreSQL: `DATABASE_TIMEOUT_MS`. The server is told to end its statements then.
///
/// # Errors
/// When the variable does not parse.
pub fn limit() -> anyhow::Result<Duration> {
    Ok(Duration::from_millis(
        parse_env("DATABASE_TIMEOUT_MS", 2000_u64)?.max(1),
    ))
}

/// Does `work` on a connection of the pool. What it takes to get one has limits of its own.
///
/// # Errors
/// When there is no connection, [`Late`], or what `work` says.
pub async fn within<T, E>(
    pool: &Pool,
    limit: Duration,
    work: impl AsyncFnOnce(&mut Object) -> Result<T, E>,
) -> Result<T, E>
where
    E: From<PoolError> + From<Late>,
{
    let mut held = Held(None);
    let client = held.0.insert(pool.get().await?);
    let outcome = tokio::time::timeout(limit, work(client))
        .await
        .map_err(|_| Late(limit))?;
    drop(held.0.take());
    outcome
}

/// The rows that a prepared statement gives.
///
/// # Errors
/// As [`within`].
pub async fn rows<E>(
    pool: &Pool,
    limit: Duration,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<Vec<Row>, E>
where
    E: From<PoolError> + From<Late> + From<tokio_postgres::Error>,
{
    within(pool, limit, async |client| {
        let statement = client.prepare_cached(sql).await?;
        Ok(client.query(&statement, parameters).await?)
    })
    .await
}

/// A connection on which something is asked: dropped midway, it is closed.
struct Held(Option<Object>);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.take().map(Object::take));
    }
}

#[cfg(test)]
mod tests;
