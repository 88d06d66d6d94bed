//! L4: bytes both ways, with half-close, and ends as the kernel would show them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;

use super::tap::Tap;
use crate::connect::{Edge, Upstream};
use crate::plane::Shared;
use crate::routes::{InFlight, Peer, Target};

/// Bytes per direction and connection.
const BUFFER: usize = 32 * 1024;
/// How often a connection attempt that a fault holds looks whether its client is still there. Not at once: a client that
/// only has nothing more to say looks the same.
const LOOK: Duration = Duration::from_secs(5);

/// Serves one accepted connection to its end.
pub(crate) async fn relay(shared: &Shared, source: Arc<Peer>, target: Target, client: TcpStream) {
    let Some((upstream, _in_flight)) = choose(&target) else {
        reset(&client);
        return;
    };
    let destination = upstream.peer(shared);
    let metrics = shared.metrics.edge(
        &source.workload,
        destination_name(&target, &destination),
        String::new(),
    );
    let edge = Edge {
        source: source.clone(),
        destination: destination.clone(),
        metrics,
    };
    let connected = tokio::select! {
        connected = upstream.connect(shared, edge) => connected,
        () = left(&client) => Err(io::ErrorKind::ConnectionAborted.into()),
        () = source.gone.ever() => Err(io::ErrorKind::ConnectionReset.into()),
        () = destination.gone.ever() => Err(io::ErrorKind::ConnectionReset.into()),
    };
    let mut wire = match connected {
        Ok(wire) => wire,
        Err(error) => {
            tracing::debug!(source = source.workload, target = target.name(), %error, "no connection");
            reset(&client);
            return;
        }
    };
    let mut client = Tap::new(client, wire.metrics().clone());
    let ended = tokio::select! {
        ended = copy_bidirectional_with_sizes(&mut client, &mut wire, BUFFER, BUFFER) => ended.map(|_| ()),
        () = source.gone.ever() => Err(io::ErrorKind::ConnectionReset.into()),
        () = destination.gone.ever() => Err(io::ErrorKind::ConnectionReset.into()),
    };
    if ended.is_err() {
        reset(&client.stream);
        reset(wire.stream());
    }
}

/// The backend of a new connection.
pub(crate) fn choose(target: &Target) -> Option<(Upstream, Option<InFlight>)> {
    match target {
        Target::Service(service) => {
            let (backend, pod, in_flight) = service.choose()?;
            Some((Upstream { backend, pod }, Some(in_flight)))
        }
        Target::Pod(pod, port) => {
            let backend = crate::model::Backend {
                addr: pod.spec.ip,
                port: *port,
            };
            Some((
                Upstream {
                    backend,
                    pod: Some(pod.clone()),
                },
                None,
            ))
        }
    }
}

/// The metrics' `destination`: the workload, or the Service when the host stands behind it.
pub(crate) fn destination_name<'a>(target: &'a Target, peer: &'a Peer) -> &'a str {
    if peer.is_host() {
        target.destination()
    } else {
        &peer.workload
    }
}

/// Closing will send RST, not FIN.
pub(crate) fn reset(stream: &TcpStream) {
    // Fails only on a socket that is closed already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Returns when the client has closed its end.
async fn left(client: &TcpStream) {
    loop {
        tokio::time::sleep(LOOK).await;
        if has_closed(client) {
            return;
        }
    }
}

fn has_closed(client: &TcpStream) -> bool {
    use std::os::fd::AsRawFd;
    // SAFETY: tcp_info is plain data, for which all zeroes is a valid value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the buffer and its size describe each other, and the kernel writes at most that much.
    let result = unsafe {
        libc::getsockopt(
            client.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut size,
        )
    };
    // 1 is TCP_ESTABLISHED: anything else, here, is on its way out.
    result != 0 || info.tcpi_state != 1
}
