//! The outbox: fan-out jobs wait in PostgreSQL until a worker has done them.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use deadpool_postgres::Object;
use futures::future::join_all;

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
async fn poll(State(outbox): State<Outbox>, Json(poll): Json<Poll>) -> Result<Json<Vec<Job>>, ApiError> {
    let databases = outbox.posts.databases.len();
    let turn = fastrand::usize(..databases.max(1));
    let polls = (0..).zip(&outbox.posts.databases).map(async |(place, database)| {
        let of_database = |ids: &[i64]| -> Vec<i64> {
            let own = ids.iter().filter(|id| **id % DATABASES == place);
            own.map(|id| id / DATABASES).collect()
        };
        let part = Poll {
            completed: of_database(&poll.completed),
            returned: of_database(&poll.returned),
            held: of_database(&poll.held),
            limits: poll
                .limits
                .iter()
                .map(|limit| share(*limit, databases, turn, place))
                .collect(),
            worker: poll.worker.clone(),
            ..poll
        };
        let polled = database.within(async |client| poll_one(client, outbox.max_leased, &part).await);
        let jobs = outbox.posts.among_others(polled).await?.into_iter();
        Ok::<_, ApiError>(jobs.map(move |job| Job {
            id: job.id * DATABASES + place,
            ..job
        }))
    });
    let (mut jobs, mut failed) = (vec![], None);
    for outcome in join_all(polls).await {
        match outcome {
            Ok(found) => jobs.extend(found),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if jobs.is_empty() => Err(error),
        _ => Ok(Json(jobs)),
    }
}

/// How many of `limit` jobs the database at `place` may give: as many as the others, and what is left over goes round, from
/// `turn` on. They are asked at the same time, so none can wait to hear what another gave.
fn share(limit: i64, databases: usize, turn: usize, place: i64) -> i64 {
    let databases = i64::try_from(databases).unwrap_or(i64::MAX).max(1);
    let limit = limit.max(0);
    let turn = i64::try_from(turn).unwrap_or_default();
    limit / databases + i64::from((place + turn) % databases < limit % databases)
}

async fn poll_one(client: &Object, max_leased: i64, poll: &Poll) -> Result<Vec<Job>, ApiError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_make_the_whole() {
        for (limit, databases) in [(0, 1), (7, 1), (200, 2), (1, 3), (5, 3), (-4, 2)] {
            for turn in 0..databases {
                let shares: Vec<i64> = (0..)
                    .take(databases)
                    .map(|place| share(limit, databases, turn, place))
                    .collect();
                assert_eq!(shares.iter().sum::<i64>(), limit.max(0), "{shares:?}");
                let (most, least) = (shares.iter().max(), shares.iter().min());
                assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
            }
        }
        let first = |turn| share(1, 3, turn, 0);
        assert_eq!(
            (first(0), first(1), first(2)),
            (1, 0, 0),
            "what is left over goes round"
        );
    }
}
