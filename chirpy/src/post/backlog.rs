//! Back-pressure from fan-out: a database in which as many jobs wait as may takes no new posts, so that what is
//! acknowledged is also shown before long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;

use super::Posts;
use crate::database::Reads;
use crate::service::{ApiError, parse_env};

/// How often the jobs are counted: what comes between two looks may go beyond the bound.
const LOOK: Duration = Duration::from_secs(1);

/// Whether each database, by its place, has its fill of jobs.
#[derive(Clone)]
pub struct Backlog(Arc<[AtomicBool]>);

impl Backlog {
    /// From `FANOUT_MAX_WAITING`, the jobs that may wait in one database (0, as it is shipped: any number). A job is what one
    /// transaction's posts mean for one shard of the timelines.
    ///
    /// # Errors
    /// When the variable does not parse.
    pub fn from_env(posts: &Posts) -> anyhow::Result<Self> {
        let most = parse_env("FANOUT_MAX_WAITING", 0_u32)?;
        let full: Arc<[AtomicBool]> = posts.databases.iter().map(|_| AtomicBool::new(false)).collect();
        let backlog = Self(full);
        if most > 0 {
            for (place, database) in posts.databases.iter().enumerate() {
                tokio::spawn(backlog.clone().watch(place, database.clone(), most.into()));
            }
        }
        Ok(backlog)
    }

    async fn watch(self, place: usize, database: Reads, most: i64) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let counted = database.within(async |client| {
                let count = "SELECT count(*) FROM (SELECT FROM fanout_jobs LIMIT $1) AS waiting";
                let statement = client.prepare_cached(count).await?;
                Ok(client
                    .query_one(&statement, &[&most])
                    .await?
                    .try_get::<_, i64>(0)?)
            });
            // A database that does not answer takes no posts anyway; what was known of it stays.
            let Ok(waiting) = counted.await else { continue };
            let (full, Some(known)) = (waiting >= most, self.0.get(place)) else {
                continue;
            };
            if known.swap(full, Ordering::Relaxed) != full {
                if full {
                    tracing::warn!(waiting, "Fan-out is behind: no new posts are taken");
                } else {
                    tracing::info!(waiting, "Fan-out has caught up: posts are taken again");
                }
            }
        }
    }

    /// # Errors
    /// 503 while too many jobs wait in the database at `place`.
    pub fn room(&self, place: usize) -> Result<(), ApiError> {
        if self.0.get(place).is_some_and(|full| full.load(Ordering::Relaxed)) {
            return Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many posts are waiting to be delivered",
            ));
        }
        Ok(())
    }
}
