//! What fan-out asks: the followers of several authors, and accounts with so many that it treats them apart.

use axum::Json;
use axum::extract::{Path, State};
use tokio_postgres::Row;

use crate::database::Primary;
use crate::service::ApiError;
use crate::timeline::Account;

/// All accounts with more than `over` followers, and who follows them.
pub async fn large(
    State(database): State<Primary>,
    Path(over): Path<i64>,
) -> Result<Json<Vec<Account>>, ApiError> {
    let select = "SELECT followee_id, array_agg(follower_id) FROM follows
                  WHERE followee_id IN (SELECT followee_id FROM follows GROUP BY 1 HAVING count(*) > $1)
                  GROUP BY 1 ORDER BY 1";
    read(&database.rows(select, &[&over]).await?)
}

/// These accounts and who follows them; accounts that nobody follows, or that do not exist, are there with nobody.
pub async fn of(
    State(database): State<Primary>,
    Json(authors): Json<Vec<i64>>,
) -> Result<Json<Vec<Account>>, ApiError> {
    let select =
        "SELECT author, coalesce(array_agg(follower_id) FILTER (WHERE follower_id IS NOT NULL), '{}')
                  FROM unnest($1::bigint[]) AS author LEFT JOIN follows ON followee_id = author GROUP BY 1";
    read(&database.rows(select, &[&authors]).await?)
}

fn read(rows: &[Row]) -> Result<Json<Vec<Account>>, ApiError> {
    let accounts = rows.iter().map(|row| {
        Ok(Account {
            id: row.try_get(0)?,
            followers: row.try_get(1)?,
        })
    });
    Ok(Json(accounts.collect::<Result<_, tokio_postgres::Error>>()?))
}
