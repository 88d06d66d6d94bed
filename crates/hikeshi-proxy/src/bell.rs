//! Something that happens now and then and that thousands of connections wait for beside their own work: a pod is gone,
//! the faults have changed. Looking whether it has happened is one load; a task is entered once for as long as it watches,
//! not at every look.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// See the module's words.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicU64,
    watching: Mutex<Watching>,
}

/// The tasks to wake, each at a place of its own.
#[derive(Debug, Default)]
struct Watching {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Bell {
    /// How often it has rung.
    pub fn rung(&self) -> u64 {
        self.rung.load(Ordering::Acquire)
    }

    pub fn ring(&self) {
        let wakers: Vec<Waker> = {
            let watching = self.watching();
            self.rung.fetch_add(1, Ordering::AcqRel);
            watching.places.iter().flatten().cloned().collect()
        };
        for waker in wakers {
            waker.wake();
        }
    }

    /// Ready once it has rung at all.
    pub fn ever(self: &Arc<Self>) -> Watch {
        self.since(0)
    }

    /// Ready once it rings after this call.
    pub fn next(self: &Arc<Self>) -> Watch {
        self.since(self.rung())
    }

    /// Ready once it has rung more often than `seen` times.
    pub fn since(self: &Arc<Self>, seen: u64) -> Watch {
        Watch {
            bell: self.clone(),
            seen,
            entered: None,
        }
    }

    fn watching(&self) -> MutexGuard<'_, Watching> {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One task's wait for a [`Bell`]. May be asked again after it was ready: it still is.
#[derive(Debug)]
pub(crate) struct Watch {
    bell: Arc<Bell>,
    seen: u64,
    entered: Option<(usize, Waker)>,
}

impl Watch {
    /// Whether it has rung; nobody is woken.
    pub fn is_over(&self) -> bool {
        self.bell.rung() != self.seen
    }
}

impl Future for Watch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_over() {
            return Poll::Ready(());
        }
        match &self.entered {
            Some((_, waker)) if waker.will_wake(cx.waker()) => return Poll::Pending,
            _ => {}
        }
        let waker = cx.waker().clone();
        let known = self.entered.take().map(|(place, _)| place);
        let place = {
            let mut watching = self.bell.watching();
            let place = known
                .or_else(|| watching.free.pop())
                .unwrap_or(watching.places.len());
            match watching.places.get_mut(place) {
                Some(entry) => *entry = Some(waker.clone()),
                None => watching.places.push(Some(waker.clone())),
            }
            place
        };
        self.entered = Some((place, waker));
        // It may have rung before the task was entered.
        if self.is_over() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((place, _)) = self.entered.take() {
            let mut watching = self.bell.watching();
            watching.places[place] = None;
            watching.free.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(watch: &mut Watch, waker: &Waker) -> bool {
        Pin::new(watch).poll(&mut Context::from_waker(waker)).is_ready()
    }

    #[test]
    fn a_task_is_entered_once_and_woken_at_each_ring_until_it_no_longer_watches() {
        let (bell, woken) = (Arc::new(Bell::default()), Arc::new(Counted::default()));
        let waker = Waker::from(woken.clone());
        let mut watch = bell.next();
        for _ in 0..3 {
            assert!(!poll(&mut watch, &waker));
        }
        assert_eq!(bell.watching().places.len(), 1);
        bell.ring();
        assert!(poll(&mut watch, &waker));
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        drop(watch);
        bell.ring();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        // Its place is the next one's.
        let mut other = bell.next();
        assert!(!poll(&mut other, &waker));
        assert_eq!(bell.watching().places.len(), 1);
    }

    #[test]
    fn what_has_happened_is_seen_by_who_asks_later_and_another_waker_takes_the_place() {
        let bell = Arc::new(Bell::default());
        let (first, second) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
        let mut watch = bell.ever();
        assert!(!poll(&mut watch, &first.clone().into()));
        assert!(!poll(&mut watch, &second.clone().into()));
        bell.ring();
        assert_eq!(
            (first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)),
            (0, 1)
        );
        assert!(poll(&mut bell.ever(), Waker::noop()) && !poll(&mut bell.next(), Waker::noop()));
    }

    #[tokio::test]
    async fn a_ring_on_another_thread_is_never_missed() {
        let bell = Arc::new(Bell::default());
        let ringing = bell.clone();
        let (ask, asked) = std::sync::mpsc::channel();
        let ringer = std::thread::spawn(move || {
            while asked.recv().is_ok() {
                ringing.ring();
            }
        });
        for _ in 0..2_000 {
            let watch = bell.next();
            ask.send(()).unwrap();
            tokio::time::timeout(std::time::Duration::from_secs(30), watch)
                .await
                .unwrap();
        }
        drop(ask);
        ringer.join().unwrap();
    }
}
