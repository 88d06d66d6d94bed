//! post-service: posts, and the outbox of fan-out jobs written in the same transaction.

mod commit;
mod outbox;

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use deadpool_postgres::Pool;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::service::{ApiError, Service, parse_env};
use crate::timeline::Wanted;
use crate::{database, engagement, idempotency};
use commit::Committer;
pub use commit::insert_one;

/// Most changes in one answer.
pub const PAGE_OF_CHANGES: usize = 500;
/// Longest text of a post, in characters.
pub const MAX_TEXT: usize = 280;

/// A post as every service and client sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Post {
    pub id: i64,
    pub author_id: i64,
    pub author: String,
    pub text: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub edited_at: Option<String>,
}

/// What a new post is made of.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewPost {
    pub author_id: i64,
    pub author: String,
    pub text: String,
    /// The post this one answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<i64>,
    /// A retry carries the same key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idempotency_key: Option<String>,
}

/// An edit by its author.
#[derive(Debug, Serialize, Deserialize)]
pub struct Edit {
    pub author_id: i64,
    pub text: String,
}

/// A change the search index follows: the post, or none when it was deleted.
#[derive(Debug, Serialize, Deserialize)]
pub struct Change {
    /// Where to go on: the transaction and the post's id.
    pub cursor: (i64, i64),
    pub id: i64,
    pub post: Option<Post>,
}

/// What [`read`] reads, of `posts`.
pub const COLUMNS: &str = "id, author_id, author_name, body,
    to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS created,
    to_char(edited_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS edited";

fn read(row: &Row) -> Result<Post, tokio_postgres::Error> {
    Ok(Post {
        id: row.try_get("id")?,
        author_id: row.try_get("author_id")?,
        author: row.try_get("author_name")?,
        text: row.try_get("body")?,
        created_at: row.try_get("created")?,
        edited_at: row.try_get("edited")?,
    })
}

pub fn read_all(rows: &[Row]) -> Result<Json<Vec<Post>>, ApiError> {
    Ok(Json(rows.iter().map(read).collect::<Result<_, _>>()?))
}

fn text(text: &str) -> Result<&str, ApiError> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err(ApiError::bad_request("a post needs some text")),
        n if n > MAX_TEXT => Err(ApiError::bad_request(format!(
            "a post has at most {MAX_TEXT} characters, not {n}"
        ))),
        // PostgreSQL's text holds anything but this.
        _ if text.contains('\0') => Err(ApiError::bad_request("a post cannot hold a NUL character")),
        _ => Ok(text),
    }
}

/// Runs the role.
///
/// # Errors
/// Wrong configuration, or a port that is taken.
pub async fn run() -> anyhow::Result<()> {
    let service = Service::new("post-service");
    let pool = database::pool()?;
    let check = pool.clone();
    service.ready_when("PostgreSQL", move || {
        let pool = check.clone();
        async move { database::migrated(&pool).await }
    });
    let routes = Router::new()
        .route("/posts", get(by_ids))
        .route("/posts/read", post(read_wanted))
        .route("/posts/{id}", get(one).delete(delete))
        .route("/posts/{id}/update", post(update))
        .route("/authors/{author}/posts", get(by_author))
        .route("/changes", get(changes))
        .route("/changes/now", get(changes_now))
        .with_state(pool.clone());
    let lifetime = Duration::from_secs(parse_env("IDEMPOTENCY_KEY_TTL_S", 24 * 3600)?);
    tokio::spawn(idempotency::prune(pool.clone(), lifetime));
    let writer = Writer {
        committer: Committer::from_env(&pool, lifetime)?,
        pool: pool.clone(),
        lifetime,
    };
    let routes = routes
        .merge(
            Router::new()
                .route("/posts", post(create))
                .route("/posts/batch", post(create_all))
                .with_state(writer),
        )
        .merge(engagement::routes(pool.clone()))
        .merge(outbox::routes(pool)?);
    service.serve(routes).await
}

/// What stores new posts.
#[derive(Clone)]
struct Writer {
    committer: Committer,
    pool: Pool,
    /// Of idempotency keys.
    lifetime: Duration,
}

impl Writer {
    /// A post that answers another has a transaction of its own; any other goes with those that come at the same time.
    async fn store(&self, new: NewPost) -> Result<Post, ApiError> {
        let text = text(&new.text)?.to_owned();
        let new = NewPost { text, ..new };
        if new.reply_to.is_some() {
            engagement::create(&self.pool, &new, self.lifetime).await
        } else {
            self.committer.commit(new).await
        }
    }
}

async fn create(
    State(writer): State<Writer>,
    Json(new): Json<NewPost>,
) -> Result<(StatusCode, Json<Post>), ApiError> {
    Ok((StatusCode::CREATED, Json(writer.store(new).await?)))
}

/// What became of one post among several: it is stored, or it is not and why.
#[derive(Debug, Serialize, Deserialize)]
pub enum Outcome {
    Stored(Post),
    /// Status and message.
    Refused(u16, String),
}

