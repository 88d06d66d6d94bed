//! Fan-out on write: every post goes into the home timeline of every follower.
//!
//! A job is one shard's part of some posts that were stored together (one, while few are written). Jobs live in PostgreSQL until they are done; this worker holds leases on those it
//! works on and tries each until it succeeds.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::home::KEPT;
use super::inflight::{Inflight, Places};
use super::subscription::Publisher;
use super::{Account, author_key, key};
use crate::cluster::{Cluster, Connection, Store, slots};
use crate::retry::Pauses;
use crate::service::{Labels, Service, parse_env, text_env};
use crate::upstream::Upstream;

/// Posts to bring to one shard's timelines.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub id: i64,
    pub shard: i16,
    /// Ids of posts and of their authors.
    pub posts: Vec<(i64, i64)>,
}

/// Jobs of one shard that are done together.
struct Task {
    jobs: Vec<i64>,
    shard: i16,
    posts: Vec<(i64, i64)>,
}

/// Each job by itself, or those of a shard as one.
fn tasks(jobs: Vec<Job>, merged: bool) -> Vec<Task> {
    let single = jobs.into_iter().map(|job| Task {
        jobs: vec![job.id],
        shard: job.shard,
        posts: job.posts,
    });
    if !merged {
        return single.collect();
    }
    let mut by_shard: BTreeMap<i16, Task> = BTreeMap::new();
    for task in single {
        match by_shard.entry(task.shard) {
            Entry::Vacant(entry) => {
                entry.insert(task);
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().jobs.extend(task.jobs);
                entry.get_mut().posts.extend(task.posts);
            }
        }
    }
    by_shard.into_values().collect()
}

/// A worker's report and request to post-service, which keeps the jobs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Poll {
    pub worker: String,
    /// Jobs that are done.
    pub completed: Vec<i64>,
    /// Jobs that failed too often here; another worker may take them.
    #[serde(default)]
    pub returned: Vec<i64>,
    /// Jobs that are in the works: only their leases go on. An answer may be lost, and with it the jobs in it.
    #[serde(default)]
    pub held: Vec<i64>,
    /// How many new ones are wanted, by shard.
    pub limits: Vec<i64>,
    /// How long leases last from now.
    pub lease_seconds: f64,
    /// Give back all that is left: the worker ends.
    pub release: bool,
}

/// How commands reach Redis.
enum Delivery {
    /// A connection of its own for every chunk, all held until the job is done.
    ConnectionPerChunk,
    /// One connection per job.
    ConnectionPerJob,
    /// Chunks share connections: a bounded number, or one that is multiplexed.
    Shared(Store),
}

/// Authors whose followers are kept in memory before the oldest are forgotten.
const CACHED: usize = 20_000;

/// Followers by shard, each with the slot of their timeline.
#[derive(Default)]
struct Audience {
    /// How many they are, in all shards.
    size: usize,
    shards: [Vec<(i64, u16)>; slots::SHARDS as usize],
}

impl Audience {
    /// `author` sees its own posts.
    fn new(author: i64, followers: &[i64]) -> Self {
        let mut audience = Self {
            size: followers.len(),
            ..Self::default()
        };
        for user in followers.iter().chain([&author]) {
            let slot = slots::slot(key(*user).as_bytes());
            if let Ok(shard) = usize::try_from(slots::shard(slot)) {
                audience.shards[shard].push((*user, slot));
            }
        }
        audience
    }
}

/// One sorted set and the posts to put into it.
struct Write {
    slot: u16,
    key: String,
    posts: Vec<i64>,
}

pub struct Fanout {
    live: Publisher,
    cluster: Arc<Cluster>,
    posts: Upstream,
    followers: Upstream,
    cache: Mutex<HashMap<i64, (Instant, Arc<Audience>)>>,
    cache_for: Duration,
    delivery: Delivery,
    /// Accounts with more followers are not fanned out.
    large_over: Option<usize>,
    chunk: usize,
    job_timeout: Duration,
    /// Whether the jobs of a shard that are claimed together are done together.
    merged: bool,
    /// After so many failures a job is given back.
    attempts_per_lease: u32,
    pauses: Pauses,
    worker: String,
    poll_interval: Duration,
    claim_batch: i64,
    /// Per shard; zero: as many as there are.
    max_inflight: i64,
    lease: Duration,
    inflight: Inflight,
    attempts: Family<Labels, Counter>,
    retries: Family<Labels, Counter>,
    lag: Family<Labels, Histogram>,
}

