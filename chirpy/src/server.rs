//! chirpy-server: the REST API for clients, composed from the services.

mod writes;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::auth::{Credentials, Refresh, Session};
use crate::follower::Person;
use crate::post::{Edit, NewPost, Post};
use crate::service::{ApiError, Service};
use crate::upstream::Upstream;
use writes::Writes;

struct Services {
    auth: Upstream,
    posts: Upstream,
    writes: Writes,
    followers: Upstream,
    timelines: Upstream,
    search: Upstream,
}

/// Who asks: the gateway has verified it and says so in these headers.
struct User(Person);

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let (id, name) = (
            header("x-user-id").and_then(|id| id.parse().ok()),
            header("x-user-name"),
        );
        match (id, name) {
            (Some(id), Some(name)) => Ok(Self(Person {
                id,
                name: name.to_owned(),
            })),
            _ => Err(ApiError::new(StatusCode::UNAUTHORIZED, "please log in")),
        }
    }
}

type Shared = State<Arc<Services>>;
type Answer<T> = Result<Json<T>, ApiError>;

/// Runs the role.
///
/// # Errors
/// Wrong configuration, or a port that is taken.
pub async fn run() -> anyhow::Result<()> {
    let service = Service::new("chirpy-server");
    let posts = Upstream::from_env("post-service", "Post Service", 2000)?;
    let services = Services {
        auth: Upstream::from_env("auth-service", "Auth Service", 2500)?,
        writes: Writes::from_env(posts.clone())?,
        posts,
        followers: Upstream::from_env("follower-service", "Follower Service", 2000)?,
        timelines: Upstream::from_env("timeline-service", "Timeline Service", 1000)?,
        search: Upstream::from_env("search-service", "Search Service", 2000)?,
    };
    service.ready_now();
    let routes = Router::new()
        .route("/api/register", post(register))
        .route("/api/login", post(login))
        .route("/api/refresh", post(refresh))
        .route("/api/logout", post(logout))
        .route("/api/me", get(me))
        .route("/api/posts", post(create))
        .route("/api/posts/{id}", get(one).delete(delete))
        .route("/api/posts/{id}/update", post(update))
        .route("/api/timeline", get(timeline))
        .route("/api/users/{name}/posts", get(user_posts))
        .route("/api/users/{name}/followers", get(followers))
        .route("/api/users/{name}/following", get(following))
        .route("/api/follow/{name}", post(follow).delete(unfollow))
        .route("/api/search", get(search))
        .fallback(|| async { ApiError::not_found("no such page") })
        .with_state(Arc::new(services));
    service.serve(routes).await
}

#[derive(Deserialize)]
struct Page {
    limit: Option<u32>,
}

impl Page {
    fn limit(&self) -> u32 {
        self.limit.unwrap_or(20)
    }
}

async fn register(
    State(services): Shared,
    Json(body): Json<Credentials>,
) -> Result<(StatusCode, Json<Session>), ApiError> {
    let _: Person = services.auth.post("/register", &body).await?;
    Ok((
        StatusCode::CREATED,
        Json(services.auth.post("/login", &body).await?),
    ))
}

async fn login(State(services): Shared, Json(body): Json<Credentials>) -> Answer<Session> {
    Ok(Json(services.auth.post("/login", &body).await?))
}

async fn refresh(State(services): Shared, Json(body): Json<Refresh>) -> Answer<Session> {
    Ok(Json(services.auth.post("/refresh", &body).await?))
}

async fn logout(State(services): Shared, Json(body): Json<Refresh>) -> Result<StatusCode, ApiError> {
    services.auth.send(Method::POST, "/logout", Some(&body)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn me(User(user): User) -> Json<Person> {
    Json(user)
}

/// The text of a new or edited post.
#[derive(Deserialize, Serialize)]
struct Text {
    text: String,
}

async fn create(
    State(services): Shared,
    User(user): User,
    Json(body): Json<Text>,
) -> Result<(StatusCode, Json<Post>), ApiError> {
    let new = NewPost {
        author_id: user.id,
        author: user.name,
        text: body.text,
    };
    Ok((StatusCode::CREATED, Json(services.writes.post(new).await?)))
}

async fn one(State(services): Shared, Path(id): Path<i64>) -> Answer<Post> {
    Ok(Json(services.posts.get(&format!("/posts/{id}")).await?))
}

async fn update(
    State(services): Shared,
    User(user): User,
    Path(id): Path<i64>,
    Json(body): Json<Text>,
) -> Answer<Post> {
    let edit = Edit {
        author_id: user.id,
        text: body.text,
    };
    let post = services.posts.post(&format!("/posts/{id}/update"), &edit).await?;
    changed(&services, id).await;
    Ok(Json(post))
}

async fn delete(State(services): Shared, User(user): User, Path(id): Path<i64>) -> Answer<Value> {
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

async fn timeline(State(services): Shared, User(user): User, Query(page): Query<Page>) -> Answer<Vec<Post>> {
    Ok(Json(
        services
            .timelines
            .get(&format!("/timelines/{}?limit={}", user.id, page.limit()))
            .await?,
    ))
}

/// A name from a URL, looked up. Names are plain ASCII, so anything else is nobody's.
async fn person(services: &Services, name: &str) -> Result<Person, ApiError> {
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(ApiError::not_found(format!("nobody is called {name}")));
    }
    services.auth.get(&format!("/users/{name}")).await
}

async fn user_posts(
    State(services): Shared,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Answer<Vec<Post>> {
    let author = person(&services, &name).await?;
    Ok(Json(
        services
            .posts
            .get(&format!("/authors/{}/posts?limit={}", author.id, page.limit()))
            .await?,
    ))
}

async fn followers(
    State(services): Shared,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Answer<Vec<Person>> {
    let user = person(&services, &name).await?;
    Ok(Json(
        services
            .followers
            .get(&format!("/followers/{}/people?limit={}", user.id, page.limit()))
            .await?,
    ))
}

async fn following(
    State(services): Shared,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Answer<Vec<Person>> {
    let user = person(&services, &name).await?;
    Ok(Json(
        services
            .followers
            .get(&format!("/following/{}/people?limit={}", user.id, page.limit()))
            .await?,
    ))
}

async fn follow(
    State(services): Shared,
    User(user): User,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let author = person(&services, &name).await?;
    let path = format!("/followers/{}/{}", author.id, user.id);
    services.followers.send(Method::PUT, &path, None::<&()>).await?;
    let path = format!("/timelines/{}/authors/{}", user.id, author.id);
    services.timelines.send(Method::POST, &path, None::<&()>).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unfollow(
    State(services): Shared,
    User(user): User,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let author = person(&services, &name).await?;
    let path = format!("/followers/{}/{}", author.id, user.id);
    services
        .followers
        .send(Method::DELETE, &path, None::<&()>)
        .await?;
    let path = format!("/timelines/{}/authors/{}", user.id, author.id);
    services
        .timelines
        .send(Method::DELETE, &path, None::<&()>)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Asked {
    q: String,
    limit: Option<u32>,
}

async fn search(State(services): Shared, Query(asked): Query<Asked>) -> Answer<Vec<Post>> {
    let query = serde_json::json!({ "q": asked.q, "limit": asked.limit.unwrap_or(20) });
    Ok(Json(services.search.post("/search", &query).await?))
}
