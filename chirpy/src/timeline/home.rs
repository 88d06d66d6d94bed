//! Reading home timelines, and what a new follow does to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::future::join_all;
use hyper::body::Incoming;
use serde::Deserialize;

use super::batch::{self, Read};
use super::bodies::{self, Bodies};
use super::key;
use super::large::{Large, ask, range};
use crate::cluster::{RedisError, Reply, Store, slots};
use crate::complaints::Complaints;
use crate::post::Post;
use crate::service::{ApiError, Hot, Route, Service, parse_env};
use crate::upstream::Upstream;

/// Entries kept per timeline.
pub const KEPT: i64 = 800;
/// So many of an author's newest posts come with a new follow.
pub const BROUGHT: i64 = 50;
/// Largest request for a batch of reads, bytes.
const MAX_BATCH: usize = 64 * 1024;
/// Entries of a page, when the reader does not say, and at most.
const PAGE: i64 = 20;
const MAX_PAGE: i64 = 200;

/// What a reader needs.
pub struct Home {
    pub store: Arc<Store>,
    pub bodies: Arc<Bodies>,
    pub large: Arc<Large>,
    pub posts: Upstream,
    pub followers: Upstream,
    deadline: Duration,
    /// Fan-out goes by a list of followers up to this old: what it did not know of a follow is made up for after that.
    followers_kept: Duration,
}

impl Home {
    /// Reads wait for Redis for `REDIS_READ_TIMEOUT_MS`.
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn new(
        store: Arc<Store>,
        bodies: Arc<Bodies>,
        large: Arc<Large>,
        posts: Upstream,
        followers: Upstream,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            store,
            bodies,
            large,
            posts,
            followers,
            deadline: Duration::from_millis(parse_env("REDIS_READ_TIMEOUT_MS", 3000)?),
            followers_kept: Duration::from_secs(parse_env("FANOUT_FOLLOWERS_CACHE_S", 5)?),
        })
    }

    /// A page of a home timeline as JSON.
    async fn page(&self, read: &Read) -> Result<Vec<u8>, ApiError> {
        let (key, limit) = (key(read.user), limit(read));
        let mut before = read.before;
        loop {
            let ids = range(&self.store, &key, before, limit, self.deadline).await?;
            let page = Read { before, ..*read };
            match self.shown(&page, ids).await? {
                Shown::Page(list) => return Ok(list),
                Shown::Deleted(last) => before = Some(last),
            }
        }
    }

    /// Pages of several, their ids asked of each Redis node at once.
    async fn pages(&self, reads: &[Read]) -> Vec<Result<Vec<u8>, ApiError>> {
        let asked: Vec<_> = reads
            .iter()
            .map(|read| ask(&key(read.user), read.before, limit(read)))
            .collect();
        let replies = self.store.run_each(&asked, self.deadline).await;
        let pages = reads.iter().zip(replies).map(|(read, reply)| async move {
            match self.shown(read, ids(&reply?)).await? {
                Shown::Page(list) => Ok(list),
                Shown::Deleted(last) => {
                    let before = Some(last);
                    self.page(&Read { before, ..*read }).await
                }
            }
        });
        join_all(pages).await
    }

    /// What these ids of a reader's own timeline and the large accounts' posts make of a page.
    async fn shown(&self, read: &Read, mut ids: Vec<i64>) -> Result<Shown, ApiError> {
        let most = usize::try_from(limit(read)).unwrap_or_default();
        match read.before {
            None => self.large.merge(read.user, &mut ids, most),
            Some(before) => {
                let large = &self.large;
                large
                    .merge_before(&self.store, read.user, before, &mut ids, most)
                    .await?;
            }
        }
        let list = self.bodies.list(&ids).await?;
        // A page of nothing but deleted posts is not the end: an empty timeline is.
        Ok(match ids.last() {
            Some(last) if list == b"[]" => Shown::Deleted(*last),
            _ => Shown::Page(list),
        })
    }
}

/// What a page holds.
enum Shown {
    Page(Vec<u8>),
    /// Posts that are all deleted, down to this one.
    Deleted(i64),
}

fn limit(read: &Read) -> i64 {
    read.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE)
}

pub fn routes(home: Arc<Home>) -> Router {
    Router::new()
        .route("/timelines/{user}", get(timeline))
        .route(
            "/timelines/{user}/authors/{author}",
            post(include).delete(exclude),
        )
        .route("/posts/{id}/changed", post(changed))
        .with_state(home)
}

