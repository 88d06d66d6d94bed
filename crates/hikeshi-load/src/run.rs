//! A run: people log in, the engine sends, and some of the posts are looked for in timelines.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::client::{Client, ClientError, Login, Post};
use crate::engine::{Engine, Errand, Posted, Settings, Target, TargetError};
use crate::journey::Journey;
use crate::measured::Measured;
use crate::people::People;
use crate::profile::Profile;
use crate::recorder::{JourneySummary, Recorder};
use crate::schedule::Schedule;

/// What to send, and as whom.
#[derive(Clone, Debug)]
pub struct Plan {
    pub schedule: Schedule,
    /// The journeys that occur in it.
    pub journeys: Vec<Journey>,
    /// The hot account's name.
    pub hot: String,
    /// People are named this followed by four digits.
    pub prefix: String,
    /// How many of them take part.
    pub users: u32,
    pub password: String,
    /// How long after its acknowledgement a post must be in its followers' timelines.
    pub freshness_after: Duration,
    /// At most one sampled post per this time, apart for the hot account and the others.
    pub freshness_every: Duration,
    /// Followers looked at, per sampled post; zero looks at none.
    pub freshness_followers: usize,
    /// Nothing is measured before a stretch of this length went well. Zero measures from the first request.
    pub settle: Duration,
    /// Measuring begins after this time even if none did: a system that never becomes well must show.
    pub settle_limit: Duration,
}

/// What of a profile somebody wants otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Requests per second instead of the profile's.
    pub rate: Option<f64>,
    /// The whole profile is stretched to this length.
    pub length: Option<Duration>,
    pub seed: u64,
    /// Which part of how many.
    pub share: (u64, u64),
}

impl Plan {
    /// The plan of a profile: everyone is measured from the first request.
    pub fn of(profile: &Profile, asked: &Asked) -> Self {
        let (index, of) = asked.share;
        Self {
            schedule: profile
                .schedule(asked.rate, asked.length, asked.seed)
                .shared(index, of),
            journeys: profile.occurring(),
            hot: profile.hot.account.clone(),
            prefix: profile.people.prefix.clone(),
            users: profile.people.count.0,
            password: profile.people.password.clone(),
            freshness_after: profile.freshness.after.get(),
            freshness_every: profile.freshness.every.get(),
            freshness_followers: profile.freshness.followers,
            settle: Duration::ZERO,
            settle_limit: Duration::ZERO,
        }
    }
}

/// Why a run cannot be, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the system does not let us wait for connections: {0}")]
    System(#[from] std::io::Error),
    #[error("the sending thread has panicked")]
    Panicked,
}

/// A run: the plan, its people and its record.
pub struct Run {
    plan: Plan,
    client: Client,
    host: String,
    pub people: Arc<People>,
    pub recorder: Arc<Recorder>,
    /// At home while nothing is sent.
    engine: Mutex<Option<Engine>>,
    /// People to be logged in, while somebody attends to them.
    wanted: tokio::sync::Mutex<mpsc::UnboundedReceiver<u32>>,
    /// For those who are being logged in meanwhile.
    logins: tokio::sync::Semaphore,
    followers: Mutex<HashMap<u32, Vec<u32>>>,
    /// Of ordinary posts and of the hot account's.
    last_samples: Mutex<[Option<Instant>; 2]>,
}

/// A stretch went well when its slowest request took no longer than this.
const PROMPT_MS: f64 = 500.0;
/// Followers of an author that samples choose from.
const FOLLOWERS_KNOWN: u32 = 300;
/// People who log in at the same time: checking a password is made to be slow.
const LOGINS: usize = 4;
/// Between two tries to log the same person in.
const LOGIN_AGAIN: Duration = Duration::from_millis(250);

