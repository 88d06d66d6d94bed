//! The outbox: fan-out jobs wait in PostgreSQL until a worker has done them.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use deadpool_postgres::Pool;

use super::Posts;
use crate::database::shards::MAX_SHARDS;
use crate::service::{ApiError, parse_env};
use crate::timeline::{Job, Poll};

#[derive(Clone)]
struct Outbox {
    posts: Posts,
    /// Jobs of one shard and database that may be with workers at the same time, however many workers there are.
    max_leased: i64,
}

/// `/fanout/poll`, with `FANOUT_MAX_LEASED`.
///
/// # Errors
/// When the variable does not parse.
pub fn routes(posts: Posts) -> anyhow::Result<Router> {
    let outbox = Outbox {
        posts,
        max_leased: parse_env("FANOUT_MAX_LEASED", 60)?,
    };
    Ok(Router::new().route("/fanout/poll", post(poll)).with_state(outbox))
}

/// There is a database for every shard at most, so a job's number and its database's place make one number.
const DATABASES: i64 = MAX_SHARDS as i64;

/// Takes a fan-out worker's report, extends its leases, and leases it more jobs, oldest first in each database. A database that
/// does not answer holds back its own jobs only: its part of the report is not lost on the worker, whose leases end.
async fn poll(State(outbox): State<Outbox>, Json(mut poll): Json<Poll>) -> Result<Json<Vec<Job>>, ApiError> {
    let (mut jobs, mut failed) = (vec![], None);
    for (place, database) in (0..).zip(&outbox.posts.databases) {
        let of_database = |ids: &[i64]| -> Vec<i64> {
            let own = ids.iter().filter(|id| **id % DATABASES == place);
            own.map(|id| id / DATABASES).collect()
        };
        let part = Poll {
            completed: of_database(&poll.completed),
            returned: of_database(&poll.returned),
            held: of_database(&poll.held),
            limits: poll.limits.clone(),
            worker: poll.worker.clone(),
            ..poll
        };
        match poll_one(&database.primary, outbox.max_leased, &part).await {
            Ok(found) => {
                for job in found {
                    let limit = usize::try_from(job.shard)
                        .ok()
                        .and_then(|shard| poll.limits.get_mut(shard));
                    if let Some(limit) = limit {
                        *limit -= 1;
                    }
                    let id = job.id * DATABASES + place;
                    jobs.push(Job { id, ..job });
                }
            }
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if jobs.is_empty() => Err(error),
        _ => Ok(Json(jobs)),
    }
}

async fn poll_one(pool: &Pool, max_leased: i64, poll: &Poll) -> Result<Vec<Job>, ApiError> {
    let client = pool.get().await?;
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
        return Ok(vec![]);
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
        return Ok(vec![]);
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
            &[&poll.worker, &poll.lease_seconds, &poll.limits, &max_leased],
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
    Ok(jobs.collect::<Result<_, tokio_postgres::Error>>()?)
}
