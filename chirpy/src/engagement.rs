//! What people do with posts: reply and like. Kept beside the posts by post-service, in tables of their own.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::routing::{get, put};
use axum::{Json, Router};
use deadpool_postgres::Pool;
use deadpool_postgres::Transaction;
use serde::{Deserialize, Serialize};

use crate::follower::Person;
use crate::idempotency::{self, Seen};
use crate::post::{self, NewPost, Post};
use crate::service::ApiError;

/// What belongs to a post beside its text, as one reader sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Engagement {
    pub id: i64,
    /// The post this one answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<i64>,
    /// Who wrote that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to_author: Option<String>,
    pub likes: i64,
    pub replies: i64,
    /// Whether the reader likes it.
    pub liked: bool,
}

/// The likes of a post after a change to them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Likes {
    pub likes: i64,
    pub liked: bool,
}

/// Deletes post $1 of author $2, and takes a reply off its parent's count. One row with how many posts were deleted.
pub const DELETE_POST: &str = "
    WITH gone AS (
        UPDATE posts SET deleted = true, changed_in = pg_current_xact_id()::text::bigint
        WHERE id = $1 AND author_id = $2 AND NOT deleted RETURNING id),
    fewer AS (
        UPDATE post_counts SET replies = greatest(0, post_counts.replies - 1)
        FROM gone JOIN replies AS reply ON reply.post_id = gone.id
        WHERE post_counts.post_id = reply.reply_to)
    SELECT count(*) FROM gone";

pub fn routes(pool: Pool) -> Router {
    Router::new()
        .route("/engagement", get(engagement))
        .route("/posts/{id}/likes", get(likers))
        .route("/posts/{id}/likes/{user}", put(like).delete(unlike))
        .route("/posts/{id}/conversation", get(conversation))
        .route("/authors/{author}/count", get(count))
        .with_state(pool)
}

/// A post that answers another or carries a key: in one transaction with both.
pub async fn create(pool: &Pool, new: &NewPost, lifetime: Duration) -> Result<Post, ApiError> {
    let mut client = pool.get().await?;
    let transaction = client.build_transaction().start().await?;
    if let Some(key) = &new.idempotency_key {
        let seen = idempotency::take(&transaction, new.author_id, key, &fingerprint(new), lifetime).await?;
        if let Seen::Before(answer) = seen {
            let unreadable = |error| anyhow::anyhow!("the answer kept for key {key}: {error}");
            return Ok(serde_json::from_str(&answer).map_err(unreadable)?);
        }
    }
    let post = post::insert_one(&transaction, new).await?;
    if let Some(parent) = new.reply_to {
        reply(&transaction, post.id, parent).await?;
    }
    if let Some(key) = &new.idempotency_key {
        let answer = serde_json::to_string(&post).map_err(anyhow::Error::from)?;
        idempotency::answered(&transaction, new.author_id, key, &answer).await?;
    }
    transaction.commit().await?;
    Ok(post)
}

/// Tells a retry from another post.
pub fn fingerprint(new: &NewPost) -> String {
    let reply_to = new.reply_to.map(|id| id.to_string()).unwrap_or_default();
    idempotency::fingerprint(&["POST /posts", &new.text, &reply_to])
}

async fn reply(transaction: &Transaction<'_>, id: i64, parent: i64) -> Result<(), ApiError> {
    // The parent must be there; its conversation is its own parent's, or starts with it.
    let insert = "INSERT INTO replies (post_id, reply_to, conversation)
                  SELECT $1, posts.id, coalesce(replies.conversation, posts.id)
                  FROM posts LEFT JOIN replies ON replies.post_id = posts.id
                  WHERE posts.id = $2 AND NOT posts.deleted";
    if transaction.execute(insert, &[&id, &parent]).await? == 0 {
        return Err(ApiError::not_found("the post you reply to is not there any more"));
    }
    let count = "INSERT INTO post_counts AS counts (post_id, replies) VALUES ($1, 1)
                 ON CONFLICT (post_id) DO UPDATE SET replies = counts.replies + 1";
    transaction.execute(count, &[&parent]).await?;
    Ok(())
}

#[derive(Deserialize)]
struct Asked {
    ids: String,
    user: i64,
}

async fn engagement(
    State(pool): State<Pool>,
    Query(asked): Query<Asked>,
) -> Result<Json<Vec<Engagement>>, ApiError> {
    let ids = post::parse_ids(&asked.ids)?;
    let client = pool.get().await?;
    let statement = client
        .prepare_cached(
            "SELECT asked.id, replies.reply_to, parent.author_name, coalesce(counts.likes, 0),
                    coalesce(counts.replies, 0), likes.user_id IS NOT NULL
             FROM unnest($1::bigint[]) AS asked (id)
             LEFT JOIN post_counts AS counts ON counts.post_id = asked.id
             LEFT JOIN likes ON likes.post_id = asked.id AND likes.user_id = $2
             LEFT JOIN replies ON replies.post_id = asked.id
             LEFT JOIN posts AS parent ON parent.id = replies.reply_to",
        )
        .await?;
    let rows = client.query(&statement, &[&ids, &asked.user]).await?;
    let found = rows.iter().map(|row| {
        Ok(Engagement {
            id: row.try_get(0)?,
            reply_to: row.try_get(1)?,
            reply_to_author: row.try_get(2)?,
            likes: row.try_get(3)?,
            replies: row.try_get(4)?,
            liked: row.try_get(5)?,
        })
    });
    Ok(Json(found.collect::<Result<_, tokio_postgres::Error>>()?))
}