impl Run {
    /// `target` is Chirpy's base URL (plain HTTP). With `course` the measurement tells the course of a run of that length,
    /// not only totals.
    ///
    /// # Errors
    /// When the target is not one, or the system gives no descriptors.
    pub fn new(
        plan: Plan,
        target: &str,
        settings: Settings,
        course: Option<Duration>,
    ) -> Result<Arc<Self>, RunError> {
        let parsed = Target::parse(target)?;
        let (people, wanted) = People::new(&plan.prefix, plan.users, &plan.hot);
        let people = Arc::new(people);
        let measured = course.map_or_else(Measured::default, Measured::with_course);
        Ok(Arc::new(Self {
            client: Client::new(target, settings.timeout),
            host: parsed.host.clone(),
            recorder: Arc::new(Recorder::new(&plan.journeys, measured)),
            engine: Mutex::new(Some(Engine::new(parsed, people.clone(), settings)?)),
            plan,
            people,
            wanted: tokio::sync::Mutex::new(wanted),
            logins: tokio::sync::Semaphore::new(LOGINS),
            followers: Mutex::default(),
            last_samples: Mutex::default(),
        }))
    }

    /// JSON lines of all acknowledged posts.
    pub fn acknowledged_lines(&self) -> String {
        self.recorder
            .acknowledged_lines(|person| self.people.name(person).to_owned())
    }

    /// Whether it could be done; when not, nobody asks for that person's login again before [`LOGIN_AGAIN`].
    async fn log_one_in(&self, person: u32) -> bool {
        // Never closed.
        let place = self.logins.acquire().await;
        let name = self.people.name(person);
        let login = self.client.login(name, &self.plan.password).await.ok();
        drop(place);
        let known = login.is_some();
        if !known {
            tokio::time::sleep(LOGIN_AGAIN).await;
        }
        self.people.logged_in(person, &self.host, login);
        known
    }

    /// Logs one person in: whether that can be done at all.
    ///
    /// # Errors
    /// Why not.
    pub async fn knock(&self) -> Result<(), ClientError> {
        let name = self.people.name(0);
        let login = self.client.login(name, &self.plan.password).await?;
        self.people.logged_in(0, &self.host, Some(login));
        Ok(())
    }

    /// Logs everyone in, trying until all are, or until asked to stop.
    pub async fn log_in(&self, stop: &watch::Receiver<bool>) {
        let everyone = futures::stream::iter(self.people.all());
        everyone
            .for_each_concurrent(LOGINS, async |person| {
                let mut failures = 0_u32;
                while !*stop.borrow() && !self.log_one_in(person).await {
                    failures += 1;
                    if failures % 20 == 5 {
                        tracing::warn!(name = self.people.name(person), failures, "Cannot log in yet");
                    }
                }
            })
            .await;
    }

