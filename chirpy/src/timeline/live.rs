//! Live home timelines: server-sent events, a post each, as fan-out brings it to the reader's timeline.
//!
//! Each replica hears of every post that reached a shard and knows whose listeners follow its author. The text is fetched
//! once for all of them. A listener who may have missed something (a break of the subscription, a full queue, a
//! `Last-Event-ID`) looks at its timeline, which is the truth.

mod hub;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures::Stream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::bodies;
use super::home::ids;
use super::large::Large;
use super::subscription::subscribe;
use super::{cursor, key};
use crate::cluster::{Cluster, Store, slots};
use crate::post::Post;
use crate::service::{ApiError, Service, parse_env};
use crate::stream::LAST_EVENT_ID;
use crate::upstream::Upstream;
use hub::{Hub, Place};

/// How far the ids of posts written a millisecond apart are from each other: see schema/shards.sql.
const MILLISECOND: i64 = 64 * 64;
/// Ids are given when a post is written, and posts reach timelines in about that order: one may come after a younger one that
/// was written this much later, when its fan-out had to be tried again. So far back a reader who resumes is told again of what
/// came; a stream that has stood for a while looks back to where it was two looks ago.
const OVERLAP: i64 = 30_000 * MILLISECOND;
/// Most posts of one look at a timeline; whoever was away longer reads pages.
const CATCH_UP: usize = 100;
/// Posts waiting for one listener.
const QUEUE: usize = 64;

struct Live {
    hub: Arc<Hub>,
    store: Arc<Store>,
    large: Arc<Large>,
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
    large: Arc<Large>,
    cluster: Arc<Cluster>,
    posts: Upstream,
    followers: Upstream,
) -> anyhow::Result<Router> {
    let listeners = service.gauge("live_listeners", "Open live timelines");
    let hub = Hub::new(listeners.get_or_create(&vec![]).clone());
    let (heard, hearing) = mpsc::channel(1024);
    for shard in 0..slots::SHARDS {
        tokio::spawn(subscribe(cluster.clone(), shard, heard.clone()));
    }
    tokio::spawn(hub.clone().tell(posts.clone(), hearing));
    let live = Live {
        hub,
        store,
        large,
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

/// The id above which a look at the timeline begins, for a reader whose youngest post is `newest`, and was `mark` some looks ago.
fn looks_from(newest: i64, mark: i64) -> i64 {
    newest.saturating_sub(OVERLAP).min(mark).max(0)
}

impl Feed {
    async fn learn_follows(&mut self) -> Result<(), ApiError> {
        let path = format!("/following/{}", self.user);
        let mut authors: Vec<i64> = self.live.followers.get(&path).await?;
        authors.push(self.user);
        self.place.listen_to(authors);
        Ok(())
    }

    /// Ids of what the reader's timeline shows, newest first: the newest, or those above one.
    async fn look(&self, above: Option<i64>, limit: usize) -> Result<Vec<i64>, ApiError> {
        let key = key(self.user);
        let count = i64::try_from(limit).unwrap_or(i64::MAX);
        let command = match above {
            Some(id) => cursor::since(&key, id, count),
            None => cursor::page(&key, None, count),
        };
        let slot = slots::slot(key.as_bytes());
        let deadline = Duration::from_secs(3);
        let packed = command.get_packed_command();
        let replies = self.live.store.run(slot, packed, 1, deadline).await?;
        let mut found = replies.first().map(ids).unwrap_or_default();
        self.live.large.merge(self.user, &mut found, limit);
        found.retain(|id| above.is_none_or(|above| *id > above));
        Ok(found)
    }

    /// Puts what the timeline has and the reader has not into the queue, oldest first.
    async fn catch_up(&mut self) -> Result<(), ApiError> {
        let above = looks_from(self.newest, self.marks[0]);
        let mut missing = self.look(Some(above), CATCH_UP).await?;
        missing.retain(|id| !self.sent.contains(id));
        if missing.is_empty() {
            return Ok(());
        }
        let mut posts = bodies::read(&self.live.posts, &missing).await?;
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
        if self.sent.len() > 2 * QUEUE + CATCH_UP {
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
    fn a_look_goes_back_in_time_whatever_ids_lie_between() {
        // As `take_post_numbers` gives them: 1/64 ms each, with the shard in the lowest six bits.
        let id = |milliseconds: i64, shard: i64| (((1 << 40) + milliseconds * 64) << 6) | shard;
        let newest = id(100_000, 3);
        let looks = |mark| looks_from(newest, mark);
        assert!(
            looks(i64::MAX) < id(75_000, 0),
            "written 25 s before, and here after it"
        );
        assert!(looks(i64::MAX) > id(60_000, 0), "not for ever");
        assert_eq!(looks(id(1_000, 0)), id(1_000, 0));
        assert_eq!(looks_from(7, i64::MAX), 0, "from before ids told the time");
    }
}
