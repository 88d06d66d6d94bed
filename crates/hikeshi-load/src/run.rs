//! The executor: sends each request when it is due, whatever became of the ones before it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Client, Login, Post};
use crate::recorder::{Acknowledged, JourneySummary, Recorder};
use crate::schedule::{Arrival, Journey, Schedule};

/// What to send, and as whom.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Requests per second.
    pub rate: f64,
    /// Share of posts among the requests.
    pub post_share: f64,
    /// Share of the hot account's posts among the posts.
    pub hot_share: f64,
    /// The hot account's name.
    pub hot: String,
    /// People are named this followed by four digits.
    pub prefix: String,
    /// How many of them take part.
    pub users: u32,
    pub password: String,
    /// Entries a reader asks for.
    pub page: u32,
    /// How long after its acknowledgement a post must be in its followers' timelines.
    pub freshness_after: Duration,
    /// At most one sampled post per this time, apart for the hot account and the others.
    pub freshness_every: Duration,
    /// Followers looked at, per sampled post.
    pub freshness_followers: usize,
    /// Nothing is measured before a stretch of this length went well. Zero measures from the first request.
    pub settle: Duration,
    /// Measuring begins after this time even if none did: a system that never becomes well must show.
    pub settle_limit: Duration,
    pub seed: u64,
}

/// A run: the plan, its client and its record.
pub struct Run {
    plan: Plan,
    client: Client,
    pub recorder: Arc<Recorder>,
    logins: Mutex<HashMap<String, Login>>,
    followers: Mutex<HashMap<String, Vec<String>>>,
    /// Of ordinary posts and of the hot account's.
    last_samples: Mutex<[Option<Instant>; 2]>,
}

/// A stretch went well when its slowest request took no longer than this.
const PROMPT_MS: f64 = 500.0;

/// Followers of an author that samples choose from.
const FOLLOWERS_KNOWN: u32 = 300;

impl Run {
    pub fn new(plan: Plan, client: Client) -> Arc<Self> {
        Arc::new(Self {
            plan,
            client,
            recorder: Arc::new(Recorder::new()),
            logins: Mutex::default(),
            followers: Mutex::default(),
            last_samples: Mutex::default(),
        })
    }

    fn name(&self, n: u64) -> String {
        format!(
            "{}{:04}",
            self.plan.prefix,
            1 + n % u64::from(self.plan.users.max(1))
        )
    }

