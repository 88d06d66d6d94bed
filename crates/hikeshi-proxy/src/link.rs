//! One pod's init, spoken to from a thread of its own (its protocol blocks), and a few of its sockets kept ready.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::oneshot;

use crate::podlink::{self, LinkReply, LinkRequest};

/// An init that says nothing for this long counts as not answering.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one that did not answer is not asked again: whoever else waits for the data plane would wait for it too.
const DEAF: Duration = Duration::from_secs(5);
/// Sockets fetched at once, and the number below which more are fetched.
const BATCH: usize = 16;
const LOW: usize = 6;

type Reply<T> = oneshot::Sender<T>;

enum Order {
    /// Stops at the first failure of the connection itself; refusals of single addresses do not stop it.
    Listen(Vec<SocketAddrV4>, Reply<Listened>),
    Sockets(Reply<io::Result<Vec<OwnedFd>>>),
}

/// What became of a request for listeners.
#[derive(Debug, Default)]
pub(crate) struct Listened {
    pub opened: Vec<(SocketAddrV4, OwnedFd)>,
    pub refused: Vec<(SocketAddrV4, String)>,
    /// Why the rest was not asked for.
    pub broken: Option<io::Error>,
}

/// The connection to the init while it lasts. A new one may belong to a new network namespace.
#[derive(Debug, Default)]
struct Shared {
    connection: Mutex<Option<Arc<OwnedFd>>>,
    spare: Mutex<VecDeque<OwnedFd>>,
    refilling: AtomicBool,
    /// Until when the init is not asked, since it did not answer.
    deaf: Mutex<Option<Instant>>,
}

impl Shared {
    fn is_deaf(&self) -> bool {
        let until = *self.deaf.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn gone_deaf(&self) -> io::Error {
        *self.deaf.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + DEAF);
        no_answer()
    }
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the pod's init does not answer")
}

/// A handle on the thread, which ends with the last of them.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
}

