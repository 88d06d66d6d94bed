//! Timelines against the database: followers have what they follow.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::{Acknowledged, LISTED, LOOK_AGAIN, Options};
use crate::cluster::{Cluster, Reply, Store, slots};
use crate::database::Shards;
use crate::database::shards::table;
use crate::service::Service;
use crate::timeline::{BROUGHT, KEPT, author_key, ids, key};

/// Posts whose followers are read at a time.
const TOGETHER: usize = 10_000;
/// How long a shard of the timelines may take to answer.
const REDIS_WAIT: Duration = Duration::from_secs(2);

/// What timelines lack.
#[derive(Default, Serialize)]
pub struct Verdict {
    /// Pairs of a post and a follower.
    timelines_checked: usize,
    timelines_missing: usize,
    /// Further ones that are not there and need not be: the post may be older than the follow.
    timelines_excused: usize,
    /// Which: the post and the follower.
    timelines: Vec<(i64, i64)>,
}

impl Verdict {
    pub fn good(&self) -> bool {
        self.timelines_missing == 0
    }
}

#[derive(Clone, Copy)]
struct Pair {
    post: i64,
    author: i64,
    follower: i64,
}

/// Looks for the newest posts in several timelines each and for every older one in some, again until `deadline` for those
/// that are not there.
///
/// # Errors
/// When PostgreSQL does not answer, or `REDIS_NODES` does not parse.
pub async fn look(
    shards: &Shards,
    posts: &[Acknowledged],
    options: &Options,
    deadline: Instant,
) -> anyhow::Result<Verdict> {
    let store = Store::new(Cluster::from_env(&mut Service::new("check"))?, 0, Duration::MAX);
    let due = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(options.fan_out_s);
    let due = posts
        .iter()
        .rev()
        .filter(|post| post.at.is_none_or(|at| at <= due));
    let due: Vec<i64> = due.map(|post| post.id).collect();
    let (newest, older) = due.split_at(options.newest.min(due.len()));
    let mut open = pairs(shards, newest, options.followers).await?;
    open.extend(pairs(shards, older, options.each).await?);
    let mut verdict = Verdict {
        timelines_checked: open.len(),
        ..Verdict::default()
    };
    loop {
        let looks = open.iter().map(|pair| missing(&store, *pair));
        let looked: Vec<Option<Pair>> = stream::iter(looks).buffer_unordered(64).collect().await;
        open = looked.into_iter().flatten().collect();
        let (counts, excused) = owed(shards, &store, open).await?;
        (open, verdict.timelines_excused) = (counts, verdict.timelines_excused + excused);
        if open.is_empty() || Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    verdict.timelines_missing = open.len();
    let listed = open.iter().take(LISTED);
    verdict.timelines = listed.map(|pair| (pair.post, pair.follower)).collect();
    Ok(verdict)
}

/// Posts that are not deleted, each with up to `most` of its author's followers, not the same ones for every post.
async fn pairs(shards: &Shards, posts: &[i64], most: i64) -> anyhow::Result<Vec<Pair>> {
    let mut pairs = vec![];
    if most == 0 {
        return Ok(pairs);
    }
    for posts in posts.chunks(TOGETHER) {
        let (mut ids, mut authors): (Vec<i64>, Vec<i64>) = (vec![], vec![]);
        for (shard, posts) in shards.by_shard(posts).await? {
            let select = format!(
                "SELECT id, author_id FROM {} WHERE id = ANY($1) AND NOT deleted",
                table(shard)
            );
            for row in shards.database(shard).fresh(&select, &[&posts]).await? {
                ids.push(row.try_get(0)?);
                authors.push(row.try_get(1)?);
            }
        }
        // A few of many: the first behind a number that each post has for itself, then round from the least.
        let rows = shards
            .home
            .fresh(
                "SELECT post.id, post.author_id, reader.follower_id FROM unnest($1::bigint[], $2::bigint[]) AS post (id, author_id)
                 CROSS JOIN LATERAL (
                     (SELECT follower_id FROM follows WHERE followee_id = post.author_id
                         AND follower_id >= (post.id % 1000003) * 7919 % (SELECT max(id) FROM users) ORDER BY follower_id LIMIT $3)
                     UNION
                     (SELECT follower_id FROM follows WHERE followee_id = post.author_id ORDER BY follower_id LIMIT $3)
                     LIMIT $3) AS reader",
                &[&ids, &authors, &most],
            )
            .await?;
        for row in &rows {
            pairs.push(Pair {
                post: row.try_get(0)?,
                author: row.try_get(1)?,
                follower: row.try_get(2)?,
            });
        }
    }
    Ok(pairs)
}

/// Those of the missing pairs that count, and how many are excused. A follow brings only the author's newest posts, and nothing
/// says since when someone follows: a post with that many newer ones may have been there before the follow. But not when the
/// follower has an older post of that author: what came between the two came after the follow, or with it.
async fn owed(shards: &Shards, store: &Store, pairs: Vec<Pair>) -> anyhow::Result<(Vec<Pair>, usize)> {
    if pairs.is_empty() {
        return Ok((pairs, 0));
    }
    let posts: Vec<i64> = pairs.iter().map(|pair| pair.post).collect();
    // Whether it is among the newest. One deleted since the pairs were made is owed no more.
    let mut newest = HashMap::<i64, bool>::new();
    for (shard, posts) in shards.by_shard(&posts).await? {
        // An author's posts are all in one shard; the deleted ones took their places when the follow was made.
        let select = format!(
            "SELECT post.id, (
                 SELECT count(*) FROM (
                     SELECT 1 FROM {table} AS newer WHERE newer.author_id = post.author_id AND newer.id > post.id LIMIT $2
                 ) AS newer) < $2
             FROM {table} AS post WHERE post.id = ANY($1) AND NOT post.deleted",
            table = table(shard)
        );
        for row in shards.database(shard).fresh(&select, &[&posts, &BROUGHT]).await? {
            newest.insert(row.try_get(0)?, row.try_get(1)?);
        }
    }
    let (mut owed, mut old) = (vec![], vec![]);
    for pair in pairs {
        match newest.get(&pair.post) {
            Some(true) => owed.push(pair),
            Some(false) => old.push(pair),
            None => {}
        }
    }
    let looks = old.iter().map(|pair| has_older(shards, store, *pair));
    let looked: Vec<bool> = stream::iter(looks).buffered(16).try_collect().await?;
    let before = owed.len() + old.len();
    let followed = old.into_iter().zip(looked).filter(|(_, has_older)| *has_older);
    owed.extend(followed.map(|(pair, _)| pair));
    let excused = before - owed.len();
    Ok((owed, excused))
}

