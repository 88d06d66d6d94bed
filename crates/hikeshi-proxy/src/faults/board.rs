//! The board of the faults in force: swapped whole, read at every request and every chunk of bytes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::bandwidth::{Bandwidth, Bucket, WINDOW};
use super::end::{End, Now};
use super::{Delay, Fault, FaultKind, HttpFault, Loss, NetworkEffect, NetworkFault};
use crate::bell::{Bell, Watch};

/// How often the clocks are looked at while a fault has an end: a machine that sleeps wakes nobody in time.
const LOOK: Duration = Duration::from_secs(1);

/// A fault with what it remembers, which it keeps when others join or leave those whom it hits.
#[derive(Debug)]
pub(crate) struct ActiveFault {
    id: String,
    kind: FaultKind,
    memory: Arc<Memory>,
}

/// How many draws a fault made, and its senders' token buckets.
#[derive(Debug)]
struct Memory {
    draws: AtomicU64,
    lengths: AtomicU64,
    /// Where in its distribution the last length lay: a float's bits.
    last_place: AtomicU64,
    last_lost: AtomicBool,
    buckets: Mutex<HashMap<Arc<str>, Bucket>>,
}

impl ActiveFault {
    fn new(spec: Fault) -> Self {
        let memory = Memory {
            draws: AtomicU64::new(0),
            lengths: AtomicU64::new(0),
            last_place: AtomicU64::new(0.5f64.to_bits()),
            last_lost: AtomicBool::new(false),
            buckets: Mutex::new(HashMap::new()),
        };
        Self::remembering(spec, Arc::new(memory))
    }

    fn remembering(spec: Fault, memory: Arc<Memory>) -> Self {
        Self {
            id: spec.id,
            kind: spec.kind,
            memory,
        }
    }

    /// Whether they are one fault, perhaps before and after its selection changed.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
    }

    /// The number of the next random choice.
    pub fn draw(&self) -> u64 {
        self.memory.draws.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of the next delay; apart from [`Self::draw`], whose count must stay exact.
    pub fn draw_length(&self) -> u64 {
        self.memory.lengths.fetch_add(1, Ordering::Relaxed)
    }

    /// The next length of a delay on packets.
    fn next_length(&self, delay: &Delay) -> Duration {
        let last = f64::from_bits(self.memory.last_place.load(Ordering::Relaxed));
        let (length, place) = delay.sample_after(self.draw_length(), last);
        self.memory.last_place.store(place.to_bits(), Ordering::Relaxed);
        length
    }

    /// Whether the next packet is lost.
    fn next_lost(&self, loss: &Loss) -> bool {
        let lost = loss.hits(self.draw(), self.memory.last_lost.load(Ordering::Relaxed));
        self.memory.last_lost.store(lost, Ordering::Relaxed);
        lost
    }

    /// What this fault asks of `bytes` that `sender` sent at `arrival`: it draws, or books the bytes.
    fn ask(&self, sender: &Arc<str>, arrival: Instant, bytes: usize) -> Option<Asked> {
        match &self.network()?.effect {
            NetworkEffect::Delay(delay) => Some(Asked::Longer(self.next_length(delay))),
            NetworkEffect::Loss(loss) if !loss.is_total() => {
                Some(Asked::Longer(loss.stall(bytes, || self.next_lost(loss))))
            }
            NetworkEffect::Bandwidth(limit) => {
                let buckets = self.memory.buckets.lock();
                let mut buckets = buckets.unwrap_or_else(PoisonError::into_inner);
                let bucket = buckets.entry(sender.clone()).or_insert(Bucket::NEW);
                let passed = bucket.reserve(limit, arrival, bytes);
                Some(Asked::Turn(passed.saturating_duration_since(arrival)))
            }
            _ => None,
        }
    }

    pub fn http(&self) -> Option<&HttpFault> {
        match &self.kind {
            FaultKind::Http(fault) => Some(fault),
            FaultKind::Network(_) => None,
        }
    }

    fn network(&self) -> Option<&NetworkFault> {
        match &self.kind {
            FaultKind::Network(fault) => Some(fault),
            FaultKind::Http(_) => None,
        }
    }
}

