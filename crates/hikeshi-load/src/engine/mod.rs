//! The executor: one thread that sends each request when it is due, whatever became of the ones before it.
//!
//! It is a loop around epoll, as wrk's is: at 20,000 requests a second what a request costs is its two system calls, and
//! nothing of ours may come near that. A request takes a connection that is free, else a new one; when as many are open as
//! may be, it waits, and its latency goes on counting from when it was due.

mod address;
mod connection;
mod descriptors;
mod judge;
mod request;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

pub use address::{Target, TargetError};
pub use descriptors::raise_limit;

use address::Address;
use connection::{Connection, Got, State};
use judge::{Judge, Outcome};
use request::Request;

use crate::journey::Journey;
use crate::people::People;
use crate::recorder::{Acknowledged, Recorder};
use crate::schedule::Arrival;

/// At high rates a turn of the loop takes at least this: what is due within it is sent together and what was answered is
/// read together, or else every answer would wake the thread. Latencies are then up to this much too long, never too short.
const QUANTUM: Duration = Duration::from_micros(250);
/// How often deadlines, parked requests and the wish to stop are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The timer's mark among the connections'.
const TIMER: u64 = u64::MAX;

/// Part of its time that a request may wait for a connection. One that is sent with little time left only costs a system that
/// is late already: its answer comes to nobody, its connection is closed and another one opened, and so for the next, for good.
const WAIT_SHARE: f64 = 0.5;

/// How requests are sent.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A request that has no answer so long after it was due has failed, and one that found no connection within half of that.
    pub timeout: Duration,
    /// Connections open at once, at most.
    pub connections: usize,
    /// Entries a reader asks for.
    pub page: u32,
}

/// A post that was acknowledged just now.
#[derive(Clone, Copy, Debug)]
pub struct Posted {
    pub id: i64,
    pub author: u32,
    pub hot: bool,
    pub at: Instant,
}

/// What a run needs besides the engine.
pub struct Errand<'a> {
    /// When the schedule's time zero is.
    pub start: Instant,
    pub recorder: &'a Recorder,
    /// Ends the run: nothing more is sent, what is under way is waited for.
    pub stop: &'a AtomicBool,
    /// Told of every acknowledged post.
    pub posted: &'a mut dyn FnMut(Posted),
}

pub struct Engine {
    settings: Settings,
    people: Arc<People>,
    address: Address,
    epoll: Epoll,
    timer: TimerFd,
    armed: Option<Instant>,
    /// By place; the generation tells a late event of a place's former connection.
    connections: Vec<(u32, Option<Connection>)>,
    free: Vec<usize>,
    /// The one used last is used next: a few connections do most of the work.
    idle: Vec<usize>,
    open: usize,
    most: usize,
    /// Requests for which there is no connection.
    queue: VecDeque<Request>,
    /// Requests of people who are being logged in.
    parked: Vec<Request>,
    scratch: Vec<u8>,
    judge: Judge,
    text: String,
    /// Of this run's posts.
    key: u64,
}

