//! How the data plane's own sockets are set.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

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

fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_within_the_machine_is_neither_paced_nor_held_back() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        prepare(&stream);
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap());
        let name = socket.tcp_congestion().unwrap();
        assert!(name.starts_with(LOCAL_CONGESTION), "{}", String::from_utf8_lossy(&name));
        assert!(!is_local("10.0.0.1:80".parse().unwrap()) && is_local("[::ffff:127.0.0.1]:80".parse().unwrap()));
    }
}
