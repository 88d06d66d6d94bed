//! The outbox: fan-out jobs wait in PostgreSQL until a worker has done them.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use deadpool_postgres::Pool;

use crate::service::{ApiError, parse_env};
use crate::timeline::{Job, Poll};

#[derive(Clone)]
struct Outbox {
    pool: Pool,
    /// Jobs of one shard that may be with workers at the same time, however many workers there are.
    max_leased: i64,
}

/// `/fanout/poll`, with `FANOUT_MAX_LEASED`.
///
/// # Errors
/// When the variable does not parse.
pub fn routes(pool: Pool) -> anyhow::Result<Router> {
    let outbox = Outbox {
        pool,
        max_leased: parse_env("FANOUT_MAX_LEASED", 60)?,
    };
    Ok(Router::new().route("/fanout/poll", post(poll)).with_state(outbox))
}

/// Takes a fan-out worker's report, extends its leases, and leases it more jobs, oldest first.
async fn poll(State(outbox): State<Outbox>, Json(poll): Json<Poll>) -> Result<Json<Vec<Job>>, ApiError> {
    let client = outbox.pool.get().await?;
    if !poll.completed.is_empty() {
        let statement = client
            .prepare_cached("DELETE FROM fanout_jobs WHERE id = ANY($1)")
            .await?;
        client.execute(&statement, &[&poll.completed]).await?;
    }
    if !poll.returned.is_empty() {
        // Free a moment later, so that it is not simply this worker that takes them again.
        let statement = client
            .prepare_cached(
                "UPDATE fanout_jobs SET worker = NULL, leased_until = now() + interval '1 second'
                 WHERE id = ANY($1) AND worker = $2",
            )
            .await?;
        client
            .execute(&statement, &[&poll.returned, &poll.worker])
            .await?;
    }
    if poll.release {
        client
            .execute(
                "UPDATE fanout_jobs SET worker = NULL, leased_until = '-infinity' WHERE worker = $1",
                &[&poll.worker],
            )
            .await?;
        return Ok(Json(vec![]));
    }
    // Leases are extended when a third of them is gone, not at every poll.
    let renew = client
        .prepare_cached(
            "UPDATE fanout_jobs SET leased_until = now() + make_interval(secs => $2::float8)
             WHERE worker = $1 AND id = ANY($3) AND leased_until < now() + make_interval(secs => $2::float8 * 2 / 3)",
        )
        .await?;
    client
        .execute(&renew, &[&poll.worker, &poll.lease_seconds, &poll.held])
        .await?;
    if poll.limits.iter().all(|limit| *limit <= 0) {
        return Ok(Json(vec![]));
    }
    let claim = client
        .prepare_cached(
            "UPDATE fanout_jobs SET worker = $1, leased_until = now() + make_interval(secs => $2::float8)
             WHERE id IN (
                 SELECT job.id FROM unnest($3::bigint[]) WITH ORDINALITY AS wanted (number, place)
                 CROSS JOIN LATERAL (
                     SELECT id FROM fanout_jobs WHERE shard = place - 1 AND leased_until < now()
                     ORDER BY id FOR UPDATE SKIP LOCKED
                     LIMIT greatest(0, least(number, $4::bigint - (
                         SELECT count(*) FROM fanout_jobs WHERE shard = place - 1 AND leased_until >= now())))
                 ) AS job)
             RETURNING id, shard, post_ids, author_ids",
        )
        .await?;
    let rows = client
        .query(
            &claim,
            &[
                &poll.worker,
                &poll.lease_seconds,
                &poll.limits,
                &outbox.max_leased,
            ],
        )
        .await?;
    let jobs = rows.iter().map(|row| {
        let (posts, authors): (Vec<i64>, Vec<i64>) = (row.try_get(2)?, row.try_get(3)?);
        Ok(Job {
            id: row.try_get(0)?,
            shard: row.try_get(1)?,
            posts: posts.into_iter().zip(authors).collect(),
        })
    });
    Ok(Json(jobs.collect::<Result<_, tokio_postgres::Error>>()?))
}
