//! PostgreSQL: where it is, the pools and the schema.

mod bounded;
mod lag;
mod migrations;
mod pool;
mod reads;
pub mod shards;

use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::{Object, Pool};
use tokio_postgres::Row;

use crate::service::{ApiError, text_env};
pub use bounded::{Late, limit, within};
pub use pool::{away, learn_from, of_no_primary};
use reads::Parameters;
pub use reads::{Age, Reads};
pub use shards::Shards;

/// `DATABASE_URL`: the primary of accounts and follows, and of posts unless `POST_SHARD_MAP` says otherwise.
fn primary_url() -> String {
    text_env(
        "DATABASE_URL",
        "postgres://chirpy:chirpy@postgres.chirpy.svc.cluster.local:5432/chirpy",
    )
}

/// The database of `DATABASE_URL`, for a role that asks nobody else.
#[derive(Clone)]
pub struct Primary {
    pub pool: Pool,
    limit: Duration,
}

impl Primary {
    /// Lazily, with [`limit`].
    ///
    /// # Errors
    /// When the URL or a variable does not parse.
    pub fn from_env() -> anyhow::Result<Self> {
        let limit = limit()?;
        let pool = pool::pool("DATABASE_URL", &primary_url(), pool::To::Primary, Some(limit))?;
        Ok(Self { pool, limit })
    }

    /// Does `work` on a connection, which is closed when it takes too long.
    ///
    /// # Errors
    /// 503 when there is no connection or no answer in time; what `work` says.
    pub async fn within<T>(
        &self,
        work: impl AsyncFnOnce(&mut Object) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        within(&self.pool, self.limit, work).await
    }

    /// The rows that a prepared statement gives.
    ///
    /// # Errors
    /// When PostgreSQL refuses, or does not answer in time.
    pub async fn rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, ApiError> {
        bounded::rows(&self.pool, self.limit, sql, parameters).await
    }
}

/// A pool past the pooler: what changes the schema, or much at once, is nobody else's business, and takes the time it
/// takes. `DATABASE_DIRECT_URL`, or `DATABASE_URL` where nothing is in between.
///
/// # Errors
/// When the URL does not parse.
pub fn direct() -> anyhow::Result<Pool> {
    let url = text_env("DATABASE_DIRECT_URL", &primary_url());
    pool::pool("DATABASE_DIRECT_URL", &url, pool::To::Primary, None)
}

/// Succeeds once the schema is this program's: what a role waits for before it is ready.
///
/// # Errors
/// When PostgreSQL does not answer or is not migrated yet.
pub async fn migrated(pool: &Pool) -> anyhow::Result<()> {
    let client = pool.get().await?;
    let missing = migrations::missing(&client).await?;
    anyhow::ensure!(missing.is_empty(), "migrations {missing:?} are missing");
    Ok(())
}

/// The first migration; what came later is in [`migrations`]. Every statement may be run again: databases from before
/// migrations were numbered have these tables already.
///
/// `fanout_jobs` is the outbox: one row per shard of the timelines and transaction, written in the posts' own transaction
/// and deleted when that shard's timelines have them. A row is worked on by whoever holds its lease.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS users (
    id BIGSERIAL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS follows (
    follower_id BIGINT NOT NULL REFERENCES users(id),
    followee_id BIGINT NOT NULL REFERENCES users(id),
    PRIMARY KEY (followee_id, follower_id)
);
CREATE INDEX IF NOT EXISTS follows_by_follower ON follows (follower_id);
CREATE TABLE IF NOT EXISTS posts (
    id BIGSERIAL PRIMARY KEY,
    author_id BIGINT NOT NULL,
    author_name TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    edited_at TIMESTAMPTZ,
    deleted BOOLEAN NOT NULL DEFAULT false,
    changed_in BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint)
);
CREATE INDEX IF NOT EXISTS posts_by_author ON posts (author_id, id DESC);
CREATE INDEX IF NOT EXISTS posts_by_change ON posts (changed_in, id);
CREATE TABLE IF NOT EXISTS fanout_jobs (
    id BIGSERIAL PRIMARY KEY,
    post_id BIGINT NOT NULL,
    author_id BIGINT NOT NULL,
    shard SMALLINT NOT NULL,
    worker TEXT,
    leased_until TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
";

/// Brings the schema of every database up to date, waiting for PostgreSQL for up to two minutes.
///
/// # Errors
/// When PostgreSQL does not answer in time or refuses a statement, or the shard map is wrong.
pub async fn migrate() -> anyhow::Result<()> {
    let (map, home) = (shards::map()?, primary_url());
    let mut pools = vec![direct()?];
    for database in map.databases.iter().filter(|database| database.primary != home) {
        pools.push(pool::pool(
            "POST_SHARD_MAP",
            &database.primary,
            pool::To::Primary,
            None,
        )?);
    }
    for pool in pools {
        let mut client = wait_for(&pool).await?;
        migrations::run(&mut client, map.shards).await?;
    }
    Ok(())
}

/// A connection, waiting for PostgreSQL for up to two minutes.
///
/// # Errors
/// The last failure, when the time is up.
pub async fn wait_for(pool: &Pool) -> anyhow::Result<Object> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        match pool.get().await {
            Ok(client) => return Ok(client),
            Err(error) if tokio::time::Instant::now() > deadline => {
                return Err(error).context("PostgreSQL did not answer within two minutes");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}
