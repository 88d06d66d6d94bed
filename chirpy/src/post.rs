//! post-service: posts, and the outbox of fan-out jobs written in the same transaction.

mod backlog;
mod commit;
mod outbox;
mod reading;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::database::Shards;
use crate::database::shards::table;
use crate::service::{ApiError, Service, parse_env};
use crate::{database, engagement, idempotency};
use backlog::Backlog;
use commit::Committer;
pub use commit::insert_one;
pub use reading::{Change, Changes, Cursor, Found, find, parse_ids};

/// Where posts are.
pub type Posts = Arc<Shards>;

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
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// A time of PostgreSQL's as [`Post`] has it.
macro_rules! rfc3339 {
    ($time:literal) => {
        concat!(
            "to_char(",
            $time,
            " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
        )
    };
}

/// What [`read`] reads, of `posts`.
pub const COLUMNS: &str = concat!(
    "id, author_id, author_name, body, ",
    rfc3339!("created_at"),
    " AS created, ",
    rfc3339!("edited_at"),
    " AS edited"
);
/// When what a transaction writes was created.
const CREATED_NOW: &str = rfc3339!("now()");

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
    let mut service = Service::new("post-service");
    let posts = Arc::new(Shards::from_env(&mut service, database::limit()?)?);
    let check = posts.clone();
    service.ready_when("PostgreSQL", move || {
        let posts = check.clone();
        async move { posts.migrated().await }
    });
    let routes = Router::new()
        .route("/posts", get(reading::by_ids))
        .route("/posts/read", post(reading::read_wanted))
        .route("/posts/{id}", get(reading::one).delete(delete))
        .route("/posts/{id}/update", post(update))
        .route("/authors/{author}/posts", get(reading::by_author))
        .route("/changes", get(reading::changes))
        .route("/changes/now", get(reading::changes_now))
        .with_state(posts.clone());
    let lifetime = Duration::from_secs(parse_env("IDEMPOTENCY_KEY_TTL_S", 24 * 3600)?);
    for database in &posts.databases {
        tokio::spawn(idempotency::prune(database.primary.clone(), lifetime));
    }
    let writer = Writer {
        committer: Committer::from_env(&posts, lifetime)?,
        backlog: Backlog::from_env(&posts)?,
        posts: posts.clone(),
        lifetime,
    };
    let routes = routes
        .merge(
            Router::new()
                .route("/posts", post(create))
                .route("/posts/batch", post(create_all))
                .with_state(writer),
        )
        .merge(engagement::routes(posts.clone()))
        .merge(outbox::routes(posts)?);
    service.serve(routes).await
}

/// What stores new posts.
#[derive(Clone)]
struct Writer {
    committer: Committer,
    backlog: Backlog,
    posts: Posts,
    /// Of idempotency keys.
    lifetime: Duration,
}

impl Writer {
    /// A post that answers another has a transaction of its own; any other goes with those that come at the same time.
    async fn store(&self, new: NewPost) -> Result<Post, ApiError> {
        let text = text(&new.text)?.to_owned();
        let new = NewPost { text, ..new };
        let shard = self.posts.of_author(new.author_id);
        self.backlog.room(self.posts.place(shard))?;
        if new.reply_to.is_some() {
            engagement::create(&self.posts, &new, self.lifetime).await
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

async fn update(
    State(posts): State<Posts>,
    Path(id): Path<i64>,
    Json(edit): Json<Edit>,
) -> Result<Json<Post>, ApiError> {
    let body = text(&edit.text)?;
    let missing = || ApiError::not_found("no such post of yours");
    let shard = posts.of_post(id).await?.ok_or_else(missing)?;
    let update = format!(
        "UPDATE {} SET body = $3, edited_at = now(), changed_in = pg_current_xact_id()::text::bigint
         WHERE id = $1 AND author_id = $2 AND NOT deleted RETURNING {COLUMNS}",
        table(shard)
    );
    let updated = posts
        .database(shard)
        .within(async |client| Ok(client.query_opt(&update, &[&id, &edit.author_id, &body]).await?));
    Ok(Json(read(&updated.await?.ok_or_else(missing)?)?))
}

#[derive(Deserialize)]
struct By {
    author_id: i64,
}

async fn delete(
    State(posts): State<Posts>,
    Path(id): Path<i64>,
    Query(by): Query<By>,
) -> Result<Json<serde_json::Value>, ApiError> {
    engagement::delete(&posts, id, by.author_id).await?;
    Ok(Json(serde_json::json!({ "deleted": id })))
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
