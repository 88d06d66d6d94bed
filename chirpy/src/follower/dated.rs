//! `chirpy date-follows`: a change to a big table that is in use. It gives every follow the time since when it is, and an index
//! on that. How it takes its locks decides whether anybody notices.

use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::Object;
use tokio_postgres::error::SqlState;

use crate::database;
use crate::service::parse_env;

const COLUMN: &str = "ALTER TABLE follows ADD COLUMN IF NOT EXISTS since TIMESTAMPTZ NOT NULL DEFAULT now()";
/// Longest wait for the table's lock, while everybody else who wants the table queues behind it.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms'";
const PAUSE: Duration = Duration::from_secs(1);

/// Runs the change and ends. `MIGRATION_ONLINE` is how: `false`, the habit, takes the table's exclusive lock and waits for it as
/// long as some reader holds the table, with everybody who comes after in the queue behind; and it holds the lock while the
/// index is built. `true` gives up the lock it does not get at once and tries again, for `MIGRATION_PATIENCE_S`, and builds
/// the index beside the traffic.
///
/// # Errors
/// When PostgreSQL refuses, or the lock was not to be had in time.
pub async fn run() -> anyhow::Result<()> {
    let online = parse_env("MIGRATION_ONLINE", true)?;
    let patience = Duration::from_secs(parse_env("MIGRATION_PATIENCE_S", 600)?);
    // It takes longer than a service would wait.
    let pool = database::direct()?;
    let mut client = database::wait_for(&pool).await?;
    tracing::info!(online, "Dating follows");
    if online {
        beside(&mut client, patience).await?;
    } else {
        let all = format!(
            "BEGIN; {COLUMN}; CREATE INDEX IF NOT EXISTS follows_by_since ON follows (since); COMMIT"
        );
        client.batch_execute(&all).await.context("follows")?;
    }
    tracing::info!("Follows are dated");
    Ok(())
}

async fn beside(client: &mut Object, patience: Duration) -> anyhow::Result<()> {
    let start = tokio::time::Instant::now();
    loop {
        let transaction = client.transaction().await?;
        transaction.batch_execute(LOCK_TIMEOUT).await?;
        match transaction.batch_execute(COLUMN).await {
            Ok(()) => {
                transaction.commit().await?;
                break;
            }
            Err(error)
                if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) && start.elapsed() < patience =>
            {
                drop(transaction);
                tracing::warn!("The table is in use; its lock was given up, to be tried again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error).context("follows"),
        }
    }
    // What an earlier run that was killed left is no index.
    let half = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass('follows_by_since') AND NOT indisvalid";
    if client.query_opt(half, &[]).await?.is_some() {
        client
            .batch_execute("DROP INDEX CONCURRENTLY follows_by_since")
            .await?;
    }
    let index = "CREATE INDEX CONCURRENTLY IF NOT EXISTS follows_by_since ON follows (since)";
    client.batch_execute(index).await.context("follows_by_since")
}
