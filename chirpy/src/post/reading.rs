//! Reading posts: by id, by author, and what changed.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::{Path, Query, State};
use futures::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use super::{COLUMNS, Post, Posts, read, read_all};
use crate::database::shards::{ByShard, Shard, table};
use crate::database::{Age, Reads};
use crate::service::ApiError;
use crate::timeline::Wanted;

/// Most changes in one answer, per database.
const PAGE_OF_CHANGES: usize = 500;

pub async fn one(State(posts): State<Posts>, Path(id): Path<i64>) -> Result<Json<Post>, ApiError> {
    let shard = posts
        .of_post(id)
        .await?
        .ok_or_else(|| ApiError::not_found("no such post"))?;
    let select = format!(
        "SELECT {COLUMNS} FROM {} WHERE id = $1 AND NOT deleted",
        table(shard)
    );
    let rows = posts.database(shard).fresh(&select, &[&id]).await?;
    let row = rows.first().ok_or_else(|| ApiError::not_found("no such post"))?;
    Ok(Json(read(row)?))
}

#[derive(Deserialize)]
pub struct Ids {
    ids: String,
}

pub async fn by_ids(
    State(posts): State<Posts>,
    Query(query): Query<Ids>,
) -> Result<Json<Vec<Post>>, ApiError> {
    Ok(Json(find(&posts, &parse_ids(&query.ids)?, Age::Stale).await?))
}

/// What is known of posts while some databases do not answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Found {
    pub posts: Vec<Post>,
    /// Those of the ids that nobody could be asked about. Any other that is not among the posts is no post (any more).
    pub unknown: Vec<i64>,
}

/// A list of posts, or [`Found`] when it may be partial.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Answer {
    Whole(Vec<Post>),
    Partial(Found),
}

