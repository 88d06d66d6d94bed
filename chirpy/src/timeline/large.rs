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

/// Posts kept in memory per large account: as many as the largest page holds.
const AT_HAND: i64 = 200;
/// How often the newest posts of every list are read; a post shows in timelines that much later at most.
const LISTS: Duration = Duration::from_millis(100);
/// How many those are: a hot account writes half as many meanwhile.
const NEWEST: i64 = 40;
/// Every so many times the lists are read as far as they are kept: a post may come late, behind newer ones.
const WHOLE: u32 = 10;
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
    followed: Arc<HashMap<i64, Vec<i64>>>,
    authors: Arc<[i64]>,
    /// Newest first.
    posts: HashMap<i64, Arc<[i64]>>,
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
        let mut followed: HashMap<i64, Vec<i64>> = HashMap::new();
        for account in &accounts {
            for reader in account.followers.iter().chain([&account.id]) {
                followed.entry(*reader).or_default().push(account.id);
            }
        }
        let authors: Arc<[i64]> = accounts.iter().map(|account| account.id).collect();
        let mut posts = self.known().posts.clone();
        posts.retain(|author, _| authors.contains(author));
        self.know(Known {
            followed: Arc::new(followed),
            authors,
            posts,
        });
        Ok(())
    }

    /// Keeps lists and followers up to date until the process is asked to end.
    pub async fn follow(&self, store: &Store, mut stop: watch::Receiver<bool>) {
        if self.over.is_none() {
            return;
        }
        let mut learnt = tokio::time::Instant::now();
        for time in (0..WHOLE).cycle() {
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
            self.read(store, if time == 0 { AT_HAND } else { NEWEST }).await;
        }
    }

    /// Reads all lists as far as they are kept. One that cannot be read stays as it was.
    pub async fn read_all(&self, store: &Store) {
        self.read(store, AT_HAND).await;
    }

    async fn read(&self, store: &Store, count: i64) {
        let authors = self.known().authors.clone();
        let gaps = self.renew(ask_all(store, &authors, count).await, count);
        if !gaps.is_empty() {
            self.renew(ask_all(store, &gaps, AT_HAND).await, AT_HAND);
        }
    }

    /// Takes lists that were read as far as their newest `count`; returns the authors of which more is new than that.
    fn renew(&self, lists: Vec<(i64, Vec<i64>)>, count: i64) -> Vec<i64> {
        let mut gaps = vec![];
        // What was learnt meanwhile stays.
        let known = self.known();
        let mut posts = known.posts.clone();
        for (author, list) in lists {
            let kept = posts.get(&author).map_or(&[][..], |kept| kept);
            match renewed(kept, list, count) {
                Renewed::Same => {}
                Renewed::Gap => gaps.push(author),
                Renewed::List(list) => drop(posts.insert(author, list.into())),
            }
        }
        self.know(Known {
            followed: known.followed.clone(),
            authors: known.authors.clone(),
            posts,
        });
        gaps
    }

    /// Merges what the large accounts that `reader` follows wrote into `own`, newest first, at most `limit` in all.
    pub fn merge(&self, reader: i64, own: &mut Vec<i64>, limit: usize) {
        let known = self.known();
        let Some(authors) = known.followed.get(&reader) else {
            return;
        };
        for author in authors {
            let posts = known.posts.get(author).map_or(&[][..], |posts| posts);
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

/// The newest `count` ids of each list. One that cannot be read is left out.
async fn ask_all(store: &Store, authors: &[i64], count: i64) -> Vec<(i64, Vec<i64>)> {
    let asked: Vec<_> = authors
        .iter()
        .map(|author| ask(&key(*author), None, count))
        .collect();
    let replies = store.run_each(&asked, DEADLINE).await;
    let lists = authors.iter().zip(&replies);
    lists
        .filter_map(|(author, reply)| Some((*author, ids(reply.as_ref().ok()?))))
        .collect()
}

/// What becomes of a list that was kept.
#[derive(Debug, PartialEq, Eq)]
enum Renewed {
    Same,
    List(Vec<i64>),
    /// More is new than was read.
    Gap,
}

/// A list that was kept, newest first, after its newest `count` have been read. What was read is what is there: only below it does
/// what was kept go on.
fn renewed(kept: &[i64], mut read: Vec<i64>, count: i64) -> Renewed {
    let whole = count >= AT_HAND || i64::try_from(read.len()).is_ok_and(|read| read < count);
    if kept.starts_with(&read) && (!whole || kept.len() == read.len()) {
        return Renewed::Same;
    }
    if let Some(last) = read.last().copied().filter(|_| !whole) {
        if kept.first().is_none_or(|first| *first < last) {
            return Renewed::Gap;
        }
        read.extend(kept.iter().filter(|id| **id < last));
        read.truncate(usize::try_from(AT_HAND).unwrap_or(usize::MAX));
    }
    Renewed::List(read)
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
    fn what_is_read_takes_the_place_of_what_was_kept_as_far_as_it_goes() {
        let kept: Vec<i64> = (1..=AT_HAND).rev().collect();
        let list = Renewed::List;
        assert_eq!(renewed(&kept, kept[..20].to_vec(), 20), Renewed::Same);
        assert_eq!(renewed(&kept, kept.clone(), AT_HAND), Renewed::Same);
        let read = |ids: std::ops::RangeInclusive<i64>| ids.rev().collect::<Vec<_>>();
        let ten_new = renewed(&kept, read(191..=210), 20);
        assert_eq!(ten_new, list(read(11..=210)), "the last ten make room");
        assert_eq!(
            renewed(&kept, read(202..=221), 20),
            Renewed::Gap,
            "201 is missing"
        );
        assert_eq!(renewed(&[], read(1..=20), 20), Renewed::Gap, "there may be more");
        // One that came late, behind newer ones, and one that is gone.
        let late = vec![210, 205, 203];
        assert_eq!(
            renewed(&[210, 203, 9], late.clone(), 3),
            list(vec![210, 205, 203, 9])
        );
        assert_eq!(renewed(&[210, 207, 203, 9], late.clone(), AT_HAND), list(late));
        assert_eq!(
            renewed(&[4, 3], vec![4], 20),
            list(vec![4]),
            "there is no more than was read"
        );
        assert_eq!(renewed(&[], vec![4], 20), list(vec![4]));
        assert_eq!(renewed(&[4], vec![], 20), list(vec![]));
    }

    #[test]
    fn merged_lists_are_newest_first_without_repetition() {
        let mut ids = vec![9, 5, 1, 8, 5, 2];
        newest(&mut ids, 4);
        assert_eq!(ids, [9, 8, 5, 2]);
    }
}
