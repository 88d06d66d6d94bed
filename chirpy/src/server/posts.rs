//! Posts as clients see them: pages with cursors, conversations, likes.
//!
//! Lists answer plain arrays of posts. Where `include=counts` asks for it, each post also says what it replies to, its
//! likes and replies, and whether the reader likes it; the load generator's timelines do without.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::people::person;
use super::{Answer, Reader, Services, Shared, User};
use crate::engagement::{Likes, Shown, join};
use crate::follower::Person;
use crate::idempotency;
use crate::post::{Edit, NewPost, Post};
use crate::service::ApiError;

/// Which page of a list, and with what.
#[derive(Deserialize)]
pub struct Page {
    limit: Option<u32>,
    /// Only posts older than this one.
    before: Option<i64>,
    #[serde(default)]
    include: Include,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Include {
    #[default]
    Nothing,
    Counts,
}

impl Page {
    fn limit(&self) -> u32 {
        self.limit.unwrap_or(20)
    }

    fn query(&self) -> String {
        let before = self.before.map(|id| format!("&before={id}")).unwrap_or_default();
        format!("limit={}{before}", self.limit())
    }
}

/// `posts` with what belongs to them. Without it when post-service cannot say: a text without its likes is better than none.
pub async fn shown(services: &Services, posts: Vec<Post>, reader: i64) -> Vec<Shown> {
    if posts.is_empty() {
        return vec![];
    }
    let ids = posts
        .iter()
        .map(|post| post.id.to_string())
        .collect::<Vec<_>>()
        .join(",");
    let engagement = services
        .posts
        .get(&format!("/engagement?ids={ids}&user={reader}"))
        .await
        .unwrap_or_default();
    join(posts, engagement)
}

async fn with_counts(services: &Services, post: Post, reader: i64) -> Result<Json<Shown>, ApiError> {
    let one = shown(services, vec![post], reader).await.pop();
    Ok(Json(one.ok_or_else(|| ApiError::not_found("no such post"))?))
}

/// A page of posts, with where to go on in a `Link` header (RFC 8288). The link is relative to the request's own address,
/// which a proxy may have moved. Only an empty page is the last: posts may have been deleted out of any other.
async fn listed(
    services: &Services,
    posts: Vec<Post>,
    reader: i64,
    page: &Page,
) -> Result<Response, ApiError> {
    let counts = page.include == Include::Counts;
    let next = posts.last().map(|last| {
        let include = if counts { "&include=counts" } else { "" };
        format!(
            "<?before={}&limit={}{include}>; rel=\"next\"",
            last.id,
            page.limit()
        )
    });
    let mut response = if counts {
        Json(shown(services, posts, reader).await).into_response()
    } else {
        Json(posts).into_response()
    };
    if let Some(next) = next {
        let value = next
            .parse()
            .map_err(|error| anyhow::anyhow!("a Link header: {error}"))?;
        response.headers_mut().insert(header::LINK, value);
    }
    Ok(response)
}

pub async fn timeline(
    State(services): Shared,
    User(user): User,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let path = format!("/timelines/{}?{}", user.id, page.query());
    let posts = services.timelines.get(&path).await?;
    listed(&services, posts, user.id, &page).await
}

pub async fn of_user(
    State(services): Shared,
    Reader(reader): Reader,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let author = person(&services, &name).await?;
    // Whoever looks at their own posts sees what they have just written.
    let stale = reader != author.id;
    let path = format!("/authors/{}/posts?{}&stale={stale}", author.id, page.query());
    let posts = services.posts.get(&path).await?;
    listed(&services, posts, reader, &page).await
}

/// A new post.
#[derive(Deserialize)]
pub struct Text {
    text: String,
    reply_to: Option<i64>,
}

/// What became of it.
#[derive(Serialize)]
pub struct Created {
    #[serde(flatten)]
    post: Post,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<i64>,
}

pub async fn create(
    State(services): Shared,
    User(user): User,
    headers: HeaderMap,
    Json(body): Json<Text>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    services.allow(&body.text).await?;
    let new = NewPost {
        author_id: user.id,
        author: user.name,
        text: body.text,
        reply_to: body.reply_to,
        idempotency_key: idempotency::key(&headers)?,
    };
    let reply_to = new.reply_to;
    let post = services.writes.post(new).await?;
    Ok((StatusCode::CREATED, Json(Created { post, reply_to })))
}

pub async fn one(State(services): Shared, Reader(reader): Reader, Path(id): Path<i64>) -> Answer<Shown> {
    let post = services.posts.get(&format!("/posts/{id}")).await?;
    with_counts(&services, post, reader).await
}

#[derive(Deserialize, Serialize)]
pub struct NewText {
    text: String,
}

pub async fn update(
    State(services): Shared,
    User(user): User,
    Path(id): Path<i64>,
    Json(body): Json<NewText>,
) -> Answer<Shown> {
    services.allow(&body.text).await?;
    let edit = Edit {
        author_id: user.id,
        text: body.text,
    };
    let post = services.posts.post(&format!("/posts/{id}/update"), &edit).await?;
    changed(&services, id).await;
    with_counts(&services, post, user.id).await
}

pub async fn delete(State(services): Shared, User(user): User, Path(id): Path<i64>) -> Answer<Value> {
    let path = format!("/posts/{id}?author_id={}", user.id);
    let deleted = services.posts.call(Method::DELETE, &path, None::<&()>).await?;
    changed(&services, id).await;
    Ok(Json(deleted))
}

/// Timelines that are read next show it. A failure is logged and no more: timeline-service hears of every change by itself.
async fn changed(services: &Services, id: i64) {
    let path = format!("/posts/{id}/changed");
    let _ = services.timelines.send(Method::POST, &path, None::<&()>).await;
}

#[derive(Deserialize)]
pub struct After {
    after: Option<i64>,
    limit: Option<u32>,
}

/// The whole conversation a post belongs to, oldest first, always with counts.
pub async fn conversation(
    State(services): Shared,
    Reader(reader): Reader,
    Path(id): Path<i64>,
    Query(page): Query<After>,
) -> Answer<Vec<Shown>> {
    let after = page.after.map(|id| format!("&after={id}")).unwrap_or_default();
    let path = format!(
        "/posts/{id}/conversation?limit={}{after}",
        page.limit.unwrap_or(50)
    );
    let posts = services.posts.get(&path).await?;
    Ok(Json(shown(&services, posts, reader).await))
}

pub async fn like(State(services): Shared, User(user): User, Path(id): Path<i64>) -> Answer<Likes> {
    let path = format!("/posts/{id}/likes/{}", user.id);
    Ok(Json(services.posts.call(Method::PUT, &path, None::<&()>).await?))
}

pub async fn unlike(State(services): Shared, User(user): User, Path(id): Path<i64>) -> Answer<Likes> {
    let path = format!("/posts/{id}/likes/{}", user.id);
    Ok(Json(
        services.posts.call(Method::DELETE, &path, None::<&()>).await?,
    ))
}

pub async fn likers(State(services): Shared, Path(id): Path<i64>) -> Answer<Vec<Person>> {
    Ok(Json(services.posts.get(&format!("/posts/{id}/likes")).await?))
}
