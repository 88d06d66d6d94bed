//! PostgreSQL: the pool and the schema.

use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;

use crate::service::{parse_env, text_env};

/// A lazy pool to `DATABASE_URL` with at most `DATABASE_POOL_MAX` connections.
///
/// # Errors
/// When the URL does not parse.
pub fn pool() -> anyhow::Result<Pool> {
    let url = text_env(
        "DATABASE_URL",
        "postgres://chirpy:chirpy@postgres.chirpy.svc.cluster.local:5432/chirpy",
    );
    let mut config: tokio_postgres::Config = url.parse().context("DATABASE_URL")?;
    config.connect_timeout(Duration::from_secs(3));
    let manager = Manager::from_config(
        config,
        NoTls,
        ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        },
    );
    Ok(Pool::builder(manager)
        .max_size(parse_env("DATABASE_POOL_MAX", 8)?)
        .wait_timeout(Some(Duration::from_secs(2)))
        .create_timeout(Some(Duration::from_secs(3)))
        .runtime(Runtime::Tokio1)
        .build()?)
}

/// Succeeds once the schema is there: what a role waits for before it is ready.
///
/// # Errors
/// When PostgreSQL does not answer or is not migrated yet.
pub async fn migrated(pool: &Pool) -> anyhow::Result<()> {
    let client = pool.get().await?;
    client
        .query_one("SELECT count(*) FROM fanout_jobs, signing_keys WHERE id < 0", &[])
        .await?;
    Ok(())
}

/// The schema. Every statement may be run again.
///
/// `fanout_jobs` is the outbox: one row per post and shard of the timelines, written in the post's own transaction and
/// deleted when that shard's timelines have it. A row is worked on by whoever holds its lease.
pub const SCHEMA: &str = "
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

/// The tables of replies, likes, idempotency keys and signing keys; applied after [`SCHEMA`].
pub const FEATURES: &str = include_str!("schema/features.sql");

/// Creates what is missing, waiting for PostgreSQL for up to two minutes.
///
/// # Errors
/// When PostgreSQL does not answer in time or refuses a statement.
pub async fn migrate() -> anyhow::Result<()> {
    let pool = pool()?;
    let client = wait_for(&pool).await?;
    // Two migrations at once would race inside CREATE IF NOT EXISTS.
    client
        .batch_execute(&format!(
            "BEGIN; SELECT pg_advisory_xact_lock(81); {SCHEMA} {FEATURES} COMMIT;"
        ))
        .await?;
    tracing::info!("Schema is up to date");
    Ok(())
}

/// A connection, waiting for PostgreSQL for up to two minutes.
///
/// # Errors
/// The last failure, when the time is up.
pub async fn wait_for(pool: &Pool) -> anyhow::Result<deadpool_postgres::Object> {
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