/// Timeline reads, alone or in batches, past the router.
pub fn hot(service: &Service, home: Arc<Home>) -> Hot {
    let route = service.route("GET", "/timelines/{user}");
    Arc::new(move |request| {
        let (home, route) = (home.clone(), route.clone());
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/timelines/read") => Ok(Box::pin(together(home, route, request))),
            (&Method::GET, path) => {
                let user = path.strip_prefix("/timelines/");
                match user.and_then(|user| Read::asked(user, request.uri().query().unwrap_or_default())) {
                    Some(read) => Ok(Box::pin(alone(home, route, read))),
                    None => Err(Box::new(request)),
                }
            }
            _ => Err(Box::new(request)),
        }
    })
}

async fn alone(home: Arc<Home>, route: Route, read: Read) -> Response {
    let observation = route.begin();
    let response = match home.page(&read).await {
        Ok(list) => json(list),
        Err(error) => error.into_response(),
    };
    observation.answered(response.status());
    response
}

async fn together(home: Arc<Home>, route: Route, request: http::Request<Incoming>) -> Response {
    let body = to_bytes(Body::new(request.into_body()), MAX_BATCH).await;
    let reads = body
        .ok()
        .and_then(|body| batch::asked(std::str::from_utf8(&body).ok()?));
    let Some(reads) = reads else {
        return ApiError::bad_request("not a batch of reads").into_response();
    };
    let observations: Vec<_> = reads.iter().map(|_| route.begin()).collect();
    let pages = home.pages(&reads).await;
    let pages = pages.into_iter().zip(observations).map(|(page, observation)| {
        let page = page.map_err(|error| error.status);
        observation.answered(page.as_ref().err().copied().unwrap_or(StatusCode::OK));
        page
    });
    let pages: Vec<_> = pages.collect();
    Response::new(Body::from(batch::join(&pages)))
}

fn json(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

impl From<RedisError> for ApiError {
    fn from(error: RedisError) -> Self {
        static COMPLAINTS: Complaints = Complaints::new();
        if let Some(similar) = COMPLAINTS.again(Instant::now()) {
            tracing::error!(%error, similar, "Redis failed");
        }
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
    Query(Page { limit, before }): Query<Page>,
) -> Result<Response, ApiError> {
    let read = Read { user, limit, before };
    Ok(json(home.page(&read).await?))
}

/// Its author edited or deleted it a moment ago.
async fn changed(State(home): State<Arc<Home>>, Path(id): Path<i64>) -> StatusCode {
    home.bodies.forget(id);
    StatusCode::NO_CONTENT
}

/// The ids of a reply; members that are no number are none of ours.
pub fn ids(reply: &Reply) -> Vec<i64> {
    let Reply::Array(members) = reply else {
        return vec![];
    };
    members
        .iter()
        .filter_map(|member| match member {
            Reply::Bulk(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        })
        .collect()
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
        home.store
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

/// Looks again once every fan-out worker knows of the follow or its end, and makes the timeline agree with what is so then.
async fn later(home: Arc<Home>, user: i64, author: i64) {
    tokio::time::sleep(home.followers_kept + Duration::from_secs(1)).await;
    let follows = home
        .followers
        .get::<Vec<i64>>(&format!("/following/{user}"))
        .await;
    // What failed has been logged by the call; the next post comes by fan-out.
    let _ = match follows {
        Ok(authors) if authors.contains(&author) || author == user => add(&home, user, author).await,
        Ok(_) => take(&home, user, author).await,
        Err(error) => Err(error),
    };
}

async fn add(home: &Home, user: i64, author: i64) -> Result<StatusCode, ApiError> {
    let recent = format!("/authors/{author}/posts?limit={BROUGHT}");
    let posts: Vec<Post> = home.posts.get(&recent).await?;
    let mut command = redis::cmd("ZADD");
    command.arg(key(user));
    for post in &posts {
        command.arg(post.id).arg(post.id);
    }
    change(home, user, command, posts.len()).await
}

/// The end of a follow takes them away: at once, and those that fan-out brings while it does not know of it.
async fn exclude(
    State(home): State<Arc<Home>>,
    Path((user, author)): Path<(i64, i64)>,
) -> Result<StatusCode, ApiError> {
    tokio::spawn(later(home.clone(), user, author));
    take(&home, user, author).await
}

/// Takes away all that the timeline has of an author. What it has is asked, not what the author wrote: that may be much more.
async fn take(home: &Home, user: i64, author: i64) -> Result<StatusCode, ApiError> {
    let all = range(&home.store, &key(user), None, i64::MAX, home.deadline).await?;
    let posts = bodies::read(&home.posts, &all).await?;
    let mut command = redis::cmd("ZREM");
    command.arg(key(user));
    let theirs: Vec<i64> = posts
        .iter()
        .filter(|post| post.author_id == author)
        .map(|post| post.id)
        .collect();
    command.arg(&theirs);
    change(home, user, command, theirs.len()).await
}
