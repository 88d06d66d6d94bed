//! Live home timelines: server-sent events, a post each, as fan-out brings it to the reader's timeline.
//!
//! Each replica hears of every post that reached a shard and knows whose listeners follow its author. The text is fetched
//! once for all of them. A listener who may have missed something (a break of the subscription, a full queue, a
//! `Last-Event-ID`) looks at its timeline, which is the truth.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures::Stream;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::home::ids;
use super::subscription::{Heard, Message, subscribe};
use super::{cursor, key};
use crate::cluster::{Cluster, Store, slots};
use crate::post::Post;
use crate::service::{ApiError, Service, parse_env};
use crate::stream::LAST_EVENT_ID;
use crate::upstream::Upstream;

/// Ids are given when a post is written, and posts reach timelines in about that order: one may come so many ids after a
/// younger one. A stream that has stood for a while looks further back: to where it was two looks ago.
const OVERLAP: i64 = 200;
/// Most posts of one look at a timeline; whoever was away longer reads pages.
const CATCH_UP: i64 = 100;
/// Posts waiting for one listener.
const QUEUE: usize = 64;

struct Live {
    hub: Arc<Hub>,
    store: Arc<Store>,
    posts: Upstream,
    followers: Upstream,
    stopping: watch::Receiver<bool>,
    heartbeat: Duration,
    /// A stream ends after this long, so that its reader shows a valid token again.
    lifetime: Duration,
    most: u64,
    /// Of one reader.
    most_each: usize,
}

pub fn routes(
    service: &mut Service,
    store: Arc<Store>,
    cluster: Arc<Cluster>,
    posts: Upstream,
    followers: Upstream,
) -> anyhow::Result<Router> {
    let listeners = service.gauge("live_listeners", "Open live timelines");
    let hub = Arc::new(Hub {
        listeners: Mutex::default(),
        next: AtomicU64::new(0),
        open: listeners.get_or_create(&vec![]).clone(),
    });
    let (heard, hearing) = mpsc::channel(1024);
    for shard in 0..slots::SHARDS {
        tokio::spawn(subscribe(cluster.clone(), shard, heard.clone()));
    }
    tokio::spawn(hub.clone().tell(posts.clone(), hearing));
    let live = Live {
        hub,
        store,
        posts,
        followers,
        stopping: service.stopping(),
        heartbeat: Duration::from_secs(parse_env("LIVE_HEARTBEAT_S", 15)?),
        lifetime: Duration::from_secs(parse_env("LIVE_MAX_S", 900)?),
        most: parse_env("LIVE_MAX_STREAMS", 10_000)?,
        most_each: parse_env("LIVE_MAX_STREAMS_PER_USER", 10)?,
    };
    Ok(Router::new()
        .route("/timelines/{user}/live", get(timeline))
        .with_state(Arc::new(live)))
}

/// Who listens to what.
struct Hub {
    listeners: Mutex<Listeners>,
    next: AtomicU64,
    open: Gauge,
}

#[derive(Default)]
struct Listeners {
    by_number: HashMap<u64, Arc<Listener>>,
    /// How many of them are one reader's.
    by_user: HashMap<i64, usize>,
    /// Numbers of listeners by shard of their timeline and author they follow.
    by_author: HashMap<(i16, i64), HashSet<u64>>,
}

struct Listener {
    user: i64,
    shard: i16,
    queue: mpsc::Sender<Arc<Post>>,
    /// Something was missed: the timeline has to be looked at.
    behind: AtomicBool,
    woken: tokio::sync::Notify,
}

impl Listener {
    fn fall_behind(&self) {
        self.behind.store(true, Ordering::Release);
        self.woken.notify_one();
    }
}

