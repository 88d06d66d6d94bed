//! Posts by logical shard: which shard an author's posts are in, which database holds a shard, and what a post's id tells.
//!
//! A shard is a table (`posts_shard_00` and so on). Each lives in one database, whole; what belongs to a post (fan-out jobs,
//! replies, likes, idempotency keys) lives beside it, so a post is one transaction in one database.

mod map;
mod place;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Late;
use super::reads::{Figures, Reads};
use crate::deadline;
use crate::service::{ApiError, Service, parse_env, text_env};
pub use map::Map;
pub use place::{MAX_SHARDS, Shard, of_author, of_id, table};

/// Shards of old posts that are remembered.
const REMEMBERED: usize = 100_000;

/// Ids by shard.
pub type ByShard = BTreeMap<Shard, Vec<i64>>;

/// How many logical shards there are: `POST_SHARDS`. It is settled when a database is migrated, and never changes after that.
///
/// # Errors
/// When the variable does not parse or is out of range.
pub fn count() -> anyhow::Result<u16> {
    let count = parse_env("POST_SHARDS", 8)?;
    anyhow::ensure!(
        (1..=MAX_SHARDS).contains(&count),
        "POST_SHARDS={count}: between 1 and {MAX_SHARDS}"
    );
    Ok(count)
}

/// The map that the environment describes: `POST_SHARD_MAP`, by default every shard in the database of `DATABASE_URL`.
///
/// # Errors
/// When a variable does not parse.
pub fn map() -> anyhow::Result<Map> {
    let count = count()?;
    let text = text_env("POST_SHARD_MAP", "");
    if text.trim().is_empty() {
        let replica = text_env("DATABASE_REPLICA_URL", "");
        return Ok(Map::single(count, &super::primary_url(), &replica));
    }
    Map::parse(&text, count)
}

/// The databases of all shards.
pub struct Shards {
    count: u16,
    /// Of each shard, its database's place in `databases`.
    places: Vec<usize>,
    pub databases: Vec<Reads>,
    /// Accounts; and the shards of posts from before ids told theirs.
    pub home: Reads,
    old: Mutex<HashMap<i64, Option<Shard>>>,
    /// How long a database may take to answer.
    limit: Duration,
}

impl Shards {
    /// As [`map`] says. `limit`: how long a database may take to answer.
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env(service: &mut Service, limit: Duration) -> anyhow::Result<Self> {
        let map = map()?;
        let (home_url, figures) = (super::primary_url(), Figures::new(service));
        let databases = map.databases.iter().enumerate().map(|(number, one)| {
            Reads::new(
                &one.primary,
                &one.replica,
                figures.clone(),
                &number.to_string(),
                limit,
            )
        });
        let databases: Vec<Reads> = databases.collect::<anyhow::Result<_>>()?;
        let home = map.databases.iter().position(|one| one.primary == home_url);
        let home = match home.and_then(|place| databases.get(place)) {
            Some(same) => same.clone(),
            None => Reads::new(&home_url, "", figures, "home", limit)?,
        };
        Ok(Self {
            count: map.shards,
            places: map.places,
            databases,
            home,
            old: Mutex::default(),
            limit,
        })
    }

    /// Succeeds once every database has this program's schema and as many shards.
    ///
    /// # Errors
    /// When one does not answer, is not migrated yet, or was migrated for another number of shards.
    pub async fn migrated(&self) -> anyhow::Result<()> {
        super::migrated(&self.home.primary).await?;
        for database in &self.databases {
            super::migrated(&database.primary).await?;
            let rows = database.fresh("SELECT shards FROM post_sharding", &[]).await?;
            let has = rows.first().map(|row| row.try_get::<_, i16>(0)).transpose()?;
            anyhow::ensure!(
                has.is_some_and(|has| u16::try_from(has) == Ok(self.count)),
                "POST_SHARDS is {}, but the database was made for {has:?}",
                self.count
            );
        }
        Ok(())
    }

