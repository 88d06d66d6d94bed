//! One answer kept for a while. What many ask for expires for all of them at once: without single flight each computes it
//! again, and the load that the cache took off its source comes back in one moment (a stampede).

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

/// How an answer is kept.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long it is fresh; zero: never, so everybody computes.
    pub keep: Duration,
    /// One computes for all; meanwhile, and when that fails, the last answer is given for up to `stale` longer. Otherwise
    /// everybody who finds the answer expired computes a new one.
    pub single_flight: bool,
    pub stale: Duration,
    /// Up to this share of `keep` is taken off at random, so that replicas started together do not expire together.
    pub jitter: f64,
}

/// The answer and its age.
pub struct Cached<T> {
    policy: Policy,
    kept: Mutex<Option<Kept<T>>>,
    flight: AsyncMutex<()>,
}

struct Kept<T> {
    value: T,
    /// Until when it is fresh.
    until: Instant,
}

impl<T: Clone + Send + 'static> Cached<T> {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            kept: Mutex::new(None),
            flight: AsyncMutex::new(()),
        }
    }

    /// The kept answer when it is not older than `late` beyond its time.
    fn kept(&self, late: Duration) -> Option<T> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref()?;
        (Instant::now() < kept.until + late).then(|| kept.value.clone())
    }

    fn keep(&self, value: T) -> T {
        let early = self.policy.keep.mul_f64(self.policy.jitter * fastrand::f64());
        let until = Instant::now() + self.policy.keep - early;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Kept {
            value: value.clone(),
            until,
        });
        value
    }

    /// The kept answer, or a computed one.
    ///
    /// # Errors
    /// What `compute` says, when there is no answer that may still be given.
    pub async fn get<E, F, Fut>(self: &Arc<Self>, compute: F) -> Result<T, E>
    where
        E: std::fmt::Display + Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        if self.policy.keep.is_zero() {
            return compute().await;
        }
        if let Some(value) = self.kept(Duration::ZERO) {
            return Ok(value);
        }
        if !self.policy.single_flight {
            return compute().await.map(|value| self.keep(value));
        }
        let Some(last) = self.kept(self.policy.stale) else {
            // Nothing to give meanwhile: those who wait find what the first one computed.
            let _flight = self.flight.lock().await;
            return match self.kept(Duration::ZERO) {
                Some(value) => Ok(value),
                None => compute().await.map(|value| self.keep(value)),
            };
        };
        let own = self.clone();
        tokio::spawn(async move {
            let Ok(_flight) = own.flight.try_lock() else {
                return;
            };
            if own.kept(Duration::ZERO).is_some() {
                return;
            }
            match compute().await {
                Ok(value) => drop(own.keep(value)),
                Err(error) => {
                    tracing::warn!(%error, "A kept answer could not be renewed; the last one is given")
                }
            }
        });
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    const KEEP: Duration = Duration::from_secs(10);

    fn policy(single_flight: bool) -> Policy {
        Policy {
            keep: KEEP,
            single_flight,
            stale: Duration::from_secs(60),
            jitter: 0.0,
        }
    }

    /// A source that takes a second, and counts how often it was asked.
    #[derive(Clone, Default)]
    struct Source(Arc<AtomicUsize>);

    impl Source {
        fn asked(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }

        async fn ask(&self, cached: &Arc<Cached<usize>>) -> usize {
            let count = self.0.clone();
            let compute = move || async move {
                let asked = count.fetch_add(1, Ordering::Relaxed) + 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, String>(asked)
            };
            cached.get(compute).await.expect("an answer")
        }

        async fn crowd(&self, cached: &Arc<Cached<usize>>) -> Duration {
            let start = Instant::now();
            join_all((0..100).map(|_| self.ask(cached))).await;
            start.elapsed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_single_flight_everybody_computes_what_expired() {
        let (cached, source) = (Arc::new(Cached::new(policy(false))), Source::default());
        source.ask(&cached).await;
        source.crowd(&cached).await;
        assert_eq!(source.asked(), 1, "it is fresh");
        tokio::time::sleep(KEEP).await;
        source.crowd(&cached).await;
        assert_eq!(source.asked(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn with_it_one_computes_and_nobody_waits_for_an_answer_that_was_there() {
        let (cached, source) = (Arc::new(Cached::new(policy(true))), Source::default());
        assert_eq!(source.crowd(&cached).await, Duration::from_secs(1));
        assert_eq!(source.asked(), 1, "even the first time");
        tokio::time::sleep(KEEP).await;
        assert_eq!(source.crowd(&cached).await, Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(source.asked(), 1);
        tokio::time::sleep(KEEP + Duration::from_secs(60)).await;
        assert_eq!(
            source.crowd(&cached).await,
            Duration::from_secs(1),
            "too old to be given"
        );
        assert_eq!(source.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_fails_does_not_take_the_last_answer_away() {
        let cached = Arc::new(Cached::new(policy(true)));
        let say = |said: Result<u8, &'static str>| cached.get(move || async move { said });
        assert_eq!(say(Ok(1)).await, Ok(1));
        tokio::time::sleep(KEEP).await;
        assert_eq!(say(Err("no")).await, Ok(1));
        tokio::time::sleep(KEEP + Duration::from_secs(60)).await;
        assert_eq!(say(Err("no")).await, Err("no"));
    }

    #[tokio::test(start_paused = true)]
    async fn with_jitter_replicas_do_not_expire_together() {
        let jittered = Policy {
            jitter: 0.2,
            ..policy(true)
        };
        let start = Instant::now();
        let ends: Vec<Duration> = (0..50)
            .map(|_| {
                let cached = Cached::new(jittered);
                cached.keep(0);
                let kept = cached.kept.lock().expect("not poisoned");
                kept.as_ref().expect("kept").until - start
            })
            .collect();
        assert!(ends.iter().all(|end| (KEEP.mul_f64(0.8)..=KEEP).contains(end)));
        assert!(ends.iter().any(|end| *end != ends[0]));
    }
}