impl Hub {
    fn locked(&self) -> std::sync::MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of a message's posts that somebody waits for, and who.
    fn interested(&self, message: &Message) -> Vec<(i64, Vec<Arc<Listener>>)> {
        let listeners = self.locked();
        if listeners.by_author.is_empty() {
            return vec![];
        }
        let wanted = message.posts.iter().filter_map(|(post, author)| {
            let numbers = listeners.by_author.get(&(message.shard, *author))?;
            let known = numbers
                .iter()
                .filter_map(|number| listeners.by_number.get(number).cloned());
            Some((*post, known.collect()))
        });
        wanted.collect()
    }

    /// Brings what is heard to those it concerns.
    async fn tell(self: Arc<Self>, posts: Upstream, mut hearing: mpsc::Receiver<Heard>) {
        let mut batch = vec![];
        // While one batch is fetched the next gathers.
        while hearing.recv_many(&mut batch, 256).await > 0 {
            let mut wanted: Vec<(i64, Vec<Arc<Listener>>)> = vec![];
            for heard in batch.drain(..) {
                match heard {
                    Heard::Message(message) => wanted.extend(self.interested(&message)),
                    Heard::Again(shard) => {
                        let listeners = self.locked();
                        let all = listeners.by_number.values();
                        all.filter(|one| one.shard == shard)
                            .for_each(|one| one.fall_behind());
                    }
                }
            }
            if wanted.is_empty() {
                continue;
            }
            let list: HashSet<i64> = wanted.iter().map(|(id, _)| *id).collect();
            let list: Vec<String> = list.iter().map(i64::to_string).collect();
            let fetched: Result<Vec<Post>, _> = posts.get(&format!("/posts?ids={}", list.join(","))).await;
            let by_id: Option<HashMap<i64, Arc<Post>>> = fetched
                .ok()
                .map(|posts| posts.into_iter().map(|post| (post.id, Arc::new(post))).collect());
            for (id, listeners) in wanted {
                for listener in listeners {
                    let sent = match by_id.as_ref().map(|posts| posts.get(&id)) {
                        Some(Some(post)) => listener.queue.try_send(post.clone()).is_ok(),
                        // Deleted meanwhile.
                        Some(None) => true,
                        None => false,
                    };
                    if !sent {
                        listener.fall_behind();
                    }
                }
            }
        }
    }
}

/// A listener's place in the hub, given up when it is dropped.
struct Place {
    hub: Arc<Hub>,
    number: u64,
    authors: Vec<i64>,
    listener: Arc<Listener>,
}

impl Place {
    /// None when the reader has `most_each` places already.
    fn new(hub: Arc<Hub>, user: i64, most_each: usize) -> Option<(Self, mpsc::Receiver<Arc<Post>>)> {
        let (queue, posts) = mpsc::channel(QUEUE);
        let shard = slots::shard(slots::slot(key(user).as_bytes()));
        let listener = Arc::new(Listener {
            user,
            shard,
            queue,
            behind: AtomicBool::new(false),
            woken: tokio::sync::Notify::new(),
        });
        let number = hub.next.fetch_add(1, Ordering::Relaxed);
        {
            let mut listeners = hub.locked();
            let places = listeners.by_user.entry(user).or_default();
            if *places >= most_each {
                return None;
            }
            *places += 1;
            listeners.by_number.insert(number, listener.clone());
        }
        hub.open.inc();
        let place = Self {
            hub,
            number,
            authors: vec![],
            listener,
        };
        Some((place, posts))
    }

    /// Listens to these authors, and to no others.
    fn listen_to(&mut self, authors: Vec<i64>) {
        let mut listeners = self.hub.locked();
        self.forget(&mut listeners);
        for author in &authors {
            let numbers = listeners
                .by_author
                .entry((self.listener.shard, *author))
                .or_default();
            numbers.insert(self.number);
        }
        drop(listeners);
        self.authors = authors;
    }

