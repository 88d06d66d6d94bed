//! Connections to backends: each client's own while it lasts, and then for a while anybody's of the same pod: one pod
//! never speaks on another's connection, or a fault on one of them would hit both.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddrV4;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{Interest, ReadBuf};
use tokio::time::Instant;

use super::buffer::Buffer;
use crate::bell::Watch;
use crate::connect::{Edge, Upstream};
use crate::plane::Shared;
use crate::routes::Peer;
use crate::wire::Wire;

/// Most connections that nobody has, per source and backend.
const MOST_IDLE: usize = 64;
/// How long nobody has one before it is closed.
const IDLE: Duration = Duration::from_secs(60);

/// An open connection to a backend.
pub(super) struct Connection {
    pub wire: Wire,
    pub buffer: Buffer,
    /// It has carried an exchange: the backend may have closed it since.
    pub used: bool,
    source: Arc<str>,
    destination: Arc<Peer>,
    address: SocketAddrV4,
    gone: Watch,
    idle_since: Instant,
}

impl Connection {
    pub async fn open(shared: &Shared, edge: Edge, upstream: &Upstream) -> io::Result<Box<Self>> {
        let (source, destination) = (edge.source.uid.clone(), edge.destination.clone());
        let mut gone = destination.gone.ever();
        let wire = tokio::select! {
            wire = upstream.connect(shared, edge) => wire?,
            () = &mut gone => return Err(io::ErrorKind::ConnectionReset.into()),
        };
        Ok(Box::new(Self {
            wire,
            buffer: Buffer::of_answers(),
            used: false,
            source,
            destination,
            address: upstream.backend.socket_addr(),
            gone,
            idle_since: Instant::now(),
        }))
    }

    /// Ready when the backend's pod is gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.gone).poll(cx)
    }

    /// Ready when a connection that carries nothing is no longer good: closed, or spoken on out of turn.
    pub fn poll_stale(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut byte = [0];
        let peeked = self.wire.stream().poll_peek(cx, &mut ReadBuf::new(&mut byte));
        if peeked.is_ready() || self.poll_gone(cx).is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn is_stale(&self) -> bool {
        let stream = self.wire.stream();
        // No system call, unless something has come.
        let peeked = stream.try_io(Interest::READABLE, || {
            SockRef::from(stream).peek(&mut [MaybeUninit::uninit()])
        });
        let quiet = matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        !quiet || self.gone.is_over()
    }

    /// Whether it leads to this backend, and still may.
    fn leads(&self, upstream: &Upstream, peer: &Arc<Peer>) -> bool {
        self.address == upstream.backend.socket_addr()
            && Arc::ptr_eq(&self.destination, peer)
            && !self.is_stale()
    }
}

/// In boxes: they move at every request, and are large.
type Connections = Vec<Box<Connection>>;

/// Most backends that one client keeps a connection to.
const MOST_KEPT: usize = 8;

/// One client's own connections, none of which carries anything.
#[derive(Default)]
pub(super) struct Kept(Connections);

impl Kept {
    pub fn take(&mut self, upstream: &Upstream, peer: &Arc<Peer>) -> Option<Box<Connection>> {
        let place = self.0.iter().position(|kept| {
            kept.address == upstream.backend.socket_addr() && Arc::ptr_eq(&kept.destination, peer)
        })?;
        let connection = self.0.swap_remove(place);
        connection.leads(upstream, peer).then_some(connection)
    }

    pub fn keep(&mut self, mut connection: Box<Connection>, pool: &HttpPool) {
        connection.buffer.rest();
        connection.used = true;
        if self.0.len() == MOST_KEPT {
            pool.give(self.0.remove(0));
        }
        self.0.push(connection);
    }

    /// Drops what is no longer good; else the task is woken when something is not.
    pub fn watch(&mut self, cx: &mut Context<'_>) {
        self.0.retain_mut(|kept| kept.poll_stale(cx).is_pending());
    }

    pub fn give_back(&mut self, pool: &HttpPool) {
        for connection in self.0.drain(..) {
            pool.give(connection);
        }
    }
}

type Key = (Arc<str>, SocketAddrV4);

/// Connections that nobody has.
#[derive(Default)]
pub(crate) struct HttpPool(Mutex<HashMap<Key, Connections>>);

impl std::fmt::Debug for HttpPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpPool").finish_non_exhaustive()
    }
}

impl HttpPool {
    fn idle(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Connections>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes connections that have ended, and those that nobody wants.
    pub fn prune(&self) {
        self.idle().retain(|_, list| {
            list.retain(|idle| idle.idle_since.elapsed() < IDLE && !idle.is_stale());
            !list.is_empty()
        });
    }

    /// The most recently used one that is good.
    pub(super) fn take(
        &self,
        source: &Peer,
        upstream: &Upstream,
        peer: &Arc<Peer>,
    ) -> Option<Box<Connection>> {
        let key = (source.uid.clone(), upstream.backend.socket_addr());
        let mut idle = self.idle();
        let list = idle.get_mut(&key)?;
        while let Some(connection) = list.pop() {
            if connection.leads(upstream, peer) {
                return Some(connection);
            }
        }
        None
    }

    fn give(&self, mut connection: Box<Connection>) {
        if connection.is_stale() {
            return;
        }
        connection.idle_since = Instant::now();
        let mut idle = self.idle();
        let list = idle
            .entry((connection.source.clone(), connection.address))
            .or_default();
        if list.len() < MOST_IDLE {
            list.push(connection);
        }
    }
}