/// More ids than fit a URL.
pub async fn read_wanted(
    State(posts): State<Posts>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Answer>, ApiError> {
    Ok(Json(if wanted.partial {
        Answer::Partial(find_some(&posts, &wanted.ids).await?)
    } else {
        Answer::Whole(find(&posts, &wanted.ids, Age::Stale).await?)
    }))
}

/// Posts by id, in no order: every database that has some is asked once. However old their text may be, that a post is there is
/// not: what a replica does not have is asked of its primary.
pub async fn find(posts: &Posts, ids: &[i64], age: Age) -> Result<Vec<Post>, ApiError> {
    let by_database = posts.by_database(posts.by_shard(ids).await?);
    let asked = by_database.iter().filter_map(|(place, ids)| {
        let database = posts.databases.get(*place)?;
        Some(find_in(database, posts.held(*place), ids, age))
    });
    Ok(try_join_all(asked).await?.into_iter().flatten().collect())
}

/// The same, a moment old, of those databases that answer.
///
/// # Errors
/// When none of them does.
async fn find_some(posts: &Posts, ids: &[i64]) -> Result<Found, ApiError> {
    let by_database = posts.by_database(posts.by_shard(ids).await?);
    let asked = by_database.iter().filter_map(|(place, ids)| {
        let database = posts.databases.get(*place)?;
        let found = find_in(database, posts.held(*place), ids, Age::Stale);
        Some(async move { (ids, posts.among_others(found).await) })
    });
    let outcomes = join_all(asked).await;
    any_answered(outcomes.iter().map(|(_, outcome)| outcome))?;
    let mut all = Found {
        posts: vec![],
        unknown: vec![],
    };
    for (ids, outcome) in outcomes {
        match outcome {
            Ok(found) => all.posts.extend(found),
            Err(_) => all.unknown.extend(ids.values().flatten()),
        }
    }
    Ok(all)
}

/// Whether any of the databases that were asked answered, or none was asked.
///
/// # Errors
/// The last one's, when none answered.
fn any_answered<'a, T: 'a>(
    outcomes: impl IntoIterator<Item = &'a Result<T, ApiError>>,
) -> Result<(), ApiError> {
    let mut failed = None;
    for outcome in outcomes {
        match outcome {
            Ok(_) => return Ok(()),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), |error| Err(error.clone()))
}

async fn find_in(database: &Reads, held: Vec<Shard>, ids: &ByShard, age: Age) -> Result<Vec<Post>, ApiError> {
    let (sql, parameters) = by_id(&held, ids);
    let mut rows = database.read(age, &sql, &as_parameters(&parameters)).await?;
    if age == Age::Stale && database.may_miss() {
        let found: std::collections::HashSet<i64> = rows
            .iter()
            .map(|row| row.try_get("id"))
            .collect::<Result<_, _>>()?;
        let missing: ByShard = ids
            .iter()
            .map(|(shard, ids)| {
                (
                    *shard,
                    ids.iter()
                        .copied()
                        .filter(|id| !found.contains(id))
                        .collect::<Vec<_>>(),
                )
            })
            .filter(|(_, ids)| !ids.is_empty())
            .collect();
        if !missing.is_empty() {
            database.missed();
            let (sql, parameters) = by_id(&held, &missing);
            rows.extend(database.fresh(&sql, &as_parameters(&parameters)).await?);
        }
    }
    let there = rows.iter().filter(|row| !row.get::<_, bool>("deleted"));
    Ok(there.map(read).collect::<Result<_, _>>()?)
}

/// One index per shard. A statement for one shard, or for all that the database holds: so there are few to be prepared.
fn by_id(held: &[Shard], ids: &ByShard) -> (String, Vec<Vec<i64>>) {
    let only: Vec<Shard> = ids.keys().copied().collect();
    let shards = if only.len() == 1 { only.as_slice() } else { held };
    let mut sql = String::new();
    let mut parameters = vec![];
    for shard in shards {
        if !sql.is_empty() {
            sql.push_str(" UNION ALL ");
        }
        parameters.push(ids.get(shard).cloned().unwrap_or_default());
        let _ = write!(
            sql,
            "SELECT {COLUMNS}, deleted FROM {} WHERE id = ANY(${})",
            table(*shard),
            parameters.len()
        );
    }
    (sql, parameters)
}

fn as_parameters(lists: &[Vec<i64>]) -> Vec<&(dyn tokio_postgres::types::ToSql + Sync)> {
    lists.iter().map(|list| list as _).collect()
}

/// Ids from a URL: `1,2,3`.
///
/// # Errors
/// 400 when one is no number.
pub fn parse_ids(text: &str) -> Result<Vec<i64>, ApiError> {
    let ids: Result<Vec<i64>, _> = text
        .split(',')
        .filter(|id| !id.is_empty())
        .map(str::parse)
        .collect();
    ids.map_err(|_| ApiError::bad_request("ids are numbers, comma separated"))
}

#[derive(Deserialize)]
pub struct Page {
    limit: Option<i64>,
    /// Only posts older than this one.
    before: Option<i64>,
    /// Whether it may be a moment old.
    #[serde(default)]
    stale: bool,
}

pub async fn by_author(
    State(posts): State<Posts>,
    Path(author): Path<i64>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Post>>, ApiError> {
    let (shard, database) = posts.author(author);
    let select = format!(
        "SELECT {COLUMNS} FROM {} WHERE author_id = $1 AND id < $3 AND NOT deleted ORDER BY id DESC LIMIT $2",
        table(shard)
    );
    let limit = page.limit.unwrap_or(20).clamp(1, 200);
    let before = page.before.unwrap_or(i64::MAX);
    let age = Age::of(page.stale);
    read_all(&database.read(age, &select, &[&author, &limit, &before]).await?)
}

/// Where a reader of changes goes on, per database: the transaction and the post's id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Cursor(Vec<(i64, i64)>);

/// A cursor as it may have been kept: from before there were several databases it is a single pair.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Many(Vec<(i64, i64)>),
    One((i64, i64)),
}

impl From<Written> for Cursor {
    fn from(written: Written) -> Self {
        match written {
            Written::Many(pairs) => Self(pairs),
            Written::One(pair) => Self(vec![pair]),
        }
    }
}

impl Cursor {
    /// As it is written in a URL: `12.5-7.3`.
    pub fn in_url(&self) -> String {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(transaction, id)| format!("{transaction}.{id}"))
            .collect();
        pairs.join("-")
    }

    fn from_url(text: &str) -> Option<Self> {
        let pairs = text.split('-').filter(|pair| !pair.is_empty()).map(|pair| {
            let (transaction, id) = pair.split_once('.')?;
            Some((transaction.parse().ok()?, id.parse().ok()?))
        });
        Some(Self(pairs.collect::<Option<_>>()?))
    }
}

/// A change the search index follows: the post, or none when it was deleted.
#[derive(Debug, Serialize, Deserialize)]
pub struct Change {
    pub id: i64,
    pub post: Option<Post>,
    /// The transaction that made it: of two changes of a post the later has the greater number.
    pub changed_in: i64,
}

/// Changes after a cursor, oldest first in each database.
#[derive(Debug, Serialize, Deserialize)]
pub struct Changes {
    pub changes: Vec<Change>,
    /// Where to go on.
    pub after: Cursor,
    /// Whether there may be more right away.
    pub more: bool,
}

#[derive(Deserialize)]
pub struct After {
    #[serde(default)]
    after: String,
}