/// Several posts of different people, each with an outcome of its own, in the same order.
async fn create_all(State(writer): State<Writer>, Json(news): Json<Vec<NewPost>>) -> Json<Vec<Outcome>> {
    let stores = news.into_iter().map(|new| writer.store(new));
    let outcomes = futures::future::join_all(stores).await.into_iter();
    Json(
        outcomes
            .map(|outcome| match outcome {
                Ok(post) => Outcome::Stored(post),
                Err(error) => Outcome::Refused(error.status.as_u16(), error.message),
            })
            .collect(),
    )
}

async fn one(State(pool): State<Pool>, Path(id): Path<i64>) -> Result<Json<Post>, ApiError> {
    let client = pool.get().await?;
    let statement = client
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM posts WHERE id = $1 AND NOT deleted"
        ))
        .await?;
    let row = client
        .query_opt(&statement, &[&id])
        .await?
        .ok_or_else(|| ApiError::not_found("no such post"))?;
    Ok(Json(read(&row)?))
}

async fn update(
    State(pool): State<Pool>,
    Path(id): Path<i64>,
    Json(edit): Json<Edit>,
) -> Result<Json<Post>, ApiError> {
    let body = text(&edit.text)?;
    let client = pool.get().await?;
    let row = client
        .query_opt(
            &format!(
                "UPDATE posts SET body = $3, edited_at = now(), changed_in = pg_current_xact_id()::text::bigint
                 WHERE id = $1 AND author_id = $2 AND NOT deleted RETURNING {COLUMNS}"
            ),
            &[&id, &edit.author_id, &body],
        )
        .await?
        .ok_or_else(|| ApiError::not_found("no such post of yours"))?;
    Ok(Json(read(&row)?))
}

#[derive(Deserialize)]
struct By {
    author_id: i64,
}

async fn delete(
    State(pool): State<Pool>,
    Path(id): Path<i64>,
    Query(by): Query<By>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let client = pool.get().await?;
    let deleted = client
        .query_one(engagement::DELETE_POST, &[&id, &by.author_id])
        .await?;
    if deleted.try_get::<_, i64>(0)? == 0 {
        return Err(ApiError::not_found("no such post of yours"));
    }
    Ok(Json(serde_json::json!({ "deleted": id })))
}

#[derive(Deserialize)]
struct Ids {
    ids: String,
}

async fn by_ids(State(pool): State<Pool>, Query(query): Query<Ids>) -> Result<Json<Vec<Post>>, ApiError> {
    find(&pool, &parse_ids(&query.ids)?).await
}

/// The same for more ids than fit a URL.
async fn read_wanted(
    State(pool): State<Pool>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Vec<Post>>, ApiError> {
    find(&pool, &wanted.ids).await
}

async fn find(pool: &Pool, ids: &[i64]) -> Result<Json<Vec<Post>>, ApiError> {
    let client = pool.get().await?;
    let statement = client
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM posts WHERE id = ANY($1) AND NOT deleted"
        ))
        .await?;
    read_all(&client.query(&statement, &[&ids]).await?)
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
struct Page {
    limit: Option<i64>,
    /// Only posts older than this one.
    before: Option<i64>,
}

async fn by_author(
    State(pool): State<Pool>,
    Path(author): Path<i64>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Post>>, ApiError> {
    let client = pool.get().await?;
    let rows = client
        .query(
            &format!(
                "SELECT {COLUMNS} FROM posts WHERE author_id = $1 AND id < $3 AND NOT deleted ORDER BY id DESC LIMIT $2"
            ),
            &[&author, &page.limit.unwrap_or(20).clamp(1, 200), &page.before.unwrap_or(i64::MAX)],
        )
        .await?;
    read_all(&rows)
}

#[derive(Deserialize)]
struct After {
    transaction: i64,
    id: i64,
}

/// A cursor that everything changed from now on comes after.
async fn changes_now(State(pool): State<Pool>) -> Result<Json<(i64, i64)>, ApiError> {
    let client = pool.get().await?;
    let row = client
        .query_one(
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
            &[],
        )
        .await?;
    Ok(Json((row.try_get(0)?, 0)))
}

/// Changes after a cursor, oldest first. Rows of transactions that might still be overtaken by an older one are held
/// back, so a reader who goes on from the last cursor misses nothing.
async fn changes(
    State(pool): State<Pool>,
    Query(after): Query<After>,
) -> Result<Json<Vec<Change>>, ApiError> {
    let client = pool.get().await?;
    let statement = client
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, changed_in, deleted FROM posts
             WHERE (changed_in, id) > ($1, $2)
               AND changed_in < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
             ORDER BY changed_in, id LIMIT {PAGE_OF_CHANGES}"
        ))
        .await?;
    let rows = client.query(&statement, &[&after.transaction, &after.id]).await?;
    let changes = rows.iter().map(|row| {
        let id = row.try_get("id")?;
        let post = if row.try_get("deleted")? {
            None
        } else {
            Some(read(row)?)
        };
        Ok(Change {
            cursor: (row.try_get("changed_in")?, id),
            id,
            post,
        })
    });
    Ok(Json(changes.collect::<Result<_, tokio_postgres::Error>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_measured_in_characters() {
        assert!(text(&"火".repeat(MAX_TEXT)).is_ok());
        assert!(text(&"火".repeat(MAX_TEXT + 1)).is_err());
        assert!(text(" \n ").is_err());
        assert!(text("a\0b").is_err());
    }
}
