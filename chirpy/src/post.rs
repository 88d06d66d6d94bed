//! post-service: posts, and the outbox of fan-out jobs written in the same transaction.

use std::time::Duration;

use axum::extract::{FromRef, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use deadpool_postgres::{GenericClient, Pool};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::cluster::slots;
use crate::service::{ApiError, Service, parse_env};
use crate::timeline::{Job, Poll};
use crate::{database, engagement, idempotency};

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
        .route("/posts", get(by_ids).post(create))
        .route("/posts/{id}", get(one).delete(delete))
        .route("/posts/{id}/update", post(update))
        .route("/authors/{author}/posts", get(by_author))
        .route("/changes", get(changes));
    let lifetime = KeyLifetime(Duration::from_secs(parse_env(
        "IDEMPOTENCY_KEY_TTL_S",
        24 * 3600,
    )?));
    tokio::spawn(idempotency::prune(pool.clone(), lifetime.0));
    let writer = Writer {
        pool: pool.clone(),
        lifetime,
    };
    let routes = routes.with_state(writer).merge(engagement::routes(pool.clone()));
    let outbox = Outbox {
        pool,
        max_leased: parse_env("FANOUT_MAX_LEASED", 60)?,
    };
    let routes = routes.merge(Router::new().route("/fanout/poll", post(poll)).with_state(outbox));
    service.serve(routes).await
}

/// How long an idempotency key is remembered.
#[derive(Clone, Copy)]
struct KeyLifetime(Duration);

#[derive(Clone, FromRef)]
struct Writer {
    pool: Pool,
    lifetime: KeyLifetime,
}

#[derive(Clone)]
struct Outbox {
    pool: Pool,
    /// Jobs of one shard that may be with workers at the same time, however many workers there are.
    max_leased: i64,
}

async fn create(
    State(pool): State<Pool>,
    State(KeyLifetime(lifetime)): State<KeyLifetime>,
    Json(new): Json<NewPost>,
) -> Result<(StatusCode, Json<Post>), ApiError> {
    text(&new.text)?;
    let post = if new.reply_to.is_some() || new.idempotency_key.is_some() {
        engagement::create(&pool, &new, lifetime).await?
    } else {
        insert(&pool.get().await?, &new).await?
    };
    Ok((StatusCode::CREATED, Json(post)))
}

/// Writes a post and its jobs, by one statement: they are there together or not at all.
///
/// # Errors
/// 400 for a text that is none, or when PostgreSQL refuses.
pub async fn insert(client: &impl GenericClient, new: &NewPost) -> Result<Post, ApiError> {
    let body = text(&new.text)?;
    let statement = client
        .prepare_cached(&format!(
            "WITH post AS (INSERT INTO posts (author_id, author_name, body) VALUES ($1, $2, $3) RETURNING *),
                  jobs AS (INSERT INTO fanout_jobs (post_id, author_id, shard)
                           SELECT post.id, post.author_id, shard FROM post, generate_series(0, $4) AS shard)
             SELECT {COLUMNS} FROM post"
        ))
        .await?;
    let last_shard = i32::from(slots::SHARDS) - 1;
    let row = client
        .query_one(&statement, &[&new.author_id, &new.author, &body, &last_shard])
        .await?;
    Ok(read(&row)?)
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
    let ids = parse_ids(&query.ids)?;
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
             ORDER BY changed_in, id LIMIT 500"
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

/// Takes a fan-out worker's report, extends its leases, and leases it more jobs, oldest first.
async fn poll(State(posts): State<Outbox>, Json(poll): Json<Poll>) -> Result<Json<Vec<Job>>, ApiError> {
    let client = posts.pool.get().await?;
    if !poll.completed.is_empty() {
        let statement = client
            .prepare_cached("DELETE FROM fanout_jobs WHERE id = ANY($1)")
            .await?;
        client.execute(&statement, &[&poll.completed]).await?;
    }
    if !poll.returned.is_empty() {
        // Free a moment later, so that it is not simply this worker that takes them again.
        let statement = client
            .prepare_cached(
                "UPDATE fanout_jobs SET worker = NULL, leased_until = now() + interval '1 second'
                 WHERE id = ANY($1) AND worker = $2",
            )
            .await?;
        client
            .execute(&statement, &[&poll.returned, &poll.worker])
            .await?;
    }
    if poll.release {
        client
            .execute(
                "UPDATE fanout_jobs SET worker = NULL, leased_until = '-infinity' WHERE worker = $1",
                &[&poll.worker],
            )
            .await?;
        return Ok(Json(vec![]));
    }
    // Leases are extended when a third of them is gone, not at every poll.
    let renew = client
        .prepare_cached(
            "UPDATE fanout_jobs SET leased_until = now() + make_interval(secs => $2::float8)
             WHERE worker = $1 AND id = ANY($3) AND leased_until < now() + make_interval(secs => $2::float8 * 2 / 3)",
        )
        .await?;
    client
        .execute(&renew, &[&poll.worker, &poll.lease_seconds, &poll.held])
        .await?;
    if poll.limits.iter().all(|limit| *limit <= 0) {
        return Ok(Json(vec![]));
    }
    let claim = client
        .prepare_cached(
            "UPDATE fanout_jobs SET worker = $1, leased_until = now() + make_interval(secs => $2::float8)
             WHERE id IN (
                 SELECT job.id FROM unnest($3::bigint[]) WITH ORDINALITY AS wanted (number, place)
                 CROSS JOIN LATERAL (
                     SELECT id FROM fanout_jobs WHERE shard = place - 1 AND leased_until < now()
                     ORDER BY id FOR UPDATE SKIP LOCKED
                     LIMIT greatest(0, least(number, $4::bigint - (
                         SELECT count(*) FROM fanout_jobs WHERE shard = place - 1 AND leased_until >= now())))
                 ) AS job)
             RETURNING id, post_id, author_id, shard",
        )
        .await?;
    let rows = client
        .query(
            &claim,
            &[&poll.worker, &poll.lease_seconds, &poll.limits, &posts.max_leased],
        )
        .await?;
    let jobs = rows.iter().map(|row| {
        Ok(Job {
            id: row.try_get(0)?,
            post_id: row.try_get(1)?,
            author_id: row.try_get(2)?,
            shard: row.try_get(3)?,
        })
    });
    Ok(Json(jobs.collect::<Result<_, tokio_postgres::Error>>()?))
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
