//! A connection to a backend: a socket inside its namespace, connected there, wrapped in the wire.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use crate::faults::FaultBoard;
use crate::metrics::EdgeMetrics;
use crate::model::Backend;
use crate::plane::Shared;
use crate::routes::{Peer, Pod};
use crate::socket;
use crate::timer::exact_sleep_until;
use crate::wire::Wire;

/// When Linux gives up a connection attempt (six retransmissions of SYN).
const SYN_GIVES_UP: Duration = Duration::from_secs(127);

/// The source and destination of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub source: Arc<Peer>,
    pub destination: Arc<Peer>,
    pub metrics: Arc<EdgeMetrics>,
}

/// A backend that has been chosen, with the pod it belongs to (none: the host).
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub backend: Backend,
    pub pod: Option<Arc<Pod>>,
}

impl Upstream {
    pub fn peer(&self, shared: &Shared) -> Arc<Peer> {
        self.pod
            .as_ref()
            .map_or_else(|| shared.host.clone(), |pod| pod.peer.clone())
    }

    /// Opens a connection, paying what the network faults ask of a handshake.
    pub async fn connect(&self, shared: &Shared, edge: Edge) -> io::Result<Wire> {
        handshake(&shared.board, &edge).await?;
        let address = self.backend.socket_addr();
        let stream = match &self.pod {
            Some(pod) => into_pod(pod, &edge.source, address).await?,
            None if is_pod_address(self.backend.addr) => {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionRefused,
                    "no pod has this address",
                ));
            }
            None => TcpStream::connect(address).await?,
        };
        socket::prepare(&stream);
        edge.metrics.opened.inc();
        Ok(Wire::new(stream, edge, shared.board.clone()))
    }
}

fn is_pod_address(addr: Ipv4Addr) -> bool {
    let [a, b, ..] = addr.octets();
    (a, b) == (127, 64)
}

async fn into_pod(pod: &Pod, source: &Peer, address: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = pod.link.socket().await?;
    let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL)?);
    fcntl(&socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    // The program inside sees the caller's address, as it would in a cluster. All of 127.0.0.0/8 is local there. Should
    // it fail, the connection is still good: only its source reads 127.0.0.1.
    if let Some(ip) = source.ip
        && bind_without_port(&socket).is_ok()
    {
        let _ = SockRef::from(&socket).bind(&SocketAddrV4::new(ip, 0).into());
    }
    // SAFETY: the descriptor is a TCP socket that we own, and its ownership moves here.
    let socket = unsafe { TcpSocket::from_raw_fd(socket.into_raw_fd()) };
    socket.connect(address.into()).await
}

/// Lets the kernel choose the port at connect, where it may reuse one that another destination has.
fn bind_without_port(socket: &OwnedFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int, whose address and size are given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// SYN out, SYN-ACK back: a new connection takes a round trip of the faults' delay, and none through a partition.
async fn handshake(board: &FaultBoard, edge: &Edge) -> io::Result<()> {
    let begun = Instant::now();
    let (mut there, mut here) = (Vec::new(), Vec::new());
    loop {
        let changed = board.change();
        let out = board.line(&edge.source.uid, &edge.destination.uid);
        let back = board.line(&edge.destination.uid, &edge.source.uid);
        if out.is_clear() && back.is_clear() {
            return Ok(());
        }
        if out.reset || back.reset {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                "refused by a fault",
            ));
        }
        if out.blocked || back.blocked {
            if timeout_at(begun + SYN_GIVES_UP, changed).await.is_err() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "no answer through the partition",
                ));
            }
            continue;
        }
        let arrived = out.due(&mut there, begun, 0);
        let established = back.due(&mut here, arrived, 0);
        tokio::select! {
            () = exact_sleep_until(established) => return Ok(()),
            () = changed => {}
        }
    }
}