impl Engine {
    /// Sends to `target`, as `people`.
    ///
    /// # Errors
    /// When the system gives no descriptors.
    pub fn new(target: Target, people: Arc<People>, settings: Settings) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(&timer, EpollEvent::new(edges, TIMER))?;
        Ok(Self {
            settings,
            people,
            address: Address::of(target),
            epoll,
            timer,
            armed: None,
            connections: vec![],
            free: vec![],
            idle: vec![],
            open: 0,
            most: settings.connections.max(1),
            queue: VecDeque::new(),
            parked: vec![],
            scratch: vec![0; 64 * 1024],
            judge: Judge::default(),
            text: String::new(),
            key: 0,
        })
    }

    /// Sends what is planned, when it is due, and waits for the answers.
    ///
    /// # Errors
    /// When the system's epoll or timer fail; a target that fails is measured.
    pub fn run(&mut self, schedule: impl Iterator<Item = Arrival>, mut errand: Errand<'_>) -> io::Result<()> {
        // Every run counts its arrivals from 0: its posts need a key of their own.
        self.key = fastrand::u64(..);
        let mut schedule = schedule.peekable();
        let mut events = [EpollEvent::empty(); 256];
        let mut looked = Instant::now();
        loop {
            let now = Instant::now();
            let stopped = errand.stop.load(Ordering::Relaxed);
            if !stopped {
                while let Some(arrival) = schedule.next_if(|arrival| errand.start + arrival.at <= now) {
                    self.offer(arrival, &mut errand);
                }
            }
            if now.duration_since(looked) >= LOOK {
                looked = now;
                self.look(now, &mut errand);
            }
            let due = match schedule.peek() {
                Some(arrival) if !stopped => Some(errand.start + arrival.at),
                _ => None,
            };
            if due.is_none() && self.is_at_rest() {
                return Ok(());
            }
            let timeout = match due {
                Some(due) if due < now + QUANTUM => {
                    #[expect(clippy::disallowed_methods, reason = "a schedule is kept by the clock")]
                    std::thread::sleep(QUANTUM.saturating_sub(now.elapsed()));
                    EpollTimeout::ZERO
                }
                due => {
                    self.arm((looked + LOOK).min(due.unwrap_or(looked + LOOK)))?;
                    EpollTimeout::NONE
                }
            };
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            for event in events.iter().take(count) {
                if event.data() == TIMER {
                    self.armed = None;
                } else {
                    self.happened(event.data(), event.events(), &mut errand);
                }
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        self.idle.len() == self.open && self.queue.is_empty() && self.parked.is_empty()
    }

    fn arm(&mut self, wake: Instant) -> io::Result<()> {
        if self.armed == Some(wake) {
            return Ok(());
        }
        // Zero would disarm it.
        let wait = wake
            .saturating_duration_since(Instant::now())
            .max(Duration::from_nanos(1));
        let nanos = i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX);
        let expiration = Expiration::OneShot(TimeSpec::nanoseconds(nanos));
        self.timer.set(expiration, TimerSetTimeFlags::empty())?;
        self.armed = Some(wake);
        Ok(())
    }

    fn offer(&mut self, arrival: Arrival, errand: &mut Errand<'_>) {
        errand.recorder.offered(arrival.journey, arrival.at);
        let by_hot = arrival.hot && arrival.journey == Journey::PostMessage;
        let request = Request {
            arrival,
            due: errand.start + arrival.at,
            person: if by_hot {
                self.people.hot()
            } else {
                self.people.pick(arrival.dice)
            },
            head: None,
            sent: false,
            again: false,
        };
        self.submit(request, errand);
    }

    /// Gives a request to a connection, or puts it where it waits.
    fn submit(&mut self, mut request: Request, errand: &mut Errand<'_>) {
        request.head = self.people.head(request.person);
        if request.head.is_none() {
            self.parked.push(request);
        } else if let Some(place) = self.idle.pop() {
            self.send(place, request, errand);
        } else if self.open < self.most {
            self.connect(request, errand);
        } else {
            self.queue.push_back(request);
        }
    }

    fn connect(&mut self, request: Request, errand: &Errand<'_>) {
        let Some(address) = self.address.get() else {
            // Its name is still being looked up.
            self.parked.push(request);
            return;
        };
        let kept = request.clone();
        let opened = Connection::open(address, request).and_then(|connection| {
            let place = self.free.pop().unwrap_or(self.connections.len());
            if place == self.connections.len() {
                self.connections.push((0, None));
            }
            let interest =
                EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
            let mark = u64::from(self.connections[place].0) << 32 | place as u64;
            if let Err(error) = self.epoll.add(&connection, EpollEvent::new(interest, mark)) {
                self.free.push(place);
                return Err(error.into());
            }
            self.connections[place].1 = Some(connection);
            self.open += 1;
            Ok(())
        });
        match opened {
            Ok(()) => {}
            // No more descriptors: make do with the connections there are.
            Err(error) if descriptors::are_used_up(&error) && self.open > 0 => {
                self.most = self.open;
                self.queue.push_back(kept);
            }
            Err(_) => {
                self.address.look_again();
                fail(&kept, "no connection", errand);
            }
        }
    }

    /// Sends on a connection that is free.
    fn send(&mut self, place: usize, mut request: Request, errand: &mut Errand<'_>) {
        let Some(connection) = self.connections[place].1.as_mut() else {
            return;
        };
        if !request.sent {
            request.sent = true;
            errand
                .recorder
                .sent(request.journey(), request.at(), request.due.elapsed());
        }
        let (people, page, key, text) = (&self.people, self.settings.page, self.key, &mut self.text);
        let written = connection.send(|out| request.write(people, page, key, text, out));
        connection.state = State::Busy(request);
        if written.is_err() {
            self.lost(place, "connection lost", errand);
        }
    }

    /// Something happened to a connection.
    fn happened(&mut self, mark: u64, events: EpollFlags, errand: &mut Errand<'_>) {
        let (place, generation) = ((mark & 0xffff_ffff) as usize, (mark >> 32) as u32);
        let Some((current, Some(connection))) = self.connections.get_mut(place) else {
            return;
        };
        if *current != generation {
            return;
        }
        if let State::Connecting(request) = &connection.state {
            if connection.refused().is_err() {
                self.lost(place, "no connection", errand);
            } else if events.contains(EpollFlags::EPOLLOUT) {
                let request = request.clone();
                self.send(place, request, errand);
            }
            return;
        }
        if events.contains(EpollFlags::EPOLLOUT) && connection.write().is_err() {
            self.lost(place, "connection lost", errand);
            return;
        }
        let over = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        if !events.intersects(EpollFlags::EPOLLIN | over) {
            return;
        }
        match connection.read(&mut self.scratch, events.intersects(over)) {
            Got::More => {}
            Got::Lost(why) => self.lost(place, why, errand),
            Got::Answer {
                status,
                body,
                in_scratch,
                keep,
            } => {
                let State::Busy(request) = std::mem::replace(&mut connection.state, State::Idle) else {
                    return;
                };
                let body = if in_scratch {
                    &self.scratch[body]
                } else {
                    connection.buffered(body)
                };
                let outcome = self.judge.judge(&request, &self.people, status, body);
                connection.forget_answer();
                if keep {
                    self.idle.push(place);
                } else {
                    self.close(place);
                }
                self.answered(request, outcome, errand);
                self.pump(errand);
            }
        }
    }

    fn answered(&mut self, mut request: Request, outcome: Outcome, errand: &mut Errand<'_>) {
        let end = |outcome| {
            errand
                .recorder
                .ended(request.journey(), request.at(), request.due.elapsed(), outcome)
        };
        match outcome {
            Outcome::Ok => end(Ok(())),
            Outcome::Wrong(what) => end(Err(what)),
            Outcome::Status(401) if !request.again => {
                // A token lives only so long. Who has a new one asks once more, as a user's program would.
                if let Some(head) = &request.head {
                    self.people.expired(request.person, head);
                }
                request.again = true;
                self.submit(request, errand);
            }
            Outcome::Status(status) => end(Err(&format!("status {status}"))),
            Outcome::Posted(id) => {
                end(Ok(()));
                let (author, hot) = (request.person, request.arrival.hot);
                (errand.posted)(Posted {
                    id,
                    author,
                    hot,
                    at: Instant::now(),
                });
            }
        }
    }

    /// A connection is of no more use; its request may be of some.
    fn lost(&mut self, place: usize, why: &'static str, errand: &mut Errand<'_>) {
        let Some(connection) = self.close(place) else {
            return;
        };
        match connection.state {
            State::Idle => self.idle.retain(|idle| *idle != place),
            State::Connecting(request) => {
                self.address.look_again();
                fail(&request, why, errand);
            }
            State::Busy(mut request) => {
                // A server may close a connection it kept while a request is on its way there. Reads may be repeated.
                let unlucky = connection.served > 0 && !connection.began && why != "not HTTP";
                if unlucky && request.journey().is_read() && !request.again {
                    request.again = true;
                    self.submit(request, errand);
                } else {
                    fail(&request, why, errand);
                }
            }
        }
        self.pump(errand);
    }

    fn close(&mut self, place: usize) -> Option<Connection> {
        let (generation, slot) = self.connections.get_mut(place)?;
        let connection = slot.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(place);
        self.open -= 1;
        Some(connection)
    }

    /// Gives those who wait a connection, as far as there are any.
    fn pump(&mut self, errand: &mut Errand<'_>) {
        while !self.queue.is_empty() && (!self.idle.is_empty() || self.open < self.most) {
            let before = self.queue.len();
            if let Some(request) = self.queue.pop_front() {
                self.submit(request, errand);
            }
            // It went back: there are no descriptors.
            if self.queue.len() == before {
                return;
            }
        }
    }

    /// Ends what is too late, and sends for those who are logged in by now.
    fn look(&mut self, now: Instant, errand: &mut Errand<'_>) {
        let timeout = self.settings.timeout;
        let late = |request: &Request| now.saturating_duration_since(request.due) >= timeout;
        for place in 0..self.connections.len() {
            let expired = match &self.connections[place].1 {
                Some(connection) => match &connection.state {
                    State::Busy(request) | State::Connecting(request) => late(request),
                    State::Idle => false,
                },
                None => false,
            };
            if let Some(connection) = expired.then(|| self.close(place)).flatten()
                && let State::Busy(request) | State::Connecting(request) = connection.state
            {
                fail(&request, "timeout", errand);
            }
        }
        let patience = timeout.mul_f64(WAIT_SHARE);
        let waited = |request: &Request| now.saturating_duration_since(request.due) >= patience;
        while self.queue.front().is_some_and(waited) {
            if let Some(request) = self.queue.pop_front() {
                fail(&request, "no free connection", errand);
            }
        }
        for request in std::mem::take(&mut self.parked) {
            if late(&request) {
                let known = request.head.is_some();
                fail(
                    &request,
                    if known { "no connection" } else { "not logged in" },
                    errand,
                );
            } else {
                self.submit(request, errand);
            }
        }
        self.pump(errand);
    }
}

fn fail(request: &Request, why: &str, errand: &Errand<'_>) {
    errand
        .recorder
        .ended(request.journey(), request.at(), request.due.elapsed(), Err(why));
}

/// The record's entry for a post.
impl From<Posted> for Acknowledged {
    fn from(posted: Posted) -> Self {
        Self {
            id: posted.id,
            author: posted.author,
            at: jiff::Timestamp::now().as_millisecond(),
        }
    }
}