    fn forget(&self, listeners: &mut Listeners) {
        for author in &self.authors {
            let entry = (self.listener.shard, *author);
            if let Some(numbers) = listeners.by_author.get_mut(&entry) {
                numbers.remove(&self.number);
                if numbers.is_empty() {
                    listeners.by_author.remove(&entry);
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut listeners = self.hub.locked();
        listeners.by_number.remove(&self.number);
        if let Entry::Occupied(mut places) = listeners.by_user.entry(self.listener.user) {
            *places.get_mut() -= 1;
            if *places.get() == 0 {
                places.remove();
            }
        }
        self.forget(&mut listeners);
        self.hub.open.dec();
    }
}

/// How often a listener learns whom its reader follows by now, and looks at its timeline for what it may have missed.
const FOLLOWS_EVERY: Duration = Duration::from_secs(15);

/// Why a feed goes on.
enum Woken {
    Post(Arc<Post>),
    Behind,
    Follows,
}

/// One reader's stream.
struct Feed {
    live: Arc<Live>,
    user: i64,
    place: Place,
    posts: mpsc::Receiver<Arc<Post>>,
    /// The youngest post the reader has.
    newest: i64,
    /// What that was at the last two regular looks, the older first; a look goes back so far.
    marks: [i64; 2],
    /// Sent lately, so that nothing is sent twice.
    sent: VecDeque<i64>,
    pending: VecDeque<Arc<Post>>,
    ends: Instant,
    follows: Instant,
}

async fn timeline(
    State(live): State<Arc<Live>>,
    Path(user): Path<i64>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    if live.hub.open.get() >= i64::try_from(live.most).unwrap_or(i64::MAX) {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many live timelines are open here; try again later",
        ));
    }
    let last = headers
        .get(LAST_EVENT_ID)
        .and_then(|id| id.to_str().ok()?.parse::<i64>().ok());
    let place = Place::new(live.hub.clone(), user, live.most_each);
    let (place, posts) = place.ok_or_else(|| {
        let message = "too many live timelines of yours are open; close one of them";
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
    })?;
    let mut feed = Feed {
        user,
        place,
        posts,
        newest: last.unwrap_or_default(),
        marks: [i64::MAX; 2],
        sent: VecDeque::new(),
        pending: VecDeque::new(),
        ends: Instant::now() + live.lifetime,
        follows: Instant::now() + FOLLOWS_EVERY,
        live,
    };
    // First listen, then look: what comes in between comes twice and is sent once.
    feed.learn_follows().await?;
    match last {
        Some(_) => feed.catch_up().await?,
        None => feed.newest = feed.look(None, 1).await?.first().copied().unwrap_or_default(),
    }
    let heartbeat = KeepAlive::new().interval(feed.live.heartbeat).text("still here");
    let events = futures::stream::unfold((feed, true), |(mut feed, first)| async move {
        // Sent at once, so that the reader knows the stream stands.
        if first {
            let hello = Event::default()
                .retry(Duration::from_secs(2))
                .comment("listening");
            return Some((Ok(hello), (feed, false)));
        }
        let event = feed.next().await?;
        Some((Ok(event), (feed, false)))
    });
    Ok(Sse::new(events).keep_alive(heartbeat))
}

impl Feed {
    async fn learn_follows(&mut self) -> Result<(), ApiError> {
        let path = format!("/following/{}", self.user);
        let mut authors: Vec<i64> = self.live.followers.get(&path).await?;
        authors.push(self.user);
        self.place.listen_to(authors);
        Ok(())
    }

    /// Ids of the reader's timeline, newest first: the newest, or those above one.
    async fn look(&self, above: Option<i64>, limit: i64) -> Result<Vec<i64>, ApiError> {
        let key = key(self.user);
        let command = match above {
            Some(id) => cursor::since(&key, id, limit),
            None => cursor::page(&key, None, limit),
        };
        let slot = slots::slot(key.as_bytes());
        let deadline = Duration::from_secs(3);
        let packed = command.get_packed_command();
        let replies = self.live.store.run(slot, packed, 1, deadline).await?;
        Ok(replies.first().map(ids).unwrap_or_default())
    }