    /// The login of a person, kept once it is known.
    async fn login(&self, name: &str) -> Option<Login> {
        let known = self
            .logins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        if known.is_some() {
            return known;
        }
        let login = self.client.login(name, &self.plan.password).await.ok()?;
        self.logins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), login.clone());
        Some(login)
    }

    /// Logs everyone in, trying until all are, or until asked to stop.
    pub async fn log_in(&self, stop: &watch::Receiver<bool>) {
        let names = (0..u64::from(self.plan.users))
            .map(|n| self.name(n))
            .chain([self.plan.hot.clone()]);
        for name in names {
            let mut failures = 0_u32;
            while !*stop.borrow() && self.login(&name).await.is_none() {
                failures += 1;
                if failures % 20 == 5 {
                    tracing::warn!(name, failures, "Cannot log in yet");
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    }

    /// Sends according to plan, without measuring, until the system has shown that it serves everything promptly:
    /// caches fill and connections open while it starts, and no user's objective is about that.
    pub async fn settle(self: &Arc<Self>, stop: &watch::Receiver<bool>) {
        let began = Instant::now();
        while !self.plan.settle.is_zero() && !*stop.borrow() {
            if began.elapsed() >= self.plan.settle_limit {
                tracing::warn!("Measuring begins though the system is not well yet");
                return;
            }
            let trial = Arc::new(Recorder::new());
            self.offer(&trial, Some(self.plan.settle), stop.clone()).await;
            let summary = trial.summary(self.plan.settle);
            let well = |journey: &JourneySummary| {
                journey.error == 0 && journey.stale == 0 && journey.latency_ms.max <= PROMPT_MS
            };
            if summary.journeys.values().all(well) {
                return;
            }
        }
    }

    /// Sends according to plan until asked to stop, then waits for what is under way.
    pub async fn send(self: &Arc<Self>, stop: watch::Receiver<bool>) {
        self.offer(&self.recorder, None, stop).await;
    }

    async fn offer(
        self: &Arc<Self>,
        recorder: &Arc<Recorder>,
        during: Option<Duration>,
        mut stop: watch::Receiver<bool>,
    ) {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        let schedule = Schedule::new(
            self.plan.rate,
            self.plan.post_share,
            self.plan.hot_share,
            self.plan.seed,
        );
        for arrival in schedule.take_while(|arrival| during.is_none_or(|during| arrival.at < during)) {
            let due = start + arrival.at;
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep_until(due) => {}
            }
            recorder.offered(arrival.journey);
            let (run, recorder) = (self.clone(), recorder.clone());
            tasks.spawn(async move { run.take(&recorder, arrival, due).await });
            while tasks.try_join_next().is_some() {}
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn take(&self, recorder: &Recorder, arrival: Arrival, due: Instant) {
        let name = if arrival.hot {
            self.plan.hot.clone()
        } else {
            self.name(arrival.dice)
        };
        let Some(login) = self.login(&name).await else {
            recorder.ended(arrival.journey, due.elapsed(), Err("not logged in"));
            return;
        };
        match arrival.journey {
            Journey::Read => {
                let outcome = self.client.timeline(&login, self.plan.page).await;
                self.note(recorder, Journey::Read, due, &outcome, &name);
            }
            Journey::Post => {
                let outcome = self.client.post(&login, &text(arrival)).await;
                self.note(recorder, Journey::Post, due, &outcome, &name);
                if let Ok(post) = outcome {
                    let acknowledged = Instant::now();
                    let at = jiff::Timestamp::now().to_string();
                    // Whoever measures, no post that was acknowledged may be lost.
                    self.recorder.acknowledge(Acknowledged {
                        id: post.id,
                        author: post.author.clone(),
                        at,
                    });
                    if self.sampled(arrival.hot, acknowledged) {
                        self.look_for(recorder, &post, &login, acknowledged).await;
                    }
                }
            }
        }
    }

    fn note<T>(
        &self,
        recorder: &Recorder,
        journey: Journey,
        due: Instant,
        outcome: &Result<T, crate::client::ClientError>,
        name: &str,
    ) {
        match outcome {
            Ok(_) => recorder.ended(journey, due.elapsed(), Ok(())),
            Err(error) => {
                // A token that has expired is asked for anew with the next request.
                if matches!(error, crate::client::ClientError::Status(401)) {
                    self.logins
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .remove(name);
                }
                recorder.ended(journey, due.elapsed(), Err(&error.to_string()));
            }
        }
    }

    fn sampled(&self, hot: bool, now: Instant) -> bool {
        let mut samples = self.last_samples.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &mut samples[usize::from(hot)];
        let due = last.is_none_or(|last| now.duration_since(last) >= self.plan.freshness_every);
        if due {
            *last = Some(now);
        }
        due
    }

    async fn followers_of(&self, author: &str, login: &Login) -> Option<Vec<String>> {
        let known = self
            .followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(author)
            .cloned();
        if known.is_some() {
            return known;
        }
        let people = self.client.followers(login, author, FOLLOWERS_KNOWN).await.ok()?;
        let names: Vec<String> = people.into_iter().map(|person| person.name).collect();
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(author.to_owned(), names.clone());
        Some(names)
    }

    /// Is the post, in time, in the timelines of some of its author's followers? One miss makes it stale; a timeline
    /// that cannot be read does not tell (that is availability's matter).
    async fn look_for(&self, recorder: &Recorder, post: &Post, author: &Login, acknowledged: Instant) {
        let Some(mut names) = self.followers_of(&post.author, author).await else {
            return;
        };
        fastrand::shuffle(&mut names);
        names.truncate(self.plan.freshness_followers);
        let mut readers = vec![];
        for name in names {
            readers.extend(self.login(&name).await);
        }
        tokio::time::sleep_until(acknowledged + self.plan.freshness_after).await;
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

fn moved_past(posts: &[Post], id: i64) -> bool {
    posts.len() >= 100 && posts.last().is_some_and(|oldest| oldest.id > id)
}

/// What people write about; some of it in Japanese, so that search has both.
fn text(arrival: Arrival) -> String {
    const HOT: [&str; 4] = [
        "東京は晴れ、風が強い",
        "大阪は曇り",
        "Sapporo: snow later",
        "福岡で雨が降り始めた",
    ];
    const TALK: [&str; 8] = [
        "お昼は蕎麦にした",
        "just shipped it",
        "東京タワーが見える",
        "会議が長い",
        "coffee first",
        "猫が起きない",
        "reading a postmortem, again",
        "終電に間に合った",
    ];
    let texts: &[&str] = if arrival.hot { &HOT } else { &TALK };
    let text = texts[(arrival.dice % texts.len() as u64) as usize];
    format!("{text} #{:06x}", arrival.dice >> 40)
}
