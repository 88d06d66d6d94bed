//! Connections into a pod, for port-forward and the API server's proxy.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::net::{TcpSocket, TcpStream};

use crate::shim::protocol::Request;
use crate::shim::{InitClient, InitError};

/// A program whose accept queue is full lets connections wait; nobody waits longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the pod is not running: {0}")]
    Init(#[from] InitError),
    #[error(
        "failed to connect to localhost:{port} inside the pod's namespace: dial tcp4 127.0.0.1:{port}: connect: {reason}"
    )]
    Refused { port: u16, reason: String },
}

/// Connects to `127.0.0.1:port` inside the pod's network namespace.
pub async fn connect(pod_dir: &Path, port: u16) -> Result<TcpStream, ConnectError> {
    let refused = |error: io::Error| ConnectError::Refused {
        port,
        reason: match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
            _ => error.to_string(),
        },
    };
    let mut init = InitClient::connect(pod_dir)?;
    let sockets = init.command(&Request::Sockets { count: 1 }).await?;
    let socket = sockets
        .into_iter()
        .next()
        .ok_or_else(|| InitError::Refused("the init passed no socket".to_owned()))?;
    let nonblocking = || -> io::Result<()> {
        let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL)?);
        fcntl(&socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(())
    };
    nonblocking().map_err(refused)?;
    // SAFETY: the descriptor is a TCP socket that we own, and its ownership moves here.
    let socket = unsafe { TcpSocket::from_raw_fd(socket.into_raw_fd()) };
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let stream = tokio::time::timeout(PATIENCE, socket.connect(address.into()))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(refused)?;
    stream.set_nodelay(true).map_err(refused)?;
    Ok(stream)
}