/// What one fault asked of one piece of bytes. It asks once, however often the other faults change meanwhile.
#[derive(Debug)]
pub(crate) struct Toll {
    fault: Arc<Memory>,
    asked: Asked,
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    /// So much longer on the way.
    Longer(Duration),
    /// So long until the sender's card has sent it.
    Turn(Duration),
}

/// The network faults on packets from one sender to one receiver.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    sender: Arc<str>,
    faults: Vec<Arc<ActiveFault>>,
    /// Nothing passes.
    pub blocked: bool,
    /// Connections are reset.
    pub reset: bool,
}

impl Line {
    /// Whether bytes pass as if this module did not exist.
    pub fn is_clear(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether both are made of the same faults.
    pub fn same(&self, other: &Self) -> bool {
        self.faults.len() == other.faults.len() && self.faults.iter().zip(&other.faults).all(|(a, b)| a.is(b))
    }

    /// When bytes that arrived at `arrival` may go on. `tolls` is what was asked of them before.
    pub fn due(&self, tolls: &mut Vec<Toll>, arrival: Instant, bytes: usize) -> Instant {
        let of = |toll: &Toll, fault: &ActiveFault| Arc::ptr_eq(&toll.fault, &fault.memory);
        tolls.retain(|toll| self.faults.iter().any(|fault| of(toll, fault)));
        for fault in &self.faults {
            if !tolls.iter().any(|toll| of(toll, fault))
                && let Some(asked) = fault.ask(&self.sender, arrival, bytes)
            {
                let fault = fault.memory.clone();
                tolls.push(Toll { fault, asked });
            }
        }
        let (mut turn, mut longer) = (Duration::ZERO, Duration::ZERO);
        for toll in tolls {
            match toll.asked {
                Asked::Turn(wait) => turn = turn.max(wait),
                Asked::Longer(extra) => longer += extra,
            }
        }
        arrival + turn + longer
    }

    /// The largest piece of bytes to schedule at once.
    pub fn piece(&self) -> usize {
        self.limits().map(Bandwidth::piece).min().unwrap_or(64 * 1024)
    }

    /// Most bytes on their way at once; the sender waits then.
    pub fn window(&self) -> usize {
        self.limits().map(Bandwidth::window).min().unwrap_or(WINDOW)
    }

    fn limits(&self) -> impl Iterator<Item = &Bandwidth> {
        self.faults
            .iter()
            .filter_map(|fault| match &fault.network()?.effect {
                NetworkEffect::Bandwidth(limit) => Some(limit),
                _ => None,
            })
    }
}

/// See the module's words.
#[derive(Debug)]
pub(crate) struct FaultBoard {
    faults: RwLock<Arc<[Arc<ActiveFault>]>>,
    changed: Arc<Bell>,
    /// By id, of what was posted last, what is over included: posted again as it was, it stays over.
    ends: Mutex<HashMap<String, End>>,
    ends_changed: Notify,
}

impl FaultBoard {
    pub fn new() -> Self {
        Self {
            faults: RwLock::new(Arc::new([])),
            changed: Arc::default(),
            ends: Mutex::default(),
            ends_changed: Notify::new(),
        }
    }

    /// Grows with every change.
    pub fn version(&self) -> u64 {
        self.changed.rung()
    }

    /// Ready with the first change after this call.
    pub fn change(&self) -> Watch {
        self.changed.next()
    }

    /// Ready when the faults are no longer those of this version.
    pub fn change_since(&self, version: u64) -> Watch {
        self.changed.since(version)
    }

