//! `chirpy check`: is every acknowledged post stored, and in its followers' timelines?

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Pool, slots};
use crate::database;
use crate::service::Service;
use crate::timeline::key;

/// What to compare with.
#[derive(Args)]
pub struct Options {
    /// Where the acknowledged posts are listed: a URL or a file of JSON lines `{"id","author","at"}`
    #[arg(long)]
    acknowledged: String,
    /// How many of the newest acknowledged posts to look for in timelines
    #[arg(long, default_value_t = 20)]
    newest: usize,
    /// Followers to look at, per post
    #[arg(long, default_value_t = 12)]
    followers: i64,
}

#[derive(Deserialize)]
struct Acknowledged {
    id: i64,
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

async fn acknowledged(source: &str) -> anyhow::Result<Vec<i64>> {
    let text = if source.starts_with("http://") {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()?;
        client
            .get(source)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?
    } else {
        tokio::fs::read_to_string(source)
            .await
            .with_context(|| source.to_owned())?
    };
    let mut ids = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| Ok(serde_json::from_str::<Acknowledged>(line)?.id))
        .collect::<anyhow::Result<Vec<_>>>()
        .with_context(|| format!("{source} is not JSON lines with an id"))?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

async fn verdict(options: &Options) -> anyhow::Result<Verdict> {
    let ids = acknowledged(&options.acknowledged).await?;
    let database = database::pool()?;
    let client = database.get().await.context("PostgreSQL")?;
    let mut stored = std::collections::HashSet::new();
    for ids in ids.chunks(10_000) {
        // A post its author deleted was not lost.
        for row in client
            .query("SELECT id FROM posts WHERE id = ANY($1)", &[&ids])
            .await?
        {
            stored.insert(row.try_get::<_, i64>(0)?);
        }
    }
    let missing: Vec<i64> = ids.iter().copied().filter(|id| !stored.contains(id)).collect();
    let mut verdict = Verdict {
        acknowledged: ids.len(),
        in_database: ids.len() - missing.len(),
        missing,
        ..Verdict::default()
    };

    let cluster = Cluster::from_env(&mut Service::new("check"))?;
    let pool = Pool::new(cluster, 2, Duration::from_secs(60));
    let newest: Vec<i64> = ids.iter().rev().take(options.newest).copied().collect();
    let pairs = client
        .query(
            "SELECT posts.id, reader.follower_id FROM posts
             CROSS JOIN LATERAL (SELECT follower_id FROM follows WHERE followee_id = posts.author_id
                                 ORDER BY md5(follower_id::text || posts.id::text) LIMIT $2) AS reader
             WHERE posts.id = ANY($1) AND NOT posts.deleted",
            &[&newest, &options.followers],
        )
        .await?;
    for row in pairs {
        let (post, follower): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let key = key(follower);
        let command = redis::cmd("ZSCORE").arg(&key).arg(post).get_packed_command();
        let replies = pool
            .run(slots::slot(key.as_bytes()), command, 1, Duration::from_secs(2))
            .await;
        verdict.timelines_checked += 1;
        // A shard that does not answer shows nobody their post.
        if !matches!(replies.as_deref(), Ok([redis::Value::BulkString(_)])) {
            verdict.timelines_missing += 1;
        }
    }
    Ok(verdict)
}
