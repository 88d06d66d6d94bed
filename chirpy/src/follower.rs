//! follower-service: who follows whom.

mod audience;
pub mod dated;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;

use crate::database::{self, Primary};
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
    let database = Primary::from_env()?;
    let check = database.clone();
    service.ready_when("PostgreSQL", move || {
        let database = check.clone();
        async move { database::migrated(&database.pool).await }
    });
    let routes = Router::new()
        .route("/large/{over}", get(audience::large))
        .route("/followers/of", post(audience::of))
        .route("/followers/{user}/people", get(people))
        .route("/followers/{user}/{follower}", put(follow).delete(unfollow))
        .route("/following/{user}", get(followees))
        .route("/following/{user}/people", get(following))
        .route("/people/{user}/relation", get(relation))
        .with_state(database);
    service.serve(routes).await
}

/// The ids of everyone a user follows: what a live timeline listens to.
async fn followees(
    State(database): State<Primary>,
    Path(user): Path<i64>,
) -> Result<Json<Vec<i64>>, ApiError> {
    let select = "SELECT followee_id FROM follows WHERE follower_id = $1 ORDER BY 1";
    let rows = database.rows(select, &[&user]).await?;
    Ok(Json(
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?,
    ))
}

#[derive(Deserialize)]
struct Reader {
    reader: i64,
}

async fn relation(
    State(database): State<Primary>,
    Path(user): Path<i64>,
    Query(Reader { reader }): Query<Reader>,
) -> Result<Json<Relation>, ApiError> {
    let select = "SELECT (SELECT count(*) FROM follows WHERE followee_id = $1),
                         (SELECT count(*) FROM follows WHERE follower_id = $1),
                         EXISTS (SELECT FROM follows WHERE followee_id = $1 AND follower_id = $2),
                         EXISTS (SELECT FROM follows WHERE followee_id = $2 AND follower_id = $1)";
    let rows = database.rows(select, &[&user, &reader]).await?;
    let row = rows
        .first()
        .ok_or_else(|| anyhow::anyhow!("PostgreSQL answered no counts"))?;
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

async fn list(database: &Primary, sql: &str, user: i64, page: &Page) -> Result<Json<Vec<Person>>, ApiError> {
    let limit = page.limit.unwrap_or(100).clamp(1, 1000);
    let rows = database.rows(sql, &[&user, &limit]).await?;
    let people = rows.iter().map(|row| {
        Ok(Person {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
        })
    });
    Ok(Json(people.collect::<Result<_, tokio_postgres::Error>>()?))
}

async fn people(
    State(database): State<Primary>,
    Path(user): Path<i64>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Person>>, ApiError> {
    let sql = "SELECT users.id, users.name FROM follows JOIN users ON users.id = follower_id
               WHERE followee_id = $1 ORDER BY users.id LIMIT $2";
    list(&database, sql, user, &page).await
}

async fn following(
    State(database): State<Primary>,
    Path(user): Path<i64>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Person>>, ApiError> {
    let sql = "SELECT users.id, users.name FROM follows JOIN users ON users.id = followee_id
               WHERE follower_id = $1 ORDER BY users.id LIMIT $2";
    list(&database, sql, user, &page).await
}

async fn follow(
    State(database): State<Primary>,
    Path((user, follower)): Path<(i64, i64)>,
) -> Result<StatusCode, ApiError> {
    if user == follower {
        return Err(ApiError::bad_request("nobody follows themselves"));
    }
    let insert = "INSERT INTO follows (followee_id, follower_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let followed = database.within(
        async |client| match client.execute(insert, &[&user, &follower]).await {
            Ok(_) => Ok(StatusCode::NO_CONTENT),
            Err(error) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) => {
                Err(ApiError::not_found("no such person"))
            }
            Err(error) => Err(error.into()),
        },
    );
    followed.await
}

async fn unfollow(
    State(database): State<Primary>,
    Path((user, follower)): Path<(i64, i64)>,
) -> Result<StatusCode, ApiError> {
    let delete = "DELETE FROM follows WHERE followee_id = $1 AND follower_id = $2";
    database.rows(delete, &[&user, &follower]).await?;
    Ok(StatusCode::NO_CONTENT)
}