    pub fn current(&self) -> Arc<[Arc<ActiveFault>]> {
        self.faults.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<String, End>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Posts exactly these faults, but for those whose time is up. One that is posted already and does the same goes
    /// on with what it remembers, whoever has joined or left those whom it hits.
    pub fn post(&self, faults: Vec<Fault>) {
        let (mut ends, now, old) = (self.ends(), Now::read(), self.current());
        let end = |fault: &Fault| {
            let until = fault.until?;
            let known = ends.get(&fault.id).filter(|end| end.until == until);
            Some((
                fault.id.clone(),
                known.copied().unwrap_or_else(|| End::of(until, now)),
            ))
        };
        let next: HashMap<_, _> = faults.iter().filter_map(end).collect();
        *ends = next;
        let new = faults
            .into_iter()
            .filter(|spec| ends.get(&spec.id).is_none_or(|end| !end.left(now).is_zero()))
            .map(|spec| match old.iter().find(|active| active.id == spec.id) {
                Some(active) if active.kind == spec.kind => active.clone(),
                Some(active) if active.kind.does_as(&spec.kind) => {
                    Arc::new(ActiveFault::remembering(spec, active.memory.clone()))
                }
                _ => Arc::new(ActiveFault::new(spec)),
            });
        self.swap(&old, new.collect());
        self.ends_changed.notify_one();
    }

    /// Whoever calls it holds the ends, so that only one does at a time.
    fn swap(&self, old: &[Arc<ActiveFault>], new: Arc<[Arc<ActiveFault>]>) {
        if new.len() == old.len() && new.iter().zip(old.iter()).all(|(a, b)| Arc::ptr_eq(a, b)) {
            return;
        }
        *self.faults.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.changed.ring();
    }

    /// Takes down what is over, for as long as it is polled.
    pub async fn watch_ends(&self) -> std::convert::Infallible {
        loop {
            let told = self.ends_changed.notified();
            match self.take_down() {
                // An elapsed timeout is a time to look again, as a notice is.
                Some(left) => drop(timeout(left.min(LOOK), told).await),
                None => told.await,
            }
        }
    }

    /// Takes down the faults whose time is up; how long it is until the next one's.
    fn take_down(&self) -> Option<Duration> {
        let (ends, now, old) = (self.ends(), Now::read(), self.current());
        let is_over = |fault: &ActiveFault| ends.get(&fault.id).is_some_and(|end| end.left(now).is_zero());
        let left = old.iter().filter(|fault| !is_over(fault)).cloned().collect();
        self.swap(&old, left);
        let left = ends.values().map(|end| end.left(now));
        left.filter(|left| !left.is_zero()).min()
    }

    /// What happens to packets from `sender` to `receiver` (uids; the host's is empty).
    pub fn line(&self, sender: &Arc<str>, receiver: &Arc<str>) -> Line {
        let faults = self.current();
        let hit = |fault: &NetworkFault| {
            fault
                .flows
                .iter()
                .any(|flow| flow.from.contains(sender) && flow.to.contains(receiver))
        };
        let faults: Vec<_> = faults
            .iter()
            .filter(|fault| fault.network().is_some_and(hit))
            .map(Arc::clone)
            .collect();
        let any = |test: fn(&NetworkEffect) -> bool| {
            faults
                .iter()
                .filter_map(|fault| fault.network())
                .any(|network| test(&network.effect))
        };
        Line {
            sender: sender.clone(),
            blocked: any(|effect| match effect {
                NetworkEffect::Partition => true,
                NetworkEffect::Loss(loss) => loss.is_total(),
                _ => false,
            }),
            reset: any(|effect| matches!(effect, NetworkEffect::Reset)),
            faults,
        }
    }

    /// The HTTP faults on requests from `client` to `port` of `server`, in their order.
    pub fn http(&self, client: &str, server: &str, port: u16) -> Vec<Arc<ActiveFault>> {
        let faults = self.current();
        let hit = |fault: &HttpFault| {
            fault.pods.contains(server)
                && fault.sources.contains(client)
                && fault.port.is_none_or(|wanted| wanted == port)
        };
        faults
            .iter()
            .filter(|fault| fault.http().is_some_and(hit))
            .map(Arc::clone)
            .collect()
    }
}

#[cfg(test)]
mod tests;