    /// What one database says of several that are asked together. It is given up while whoever asked still waits, so that the
    /// others' answers reach them.
    ///
    /// # Errors
    /// 503 when it takes too long; what `answer` says.
    pub async fn among_others<T>(
        &self,
        answer: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        if self.databases.len() < 2 {
            return answer.await;
        }
        let limit = deadline::left(self.limit * 2) / 2;
        let outcome = tokio::time::timeout(limit, answer).await;
        outcome.map_err(|_| Late(limit))?
    }

    pub fn of_author(&self, author: i64) -> Shard {
        of_author(author, self.count)
    }

    /// The place of a shard's database.
    pub fn place(&self, shard: Shard) -> usize {
        let place = usize::try_from(shard)
            .ok()
            .and_then(|shard| self.places.get(shard));
        place.copied().unwrap_or_default()
    }

    /// The database of a shard.
    pub fn database(&self, shard: Shard) -> &Reads {
        let place = self.place(shard);
        self.databases.get(place).unwrap_or(&self.home)
    }

    /// Where an author's posts are.
    pub fn author(&self, author: i64) -> (Shard, &Reads) {
        let shard = self.of_author(author);
        (shard, self.database(shard))
    }

    /// The shard of a post, if there can be such a post.
    ///
    /// # Errors
    /// When an old post's shard must be looked up and PostgreSQL does not answer.
    pub async fn of_post(&self, id: i64) -> Result<Option<Shard>, ApiError> {
        let shards = self.by_shard(&[id]).await?;
        Ok(shards.into_keys().next())
    }

    /// Ids by shard. Of posts that cannot be there the ids are left out.
    ///
    /// # Errors
    /// When old posts' shards must be looked up and PostgreSQL does not answer.
    pub async fn by_shard(&self, ids: &[i64]) -> Result<ByShard, ApiError> {
        let mut by_shard = ByShard::new();
        let mut unknown = vec![];
        {
            let old = self.old.lock().unwrap_or_else(PoisonError::into_inner);
            for id in ids {
                let shard = match of_id(*id) {
                    Some(shard) => Some(shard),
                    None => match old.get(id) {
                        Some(known) => *known,
                        None => {
                            unknown.push(*id);
                            None
                        }
                    },
                };
                if let Some(shard) =
                    shard.filter(|shard| u16::try_from(*shard).is_ok_and(|shard| shard < self.count))
                {
                    by_shard.entry(shard).or_default().push(*id);
                }
            }
        }
        if !unknown.is_empty() {
            for (id, shard) in self.old_shards(&unknown).await? {
                by_shard.entry(shard).or_default().push(id);
            }
        }
        Ok(by_shard)
    }

    /// No post gets such an id any more, so what is not there will not come.
    async fn old_shards(&self, ids: &[i64]) -> Result<Vec<(i64, Shard)>, ApiError> {
        let select = "SELECT id, shard FROM post_places WHERE id = ANY($1)";
        let rows = self.home.fresh(select, &[&ids]).await?;
        let found: Vec<(i64, Shard)> = rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, tokio_postgres::Error>>()?;
        let mut old = self.old.lock().unwrap_or_else(PoisonError::into_inner);
        if old.len() + ids.len() > REMEMBERED {
            old.clear();
        }
        old.extend(ids.iter().map(|id| (*id, None)));
        old.extend(found.iter().map(|(id, shard)| (*id, Some(*shard))));
        Ok(found)
    }

    /// Shards by the place of their database.
    pub fn by_database(&self, by_shard: ByShard) -> BTreeMap<usize, ByShard> {
        let mut databases = BTreeMap::<usize, ByShard>::new();
        for (shard, ids) in by_shard {
            databases.entry(self.place(shard)).or_default().insert(shard, ids);
        }
        databases
    }

    /// The shards that a database holds, in order.
    pub fn held(&self, place: usize) -> Vec<Shard> {
        let shards = self.places.iter().zip(0..).filter(|(held, _)| **held == place);
        shards.map(|(_, shard)| shard).collect()
    }
}
