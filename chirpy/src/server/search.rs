//! What is searched for, and what people talk about just now.

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::posts::shown;
use super::{Answer, Reader, Shared};
use crate::follower::Person;
use crate::post::Post;
use crate::search::{Asked, Trend};
use crate::service::ApiError;

#[derive(Deserialize)]
pub struct Words {
    q: String,
    limit: Option<usize>,
    include: Option<String>,
}

impl Words {
    fn asked(&self) -> Asked {
        Asked {
            q: self.q.clone(),
            limit: Some(self.limit.unwrap_or(20)),
        }
    }
}

pub async fn posts(
    State(services): Shared,
    Reader(reader): Reader,
    Query(query): Query<Words>,
) -> Result<Response, ApiError> {
    let posts: Vec<Post> = services.search.post("/search", &query.asked()).await?;
    if query.include.as_deref() == Some("counts") {
        return Ok(Json(shown(&services, posts, reader).await).into_response());
    }
    Ok(Json(posts).into_response())
}

pub async fn people(State(services): Shared, Query(query): Query<Words>) -> Answer<Vec<Person>> {
    Ok(Json(services.search.post("/people", &query.asked()).await?))
}

#[derive(Deserialize)]
pub struct Few {
    limit: Option<usize>,
}

pub async fn trends(State(services): Shared, Query(few): Query<Few>) -> Answer<Vec<Trend>> {
    let path = format!("/trends?limit={}", few.limit.unwrap_or(10));
    Ok(Json(services.search.get(&path).await?))
}
