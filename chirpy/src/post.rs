//! post-service: posts, and the outbox of fan-out jobs written in the same transaction.

mod commit;
mod outbox;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use deadpool_postgres::Pool;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::database;
use crate::service::{ApiError, Service};
use crate::timeline::Wanted;
use commit::Committer;

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

const COLUMNS: &str = "id, author_id, author_name, body,
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

fn read_all(rows: &[Row]) -> Result<Json<Vec<Post>>, ApiError> {
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
    let committer = Committer::from_env(&pool)?;
    let routes = routes
        .merge(
            Router::new()
                .route("/posts", post(create))
                .route("/posts/batch", post(create_all))
                .with_state(committer),
        )
        .merge(outbox::routes(pool)?);
    service.serve(routes).await
}

async fn create(
    State(committer): State<Committer>,
    Json(new): Json<NewPost>,
) -> Result<(StatusCode, Json<Post>), ApiError> {
    Ok((StatusCode::CREATED, Json(store(&committer, new).await?)))
}

async fn store(committer: &Committer, new: NewPost) -> Result<Post, ApiError> {
    let text = text(&new.text)?.to_owned();
    committer.commit(NewPost { text, ..new }).await
}

/// What became of one post among several: it is stored, or it is not and why.
#[derive(Debug, Serialize, Deserialize)]
pub enum Outcome {
    Stored(Post),
    /// Status and message.
    Refused(u16, String),
}

/// Several posts of different people, each with an outcome of its own, in the same order.
async fn create_all(
    State(committer): State<Committer>,
    Json(news): Json<Vec<NewPost>>,
) -> Json<Vec<Outcome>> {
    let stores = news.into_iter().map(|new| store(&committer, new));
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
    let changed = client
        .execute(
            "UPDATE posts SET deleted = true, changed_in = pg_current_xact_id()::text::bigint
             WHERE id = $1 AND author_id = $2 AND NOT deleted",
            &[&id, &by.author_id],
        )
        .await?;
    if changed == 0 {
        return Err(ApiError::not_found("no such post of yours"));
    }
    Ok(Json(serde_json::json!({ "deleted": id })))
}

#[derive(Deserialize)]
struct Ids {
    ids: String,
}

async fn by_ids(State(pool): State<Pool>, Query(query): Query<Ids>) -> Result<Json<Vec<Post>>, ApiError> {
    let ids: Result<Vec<i64>, _> = query
        .ids
        .split(',')
        .filter(|id| !id.is_empty())
        .map(str::parse)
        .collect();
    let ids = ids.map_err(|_| ApiError::bad_request("ids are numbers, comma separated"))?;
    find(&pool, &ids).await
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

#[derive(Deserialize)]
struct Page {
    limit: Option<i64>,
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
                "SELECT {COLUMNS} FROM posts WHERE author_id = $1 AND NOT deleted ORDER BY id DESC LIMIT $2"
            ),
            &[&author, &page.limit.unwrap_or(20).clamp(1, 200)],
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
