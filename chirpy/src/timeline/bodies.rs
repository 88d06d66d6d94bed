//! Posts by id, as JSON that is ready to be sent: kept in memory, fetched in batches.
//!
//! What is kept is at most `POST_CACHE_MAX_AGE_S` old. Edits and deletions come sooner (see [`super::feed`]), but nothing
//! depends on their coming.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::deadline;
use crate::post::{Found, Post};
use crate::service::{ApiError, parse_env};
use crate::upstream::Upstream;

/// Ids asked for in one request.
const BATCH: usize = 500;
/// Requests under way at the same time.
const BATCHES: usize = 4;
/// Readers waiting for posts; more wait in front of the queue.
const WAITING: usize = 4096;

/// Posts asked for by id.
#[derive(Debug, Serialize, Deserialize)]
pub struct Wanted {
    pub ids: Vec<i64>,
    /// Whether what some databases have is of use while others do not answer: then the answer is a [`Found`].
    #[serde(default)]
    pub partial: bool,
}

/// A post's JSON; none when there is no such post (any more).
type Body = Option<Bytes>;
type Fetched = Result<Arc<HashMap<i64, Body>>, (StatusCode, String)>;

struct Waiting {
    ids: Vec<i64>,
    /// Until when.
    until: tokio::time::Instant,
    answer: oneshot::Sender<Fetched>,
}

/// Posts by id, as many as there are, in no order.
///
/// # Errors
/// What post-service answered.
pub async fn read(posts: &Upstream, ids: &[i64]) -> Result<Vec<Post>, ApiError> {
    let parts: Vec<Vec<Post>> = ask(posts, ids, false).await?;
    Ok(parts.into_iter().flatten().collect())
}

/// Answers for as many ids at a time as one request may ask for.
async fn ask<T: DeserializeOwned>(posts: &Upstream, ids: &[i64], partial: bool) -> Result<Vec<T>, ApiError> {
    let mut answers = vec![];
    for ids in ids.chunks(BATCH) {
        let ids = ids.to_vec();
        answers.push(posts.post("/posts/read", &Wanted { ids, partial }).await?);
    }
    Ok(answers)
}

/// The cache and its loader.
pub struct Bodies {
    cache: Arc<Mutex<Cache>>,
    loader: mpsc::Sender<Waiting>,
}

impl Bodies {
    /// From `POST_CACHE_MAX_AGE_S` (0: nothing is kept), `POST_CACHE_POSTS`, and `REPLICA_MAX_LAG_MS`: how old what post-service
    /// reads from a replica may be.
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env(posts: Upstream) -> anyhow::Result<Self> {
        let cache = Arc::new(Mutex::new(Cache::new(
            parse_env("POST_CACHE_POSTS", 50_000_usize)?,
            Duration::from_secs(parse_env("POST_CACHE_MAX_AGE_S", 30)?),
        )));
        let lag = Duration::from_millis(parse_env("REPLICA_MAX_LAG_MS", 1000)?);
        let (loader, waiting) = mpsc::channel(WAITING);
        tokio::spawn(load(posts, cache.clone(), lag, waiting));
        Ok(Self { cache, loader })
    }

    /// A JSON list of the posts in this order; an id without a post (deleted since) leaves no hole.
    ///
    /// # Errors
    /// What post-service answered, when it had to be asked.
    pub async fn list(&self, ids: &[i64]) -> Result<Vec<u8>, ApiError> {
        let mut bodies: Vec<Option<Body>> = {
            let mut cache = lock(&self.cache);
            let now = Instant::now();
            ids.iter().map(|id| cache.get(*id, now)).collect()
        };
        let missing: Vec<i64> = ids
            .iter()
            .zip(&bodies)
            .filter_map(|(id, body)| body.is_none().then_some(*id))
            .collect();
        if !missing.is_empty() {
            let fetched = self.fetch(missing).await?;
            for (id, body) in ids.iter().zip(&mut bodies) {
                body.get_or_insert_with(|| fetched.get(id).cloned().flatten());
            }
        }
        let present = bodies.iter().flatten().flatten();
        let mut list = Vec::with_capacity(2 + present.clone().map(|body| body.len() + 1).sum::<usize>());
        list.push(b'[');
        for body in present {
            if list.len() > 1 {
                list.push(b',');
            }
            list.extend_from_slice(body);
        }
        list.push(b']');
        Ok(list)
    }