impl Fanout {
    pub fn from_env(
        service: &mut Service,
        cluster: Arc<Cluster>,
        posts: Upstream,
        followers: Upstream,
        large_over: Option<usize>,
    ) -> anyhow::Result<Self> {
        let pool: usize = parse_env("REDIS_POOL_MAX_PER_NODE", 0)?;
        let delivery = if parse_env("FANOUT_MULTIPLEXED", false)? {
            Delivery::Shared(Store::new(cluster.clone(), 0, Duration::MAX))
        } else if pool > 0 {
            Delivery::Shared(Store::new(cluster.clone(), pool, Duration::from_secs(300)))
        } else if parse_env("FANOUT_CONNECTION_PER_CHUNK", true)? {
            Delivery::ConnectionPerChunk
        } else {
            Delivery::ConnectionPerJob
        };
        let fanout = Self {
            live: Publisher::new(cluster.clone()),
            cluster,
            posts,
            followers,
            cache: Mutex::default(),
            cache_for: Duration::from_secs(parse_env("FANOUT_FOLLOWERS_CACHE_S", 5)?),
            delivery,
            large_over,
            chunk: parse_env("FANOUT_CHUNK", 50_usize)?.max(1),
            job_timeout: Duration::from_millis(parse_env("FANOUT_JOB_TIMEOUT_MS", 2000)?),
            merged: parse_env("FANOUT_MERGE_JOBS", false)?,
            attempts_per_lease: parse_env("FANOUT_ATTEMPTS_PER_LEASE", 4_u32)?.max(1),
            pauses: Pauses {
                base: Duration::from_millis(parse_env("FANOUT_RETRY_PAUSE_MS", 20)?),
                max: Duration::from_millis(parse_env("FANOUT_RETRY_MAX_PAUSE_MS", 0)?),
            },
            worker: format!(
                "{}/{}",
                text_env("HOSTNAME", "timeline-service"),
                uuid::Uuid::new_v4()
            ),
            poll_interval: Duration::from_millis(parse_env("FANOUT_POLL_INTERVAL_MS", 200)?),
            claim_batch: parse_env("FANOUT_CLAIM_BATCH", 200)?,
            max_inflight: parse_env("FANOUT_MAX_INFLIGHT", 0)?,
            lease: Duration::from_secs(parse_env("FANOUT_LEASE_S", 15)?),
            inflight: Inflight::new(
                service.gauge("fanout_inflight", "Fan-out jobs this worker holds, by shard"),
                slots::SHARDS,
            ),
            attempts: service.counter("fanout_attempts", "Attempts at fan-out jobs, by shard and result"),
            retries: service.counter("fanout_retries", "Attempts that followed a failed one, by shard"),
            lag: service.histogram(
                "fanout_duration_seconds",
                "Time from a job's claim to its end, by shard",
            ),
        };
        for shard in 0..slots::SHARDS {
            let label = vec![("shard", shard.to_string())];
            drop(fanout.retries.get_or_create(&label));
        }
        Ok(fanout)
    }

