//! chirpy-server: the REST API for clients, composed from the services.

mod live;
mod oauth;
mod people;
mod posts;
mod search;
mod writes;

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post, put};
use axum::{Json, Router};

use crate::auth::{Credentials, Refresh, Session};
use crate::follower::Person;
use crate::service::{ApiError, Service};
use crate::upstream::Upstream;
use crate::words::Words;

struct Services {
    auth: Upstream,
    posts: Upstream,
    writes: writes::Writes,
    followers: Upstream,
    timelines: Upstream,
    search: Upstream,
    live: live::Live,
    words: Option<Words>,
}

impl Services {
    /// Whether a text may be posted.
    async fn allow(&self, text: &str) -> Result<(), ApiError> {
        match &self.words {
            Some(words) => words.allow(text).await,
            None => Ok(()),
        }
    }
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

/// The reader's id where anyone may read; 0, which is nobody's, for those who are not logged in.
struct Reader(i64);

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let user = User::from_request_parts(parts, state).await;
        Ok(Self(user.map_or(0, |User(user)| user.id)))
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
        writes: writes::Writes::from_env(posts.clone())?,
        posts,
        followers: Upstream::from_env("follower-service", "Follower Service", 2000)?,
        timelines: Upstream::from_env("timeline-service", "Timeline Service", 1000)?,
        search: Upstream::from_env("search-service", "Search Service", 2000)?,
        live: live::Live::from_env(service.stopping())?,
        words: Words::from_env()?,
    };
    service.ready_now();
    let routes = Router::new()
        .route("/api/register", post(register))
        .route("/api/login", post(login))
        .route("/api/refresh", post(refresh))
        .route("/api/logout", post(logout))
        .route("/api/oauth/token", post(oauth::token))
        .route("/api/me", get(me))
        .route("/api/posts", post(posts::create))
        .route("/api/posts/{id}", get(posts::one).delete(posts::delete))
        .route("/api/posts/{id}/update", post(posts::update))
        .route("/api/posts/{id}/conversation", get(posts::conversation))
        .route("/api/posts/{id}/like", put(posts::like).delete(posts::unlike))
        .route("/api/posts/{id}/likes", get(posts::likers))
        .route("/api/timeline", get(posts::timeline))
        .route("/api/timeline/live", get(live::timeline))
        .route("/api/users/{name}", get(people::profile))
        .route("/api/users/{name}/posts", get(posts::of_user))
        .route("/api/users/{name}/followers", get(people::followers))
        .route("/api/users/{name}/following", get(people::following))
        .route(
            "/api/follow/{name}",
            post(people::follow).delete(people::unfollow),
        )
        .route("/api/search", get(search::posts))
        .route("/api/search/people", get(search::people))
        .route("/api/trends", get(search::trends))
        .fallback(|| async { ApiError::not_found("no such page") })
        .with_state(Arc::new(services));
    service.serve(routes).await
}

async fn register(
    State(services): Shared,
    Json(body): Json<Credentials>,
) -> Result<(StatusCode, Json<Session>), ApiError> {
    let _: Person = services.auth.post("/register", &body).await?;
    // Whoever tried again would read that the name is taken.
    let session = services.auth.post("/login", &body).await.map_err(|error| {
        let message = "the account was made, but logging in failed; please log in in a moment";
        ApiError::new(error.status, message)
    })?;
    Ok((StatusCode::CREATED, Json(session)))
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
