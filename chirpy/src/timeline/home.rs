//! Reading home timelines, and what a new follow does to them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use redis::Value;
use serde::Deserialize;

use super::{cursor, key};
use crate::cluster::{Cluster, Pool, RedisError, slots};
use crate::post::Post;
use crate::service::{ApiError, parse_env};
use crate::upstream::Upstream;

/// Entries kept per timeline.
pub const KEPT: i64 = 800;

struct Home {
    /// Fan-out goes by a list of followers up to this old: what it did not know of a follow is made up for after that.
    followers_kept: Duration,
    reads: Pool,
    deadline: Duration,
    posts: Upstream,
    followers: Upstream,
}

pub fn routes(cluster: Arc<Cluster>, posts: Upstream, followers: Upstream) -> anyhow::Result<Router> {
    let max_age = Duration::from_secs(parse_env("REDIS_READ_CONNECTION_MAX_AGE_S", 30)?);
    let home = Home {
        followers_kept: Duration::from_secs(parse_env("FANOUT_FOLLOWERS_CACHE_S", 5)?),
        reads: Pool::new(cluster, parse_env("REDIS_READ_POOL_PER_NODE", 4)?, max_age),
        deadline: Duration::from_millis(parse_env("REDIS_READ_TIMEOUT_MS", 3000)?),
        posts,
        followers,
    };
    Ok(Router::new()
        .route("/timelines/{user}", get(timeline))
        .route(
            "/timelines/{user}/authors/{author}",
            post(include).delete(exclude),
        )
        .with_state(Arc::new(home)))
}

impl From<RedisError> for ApiError {
    fn from(error: RedisError) -> Self {
        tracing::error!(%error, "Redis failed");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the timeline store does not answer",
        )
    }
}

#[derive(Deserialize)]
struct Page {
    limit: Option<i64>,
    /// Only posts older than this one: new posts do not shift a page.
    before: Option<i64>,
}

async fn timeline(
    State(home): State<Arc<Home>>,
    Path(user): Path<i64>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Post>>, ApiError> {
    let key = key(user);
    let limit = page.limit.unwrap_or(20).clamp(1, 200);
    let mut before = page.before;
    loop {
        let command = cursor::page(&key, before, limit).get_packed_command();
        let replies = home
            .reads
            .run(slots::slot(key.as_bytes()), command, 1, home.deadline)
            .await?;
        let ids = replies.first().map(ids).unwrap_or_default();
        let Some(last) = ids.last() else {
            return Ok(Json(vec![]));
        };
        let list = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let posts: Vec<Post> = home.posts.get(&format!("/posts?ids={list}")).await?;
        // A page of nothing but deleted posts is not the end: an empty answer is.
        if !posts.is_empty() {
            return Ok(Json(in_order(&ids, posts)));
        }
        before = Some(*last);
    }
}

/// The ids of a reply; members that are no number are none of ours.
pub fn ids(reply: &Value) -> Vec<i64> {
    let Value::Array(members) = reply else {
        return vec![];
    };
    members
        .iter()
        .filter_map(|member| match member {
            Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        })
        .collect()
}

/// Posts in the order of the timeline; an id without a post (deleted since) leaves no hole.
fn in_order(ids: &[i64], posts: Vec<Post>) -> Vec<Post> {
    let mut by_id: HashMap<i64, Post> = posts.into_iter().map(|post| (post.id, post)).collect();
    ids.iter().filter_map(|id| by_id.remove(id)).collect()
}

async fn recent(home: &Home, author: i64) -> Result<Vec<Post>, ApiError> {
    home.posts.get(&format!("/authors/{author}/posts?limit=50")).await
}

async fn change(
    home: &Home,
    user: i64,
    mut command: redis::Cmd,
    count: usize,
) -> Result<StatusCode, ApiError> {
    let key = key(user);
    if count > 0 {
        let trim = redis::cmd("ZREMRANGEBYRANK")
            .arg(&key)
            .arg(0)
            .arg(-KEPT - 1)
            .get_packed_command();
        let mut packed = std::mem::take(&mut command).get_packed_command();
        packed.extend(trim);
        home.reads
            .run(slots::slot(key.as_bytes()), packed, 2, home.deadline)
            .await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A new follow brings the author's recent posts: at once, and those that fan-out missed while it did not know of it.
async fn include(
    State(home): State<Arc<Home>>,
    Path((user, author)): Path<(i64, i64)>,
) -> Result<StatusCode, ApiError> {
    tokio::spawn(later(home.clone(), user, author));
    add(&home, user, author).await
}

/// Looks again once every fan-out worker knows of the follow; not when it has ended meanwhile.
async fn later(home: Arc<Home>, user: i64, author: i64) {
    tokio::time::sleep(home.followers_kept + Duration::from_secs(1)).await;
    let follows = home
        .followers
        .get::<Vec<i64>>(&format!("/following/{user}"))
        .await;
    // What failed has been logged by the call; the next post comes by fan-out.
    if follows.is_ok_and(|authors| authors.contains(&author)) {
        let _ = add(&home, user, author).await;
    }
}

async fn add(home: &Home, user: i64, author: i64) -> Result<StatusCode, ApiError> {
    let posts = recent(home, author).await?;
    let mut command = redis::cmd("ZADD");
    command.arg(key(user));
    for post in &posts {
        command.arg(post.id).arg(post.id);
    }
    change(home, user, command, posts.len()).await
}

/// The end of a follow takes them away.
async fn exclude(
    State(home): State<Arc<Home>>,
    Path((user, author)): Path<(i64, i64)>,
) -> Result<StatusCode, ApiError> {
    let posts = recent(&home, author).await?;
    let mut command = redis::cmd("ZREM");
    command.arg(key(user));
    for post in &posts {
        command.arg(post.id);
    }
    change(&home, user, command, posts.len()).await
}