async fn like(State(pool): State<Pool>, Path((id, user)): Path<(i64, i64)>) -> Result<Json<Likes>, ApiError> {
    let client = pool.get().await?;
    // Liking twice is liking once: only a new row adds to the count.
    let statement = client
        .prepare_cached(
            "WITH added AS (
                 INSERT INTO likes (post_id, user_id) SELECT id, $2 FROM posts WHERE id = $1 AND NOT deleted
                 ON CONFLICT DO NOTHING RETURNING post_id)
             INSERT INTO post_counts AS counts (post_id, likes) SELECT post_id, 1 FROM added
             ON CONFLICT (post_id) DO UPDATE SET likes = counts.likes + 1 RETURNING likes",
        )
        .await?;
    if let Some(row) = client.query_opt(&statement, &[&id, &user]).await? {
        return Ok(Json(Likes {
            likes: row.try_get(0)?,
            liked: true,
        }));
    }
    likes(&client, id, true).await
}

async fn unlike(
    State(pool): State<Pool>,
    Path((id, user)): Path<(i64, i64)>,
) -> Result<Json<Likes>, ApiError> {
    let client = pool.get().await?;
    let statement = client
        .prepare_cached(
            "WITH removed AS (DELETE FROM likes WHERE post_id = $1 AND user_id = $2 RETURNING post_id)
             UPDATE post_counts AS counts SET likes = greatest(0, counts.likes - 1)
             FROM removed WHERE counts.post_id = removed.post_id RETURNING counts.likes",
        )
        .await?;
    if let Some(row) = client.query_opt(&statement, &[&id, &user]).await? {
        return Ok(Json(Likes {
            likes: row.try_get(0)?,
            liked: false,
        }));
    }
    likes(&client, id, false).await
}

/// The count when nothing changed: the post was liked (or not) before, or is not there.
async fn likes(client: &deadpool_postgres::Client, id: i64, liked: bool) -> Result<Json<Likes>, ApiError> {
    let select = "SELECT coalesce(counts.likes, 0) FROM posts LEFT JOIN post_counts AS counts ON post_id = id
                  WHERE id = $1 AND NOT deleted";
    let row = client
        .query_opt(select, &[&id])
        .await?
        .ok_or_else(|| ApiError::not_found("no such post"))?;
    Ok(Json(Likes {
        likes: row.try_get(0)?,
        liked,
    }))
}

#[derive(Deserialize)]
struct Page {
    limit: Option<i64>,
    after: Option<i64>,
}

impl Page {
    fn limit(&self) -> i64 {
        self.limit.unwrap_or(50).clamp(1, 200)
    }
}

/// Who likes a post, the latest first.
async fn likers(
    State(pool): State<Pool>,
    Path(id): Path<i64>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Person>>, ApiError> {
    let client = pool.get().await?;
    let select = "SELECT users.id, users.name FROM likes JOIN users ON users.id = likes.user_id
                  WHERE likes.post_id = $1 ORDER BY likes.created_at DESC, users.id LIMIT $2";
    let rows = client.query(select, &[&id, &page.limit()]).await?;
    let people = rows.iter().map(|row| {
        Ok(Person {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
        })
    });
    Ok(Json(people.collect::<Result<_, tokio_postgres::Error>>()?))
}

/// The conversation a post belongs to, oldest first, after a cursor. A deleted post is left out, its answers are not.
async fn conversation(
    State(pool): State<Pool>,
    Path(id): Path<i64>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Post>>, ApiError> {
    let client = pool.get().await?;
    let select = format!(
        "WITH root AS (SELECT coalesce((SELECT conversation FROM replies WHERE post_id = $1), $1) AS id)
         SELECT {} FROM posts
         WHERE NOT deleted AND id > $2 AND id IN (
             SELECT id FROM root
             UNION ALL
             SELECT post_id FROM replies WHERE conversation = (SELECT id FROM root))
         ORDER BY id LIMIT $3",
        post::COLUMNS
    );
    let rows = client
        .query(&select, &[&id, &page.after.unwrap_or(0), &page.limit()])
        .await?;
    if rows.is_empty() && page.after.is_none() {
        return Err(ApiError::not_found("no such post"));
    }
    post::read_all(&rows)
}

async fn count(State(pool): State<Pool>, Path(author): Path<i64>) -> Result<Json<i64>, ApiError> {
    let client = pool.get().await?;
    let statement = client
        .prepare_cached("SELECT count(*) FROM posts WHERE author_id = $1 AND NOT deleted")
        .await?;
    Ok(Json(client.query_one(&statement, &[&author]).await?.try_get(0)?))
}

/// A post with what belongs to it: what clients get where they ask for it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shown {
    #[serde(flatten)]
    pub post: Post,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to_author: Option<String>,
    pub likes: i64,
    pub replies: i64,
    pub liked: bool,
}

/// Joins posts with what belongs to them; a post nobody touched has counts of zero.
pub fn join(posts: Vec<Post>, engagement: Vec<Engagement>) -> Vec<Shown> {
    let mut by_id: HashMap<i64, Engagement> = engagement.into_iter().map(|one| (one.id, one)).collect();
    let shown = posts.into_iter().map(|post| {
        let own = by_id.remove(&post.id).unwrap_or_default();
        Shown {
            post,
            reply_to: own.reply_to,
            reply_to_author: own.reply_to_author,
            likes: own.likes,
            replies: own.replies,
            liked: own.liked,
        }
    });
    shown.collect()
}
