//! follower-service: who follows whom.

mod audience;
pub mod dated;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use deadpool_postgres::Pool;
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;

use crate::database;
use crate::service::{ApiError, Service};

/// A person, in a list of followers or followees.
#[derive(Debug, Serialize, Deserialize)]
pub struct Person {
    pub id: i64,
    pub name: String,
}

/// How someone is connected, as one reader sees it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Relation {
    pub followers: i64,
    pub following: i64,
    /// Whether the reader follows them.
    pub followed_by_me: bool,
    /// Whether they follow the reader.
    pub follows_me: bool,
}

/// Runs the role.
///
/// # Errors
/// Wrong configuration, or a port that is taken.
pub async fn run() -> anyhow::Result<()> {
    let service = Service::new("follower-service");
    let pool = database::pool()?;
    let check = pool.clone();
    service.ready_when("PostgreSQL", move || {
        let pool = check.clone();
        async move { database::migrated(&pool).await }
    });
    let routes = Router::new()
        .route("/large/{over}", get(audience::large))
        .route("/followers/of", post(audience::of))
        .route("/followers/{user}/people", get(people))
        .route("/followers/{user}/{follower}", put(follow).delete(unfollow))
        .route("/following/{user}", get(followees))
        .route("/following/{user}/people", get(following))
        .route("/people/{user}/relation", get(relation))
        .with_state(pool);
    service.serve(routes).await
}

/// The ids of everyone a user follows: what a live timeline listens to.
async fn followees(State(pool): State<Pool>, Path(user): Path<i64>) -> Result<Json<Vec<i64>>, ApiError> {
    let client = pool.get().await?;
    let statement = client
        .prepare_cached("SELECT followee_id FROM follows WHERE follower_id = $1 ORDER BY 1")
        .await?;
    let rows = client.query(&statement, &[&user]).await?;
    Ok(Json(
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?,
    ))
}

#[derive(Deserialize)]
struct Reader {
    reader: i64,
}

async fn relation(
    State(pool): State<Pool>,
    Path(user): Path<i64>,
    Query(Reader { reader }): Query<Reader>,
) -> Result<Json<Relation>, ApiError> {
    let client = pool.get().await?;
    let statement = client
        .prepare_cached(
            "SELECT (SELECT count(*) FROM follows WHERE followee_id = $1),
                    (SELECT count(*) FROM follows WHERE follower_id = $1),
                    EXISTS (SELECT FROM follows WHERE followee_id = $1 AND follower_id = $2),
                    EXISTS (SELECT FROM follows WHERE followee_id = $2 AND follower_id = $1)",
        )
        .await?;
    let row = client.query_one(&statement, &[&user, &reader]).await?;
    Ok(Json(Relation {
        followers: row.try_get(0)?,
        following: row.try_get(1)?,
        followed_by_me: row.try_get(2)?,
        follows_me: row.try_get(3)?,
    }))
}

#[derive(Deserialize)]
struct Page {
    limit: Option<i64>,
}

async fn list(pool: &Pool, sql: &str, user: i64, page: &Page) -> Result<Json<Vec<Person>>, ApiError> {
    let client = pool.get().await?;
    let rows = client
        .query(sql, &[&user, &page.limit.unwrap_or(100).clamp(1, 1000)])
        .await?;
    let people = rows.iter().map(|row| {
        Ok(Person {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
        })
    });
    Ok(Json(people.collect::<Result<_, tokio_postgres::Error>>()?))
}

async fn people(
    State(pool): State<Pool>,
    Path(user): Path<i64>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Person>>, ApiError> {
    let sql = "SELECT users.id, users.name FROM follows JOIN users ON users.id = follower_id
               WHERE followee_id = $1 ORDER BY users.id LIMIT $2";
    list(&pool, sql, user, &page).await
}

async fn following(
    State(pool): State<Pool>,
    Path(user): Path<i64>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Person>>, ApiError> {
    let sql = "SELECT users.id, users.name FROM follows JOIN users ON users.id = followee_id
               WHERE follower_id = $1 ORDER BY users.id LIMIT $2";
    list(&pool, sql, user, &page).await
}

async fn follow(
    State(pool): State<Pool>,
    Path((user, follower)): Path<(i64, i64)>,
) -> Result<StatusCode, ApiError> {
    if user == follower {
        return Err(ApiError::bad_request("nobody follows themselves"));
    }
    let client = pool.get().await?;
    let insert = "INSERT INTO follows (followee_id, follower_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    match client.execute(insert, &[&user, &follower]).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(error) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) => {
            Err(ApiError::not_found("no such person"))
        }
        Err(error) => Err(error.into()),
    }
}

async fn unfollow(
    State(pool): State<Pool>,
    Path((user, follower)): Path<(i64, i64)>,
) -> Result<StatusCode, ApiError> {
    let client = pool.get().await?;
    client
        .execute(
            "DELETE FROM follows WHERE followee_id = $1 AND follower_id = $2",
            &[&user, &follower],
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
