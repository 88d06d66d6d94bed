//! `chirpy check`: is every acknowledged post stored, and in its followers' timelines?

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use futures::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Reply, Store, slots};
use crate::database::Shards;
use crate::database::shards::table;
use crate::service::Service;
use crate::timeline::{KEPT, author_key, key};

/// How often the list of acknowledged posts is asked for, half a second apart, while nobody is there to ask.
const ATTEMPTS: u32 = 20;

/// What to compare with.
#[derive(Args)]
pub struct Options {
    /// Where the acknowledged posts are listed: a URL or a file of JSON lines `{"id","author","at"}`
    #[arg(long)]
    acknowledged: String,
    /// How many of the newest acknowledged posts to look for in timelines
    #[arg(long, default_value_t = 20)]
    newest: usize,
    /// Posts acknowledged less than so many seconds ago need not be in timelines yet
    #[arg(long, default_value_t = 0)]
    fan_out_s: i64,
    /// Followers to look at, per post
    #[arg(long, default_value_t = 12)]
    followers: i64,
}

#[derive(Deserialize)]
struct Acknowledged {
    id: i64,
    at: Option<jiff::Timestamp>,
}

#[derive(Default, Serialize)]
struct Verdict {
    acknowledged: usize,
    in_database: usize,
    /// Acknowledged and not stored: lost.
    missing: Vec<i64>,
    /// Pairs of a post and a follower.
    timelines_checked: usize,
    timelines_missing: usize,
}

/// Prints the verdict as JSON; succeeds when nothing is missing from the database.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this role is a command; its answer is its output"
)]
pub async fn run(options: Options) -> ExitCode {
    let verdict = match verdict(&options).await {
        Ok(verdict) => verdict,
        Err(error) => {
            eprintln!("chirpy check: {error:#}");
            return ExitCode::from(3);
        }
    };
    match serde_json::to_string(&verdict) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("chirpy check: {error}"),
    }
    if verdict.missing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn acknowledged(source: &str) -> anyhow::Result<Vec<Acknowledged>> {
    let text = if source.starts_with("http://") {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()?;
        let fetch = || async {
            let answer = client.get(source).send().await?.error_for_status()?;
            answer.text().await
        };
        // The way there may be opened only moments after this pod began.
        let mut attempt = 1;
        loop {
            match fetch().await {
                Err(error) if error.is_connect() && attempt < ATTEMPTS => attempt += 1,
                outcome => break outcome?,
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    } else {
        tokio::fs::read_to_string(source)
            .await
            .with_context(|| source.to_owned())?
    };
    let mut posts = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| Ok(serde_json::from_str::<Acknowledged>(line)?))
        .collect::<anyhow::Result<Vec<_>>>()
        .with_context(|| format!("{source} is not JSON lines with an id"))?;
    posts.sort_by_key(|post| post.id);
    posts.dedup_by_key(|post| post.id);
    Ok(posts)
}

async fn verdict(options: &Options) -> anyhow::Result<Verdict> {
    let posts = acknowledged(&options.acknowledged).await?;
    let ids: Vec<i64> = posts.iter().map(|post| post.id).collect();
    let mut service = Service::new("check");
    let shards = Shards::from_env(&mut service)?;
    // Of each stored post its author, and whether they deleted it: that is not lost.
    let mut stored = HashMap::<i64, (i64, bool)>::new();
    for ids in ids.chunks(10_000) {
        for (shard, ids) in shards.by_shard(ids).await? {
            let select = format!(
                "SELECT id, author_id, deleted FROM {} WHERE id = ANY($1)",
                table(shard)
            );
            for row in shards.database(shard).fresh(&select, &[&ids]).await? {
                stored.insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
            }
        }
    }
    let missing: Vec<i64> = ids
        .iter()
        .copied()
        .filter(|id| !stored.contains_key(id))
        .collect();
    let mut verdict = Verdict {
        acknowledged: ids.len(),
        in_database: ids.len() - missing.len(),
        missing,
        ..Verdict::default()
    };

    let store = Store::new(Cluster::from_env(&mut service)?, 0, Duration::MAX);
    let due = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(options.fan_out_s);
    let newest: Vec<i64> = posts
        .iter()
        .rev()
        .filter(|post| post.at.is_none_or(|at| at <= due))
        .take(options.newest)
        .map(|post| post.id)
        .collect();
    let (looked_for, authors): (Vec<i64>, Vec<i64>) = newest
        .iter()
        .filter_map(|id| Some((*id, *stored.get(id)?)))
        .filter(|(_, (_, deleted))| !deleted)
        .map(|(id, (author, _))| (id, author))
        .unzip();
    let pairs = shards
        .home
        .fresh(
            "SELECT post.id, post.author_id, reader.follower_id FROM unnest($1::bigint[], $2::bigint[]) AS post (id, author_id)
             CROSS JOIN LATERAL (SELECT follower_id FROM follows WHERE followee_id = post.author_id
                                 ORDER BY md5(follower_id::text || post.id::text) LIMIT $3) AS reader",
            &[&looked_for, &authors, &options.followers],
        )
        .await?;
    let looks = pairs.iter().map(|row| {
        let (post, author, follower) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(shown(&store, post, author, follower))
    });
    let looks = looks.collect::<Result<Vec<_>, tokio_postgres::Error>>()?;
    let shown: Vec<bool> = stream::iter(looks).buffer_unordered(64).collect().await;
    verdict.timelines_checked = shown.len();
    verdict.timelines_missing = shown.iter().filter(|shown| !**shown).count();
    Ok(verdict)
}

/// Whether a follower's timeline has the post: as an entry of its own, or merged from the list of a large account.
async fn shown(store: &Store, post: i64, author: i64, follower: i64) -> bool {
    holds(store, &key(follower), post).await || holds(store, &author_key(author), post).await
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
    match store
        .run(slot, commands, 2, Duration::from_secs(2))
        .await
        .as_deref()
    {
        Ok([Reply::Bulk(_), _]) => true,
        Ok([_, Reply::Int(newer)]) => *newer >= KEPT,
        _ => false,
    }
}
