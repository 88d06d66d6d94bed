//! Reads that may be a moment old go to the replica, unless it is too far behind or does not answer: then to the primary.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{Object, Pool};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::bounded::{Late, rows, within};
use super::lag::{Lag, Position};
use super::pool::{To, learn_from, pool};
use crate::service::{ApiError, Labels, Seconds, Service, parse_env, text_env};

/// How old what is read may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// As it is now.
    Fresh,
    /// A moment old: as far as replicas may lag.
    Stale,
}

impl Age {
    pub fn of(stale: bool) -> Self {
        if stale { Self::Stale } else { Self::Fresh }
    }
}

/// How long a replica may take: there is somebody else to ask.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a look at a position may take.
const LOOK: Duration = Duration::from_secs(2);

pub type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A primary, and its replica when there is one.
#[derive(Clone)]
pub struct Reads {
    pub primary: Pool,
    replica: Option<Arc<Replica>>,
    figures: Figures,
    /// How long the primary may take.
    limit: Duration,
}

struct Replica {
    pool: Pool,
    lag: Mutex<Lag>,
    /// Further behind, it is not asked.
    limit: Duration,
    /// What its figures are called by.
    database: String,
}

/// What is told of replicas; one per process.
#[derive(Clone)]
pub struct Figures {
    lag: Family<Labels, Seconds>,
    reads: Family<Labels, Counter>,
}

impl Figures {
    pub fn new(service: &mut Service) -> Self {
        Self {
            lag: service.seconds("replica_lag", "How old what the replica shows may be; -1: it does not answer"),
            reads: service.counter(
                "replica_reads",
                "Reads that may be a moment old, by who answered: the replica, or the primary because the replica lags, is down, \
                 is slow, failed or did not have it",
            ),
        }
    }

    fn count(&self, answered: &str, because: &str) {
        let labels = vec![("answered", answered.to_owned()), ("because", because.to_owned())];
        self.reads.get_or_create(&labels).inc();
    }
}

impl Reads {
    /// `DATABASE_URL` and, unless it is empty, `DATABASE_REPLICA_URL`.
    ///
    /// # Errors
    /// When a URL or a variable does not parse.
    pub fn from_env(service: &mut Service) -> anyhow::Result<Self> {
        let figures = Figures::new(service);
        Self::new(
            &super::primary_url(),
            &text_env("DATABASE_REPLICA_URL", ""),
            figures,
            "0",
            super::limit()?,
        )
    }

    /// From the URLs of a primary and of its replica, which may be empty. `limit`: how long the primary may take. `REPLICA_MAX_LAG_MS`: how far behind a replica may be
    /// to be asked; `REPLICA_CHECK_MS`: how often that is looked at.
    ///
    /// # Errors
    /// When a URL or a variable does not parse.
    pub fn new(
        primary: &str,
        replica: &str,
        figures: Figures,
        database: &str,
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let primary = pool("DATABASE_URL", primary, To::Primary, Some(limit))?;
        let replica = (!replica.is_empty()).then(|| {
            anyhow::Ok(Arc::new(Replica {
                pool: pool("DATABASE_REPLICA_URL", replica, To::Replica, Some(PATIENCE))?,
                lag: Mutex::default(),
                limit: Duration::from_millis(parse_env("REPLICA_MAX_LAG_MS", 1000)?),
                database: database.to_owned(),
            }))
        });
        let replica = replica.transpose()?;
        let every = Duration::from_millis(parse_env("REPLICA_CHECK_MS", 500)?.max(10));
        if let Some(replica) = &replica {
            tokio::spawn(watch(primary.clone(), replica.clone(), figures.clone(), every));
        }
        Ok(Self {
            primary,
            replica,
            figures,
            limit,
        })
    }

    /// Does `work` on a connection to the primary, which is closed when it takes too long.
    ///
    /// # Errors
    /// 503 when there is no connection or no answer in time; what `work` says.
    pub async fn within<T>(
        &self,
        work: impl AsyncFnOnce(&mut Object) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        within(&self.primary, self.limit, work).await
    }

