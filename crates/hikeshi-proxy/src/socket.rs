//! The data plane's own sockets: how they are set, and the shortest way to read and write them.
//!
//! A read or a write asks the kernel at once when the runtime knows that the socket is ready, and registers the task only
//! when it has to wait; so a request and its answer cost two receives and two sends and nothing else.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop;

/// For what stays on this machine. Always in the kernel, open to everybody, and the cheapest there is.
const LOCAL_CONGESTION: &[u8] = b"reno";

/// Sets a connection that has just been made. What fails is said by the next read or write.
pub(crate) fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // Nagle would add 40 ms to what was not delayed.
    let _ = socket.set_tcp_nodelay(true);
    // Whatever the machine uses towards the world (BBR paces every packet with a timer), between its own processes there
    // is no congestion to control.
    if stream.peer_addr().is_ok_and(is_local) {
        let _ = socket.set_tcp_congestion(LOCAL_CONGESTION);
    }
}

/// A stream to read and write by the shortest way.
pub(crate) struct Direct<'a>(pub &'a TcpStream);

impl AsyncRead for Direct<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Who always finds something to read must let others have their turn.
        let turn = ready!(coop::poll_proceed(cx));
        let count = ready!(poll_receive(self.0, cx, buf.initialize_unfilled()))?;
        turn.made_progress();
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Direct<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        poll_send(self.0, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(self.0).shutdown(std::net::Shutdown::Write))
    }
}

fn poll_receive(stream: &TcpStream, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
    let descriptor = stream.as_raw_fd();
    loop {
        // SAFETY: the buffer's address and length describe each other, and the kernel writes at most that much.
        let done = attempt(stream, Interest::READABLE, into.len(), || unsafe {
            let (address, flags) = (into.as_mut_ptr(), 0);
            let nobody = std::ptr::null_mut::<libc::sockaddr>();
            libc::syscall(
                libc::SYS_recvfrom,
                descriptor,
                address,
                into.len(),
                flags,
                nobody,
                nobody,
            )
        });
        match done {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(stream.poll_read_ready(cx))?,
            done => return Poll::Ready(done),
        }
    }
}

fn poll_send(stream: &TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    let descriptor = stream.as_raw_fd();
    loop {
        // SAFETY: the buffer's address and length describe each other, and the kernel only reads it.
        let done = attempt(stream, Interest::WRITABLE, bytes.len(), || unsafe {
            let (address, flags) = (bytes.as_ptr(), libc::MSG_NOSIGNAL);
            let nobody = std::ptr::null::<libc::sockaddr>();
            libc::syscall(
                libc::SYS_sendto,
                descriptor,
                address,
                bytes.len(),
                flags,
                nobody,
                0,
            )
        });
        match done {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(stream.poll_write_ready(cx))?,
            done => return Poll::Ready(done),
        }
    }
}

/// One system call, unless the runtime knows better. The call is made directly: the C library's functions are points of
/// cancellation for threads, which costs two atomic operations each in a program that has threads.
fn attempt(
    stream: &TcpStream,
    interest: Interest,
    wanted: usize,
    mut call: impl FnMut() -> libc::c_long,
) -> io::Result<usize> {
    let mut part = None;
    let done = stream.try_io(interest, || {
        loop {
            let Ok(count) = usize::try_from(call()) else {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            };
            if count == 0 || count >= wanted {
                return Ok(count);
            }
            // Less than there was room for: the next call would find nothing, which the runtime is told so.
            part = Some(count);
            return Err(io::ErrorKind::WouldBlock.into());
        }
    });
    part.map_or(done, Ok)
}

fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways_in_pieces_of_any_size_until_the_end() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        // More than the sockets hold: both sides must wait for each other.
        let sent: Vec<u8> = (0..8_000_000u32).map(|n| (n % 251) as u8).collect();
        let mut got = Vec::new();
        let send = async {
            let mut near = Direct(&near);
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let receive = async {
            let mut piece = vec![0; 70_000];
            loop {
                let room = fastrand::usize(1..=piece.len());
                match Direct(&far).read(&mut piece[..room]).await.unwrap() {
                    0 => break,
                    count => got.extend_from_slice(&piece[..count]),
                }
            }
        };
        tokio::join!(send, receive);
        assert!(got == sent);
        // Whoever has ended can still be written to, until it is gone.
        Direct(&far).write_all(b"late").await.unwrap();
        drop(near);
        let gone = async { while Direct(&far).write_all(b"too late").await.is_ok() {} };
        tokio::time::timeout(std::time::Duration::from_secs(30), gone)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_connection_within_the_machine_is_neither_paced_nor_held_back() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        prepare(&stream);
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap());
        let name = socket.tcp_congestion().unwrap();
        assert!(
            name.starts_with(LOCAL_CONGESTION),
            "{}",
            String::from_utf8_lossy(&name)
        );
        assert!(
            !is_local("10.0.0.1:80".parse().unwrap()) && is_local("[::ffff:127.0.0.1]:80".parse().unwrap())
        );
    }
}
