//! Accounts with many followers: fan-out treats them apart.

use axum::Json;
use axum::extract::{Path, State};
use deadpool_postgres::Pool;

use crate::service::ApiError;
use crate::timeline::Account;

/// All accounts with more than `over` followers, and who follows them.
pub async fn large(State(pool): State<Pool>, Path(over): Path<i64>) -> Result<Json<Vec<Account>>, ApiError> {
    let client = pool.get().await?;
    let statement = client
        .prepare_cached(
            "SELECT followee_id, array_agg(follower_id) FROM follows
             WHERE followee_id IN (SELECT followee_id FROM follows GROUP BY 1 HAVING count(*) > $1)
             GROUP BY 1 ORDER BY 1",
        )
        .await?;
    let accounts = client.query(&statement, &[&over]).await?;
    let accounts = accounts.iter().map(|row| {
        Ok(Account {
            id: row.try_get(0)?,
            followers: row.try_get(1)?,
        })
    });
    Ok(Json(accounts.collect::<Result<_, tokio_postgres::Error>>()?))
}