    /// Who follows these authors, at most `cache_for` old; those who are not known are asked for together.
    async fn audiences(&self, authors: &BTreeSet<i64>) -> anyhow::Result<HashMap<i64, Arc<Audience>>> {
        let mut known: HashMap<i64, Arc<Audience>> = HashMap::new();
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if cache.len() > CACHED {
                cache.retain(|_, (at, _)| at.elapsed() < self.cache_for);
            }
            for author in authors {
                if let Some((_, audience)) = cache.get(author).filter(|(at, _)| at.elapsed() < self.cache_for)
                {
                    known.insert(*author, audience.clone());
                }
            }
        }
        let missing: Vec<i64> = authors
            .iter()
            .copied()
            .filter(|author| !known.contains_key(author))
            .collect();
        if missing.is_empty() {
            return Ok(known);
        }
        let asked = Instant::now();
        let accounts: Vec<Account> = self.followers.post("/followers/of", &missing).await?;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        for account in accounts {
            let audience = Arc::new(Audience::new(account.id, &account.followers));
            cache.insert(account.id, (asked, audience.clone()));
            known.insert(account.id, audience);
        }
        Ok(known)
    }

    /// What this job writes, and where.
    async fn writes(&self, job: &Task) -> anyhow::Result<Vec<Write>> {
        let mut timelines: BTreeMap<(u16, i64), Vec<i64>> = BTreeMap::new();
        let mut lists: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        let authors = job.posts.iter().map(|(_, author)| *author).collect();
        let audiences = self.audiences(&authors).await?;
        for (post, author) in &job.posts {
            let audience = audiences
                .get(author)
                .with_context(|| format!("follower-service left out {author}"))?;
            if self.large_over.is_some_and(|over| audience.size > over) {
                lists.entry(*author).or_default().push(*post);
                continue;
            }
            let shard = usize::try_from(job.shard)
                .ok()
                .and_then(|shard| audience.shards.get(shard));
            for (user, slot) in shard.into_iter().flatten() {
                timelines.entry((*slot, *user)).or_default().push(*post);
            }
        }
        let timelines = timelines.into_iter().map(|((slot, user), posts)| Write {
            slot,
            key: key(user),
            posts,
        });
        let lists = lists.into_iter().filter_map(|(author, posts)| {
            let key = author_key(author);
            let slot = slots::slot(key.as_bytes());
            (slots::shard(slot) == job.shard).then_some(Write { slot, key, posts })
        });
        Ok(timelines.chain(lists).collect())
    }

    async fn attempt(&self, job: &Task) -> anyhow::Result<()> {
        let map = self.cluster.map().await;
        let mut by_node: BTreeMap<&str, Vec<Write>> = BTreeMap::new();
        for write in self.writes(job).await? {
            let node = map
                .node(write.slot)
                .with_context(|| format!("no node is known for slot {}", write.slot))?;
            by_node.entry(node).or_default().push(write);
        }
        for (node, writes) in &by_node {
            self.deliver(node, writes).await?;
        }
        Ok(())
    }

    async fn deliver(&self, node: &str, writes: &[Write]) -> anyhow::Result<()> {
        let chunks = writes.chunks(self.chunk);
        match &self.delivery {
            Delivery::ConnectionPerChunk => {
                let mut held: Vec<(Connection, &[Write])> = vec![];
                for chunk in chunks {
                    held.push((self.cluster.dial(node).await, chunk));
                }
                let sends = held.iter_mut().map(|(connection, chunk)| {
                    let (packed, replies) = commands(chunk);
                    connection.pipeline(packed, replies)
                });
                try_join_all(sends).await?;
            }
            Delivery::ConnectionPerJob => {
                let mut connection = self.cluster.dial(node).await;
                let (packed, replies) = commands(writes);
                connection.pipeline(packed, replies).await?;
            }
            Delivery::Shared(store) => {
                let sends = chunks.map(|chunk| async move {
                    let slot = chunk.first().map_or(0, |write| write.slot);
                    let (packed, replies) = commands(chunk);
                    let sent = store.run(slot, packed, replies, self.job_timeout);
                    // Chunk after chunk without a break would hold back the feed and the other jobs.
                    tokio::task::yield_now().await;
                    sent.await
                });
                try_join_all(sends).await?;
            }
        }
        Ok(())
    }

    /// Tries until it succeeds, or has failed so often that another worker should. Adding a post to a timeline twice is
    /// adding it once, so a retry does no harm. `_places` are the job's until its end.
    async fn see_through(&self, job: Task, _places: Places) -> Outcome {
        let shard = vec![("shard", job.shard.to_string())];
        let started = Instant::now();
        let mut failures = 0;
        let end = loop {
            let outcome = match tokio::time::timeout(self.job_timeout, self.attempt(&job)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(anyhow::anyhow!("timed out after {:?}", self.job_timeout)),
            };
            let result = if outcome.is_ok() { "ok" } else { "error" };
            self.attempts
                .get_or_create(&vec![("shard", job.shard.to_string()), ("result", result.into())])
                .inc();
            let Err(error) = outcome else {
                self.live.delivered(job.shard, &job.posts);
                break Outcome::Done(job.jobs);
            };
            failures += 1;
            // The first only, so that a long struggle does not fill the disk.
            if failures == 1 {
                tracing::warn!(
                    post = job.posts.first().map(|(post, _)| post), posts = job.posts.len(), shard = job.shard, attempts = failures, error = %format!("{error:#}"),
                    "Fan-out failed, trying again"
                );
            }
            self.cluster.refresh().await;
            tokio::time::sleep(self.pauses.after(failures, fastrand::f64())).await;
            self.retries.get_or_create(&shard).inc();
            if failures >= self.attempts_per_lease {
                break Outcome::GivenBack(job.jobs);
            }
        };
        self.lag
            .get_or_create(&shard)
            .observe(started.elapsed().as_secs_f64());
        end
    }
}