    /// Puts what the timeline has and the reader has not into the queue, oldest first.
    async fn catch_up(&mut self) -> Result<(), ApiError> {
        let above = self.newest.saturating_sub(OVERLAP).min(self.marks[0]).max(0);
        let mut missing = self.look(Some(above), CATCH_UP).await?;
        missing.retain(|id| !self.sent.contains(id));
        if missing.is_empty() {
            return Ok(());
        }
        let list = missing.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let mut posts: Vec<Post> = self.live.posts.get(&format!("/posts?ids={list}")).await?;
        posts.sort_by_key(|post| post.id);
        self.pending.extend(posts.into_iter().map(Arc::new));
        Ok(())
    }

    /// The next post to send; none when the stream ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(post) = self.pending.pop_front() {
                if let Some(event) = self.event(&post) {
                    return Some(event);
                }
                continue;
            }
            let mut stopping = self.live.stopping.clone();
            let listener = self.place.listener.clone();
            // What the watch lends may not be held while we wait: only its news are taken out of the select.
            let woken = tokio::select! {
                post = self.posts.recv() => Woken::Post(post?),
                () = listener.woken.notified() => Woken::Behind,
                () = tokio::time::sleep_until(self.follows) => Woken::Follows,
                () = tokio::time::sleep_until(self.ends) => return None,
                _ = stopping.wait_for(|stop| *stop) => return None,
            };
            match woken {
                Woken::Post(post) => self.pending.push_back(post),
                Woken::Behind => {}
                Woken::Follows => {
                    self.follows = Instant::now() + FOLLOWS_EVERY;
                    // As it was before, when it cannot be learned just now; the call has logged why.
                    let _ = self.learn_follows().await;
                    // A message may have been lost on its way, in a failover above all: the timeline knows.
                    listener.behind.store(true, Ordering::Release);
                    self.marks = [self.marks[1], self.newest];
                }
            }
            if listener.behind.swap(false, Ordering::AcqRel) && self.catch_up().await.is_err() {
                // Again in a moment: the shard may be failing over.
                tokio::time::sleep(Duration::from_millis(500)).await;
                listener.fall_behind();
            }
        }
    }

    fn event(&mut self, post: &Post) -> Option<Event> {
        if self.sent.contains(&post.id) {
            return None;
        }
        self.sent.push_back(post.id);
        if self.sent.len() > 2 * QUEUE + CATCH_UP as usize {
            self.sent.pop_front();
        }
        self.newest = self.newest.max(post.id);
        // The id to resume from is the youngest the reader has, not this one's when it came late.
        let event = Event::default().event("post").id(self.newest.to_string());
        event.json_data(post).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_has_so_many_streams_and_a_place_given_up_is_free() {
        let hub = Arc::new(Hub {
            listeners: Mutex::default(),
            next: AtomicU64::new(0),
            open: Gauge::default(),
        });
        let place = |user| Place::new(hub.clone(), user, 2);
        let (first, second) = (place(7).expect("one"), place(7).expect("two"));
        assert!(place(7).is_none());
        let other = place(8).expect("another's");
        assert_eq!(hub.open.get(), 3);
        drop(first);
        let third = place(7).expect("free again");
        drop((second, other, third));
        let listeners = hub.locked();
        assert!(listeners.by_user.is_empty() && listeners.by_number.is_empty());
        assert_eq!(hub.open.get(), 0);
    }

    #[test]
    fn only_posts_that_somebody_waits_for_are_fetched() {
        let hub = Arc::new(Hub {
            listeners: Mutex::default(),
            next: AtomicU64::new(0),
            open: Gauge::default(),
        });
        let (mut place, _posts) = Place::new(hub.clone(), 7, 1).expect("a place");
        let shard = place.listener.shard;
        let message = |shard| Message {
            shard,
            posts: vec![(1, 30), (2, 40), (3, 30)],
        };
        assert!(hub.interested(&message(shard)).is_empty());
        place.listen_to(vec![30, 50]);
        let wanted: Vec<i64> = hub
            .interested(&message(shard))
            .iter()
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(wanted, [1, 3]);
        assert!(hub.interested(&message((shard + 1) % slots::SHARDS)).is_empty());
    }
}
