//! Who listens to what, and what is heard brought to those it concerns.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;

use super::QUEUE;
use crate::cluster::slots;
use crate::post::Post;
use crate::timeline::subscription::{Heard, Message};
use crate::timeline::{bodies, key};
use crate::upstream::Upstream;

/// Who listens to what.
pub struct Hub {
    listeners: Mutex<Listeners>,
    next: AtomicU64,
    /// How many there are.
    pub open: Gauge,
}

#[derive(Default)]
struct Listeners {
    by_number: HashMap<u64, Arc<Listener>>,
    /// How many of them are one reader's.
    by_user: HashMap<i64, usize>,
    /// Numbers of listeners by shard of their timeline and author they follow.
    by_author: HashMap<(i16, i64), HashSet<u64>>,
}

pub struct Listener {
    user: i64,
    shard: i16,
    queue: mpsc::Sender<Arc<Post>>,
    /// Something was missed: the timeline has to be looked at.
    pub behind: AtomicBool,
    pub woken: tokio::sync::Notify,
}

impl Listener {
    pub fn fall_behind(&self) {
        self.behind.store(true, Ordering::Release);
        self.woken.notify_one();
    }
}

impl Hub {
    pub fn new(open: Gauge) -> Arc<Self> {
        Arc::new(Self {
            listeners: Mutex::default(),
            next: AtomicU64::new(0),
            open,
        })
    }

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
    pub async fn tell(self: Arc<Self>, posts: Upstream, mut hearing: mpsc::Receiver<Heard>) {
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
            let list: Vec<i64> = list.into_iter().collect();
            let by_id: Option<HashMap<i64, Arc<Post>>> = bodies::read(&posts, &list)
                .await
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
pub struct Place {
    hub: Arc<Hub>,
    number: u64,
    authors: Vec<i64>,
    pub listener: Arc<Listener>,
}

impl Place {
    /// None when the reader has `most_each` places already.
    pub fn new(hub: Arc<Hub>, user: i64, most_each: usize) -> Option<(Self, mpsc::Receiver<Arc<Post>>)> {
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
    pub fn listen_to(&mut self, authors: Vec<i64>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_has_so_many_streams_and_a_place_given_up_is_free() {
        let hub = Hub::new(Gauge::default());
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
        let hub = Hub::new(Gauge::default());
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