    /// Sends according to plan, without measuring, until the system has shown that it serves everything promptly:
    /// caches fill and connections open while it starts, and no user's objective is about that.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn settle(self: &Arc<Self>, stop: &watch::Receiver<bool>) -> Result<(), RunError> {
        let began = Instant::now();
        while !self.plan.settle.is_zero() && !*stop.borrow() {
            if began.elapsed() >= self.plan.settle_limit {
                tracing::warn!("Measuring begins though the system is not well yet");
                break;
            }
            let trial = Arc::new(Recorder::new(&self.plan.journeys, Measured::default()));
            self.offer(&trial, Some(self.plan.settle), Instant::now(), stop.clone())
                .await?;
            let summary = trial.summary(self.plan.settle);
            let well = |journey: &JourneySummary| {
                journey.error == 0 && journey.stale == 0 && journey.latency_ms.max <= PROMPT_MS
            };
            if summary.journeys.values().all(well) {
                break;
            }
        }
        Ok(())
    }

    /// Sends according to plan, whose time zero is `start`, to its end or until asked to stop; then waits for what is
    /// under way.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn send(self: &Arc<Self>, start: Instant, stop: watch::Receiver<bool>) -> Result<(), RunError> {
        self.offer(&self.recorder, None, start, stop).await
    }

    async fn offer(
        self: &Arc<Self>,
        recorder: &Arc<Recorder>,
        during: Option<Duration>,
        start: Instant,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), RunError> {
        let home = || self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut engine) = home().take() else {
            return Err(RunError::Panicked);
        };
        let ended = Arc::new(AtomicBool::new(*stop.borrow()));
        let (samples, mut sampled) = mpsc::unbounded_channel();
        let (run, heard, measures) = (self.clone(), ended.clone(), recorder.clone());
        let sending = tokio::task::spawn_blocking(move || {
            let mut posted = |posted: Posted| {
                // Whoever measures, no post that was acknowledged may be lost.
                run.recorder.acknowledge(posted.into());
                if run.is_sampled(&posted) {
                    // Its receiver is there until this thread has ended.
                    let _ = samples.send(posted);
                }
            };
            let schedule = run
                .plan
                .schedule
                .clone()
                .take_while(|arrival| during.is_none_or(|during| arrival.at < during));
            let errand = Errand {
                start,
                recorder: &measures,
                stop: &heard,
                posted: &mut posted,
            };
            let result = engine.run(schedule, errand);
            (engine, result)
        });

        let mut tasks = JoinSet::new();
        let mut wanted = self.wanted.lock().await;
        loop {
            while tasks.try_join_next().is_some() {}
            tokio::select! {
                post = sampled.recv() => match post {
                    Some(post) => {
                        let (run, recorder) = (self.clone(), recorder.clone());
                        tasks.spawn(async move { run.look_for(&recorder, post).await });
                    }
                    // The engine has ended.
                    None => break,
                },
                Some(person) = wanted.recv() => {
                    let run = self.clone();
                    tasks.spawn(async move {
                        run.log_one_in(person).await;
                    });
                }
                () = told(&mut stop), if !ended.load(Ordering::Relaxed) => ended.store(true, Ordering::Relaxed),
            }
        }
        let (engine, result) = sending.await.map_err(|_| RunError::Panicked)?;
        *home() = Some(engine);
        while tasks.join_next().await.is_some() {}
        Ok(result?)
    }

    fn is_sampled(&self, posted: &Posted) -> bool {
        if self.plan.freshness_followers == 0 {
            return false;
        }
        let mut samples = self.last_samples.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &mut samples[usize::from(posted.hot)];
        let due = last.is_none_or(|last| posted.at.duration_since(last) >= self.plan.freshness_every);
        if due {
            *last = Some(posted.at);
        }
        due
    }

    /// The followers of a person who take part.
    async fn followers_of(&self, author: u32, login: &Login) -> Option<Vec<u32>> {
        let known = |followers: &Mutex<HashMap<u32, Vec<u32>>>| {
            let followers = followers.lock().unwrap_or_else(PoisonError::into_inner);
            followers.get(&author).cloned()
        };
        if let Some(known) = known(&self.followers) {
            return Some(known);
        }
        let name = self.people.name(author);
        let found = self.client.followers(login, name, FOLLOWERS_KNOWN).await.ok()?;
        let numbers: Vec<u32> = found
            .iter()
            .filter_map(|person| self.people.number(&person.name))
            .collect();
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(author, numbers.clone());
        Some(numbers)
    }

    /// Is the post, in time, in the timelines of some of its author's followers? One miss makes it stale; a timeline
    /// that cannot be read does not tell (that is availability's matter).
    async fn look_for(&self, recorder: &Recorder, post: Posted) {
        let Some(author) = self.people.login(post.author) else {
            return;
        };
        let Some(mut followers) = self.followers_of(post.author, &author).await else {
            return;
        };
        fastrand::shuffle(&mut followers);
        followers.truncate(self.plan.freshness_followers);
        let readers: Vec<Login> = followers
            .into_iter()
            .filter_map(|follower| self.people.login(follower))
            .collect();
        tokio::time::sleep_until((post.at + self.plan.freshness_after).into()).await;
        let reads = readers.iter().map(|reader| self.client.timeline(reader, 100));
        let found: Vec<bool> = futures::future::join_all(reads)
            .await
            .into_iter()
            .flatten()
            // A timeline whose last entry shown is newer than the post has moved past it.
            .map(|posts| posts.iter().any(|shown| shown.id == post.id) || moved_past(&posts, post.id))
            .collect();
        if !found.is_empty() {
            recorder.freshness(found.iter().all(|found| *found));
        }
    }
}

/// Ends when somebody asks to stop, or nobody is left who could.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn moved_past(posts: &[Post], id: i64) -> bool {
    posts.len() >= 100 && posts.last().is_some_and(|oldest| oldest.id > id)
}