    /// Rows of that age.
    ///
    /// # Errors
    /// When no server that has them answers.
    pub async fn read(&self, age: Age, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, ApiError> {
        match age {
            Age::Fresh => self.fresh(sql, parameters).await,
            Age::Stale => self.stale(sql, parameters).await,
        }
    }

    /// Rows that may be a moment old.
    ///
    /// # Errors
    /// When neither the replica nor the primary answers.
    pub async fn stale(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, ApiError> {
        if let Some(replica) = &self.replica {
            match replica.usable() {
                Ok(()) => match rows::<anyhow::Error>(&replica.pool, PATIENCE, sql, parameters).await {
                    Ok(rows) => {
                        self.figures.count("replica", "");
                        return Ok(rows);
                    }
                    Err(error) if error.is::<Late>() => self.figures.count("primary", "slow"),
                    Err(error) => {
                        tracing::debug!(error = %format!("{error:#}"), "The replica failed; the primary is asked");
                        self.figures.count("primary", "failed");
                    }
                },
                Err(because) => self.figures.count("primary", because),
            }
        }
        self.fresh(sql, parameters).await
    }

    /// Rows as they are now.
    ///
    /// # Errors
    /// When the primary does not answer.
    pub async fn fresh(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, ApiError> {
        rows(&self.primary, self.limit, sql, parameters).await
    }

    /// The row that is there: when the replica has none it may be too new for it, so the primary is asked.
    ///
    /// # Errors
    /// When the primary would have to be asked and does not answer.
    pub async fn stale_or_new(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<Row>, ApiError> {
        let found = self.stale(sql, parameters).await?.pop();
        if found.is_some() || self.replica.is_none() {
            return Ok(found);
        }
        self.missed();
        Ok(self.fresh(sql, parameters).await?.pop())
    }

    /// Whether what [`Reads::stale`] does not have may be there all the same.
    pub fn may_miss(&self) -> bool {
        self.replica.is_some()
    }

    /// Counts a read that is asked of the primary because the replica did not have it.
    pub fn missed(&self) {
        self.figures.count("primary", "missing");
    }
}

impl Replica {
    fn lag(&self) -> std::sync::MutexGuard<'_, Lag> {
        self.lag.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Or why not.
    fn usable(&self) -> Result<(), &'static str> {
        match self.lag().behind(Instant::now()) {
            None => Err("down"),
            Some(behind) if behind > self.limit => Err("lag"),
            Some(_) => Ok(()),
        }
    }
}

/// Looks at both positions for as long as the process lives. While the primary does not answer, the replica is as near to it as
/// it was: nothing can be written that it would miss.
async fn watch(primary: Pool, replica: Arc<Replica>, figures: Figures, every: Duration) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let labels = vec![("database", replica.database.clone())];
    loop {
        tick.tick().await;
        let asked = Instant::now();
        let (written, replayed) = tokio::join!(
            position(
                &primary,
                "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"
            ),
            // A replica that was promoted has everything it will ever have of its own.
            position(
                &replica.pool,
                "SELECT pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                        ELSE pg_current_wal_flush_lsn() END, '0/0')::bigint",
            )
        );
        let mut lag = replica.lag();
        if let Ok(written) = written {
            lag.primary(asked, written);
        }
        match replayed {
            Ok(replayed) => lag.replica(asked, replayed),
            Err(error) => {
                tracing::debug!(error = %format!("{error:#}"), "The replica does not answer");
                lag.lost();
            }
        }
        let behind = lag.behind(Instant::now()).map_or(-1.0, |lag| lag.as_secs_f64());
        figures.lag.get_or_create(&labels).set(behind);
    }
}

async fn position(pool: &Pool, sql: &str) -> anyhow::Result<Position> {
    let ask = within(pool, LOOK, async |client| {
        let statement = client.prepare_cached(sql).await?;
        let row = client.query_one(&statement, &[]).await.inspect_err(learn_from)?;
        anyhow::Ok(row.try_get(0)?)
    });
    tokio::time::timeout(LOOK, ask).await?
}