    async fn fetch(&self, ids: Vec<i64>) -> Result<Arc<HashMap<i64, Body>>, ApiError> {
        let (answer, answered) = oneshot::channel();
        let ended = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the service is ending");
        let until = tokio::time::Instant::now() + deadline::left(deadline::FOREVER);
        let waiting = Waiting { ids, until, answer };
        self.loader.send(waiting).await.map_err(|_| ended())?;
        answered
            .await
            .map_err(|_| ended())?
            .map_err(|(status, message)| ApiError::new(status, message))
    }

    /// A post as it was `at` that time; none: it was deleted.
    pub fn put(&self, id: i64, post: Option<&Post>, at: Instant) {
        let body = post
            .and_then(|post| serde_json::to_vec(post).ok())
            .map(Bytes::from);
        let body = Some(body);
        lock(&self.cache).put(id, Entry { body, at });
    }

    /// What is kept of a post is not true any more.
    pub fn forget(&self, id: i64) {
        let at = Instant::now();
        lock(&self.cache).put(id, Entry { body: None, at });
    }
}

fn lock(cache: &Mutex<Cache>) -> std::sync::MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Collects what readers miss and fetches it together: the more readers wait, the more each request brings.
async fn load(
    posts: Upstream,
    cache: Arc<Mutex<Cache>>,
    lag: Duration,
    mut waiting: mpsc::Receiver<Waiting>,
) {
    let permits = Arc::new(Semaphore::new(BATCHES));
    let mut next = vec![];
    while let Ok(permit) = permits.clone().acquire_owned().await {
        if waiting.recv_many(&mut next, BATCH).await == 0 {
            return;
        }
        let readers = std::mem::take(&mut next);
        let (posts, cache) = (posts.clone(), cache.clone());
        tokio::spawn(async move {
            // A part in time is more than the whole for nobody.
            let latest = readers.iter().map(|reader| reader.until).max();
            let fetched = fetch(&posts, &cache, lag, &readers);
            let fetched = deadline::until(latest, fetched).await;
            for reader in readers {
                // Who asked may have stopped waiting.
                let _ = reader.answer.send(fetched.clone());
            }
            drop(permit);
        });
    }
}

async fn fetch(posts: &Upstream, cache: &Mutex<Cache>, lag: Duration, readers: &[Waiting]) -> Fetched {
    let asked = Instant::now();
    let mut ids: Vec<i64> = readers.iter().flat_map(|reader| &reader.ids).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut bodies: HashMap<i64, Body> = ids.iter().map(|id| (*id, None)).collect();
    let answers: Result<Vec<Found>, ApiError> = ask(posts, &ids, true).await;
    for found in answers.map_err(|error| (error.status, error.message))? {
        for post in found.posts {
            bodies.insert(post.id, serde_json::to_vec(&post).ok().map(Bytes::from));
        }
        // A page lacks these while nobody can say what they are, and the next one asks again.
        for id in found.unknown {
            bodies.remove(&id);
        }
    }
    lock(cache).keep(&bodies, asked, lag);
    Ok(Arc::new(bodies))
}

#[derive(Clone)]
struct Entry {
    /// None: what was kept is not true any more.
    body: Option<Body>,
    /// When it was true.
    at: Instant,
}

/// Bounded by two generations: when the young one is full the old one is dropped, and what was read since lives on.
struct Cache {
    young: HashMap<i64, Entry>,
    old: HashMap<i64, Entry>,
    half: usize,
    max_age: Duration,
}

