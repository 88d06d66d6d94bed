//! Fan-out on write: every post goes into the home timeline of every follower.
//!
//! A job is one post on one shard. Jobs live in PostgreSQL until they are done; this worker holds leases on those it
//! works on and tries each until it succeeds.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;

use super::home::KEPT;
use super::key;
use super::subscription::Publisher;
use crate::cluster::{Cluster, Connection, Pool, slots};
use crate::retry::Pauses;
use crate::service::{Labels, Service, parse_env, text_env};
use crate::upstream::Upstream;

/// One post to bring to one shard's timelines.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Job {
    pub id: i64,
    pub post_id: i64,
    pub author_id: i64,
    pub shard: i16,
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
    /// Chunks queue for a bounded number of shared connections.
    Shared(Pool),
}

type Followers = Arc<OnceCell<Arc<Vec<i64>>>>;

pub struct Fanout {
    live: Publisher,
    cluster: Arc<Cluster>,
    posts: Upstream,
    followers: Upstream,
    cache: Mutex<HashMap<i64, (Instant, Followers)>>,
    cache_for: Duration,
    delivery: Delivery,
    chunk: usize,
    job_timeout: Duration,
    /// After so many failures a job is given back.
    attempts_per_lease: u32,
    pauses: Pauses,
    worker: String,
    poll_interval: Duration,
    claim_batch: i64,
    /// Per shard; zero: as many as there are.
    max_inflight: i64,
    lease: Duration,
    inflight: Family<Labels, Gauge>,
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
    ) -> anyhow::Result<Self> {
        let pool: usize = parse_env("REDIS_POOL_MAX_PER_NODE", 0)?;
        let delivery = if pool > 0 {
            Delivery::Shared(Pool::new(cluster.clone(), pool, Duration::from_secs(300)))
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
            chunk: parse_env("FANOUT_CHUNK", 50_usize)?.max(1),
            job_timeout: Duration::from_millis(parse_env("FANOUT_JOB_TIMEOUT_MS", 2000)?),
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
            inflight: service.gauge("fanout_inflight", "Fan-out jobs this worker holds, by shard"),
            attempts: service.counter("fanout_attempts", "Attempts at fan-out jobs, by shard and result"),
            retries: service.counter("fanout_retries", "Attempts that followed a failed one, by shard"),
            lag: service.histogram(
                "fanout_duration_seconds",
                "Time from a job's claim to its end, by shard",
            ),
        };
        for shard in 0..slots::SHARDS {
            let label = vec![("shard", shard.to_string())];
            fanout.inflight.get_or_create(&label).set(0);
            drop(fanout.retries.get_or_create(&label));
        }
        Ok(fanout)
    }

    /// Who follows `author`, at most `cache_for` old; concurrent callers share one request.
    async fn followers_of(&self, author: i64) -> anyhow::Result<Arc<Vec<i64>>> {
        let cell = {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if cache.len() > 1000 {
                cache.retain(|_, (at, _)| at.elapsed() < self.cache_for);
            }
            let entry = cache
                .entry(author)
                .or_insert_with(|| (Instant::now(), Followers::default()));
            if entry.0.elapsed() >= self.cache_for {
                *entry = (Instant::now(), Followers::default());
            }
            entry.1.clone()
        };
        let fetch = || async {
            self.followers
                .get(&format!("/followers/{author}"))
                .await
                .map(Arc::new)
        };
        Ok(cell.get_or_try_init(fetch).await?.clone())
    }

    async fn attempt(&self, job: Job) -> anyhow::Result<()> {
        let followers = self.followers_of(job.author_id).await?;
        let map = self.cluster.map().await;
        let mut by_node: BTreeMap<&str, Vec<(u16, String)>> = BTreeMap::new();
        for user in followers.iter().chain([&job.author_id]) {
            let key = key(*user);
            let slot = slots::slot(key.as_bytes());
            if slots::shard(slot) == job.shard {
                let node = map
                    .node(slot)
                    .with_context(|| format!("no node is known for slot {slot}"))?;
                by_node.entry(node).or_default().push((slot, key));
            }
        }
        for (node, keys) in &by_node {
            self.deliver(job, node, keys).await?;
        }
        Ok(())
    }

    async fn deliver(&self, job: Job, node: &str, keys: &[(u16, String)]) -> anyhow::Result<()> {
        let chunks = keys.chunks(self.chunk);
        match &self.delivery {
            Delivery::ConnectionPerChunk => {
                let mut held: Vec<(Connection, &[(u16, String)])> = vec![];
                for chunk in chunks {
                    held.push((self.cluster.dial(node).await, chunk));
                }
                let sends = held.iter_mut().map(|(connection, chunk)| {
                    let (packed, replies) = commands(job, chunk);
                    connection.pipeline(packed, replies)
                });
                try_join_all(sends).await?;
            }
            Delivery::ConnectionPerJob => {
                let mut connection = self.cluster.dial(node).await;
                let (packed, replies) = commands(job, keys);
                connection.pipeline(packed, replies).await?;
            }
            Delivery::Shared(pool) => {
                let sends = chunks.filter_map(|chunk| {
                    let (packed, replies) = commands(job, chunk);
                    Some(pool.run(chunk.first()?.0, packed, replies, self.job_timeout))
                });
                try_join_all(sends).await?;
            }
        }
        Ok(())
    }

    /// Tries until it succeeds, or has failed so often that another worker should. Adding a post to a timeline twice is
    /// adding it once, so a retry does no harm.
    async fn see_through(&self, job: Job) -> Outcome {
        let shard = vec![("shard", job.shard.to_string())];
        let started = Instant::now();
        let mut failures = 0;
        let end = loop {
            let outcome = match tokio::time::timeout(self.job_timeout, self.attempt(job)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(anyhow::anyhow!("timed out after {:?}", self.job_timeout)),
            };
            let result = if outcome.is_ok() { "ok" } else { "error" };
            self.attempts
                .get_or_create(&vec![("shard", job.shard.to_string()), ("result", result.into())])
                .inc();
            let Err(error) = outcome else {
                self.live.delivered(job);
                break Outcome::Done(job.id);
            };
            failures += 1;
            // The first only, so that a long struggle does not fill the disk.
            if failures == 1 {
                tracing::warn!(
                    post = job.post_id, shard = job.shard, attempts = failures, error = %format!("{error:#}"),
                    "Fan-out failed, trying again"
                );
            }
            self.cluster.refresh().await;
            tokio::time::sleep(self.pauses.after(failures, fastrand::f64())).await;
            self.retries.get_or_create(&shard).inc();
            if failures >= self.attempts_per_lease {
                break Outcome::GivenBack(job.id);
            }
        };
        self.lag
            .get_or_create(&shard)
            .observe(started.elapsed().as_secs_f64());
        self.inflight.get_or_create(&shard).dec();
        end
    }
}