/// How a worker's part in a job ended.
enum Outcome {
    Done(Vec<i64>),
    GivenBack(Vec<i64>),
}

/// `ZADD` for every key, and now and then a trim: a timeline may be some entries too long, never too short.
fn commands(writes: &[Write]) -> (Vec<u8>, usize) {
    let mut packed = Vec::with_capacity(writes.len() * 80);
    let mut replies = 0;
    for write in writes {
        let mut add = redis::cmd("ZADD");
        add.arg(&write.key);
        for post in &write.posts {
            add.arg(*post).arg(*post);
        }
        add.write_packed_command(&mut packed);
        replies += 1;
        if write.posts.iter().any(|post| (post >> 6) % 50 == 0) {
            redis::cmd("ZREMRANGEBYRANK")
                .arg(&write.key)
                .arg(0)
                .arg(-KEPT - 1)
                .write_packed_command(&mut packed);
            replies += 1;
        }
    }
    (packed, replies)
}

/// Claims jobs and sees them through until the process is asked to end; then gives back what is left.
pub async fn work(fanout: Arc<Fanout>, mut stop: watch::Receiver<bool>) {
    let mut running = JoinSet::new();
    let mut held = HashMap::new();
    let (mut completed, mut returned) = (vec![], vec![]);
    let mut tick = tokio::time::interval(fanout.poll_interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.changed() => break,
        }
        while let Some(ended) = running.try_join_next_with_id() {
            let task = match ended {
                Ok((task, Outcome::Done(ids))) => {
                    completed.extend(ids);
                    task
                }
                Ok((task, Outcome::GivenBack(ids))) => {
                    returned.extend(ids);
                    task
                }
                // Its lease runs out by itself.
                Err(error) => error.id(),
            };
            held.remove(&task);
        }
        let mut poll = fanout.poll(std::mem::take(&mut completed), fanout.room());
        poll.returned = std::mem::take(&mut returned);
        poll.held = held.values().flatten().copied().collect();
        match fanout.posts.post::<_, Vec<Job>>("/fanout/poll", &poll).await {
            Ok(jobs) => {
                for job in tasks(jobs, fanout.merged) {
                    let places = fanout.inflight.take(job.shard, job.jobs.len());
                    let (fanout, ids) = (fanout.clone(), job.jobs.clone());
                    let task = running.spawn(async move { fanout.see_through(job, places).await });
                    held.insert(task.id(), ids);
                }
            }
            // Said again with the next poll; the error itself is already logged.
            Err(_) => (completed, returned) = (poll.completed, poll.returned),
        }
    }
    running.shutdown().await;
    let mut last = fanout.poll(completed, vec![]);
    last.release = true;
    if let Err(error) = fanout.posts.post::<_, Vec<Job>>("/fanout/poll", &last).await {
        tracing::warn!(%error, "Could not give back fan-out jobs; their leases will run out");
    }
}

impl Fanout {
    /// How many more jobs of each shard this worker wants.
    fn room(&self) -> Vec<i64> {
        (0..slots::SHARDS)
            .map(|shard| match self.max_inflight {
                0 => self.claim_batch,
                max => (max - self.inflight.held(shard)).clamp(0, self.claim_batch),
            })
            .collect()
    }

    fn poll(&self, completed: Vec<i64>, limits: Vec<i64>) -> Poll {
        let lease_seconds = self.lease.as_secs_f64();
        Poll {
            worker: self.worker.clone(),
            completed,
            returned: vec![],
            held: vec![],
            limits,
            lease_seconds,
            release: false,
        }
    }
}