impl Cache {
    fn new(posts: usize, max_age: Duration) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half: (posts / 2).max(1),
            max_age,
        }
    }

    fn get(&mut self, id: i64, now: Instant) -> Option<Body> {
        let fresh = |entry: &Entry| now.saturating_duration_since(entry.at) < self.max_age;
        if let Some(entry) = self.young.get(&id) {
            return entry.body.clone().filter(|_| fresh(entry));
        }
        let entry = self.old.get(&id).filter(|entry| fresh(entry))?.clone();
        let body = entry.body.clone();
        self.insert(id, entry);
        body
    }

    /// Unless something newer is known: an answer may be overtaken by a change that was made after the question.
    fn put(&mut self, id: i64, entry: Entry) {
        let known = self.young.get(&id).or_else(|| self.old.get(&id));
        if self.max_age.is_zero() || known.is_some_and(|known| known.at > entry.at) {
            return;
        }
        self.insert(id, entry);
    }

    /// Keeps what was read: it was true `lag` before it was asked for, since a replica may have answered. So it does not pass for
    /// newer than a change that the replica had not heard of.
    fn keep(&mut self, bodies: &HashMap<i64, Body>, asked: Instant, lag: Duration) {
        let at = asked.checked_sub(lag).unwrap_or(asked);
        for (id, body) in bodies {
            let body = Some(body.clone());
            self.put(*id, Entry { body, at });
        }
    }

    fn insert(&mut self, id: i64, entry: Entry) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &'static str, at: Instant) -> Entry {
        Entry {
            body: Some(Some(Bytes::from_static(text.as_bytes()))),
            at,
        }
    }

    #[test]
    fn an_answer_does_not_undo_a_change_made_after_the_question() {
        let (mut cache, asked) = (Cache::new(10, Duration::from_secs(30)), Instant::now());
        let changed = asked + Duration::from_millis(1);
        cache.put(1, entry("new", changed));
        cache.put(1, entry("old", asked));
        assert_eq!(cache.get(1, changed).flatten().as_deref(), Some(&b"new"[..]));
        cache.put(
            1,
            Entry {
                body: None,
                at: changed,
            },
        );
        cache.put(1, entry("old", asked));
        assert_eq!(cache.get(1, changed), None, "it is asked for again");
    }

    #[test]
    fn what_a_replica_may_not_have_heard_of_is_not_undone_by_it() {
        let (mut cache, edited) = (Cache::new(10, Duration::from_secs(30)), Instant::now());
        let lag = Duration::from_secs(1);
        let read = |text: &'static str| HashMap::from([(1, Some(Bytes::from_static(text.as_bytes())))]);
        cache.put(1, entry("new", edited));
        let asked = edited + Duration::from_millis(900);
        cache.keep(&read("old"), asked, lag);
        assert_eq!(cache.get(1, asked).flatten().as_deref(), Some(&b"new"[..]));
        let asked = edited + Duration::from_millis(1100);
        cache.keep(&read("newer"), asked, lag);
        assert_eq!(cache.get(1, asked).flatten().as_deref(), Some(&b"newer"[..]));
        assert_eq!(
            cache.get(1, edited + Duration::from_secs(31)),
            None,
            "its age counts too"
        );
    }

    #[test]
    fn nothing_is_older_than_allowed_and_what_is_read_stays() {
        let (mut cache, now) = (Cache::new(4, Duration::from_secs(30)), Instant::now());
        for id in 0..100 {
            cache.put(id, entry("x", now));
            assert!(cache.get(0, now).is_some(), "read all the time");
            assert!(cache.young.len() + cache.old.len() <= 4);
        }
        assert!(cache.get(50, now).is_none());
        assert!(cache.get(0, now + Duration::from_secs(30)).is_none());
    }
}