/// How a worker's part in a job ended.
enum Outcome {
    Done(i64),
    GivenBack(i64),
}

/// `ZADD` for every key, and now and then a trim: a timeline may be some entries too long, never too short.
fn commands(job: Job, keys: &[(u16, String)]) -> (Vec<u8>, usize) {
    let trim = job.post_id % 50 == 0;
    let mut packed = Vec::with_capacity(keys.len() * 64);
    for (_, key) in keys {
        redis::cmd("ZADD")
            .arg(key)
            .arg(job.post_id)
            .arg(job.post_id)
            .write_packed_command(&mut packed);
        if trim {
            redis::cmd("ZREMRANGEBYRANK")
                .arg(key)
                .arg(0)
                .arg(-KEPT - 1)
                .write_packed_command(&mut packed);
        }
    }
    (packed, keys.len() * if trim { 2 } else { 1 })
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
                Ok((task, Outcome::Done(id))) => {
                    completed.push(id);
                    task
                }
                Ok((task, Outcome::GivenBack(id))) => {
                    returned.push(id);
                    task
                }
                // Its lease runs out by itself.
                Err(error) => error.id(),
            };
            held.remove(&task);
        }
        let mut poll = fanout.poll(std::mem::take(&mut completed), fanout.room());
        poll.returned = std::mem::take(&mut returned);
        poll.held = held.values().copied().collect();
        match fanout.posts.post::<_, Vec<Job>>("/fanout/poll", &poll).await {
            Ok(jobs) => {
                for job in jobs {
                    fanout
                        .inflight
                        .get_or_create(&vec![("shard", job.shard.to_string())])
                        .inc();
                    let fanout = fanout.clone();
                    let task = running.spawn(async move { fanout.see_through(job).await });
                    held.insert(task.id(), job.id);
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
        let inflight = |shard: i16| {
            self.inflight
                .get_or_create(&vec![("shard", shard.to_string())])
                .get()
        };
        (0..slots::SHARDS)
            .map(|shard| match self.max_inflight {
                0 => self.claim_batch,
                max => (max - inflight(shard)).clamp(0, self.claim_batch),
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