/// Stands for what comes after now, in a database that could not say when that is. Transactions do not count so far.
const WHENEVER: (i64, i64) = (i64::MAX, 0);

/// A cursor that everything changed from now on comes after; in a database that does not answer, from when it does.
pub async fn changes_now(State(posts): State<Posts>) -> Json<Cursor> {
    let now = posts
        .databases
        .iter()
        .map(async |database| posts.among_others(now(database)).await.unwrap_or(WHENEVER));
    Json(Cursor(join_all(now).await))
}

async fn now(database: &Reads) -> Result<(i64, i64), ApiError> {
    let select = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
    let rows = database.fresh(select, &[]).await?;
    let row = rows
        .first()
        .ok_or_else(|| anyhow::anyhow!("PostgreSQL answered no snapshot"))?;
    Ok((row.try_get(0)?, 0))
}

/// Changes after a cursor. Rows of transactions that might still be overtaken by an older one are held back, so a reader who
/// goes on from the answer's cursor misses nothing. A database that the cursor does not know is read from its beginning; one
/// that does not answer is left where it was, to be gone on with.
pub async fn changes(
    State(posts): State<Posts>,
    Query(after): Query<After>,
) -> Result<Json<Changes>, ApiError> {
    let after = Cursor::from_url(&after.after)
        .ok_or_else(|| ApiError::bad_request("after is a cursor: what an earlier answer gave as `after`"))?;
    let select = format!(
        "SELECT {COLUMNS}, changed_in, deleted FROM posts
         WHERE (changed_in, id) > ($1, $2)
           AND changed_in < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
         ORDER BY changed_in, id LIMIT {PAGE_OF_CHANGES}"
    );
    let read_one = async |database: &Reads, from: (i64, i64)| {
        if from == WHENEVER {
            return Ok((vec![], now(database).await?));
        }
        let rows = database.fresh(&select, &[&from.0, &from.1]).await?;
        let last = rows
            .last()
            .map(|row| Ok::<_, tokio_postgres::Error>((row.try_get("changed_in")?, row.try_get("id")?)));
        let cursor = last.transpose()?.unwrap_or(from);
        Ok::<_, ApiError>((rows, cursor))
    };
    let from = |place: usize| after.0.get(place).copied().unwrap_or_default();
    let read_all = posts
        .databases
        .iter()
        .enumerate()
        .map(async |(place, database)| posts.among_others(read_one(database, from(place))).await);
    let mut answer = Changes {
        changes: vec![],
        after: Cursor::default(),
        more: false,
    };
    let outcomes = join_all(read_all).await;
    any_answered(&outcomes)?;
    for (place, outcome) in outcomes.into_iter().enumerate() {
        let (rows, cursor) = outcome.unwrap_or_else(|_| (vec![], from(place)));
        answer.after.0.push(cursor);
        answer.more |= rows.len() >= PAGE_OF_CHANGES;
        for row in &rows {
            answer.changes.push(change(row)?);
        }
    }
    Ok(Json(answer))
}

fn change(row: &Row) -> Result<Change, tokio_postgres::Error> {
    let deleted: bool = row.try_get("deleted")?;
    Ok(Change {
        id: row.try_get("id")?,
        post: if deleted { None } else { Some(read(row)?) },
        changed_in: row.try_get("changed_in")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_ways() {
        let cursor = Cursor(vec![(12, 5), (7, 1 << 50)]);
        assert_eq!(Cursor::from_url(&cursor.in_url()), Some(cursor.clone()));
        assert_eq!(Cursor::from_url(""), Some(Cursor::default()));
        assert_eq!(Cursor::from_url("12"), None);
        let json = serde_json::to_string(&cursor).expect("JSON");
        assert_eq!(serde_json::from_str::<Cursor>(&json).expect("a cursor"), cursor);
        let before: Cursor = serde_json::from_str("[12, 5]").expect("one of before there were shards");
        assert_eq!(before, Cursor(vec![(12, 5)]));
    }

    #[test]
    fn a_statement_is_for_one_shard_or_for_all_of_the_database() {
        let held = [0, 1, 5];
        let (sql, parameters) = by_id(&held, &ByShard::from([(5, vec![9])]));
        assert!(
            sql.ends_with("FROM posts_shard_05 WHERE id = ANY($1)") && !sql.contains("UNION"),
            "{sql}"
        );
        assert_eq!(parameters, [vec![9]]);
        let (sql, parameters) = by_id(&held, &ByShard::from([(0, vec![1, 2]), (5, vec![9])]));
        assert_eq!(sql.matches("UNION ALL").count(), 2);
        assert_eq!(parameters, [vec![1, 2], vec![], vec![9]]);
    }
}
