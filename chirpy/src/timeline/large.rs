//! Accounts that too many follow for a copy in each timeline: their posts are kept once, in a list per author, and merged
//! into timelines when those are read.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::cursor;
use super::home::ids;
use crate::cluster::{Store, slots};
use crate::service::parse_env;
use crate::upstream::Upstream;

/// Posts kept in memory per large account: more than a page holds.
const AT_HAND: i64 = 200;
/// How often the lists are read again; a post shows in timelines that much later at most.
const LISTS: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(1);

/// The key of a large account's own list: a sorted set of post ids scored by themselves.
pub fn key(author: i64) -> String {
    format!("author:{{{author}}}")
}

/// An account and who follows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Account {
    pub id: i64,
    pub followers: Vec<i64>,
}

/// Large accounts as this process sees them.
pub struct Large {
    /// More followers than this make an account large; none: no account is.
    pub over: Option<usize>,
    refresh: Duration,
    followers: Upstream,
    known: RwLock<Arc<Known>>,
}

#[derive(Default)]
struct Known {
    /// The large accounts that a reader follows, and the reader itself if it is one.
    followed: HashMap<i64, Vec<i64>>,
    authors: Vec<i64>,
    /// Newest first.
    posts: HashMap<i64, Vec<i64>>,
}

impl Large {
    /// From `FANOUT_LARGE_FOLLOWERS` (0: fan out to all, however many) and `FANOUT_LARGE_REFRESH_S`, how long a follow
    /// or its end may take to show in what is merged.
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env(followers: Upstream) -> anyhow::Result<Arc<Self>> {
        let over = parse_env("FANOUT_LARGE_FOLLOWERS", 0)?;
        Ok(Arc::new(Self {
            over: (over > 0).then_some(over),
            refresh: Duration::from_secs(parse_env("FANOUT_LARGE_REFRESH_S", 5)?),
            followers,
            known: RwLock::default(),
        }))
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn know(&self, known: Known) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }

    /// Learns which accounts are large and who follows them. Accounts with half as many followers count when reading: one that
    /// shrinks must not lose the posts it made while it was large.
    ///
    /// # Errors
    /// When follower-service does not answer.
    pub async fn learn(&self) -> anyhow::Result<()> {
        let Some(over) = self.over else { return Ok(()) };
        let accounts: Vec<Account> = self.followers.get(&format!("/large/{}", over / 2)).await?;
        let mut known = Known {
            posts: self.known().posts.clone(),
            ..Known::default()
        };
        for account in accounts {
            for reader in account.followers.iter().chain([&account.id]) {
                known.followed.entry(*reader).or_default().push(account.id);
            }
            known.authors.push(account.id);
        }
        known.posts.retain(|author, _| known.authors.contains(author));
        self.know(known);
        Ok(())
    }

    /// Keeps lists and followers up to date until the process is asked to end.
    pub async fn follow(&self, store: &Store, mut stop: watch::Receiver<bool>) {
        if self.over.is_none() {
            return;
        }
        let mut learnt = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LISTS) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if learnt.elapsed() >= self.refresh {
                learnt = tokio::time::Instant::now();
                if let Err(error) = self.learn().await {
                    tracing::warn!(%error, "Large accounts could not be read");
                }
            }
            self.read(store).await;
        }
    }

    /// Reads all lists. One that cannot be read stays as it was.
    pub async fn read(&self, store: &Store) {
        let known = self.known();
        let asked: Vec<_> = known
            .authors
            .iter()
            .map(|author| ask(&key(*author), None, AT_HAND))
            .collect();
        let replies = store.run_each(&asked, DEADLINE).await;
        let lists = known.authors.iter().zip(&replies);
        let lists: Vec<_> = lists
            .filter_map(|(author, reply)| Some((*author, ids(reply.as_ref().ok()?))))
            .collect();
        // What was learnt meanwhile stays.
        let known = self.known();
        let mut posts = known.posts.clone();
        posts.extend(lists);
        self.know(Known {
            followed: known.followed.clone(),
            authors: known.authors.clone(),
            posts,
        });
    }

    /// Merges what the large accounts that `reader` follows wrote into `own`, newest first, at most `limit` in all.
    pub fn merge(&self, reader: i64, own: &mut Vec<i64>, limit: usize) {
        let known = self.known();
        let Some(authors) = known.followed.get(&reader) else {
            return;
        };
        for author in authors {
            let posts = known.posts.get(author).map_or(&[][..], Vec::as_slice);
            own.extend(posts.iter().take(limit));
        }
        newest(own, limit);
    }

    /// The same for posts older than `before`, which may be older than what is at hand.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn merge_before(
        &self,
        store: &Store,
        reader: i64,
        before: i64,
        own: &mut Vec<i64>,
        limit: usize,
    ) -> Result<(), crate::cluster::RedisError> {
        let known = self.known();
        let count = i64::try_from(limit).unwrap_or(i64::MAX);
        let authors = known.followed.get(&reader).into_iter().flatten();
        let asked: Vec<_> = authors
            .map(|author| ask(&key(*author), Some(before), count))
            .collect();
        for reply in store.run_each(&asked, DEADLINE).await {
            own.extend(ids(&reply?));
        }
        newest(own, limit);
        Ok(())
    }
}

fn newest(ids: &mut Vec<i64>, limit: usize) {
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids.dedup();
    ids.truncate(limit);
}

/// The newest `count` ids of a list, older than `before` when it is given.
pub async fn range(
    store: &Store,
    key: &str,
    before: Option<i64>,
    count: i64,
    within: Duration,
) -> Result<Vec<i64>, crate::cluster::RedisError> {
    let (slot, packed) = ask(key, before, count);
    let replies = store.run(slot, packed, 1, within).await?;
    Ok(replies.first().map(ids).unwrap_or_default())
}

/// The command of [`range`], and the slot it is for.
pub fn ask(key: &str, before: Option<i64>, count: i64) -> (u16, Vec<u8>) {
    let command = match before {
        // By rank: what most readers ask for, and the cheaper of the two.
        None => {
            let mut command = redis::cmd("ZREVRANGE");
            command.arg(key).arg(0).arg(count - 1);
            command
        }
        before => cursor::page(key, before, count),
    };
    (slots::slot(key.as_bytes()), command.get_packed_command())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_lists_are_newest_first_without_repetition() {
        let mut ids = vec![9, 5, 1, 8, 5, 2];
        newest(&mut ids, 4);
        assert_eq!(ids, [9, 8, 5, 2]);
    }
}
