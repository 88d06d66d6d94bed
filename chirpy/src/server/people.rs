//! People: profiles and who follows whom.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Answer, Reader, Services, Shared, User};
use crate::auth::Account;
use crate::follower::{Person, Relation};
use crate::service::ApiError;

/// A name from a URL, looked up. Names are plain ASCII, so anything else is nobody's.
pub async fn person(services: &Services, name: &str) -> Result<Account, ApiError> {
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(ApiError::not_found(format!("nobody is called {name}")));
    }
    services.auth.get(&format!("/users/{name}")).await
}

/// Someone's page, as one reader sees it.
#[derive(Serialize)]
pub struct Profile {
    #[serde(flatten)]
    account: Account,
    posts: i64,
    #[serde(flatten)]
    relation: Relation,
}

pub async fn profile(
    State(services): Shared,
    Reader(reader): Reader,
    Path(name): Path<String>,
) -> Answer<Profile> {
    let account = person(&services, &name).await?;
    let (count, relation) = (
        format!("/authors/{}/count?stale={}", account.id, reader != account.id),
        format!("/people/{}/relation?reader={reader}", account.id),
    );
    let (posts, relation) = tokio::try_join!(services.posts.get(&count), services.followers.get(&relation))?;
    Ok(Json(Profile {
        account,
        posts,
        relation,
    }))
}

#[derive(Deserialize)]
pub struct Page {
    limit: Option<u32>,
}

impl Page {
    fn limit(&self) -> u32 {
        self.limit.unwrap_or(20)
    }
}

pub async fn followers(
    State(services): Shared,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Answer<Vec<Person>> {
    let user = person(&services, &name).await?;
    let path = format!("/followers/{}/people?limit={}", user.id, page.limit());
    Ok(Json(services.followers.get(&path).await?))
}

pub async fn following(
    State(services): Shared,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Answer<Vec<Person>> {
    let user = person(&services, &name).await?;
    let path = format!("/following/{}/people?limit={}", user.id, page.limit());
    Ok(Json(services.followers.get(&path).await?))
}

pub async fn follow(
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

pub async fn unfollow(
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
