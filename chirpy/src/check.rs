//! `chirpy check`: is every acknowledged post stored, in its followers' timelines, and found by search as it now reads?

mod searched;
mod timelines;

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::database::Shards;
use crate::database::shards::table;
use crate::service::Service;

/// How often the list of acknowledged posts is asked for, half a second apart, while nobody is there to ask.
const ATTEMPTS: u32 = 20;

/// Between two looks while something is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long a database may take to answer: here nobody waits for a page, and much is asked at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest list of examples in the verdict; the counts beside them are whole.
const LISTED: usize = 100;

/// What to compare with.
#[derive(Args)]
pub struct Options {
    /// Where the acknowledged posts are listed: a URL or a file of JSON lines `{"id","author","at"}`
    #[arg(long)]
    acknowledged: String,
    /// Where to look, comma separated
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Place::Database, Place::Timelines, Place::Search])]
    places: Vec<Place>,
    /// Seconds that timelines and search may take to show what the database has; the check waits no longer than that
    #[arg(long, default_value_t = 10)]
    within_s: u64,
    /// How many of the newest acknowledged posts to look for in several timelines each
    #[arg(long, default_value_t = 20)]
    newest: usize,
    /// Posts acknowledged less than so many seconds ago need not be in timelines at all
    #[arg(long, default_value_t = 0)]
    fan_out_s: i64,
    /// Followers to look at, per post of the newest
    #[arg(long, default_value_t = 12)]
    followers: i64,
    /// Followers to look at, per older post
    #[arg(long, default_value_t = 1)]
    each: i64,
}

/// Where a post can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Place {
    Database,
    Timelines,
    Search,
}

#[derive(Deserialize)]
struct Acknowledged {
    id: i64,
    at: Option<jiff::Timestamp>,
}

/// Lists hold the first hundred; `missing` alone is whole.
#[derive(Default, Serialize)]
struct Verdict {
    acknowledged: usize,
    in_database: usize,
    /// Acknowledged and not stored: lost.
    missing: Vec<i64>,
    #[serde(flatten)]
    timelines: timelines::Verdict,
    #[serde(flatten)]
    search: searched::Verdict,
    /// Seconds until everything was where it belongs, or until the check stopped waiting for it.
    waited_s: f64,
}

impl Verdict {
    fn good(&self) -> bool {
        self.missing.is_empty() && self.timelines.good() && self.search.good()
    }
}

/// Prints the verdict as JSON; succeeds when nothing is missing from any of the places.
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
    if verdict.good() {
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
    let shards = Shards::from_env(&mut service, PATIENCE)?;
    // A post its author deleted was not lost: its row stays.
    let mut stored = HashSet::<i64>::new();
    for ids in ids.chunks(10_000) {
        for (shard, ids) in shards.by_shard(ids).await? {
            let select = format!("SELECT id FROM {} WHERE id = ANY($1)", table(shard));
            for row in shards.database(shard).fresh(&select, &[&ids]).await? {
                stored.insert(row.try_get(0)?);
            }
        }
    }
    let missing: Vec<i64> = ids.iter().copied().filter(|id| !stored.contains(id)).collect();
    let mut verdict = Verdict {
        acknowledged: ids.len(),
        in_database: ids.len() - missing.len(),
        missing,
        ..Verdict::default()
    };
    // At the same time: what one place still lacks takes none of the other's time away.
    let start = Instant::now();
    let deadline = start + Duration::from_secs(options.within_s);
    let timelines = async {
        if options.places.contains(&Place::Timelines) {
            timelines::look(&shards, &posts, options, deadline).await
        } else {
            Ok(timelines::Verdict::default())
        }
    };
    let search = async {
        if options.places.contains(&Place::Search) {
            searched::look(&shards, &ids, deadline).await
        } else {
            Ok(searched::Verdict::default())
        }
    };
    (verdict.timelines, verdict.search) = tokio::try_join!(timelines, search)?;
    verdict.waited_s = (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    Ok(verdict)
}
