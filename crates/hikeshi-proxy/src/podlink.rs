//! How descriptors leave a pod: a SEQPACKET Unix socket that each pod's init listens on.
//!
//! One JSON message is one packet (at most [`MAX_MESSAGE`] bytes); descriptors ride along by SCM_RIGHTS.
//! Paths may be longer than a socket address allows (108 bytes), so both sides name the socket through
//! a descriptor of its folder.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    bind, connect, listen, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::stat::Mode;
use nix::sys::time::{TimeVal, TimeValLike};
use serde::{Deserialize, Serialize};

/// Largest packet in bytes. Above the default socket buffer a SEQPACKET send fails with EMSGSIZE.
pub const MAX_MESSAGE: usize = 128 * 1024;
/// Most descriptors in one packet (the kernel's own limit is 253).
pub const MAX_DESCRIPTORS: usize = 64;

/// The requests the data plane sends to a pod's init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum LinkRequest {
    /// A listening TCP socket on `addr:port` inside the pod's network namespace.
    Listen { addr: std::net::Ipv4Addr, port: u16 },
    /// `count` unconnected IPv4 TCP sockets that belong to the pod's network namespace.
    Sockets { count: usize },
}

/// The reply to every request; further fields depend on the request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReply {
    pub ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A name of `path` that fits a socket address, good for as long as the descriptor that comes with it is open.
pub fn short_path(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a socket path needs a folder and a name",
        ));
    };
    let folder = open(
        folder,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let short = Path::new("/proc/self/fd")
        .join(folder.as_raw_fd().to_string())
        .join(name);
    Ok((folder, short))
}

fn folder_address(path: &Path) -> io::Result<(OwnedFd, UnixAddr)> {
    let (folder, short) = short_path(path)?;
    Ok((folder, UnixAddr::new(&short)?))
}

fn seqpacket(flags: SockFlag) -> io::Result<OwnedFd> {
    Ok(socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC | flags,
        None,
    )?)
}

/// Connects to the socket at `path` (blocking). Neither that nor any later send or receive waits longer than `patience`
/// for a peer that is stopped: then it fails with `WouldBlock`.
pub fn connect_to(path: &Path, patience: Duration) -> io::Result<OwnedFd> {
    let (_folder, address) = folder_address(path)?;
    let fd = seqpacket(SockFlag::empty())?;
    let patience = TimeVal::milliseconds(i64::try_from(patience.as_millis()).unwrap_or(i64::MAX));
    setsockopt(&fd, sockopt::ReceiveTimeout, &patience)?;
    setsockopt(&fd, sockopt::SendTimeout, &patience)?;
    connect(fd.as_raw_fd(), &address)?;
    Ok(fd)
}

/// As [`connect_to`] without waiting: `WouldBlock` when more callers are waiting than the peer has room for. The
/// descriptor does not block.
pub fn connect_at_once(path: &Path) -> io::Result<OwnedFd> {
    let (_folder, address) = folder_address(path)?;
    let fd = seqpacket(SockFlag::SOCK_NONBLOCK)?;
    connect(fd.as_raw_fd(), &address)?;
    Ok(fd)
}

/// Listens at `path`, replacing a socket file that an earlier process left behind.
pub fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    let _ = std::fs::remove_file(path);
    let (_folder, address) = folder_address(path)?;
    let fd = seqpacket(SockFlag::empty())?;
    bind(fd.as_raw_fd(), &address)?;
    listen(&fd, Backlog::new(64)?)?;
    Ok(fd)
}

/// Sends one packet with its descriptors.
pub fn send_packet(fd: RawFd, message: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
    let data = [IoSlice::new(message)];
    let rights = [ControlMessage::ScmRights(descriptors)];
    let control: &[ControlMessage<'_>] = if descriptors.is_empty() { &[] } else { &rights };
    sendmsg::<UnixAddr>(fd, &data, control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives one packet. An empty packet means that the peer has closed.
pub fn receive_packet(fd: RawFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut buffer = vec![0u8; MAX_MESSAGE];
    let mut control = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut data = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<UnixAddr>(fd, &mut data, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let length = message.bytes;
    let mut descriptors = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(rights) = part {
            // SAFETY: the kernel has just installed these descriptors for us; nobody else owns them.
            descriptors.extend(rights.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
        }
    }
    buffer.truncate(length);
    Ok((buffer, descriptors))
}

/// One blocking round trip: request out, reply and descriptors in.
pub fn call<Q: Serialize, A: for<'de> Deserialize<'de>>(
    fd: RawFd,
    request: &Q,
) -> io::Result<(A, Vec<OwnedFd>)> {
    call_with(fd, request, &[])
}

/// As [`call`], sending descriptors with the request.
pub fn call_with<Q: Serialize, A: for<'de> Deserialize<'de>>(
    fd: RawFd,
    request: &Q,
    descriptors: &[RawFd],
) -> io::Result<(A, Vec<OwnedFd>)> {
    send_packet(fd, &serde_json::to_vec(request)?, descriptors)?;
    let (bytes, received) = receive_packet(fd)?;
    if bytes.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the pod's init closed the connection",
        ));
    }
    Ok((serde_json::from_slice(&bytes)?, received))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_travels_over_a_path_longer_than_a_socket_address() {
        let root = std::env::temp_dir().join(format!("podlink-{}-{}", std::process::id(), "x".repeat(120)));
        std::fs::create_dir_all(&root).unwrap();
        let path = root.join("init.sock");
        let server = listen_at(&path).unwrap();
        let client = connect_to(&path, Duration::from_secs(10)).unwrap();
        let peer = nix::sys::socket::accept(server.as_raw_fd()).unwrap();
        // SAFETY: accept returned a new descriptor that only we hold.
        let peer = unsafe { OwnedFd::from_raw_fd(peer) };
        let file = std::fs::File::open("/dev/null").unwrap();
        send_packet(peer.as_raw_fd(), b"{\"ok\":true}", &[file.as_raw_fd()]).unwrap();
        let (bytes, descriptors) = receive_packet(client.as_raw_fd()).unwrap();
        assert_eq!(
            serde_json::from_slice::<LinkReply>(&bytes).unwrap(),
            LinkReply {
                ok: true,
                error: None
            }
        );
        assert_eq!(descriptors.len(), 1);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_peer_that_takes_nobody_in_is_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("init.sock");
        let _server = listen_at(&path).unwrap();
        let mut waiting = Vec::new();
        let full = loop {
            match connect_at_once(&path) {
                Ok(fd) => waiting.push(fd),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock, "{full}");
        let error = connect_to(&path, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
    }
}
