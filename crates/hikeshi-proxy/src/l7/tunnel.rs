//! After `101 Switching Protocols` (WebSockets) or CONNECT a connection is bytes both ways. The wire goes on holding its
//! faults.

use std::io;

use tokio::io::{AsyncWriteExt, copy_bidirectional};

use super::client::Client;
use super::upstream::Connection;
use crate::connect::Edge;
use crate::l4::relay::reset;

/// Returns when both have ended.
pub(super) async fn join(edge: &Edge, client: &mut Client, upstream: &mut Connection) {
    let both = async {
        // What either said before it knew that the other agrees.
        upstream.wire.write_all(client.buffer.bytes()).await?;
        client.stream.write_all(upstream.buffer.bytes()).await?;
        for buffer in [&mut client.buffer, &mut upstream.buffer] {
            buffer.consume(buffer.len());
            buffer.rest();
        }
        copy_bidirectional(&mut client.stream, &mut upstream.wire).await
    };
    let ended = tokio::select! {
        ended = both => ended.map(|_| ()),
        () = edge.source.gone.ever() => Err(io::ErrorKind::ConnectionReset.into()),
        () = edge.destination.gone.ever() => Err(io::ErrorKind::ConnectionReset.into()),
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a switched connection ended early");
        reset(&client.stream);
        reset(upstream.wire.stream());
    }
}
