//! Waiting for an instant, to within tens of microseconds: the runtime's own timer has a resolution of a millisecond and
//! rounds up, which a fault's "10 ms" must not.
//!
//! Each runtime thread has its deadlines in order and one timerfd, armed for the earliest. A task of that runtime wakes
//! whoever is due. Never early: what is woken looks at the clock itself.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant as StdInstant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

/// Ready at `due`, at once if that is past. Dropping it forgets the deadline.
pub(crate) fn exact_sleep_until(due: Instant) -> ExactSleep {
    ExactSleep {
        due: due.into_std(),
        waiting: Waiting::Not,
    }
}

/// See [`exact_sleep_until`].
pub(crate) struct ExactSleep {
    due: StdInstant,
    waiting: Waiting,
}

enum Waiting {
    Not,
    At(Arc<Clock>, u64),
    /// Without a descriptor for a timer: a millisecond's resolution is better than none.
    Roughly(Pin<Box<tokio::time::Sleep>>),
}

impl ExactSleep {
    pub fn due(&self) -> Instant {
        Instant::from_std(self.due)
    }
}

impl Future for ExactSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if StdInstant::now() >= this.due {
            return Poll::Ready(());
        }
        if let Waiting::Not = this.waiting {
            this.waiting = match Clock::here() {
                Ok(clock) => {
                    let number = clock.number();
                    Waiting::At(clock, number)
                }
                Err(error) => {
                    tracing::warn!(%error, "no exact timer");
                    Waiting::Roughly(Box::pin(tokio::time::sleep_until(Instant::from_std(this.due))))
                }
            };
        }
        match &mut this.waiting {
            Waiting::At(clock, number) => clock.wake_at(this.due, *number, cx.waker()),
            Waiting::Roughly(sleep) => return sleep.as_mut().poll(cx),
            Waiting::Not => {}
        }
        Poll::Pending
    }
}

impl Drop for ExactSleep {
    fn drop(&mut self) {
        if let Waiting::At(clock, number) = &self.waiting {
            clock.deadlines().remove(&(self.due, *number));
        }
    }
}

thread_local! {
    /// This thread's clock, and the runtime whose task drives it.
    static HERE: RefCell<Option<(Id, Arc<Clock>)>> = const { RefCell::new(None) };
}

type Deadlines = BTreeMap<(StdInstant, u64), Waker>;

struct Clock {
    deadlines: Mutex<Deadlines>,
    numbers: std::sync::atomic::AtomicU64,
    timer: TimerFd,
}

impl Clock {
    fn here() -> io::Result<Arc<Self>> {
        let runtime = Handle::current().id();
        HERE.with_borrow_mut(|here| match here {
            Some((id, clock)) if *id == runtime => Ok(clock.clone()),
            _ => {
                let clock = Self::start()?;
                *here = Some((runtime, clock.clone()));
                Ok(clock)
            }
        })
    }

    fn start() -> io::Result<Arc<Self>> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let clock = Arc::new(Self {
            deadlines: Mutex::default(),
            numbers: std::sync::atomic::AtomicU64::new(0),
            timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?,
        });
        // SAFETY: the descriptor is always the timer's, which lives as long as the clock that `Ticks` holds.
        let ticks = unsafe { AsyncFd::register_with_interest(Ticks(clock.clone()), Interest::READABLE) }?;
        tokio::spawn(drive(ticks));
        Ok(clock)
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    fn deadlines(&self) -> std::sync::MutexGuard<'_, Deadlines> {
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_at(&self, due: StdInstant, number: u64, waker: &Waker) {
        let mut deadlines = self.deadlines();
        let known = deadlines.entry((due, number)).or_insert_with(|| waker.clone());
        if !known.will_wake(waker) {
            known.clone_from(waker);
        }
        if deadlines.keys().next() == Some(&(due, number)) {
            self.arm(due);
        }
    }

    fn arm(&self, due: StdInstant) {
        // Zero would disarm it.
        let left = due
            .saturating_duration_since(StdInstant::now())
            .max(Duration::from_nanos(1));
        // Fails only for a duration that is no duration.
        let _ = self.timer.set(
            Expiration::OneShot(TimeSpec::from_duration(left)),
            TimerSetTimeFlags::empty(),
        );
    }

    /// Wakes who is due, and arms the timer for the next.
    fn tick(&self) {
        let mut due = Vec::new();
        {
            let mut deadlines = self.deadlines();
            let now = StdInstant::now();
            while let Some(first) = deadlines.first_entry() {
                let at = first.key().0;
                if at > now {
                    self.arm(at);
                    break;
                }
                due.push(first.remove());
            }
        }
        for waker in due {
            waker.wake();
        }
    }
}

/// The timer's descriptor, as the runtime wants it.
struct Ticks(Arc<Clock>);

impl AsFd for Ticks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.timer.as_fd()
    }
}

impl AsRawFd for Ticks {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

async fn drive(ticks: AsyncFd<Ticks>) {
    // An error is the runtime's end.
    while let Ok(mut ready) = ticks.readable().await {
        let clock = &ticks.get_ref().0;
        // Its count of expirations is of no use and is not read: setting the timer anew clears it, and until then the
        // runtime, which waits for edges, hears no more of it.
        ready.clear_ready();
        clock.tick();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_never_early_and_keeps_the_order() {
        let begun = Instant::now();
        let wait = |millis: u64| async move {
            exact_sleep_until(begun + Duration::from_millis(millis)).await;
            assert!(begun.elapsed() >= Duration::from_millis(millis));
            Instant::now()
        };
        let (late, soon, past) = tokio::join!(wait(30), wait(5), wait(0));
        assert!(past <= soon && soon <= late);
    }

    #[tokio::test]
    async fn one_that_is_dropped_leaves_nothing_behind() {
        let far = Instant::now() + Duration::from_secs(600);
        let mut sleep = Box::pin(exact_sleep_until(far));
        assert!(futures_poll_once(sleep.as_mut()).await.is_pending());
        let clock = Clock::here().unwrap();
        assert_eq!(clock.deadlines().len(), 1);
        drop(sleep);
        assert!(clock.deadlines().is_empty());
    }

    async fn futures_poll_once(mut future: Pin<&mut ExactSleep>) -> Poll<()> {
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }
}
