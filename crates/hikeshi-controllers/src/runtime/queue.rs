//! A work queue: a key is handed out to one worker at a time, repeated additions fold into one, failures back off.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Key;

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// Whoever asks for more is looked at once a day: an `Instant` has an end, and durations that people write may be longer.
const LONGEST_DELAY: Duration = Duration::from_secs(86_400);

#[derive(Default)]
struct State {
    ready: VecDeque<Key>,
    /// Keys that need a run: those in `ready`, and those running that changed meanwhile.
    dirty: HashSet<Key>,
    running: HashSet<Key>,
    later: BinaryHeap<Reverse<(Instant, Key)>>,
    /// The earliest of a key's times in `later`, the only one that counts: its run asks for the next.
    due: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
}

impl State {
    fn push(&mut self, key: Key) -> bool {
        if !self.dirty.insert(key.clone()) || self.running.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a run of `key` as soon as possible.
    pub(crate) fn add(&self, key: Key) {
        if self.lock().push(key) {
            self.changed.notify_one();
        }
    }

    /// Asks for a run of `key` after `delay`, or after [`LONGEST_DELAY`] if that is sooner. Of several such wishes the
    /// earliest stands for all.
    pub(crate) fn add_after(&self, key: Key, delay: Duration) {
        let at = Instant::now() + delay.min(LONGEST_DELAY);
        let mut state = self.lock();
        if state.due.get(&key).is_some_and(|known| *known <= at) {
            return;
        }
        state.due.insert(key.clone(), at);
        state.later.push(Reverse((at, key)));
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for a key that needs a run and marks it as running. Meant for one caller at a time; cancel-safe.
    pub(crate) async fn next(&self) -> Key {
        loop {
            let wake = {
                let mut state = self.lock();
                let now = Instant::now();
                while state.later.peek().is_some_and(|Reverse((at, _))| *at <= now) {
                    if let Some(Reverse((at, key))) = state.later.pop()
                        && state.due.get(&key) == Some(&at)
                    {
                        state.due.remove(&key);
                        state.push(key);
                    }
                }
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.running.insert(key.clone());
                    return key;
                }
                state.later.peek().map(|Reverse((at, _))| *at)
            };
            match wake {
                Some(at) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Ends the run of `key`; if it was added meanwhile it becomes ready again.
    pub(crate) fn done(&self, key: &Key) {
        let mut state = self.lock();
        state.running.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Forgets past failures of `key`.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().failures.remove(key);
    }

    /// Schedules a retry after a failure: 50 ms, doubled each time, up to 30 s.
    pub(crate) fn retry(&self, key: Key) -> Duration {
        let delay = {
            let mut state = self.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures = failures.saturating_add(1);
            FIRST_BACKOFF
                .saturating_mul(1 << (*failures - 1).min(16))
                .min(LONGEST_BACKOFF)
        };
        self.add_after(key, delay);
        delay
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn key(name: &str) -> Key {
        Key::new("ns", name)
    }

    #[test]
    fn a_key_runs_once_at_a_time_and_again_when_it_changed_meanwhile() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.next().now_or_never(), Some(key("a")));
        queue.add(key("a"));
        queue.add(key("b"));
        assert_eq!(
            queue.next().now_or_never(),
            Some(key("b")),
            "a is running, so b comes first"
        );
        queue.done(&key("a"));
        assert_eq!(queue.next().now_or_never(), Some(key("a")));
        queue.done(&key("a"));
        queue.done(&key("b"));
        assert_eq!(queue.next().now_or_never(), None);
    }

    #[tokio::test]
    async fn the_longest_delay_of_all_is_a_day() {
        let queue = Queue::default();
        queue.add_after(key("a"), Duration::MAX);
        assert_eq!(queue.next().now_or_never(), None);
        let state = queue.lock();
        let at = state.later.peek().map(|Reverse((at, _))| *at);
        assert!(at.is_some_and(|at| at <= Instant::now() + LONGEST_DELAY));
    }

    #[tokio::test]
    async fn the_earliest_of_many_delays_stands_for_all() {
        let queue = Queue::default();
        for _ in 0..1_000 {
            queue.add_after(key("a"), Duration::from_secs(3_600));
        }
        assert_eq!(queue.lock().later.len(), 1);
        queue.add_after(key("a"), Duration::ZERO);
        assert_eq!(queue.next().now_or_never(), Some(key("a")));
        queue.done(&key("a"));
        assert_eq!(queue.next().now_or_never(), None, "no run for the late ones");
        queue.add_after(key("a"), Duration::ZERO);
        assert_eq!(queue.next().now_or_never(), Some(key("a")), "but for a new wish");
    }

    #[test]
    fn failures_back_off_and_are_forgotten() {
        let queue = Queue::default();
        assert_eq!(queue.retry(key("a")), Duration::from_millis(50));
        assert_eq!(queue.retry(key("a")), Duration::from_millis(100));
        for _ in 0..40 {
            queue.retry(key("a"));
        }
        assert_eq!(queue.retry(key("a")), LONGEST_BACKOFF);
        queue.forget(&key("a"));
        assert_eq!(queue.retry(key("a")), Duration::from_millis(50));
    }
}