impl Link {
    /// Starts the thread; connects when first needed.
    pub fn start(name: &str, init_sock: PathBuf) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let worker = shared.clone();
        // Linux keeps 15 bytes of a thread's name.
        let name = format!("link-{name}").chars().take(15).collect();
        std::thread::Builder::new()
            .name(name)
            .stack_size(256 * 1024)
            .spawn(move || {
                while let Ok(order) = inbox.recv() {
                    obey(&worker, &init_sock, order);
                }
            })?;
        Ok(Self { orders, shared })
    }

    /// Whether the init that gave the present listeners is still there.
    pub fn is_alive(&self) -> bool {
        let connection = self
            .shared
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        connection.is_some_and(|fd| {
            let mut polled = [PollFd::new(fd.as_fd(), PollFlags::empty())];
            let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
            poll(&mut polled, PollTimeout::ZERO).is_ok()
                && !polled[0].revents().is_some_and(|events| events.intersects(gone))
        })
    }

    /// Listening sockets inside the pod.
    pub async fn listen(&self, addresses: Vec<SocketAddrV4>) -> Listened {
        let (reply, answer) = oneshot::channel();
        let sent = self.orders.send(Order::Listen(addresses, reply));
        match (sent, answer.await) {
            (Ok(()), Ok(listened)) => listened,
            _ => Listened {
                broken: Some(io::Error::other("the link's thread has ended")),
                ..Default::default()
            },
        }
    }

    /// A fresh unconnected TCP socket inside the pod.
    pub async fn socket(&self) -> io::Result<OwnedFd> {
        if !self.is_alive() {
            self.shared
                .spare
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
        }
        let (taken, left) = {
            let mut spare = self.shared.spare.lock().unwrap_or_else(PoisonError::into_inner);
            (spare.pop_front(), spare.len())
        };
        if left < LOW && taken.is_some() && !self.shared.refilling.swap(true, Ordering::AcqRel) {
            let link = self.clone();
            tokio::spawn(async move {
                if let Ok(more) = link.fetch().await {
                    link.shared
                        .spare
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend(more);
                }
                link.shared.refilling.store(false, Ordering::Release);
            });
        }
        if let Some(socket) = taken {
            return Ok(socket);
        }
        let mut fetched = self.fetch().await?.into_iter();
        let first = fetched
            .next()
            .ok_or_else(|| io::Error::other("the pod's init sent no socket"))?;
        self.shared
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(fetched);
        Ok(first)
    }

    async fn fetch(&self) -> io::Result<Vec<OwnedFd>> {
        let (reply, answer) = oneshot::channel();
        let ended = || io::Error::other("the link's thread has ended");
        self.orders.send(Order::Sockets(reply)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

fn obey(shared: &Shared, init_sock: &Path, order: Order) {
    // A receiver that is gone no longer needs the answer; descriptors in it are closed.
    match order {
        Order::Listen(addresses, reply) => {
            let _ = reply.send(listen_all(shared, init_sock, addresses));
        }
        Order::Sockets(reply) => {
            let fetched = call(shared, init_sock, &LinkRequest::Sockets { count: BATCH });
            let _ = reply.send(fetched.and_then(|(answer, sockets)| match answer.error {
                None if answer.ok => Ok(sockets),
                error => Err(io::Error::other(
                    error.unwrap_or_else(|| "refused without a reason".into()),
                )),
            }));
        }
    }
}

fn listen_all(shared: &Shared, init_sock: &Path, addresses: Vec<SocketAddrV4>) -> Listened {
    let mut result = Listened::default();
    for address in addresses {
        let request = LinkRequest::Listen {
            addr: *address.ip(),
            port: address.port(),
        };
        match call(shared, init_sock, &request) {
            Ok((answer, descriptors)) => match (answer.ok, descriptors.into_iter().next()) {
                (true, Some(descriptor)) => result.opened.push((address, descriptor)),
                _ => result.refused.push((
                    address,
                    answer.error.unwrap_or_else(|| "no descriptor came".into()),
                )),
            },
            Err(error) => {
                result.broken = Some(error);
                break;
            }
        }
    }
    result
}

/// One round trip, on a new connection if the old one has ended.
fn call(shared: &Shared, init_sock: &Path, request: &LinkRequest) -> io::Result<(LinkReply, Vec<OwnedFd>)> {
    if shared.is_deaf() {
        return Err(no_answer());
    }
    let known = shared
        .connection
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if let Some(connection) = known {
        match podlink::call(connection.as_raw_fd(), request) {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                *shared.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
                // A late answer would be taken for the next one's: after a timeout the connection is of no more use.
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
                    return Err(shared.gone_deaf());
                }
            }
        }
    }
    let connected = podlink::connect_to(init_sock, PATIENCE);
    let asked = connected.and_then(|connection| {
        let answer = podlink::call(connection.as_raw_fd(), request)?;
        Ok((connection, answer))
    });
    let (connection, answer) = asked.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => shared.gone_deaf(),
        _ => error,
    })?;
    *shared.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(connection));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any test would be over long before.
    const LONG: Duration = Duration::from_secs(30);

    async fn refused(link: &Link) -> Duration {
        let start = Instant::now();
        let listened = tokio::time::timeout(
            LONG,
            link.listen(vec![SocketAddrV4::new([127, 96, 0, 1].into(), 80)]),
        )
        .await;
        let broken = listened.expect("in time").broken.expect("nobody answered");
        assert_eq!(broken.kind(), io::ErrorKind::TimedOut, "{broken}");
        start.elapsed()
    }

    #[tokio::test]
    async fn an_init_that_does_not_answer_is_waited_for_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("init.sock");
        let _server = podlink::listen_at(&path).unwrap();
        let link = Link::start("deaf", path).unwrap();
        let first = refused(&link).await;
        assert!(first >= PATIENCE, "{first:?}");
        let start = Instant::now();
        for _ in 0..20 {
            refused(&link).await;
            link.socket().await.unwrap_err();
        }
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn nor_for_ever_when_it_takes_nobody_in() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("init.sock");
        let _server = podlink::listen_at(&path).unwrap();
        let mut waiting = Vec::new();
        while let Ok(fd) = podlink::connect_at_once(&path) {
            waiting.push(fd);
        }
        let link = Link::start("full", path).unwrap();
        refused(&link).await;
    }
}