/// Whether the follower's timeline holds an older post of the author. One that cannot be looked at excuses nothing.
async fn has_older(shards: &Shards, store: &Store, pair: Pair) -> anyhow::Result<bool> {
    let key = key(pair.follower);
    let mut command = redis::cmd("ZRANGEBYSCORE");
    command.arg(&key).arg("-inf").arg(format!("({}", pair.post));
    let slot = slots::slot(key.as_bytes());
    let answer = store.run(slot, command.get_packed_command(), 1, REDIS_WAIT).await;
    let Ok([reply @ Reply::Array(_)]) = answer.as_deref() else {
        return Ok(true);
    };
    let ids = ids(reply);
    let (shard, database) = shards.author(pair.author);
    let select = format!(
        "SELECT 1 FROM {} WHERE id = ANY($1) AND author_id = $2 LIMIT 1",
        table(shard)
    );
    Ok(!database.fresh(&select, &[&ids, &pair.author]).await?.is_empty())
}

/// The pair, unless a follower's timeline has the post: as an entry of its own, or merged from the list of a large account.
async fn missing(store: &Store, pair: Pair) -> Option<Pair> {
    let shown = holds(store, &key(pair.follower), pair.post).await
        || holds(store, &author_key(pair.author), pair.post).await;
    (!shown).then_some(pair)
}

/// Whether a list holds the post, or so many newer ones that it was there and has gone. A shard that does not answer shows
/// nobody their post.
async fn holds(store: &Store, key: &str, post: i64) -> bool {
    let mut commands = redis::cmd("ZSCORE").arg(key).arg(post).get_packed_command();
    let newer = redis::cmd("ZCOUNT")
        .arg(key)
        .arg(format!("({post}"))
        .arg("+inf")
        .get_packed_command();
    commands.extend(newer);
    let slot = slots::slot(key.as_bytes());
    match store.run(slot, commands, 2, REDIS_WAIT).await.as_deref() {
        Ok([Reply::Bulk(_), _]) => true,
        Ok([_, Reply::Int(newer)]) => *newer >= KEPT,
        _ => false,
    }
}
