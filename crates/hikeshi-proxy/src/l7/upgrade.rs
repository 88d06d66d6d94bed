//! After `101 Switching Protocols` (WebSockets) a connection is bytes both ways. The wire goes on holding its faults.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::connect::Edge;

pub(super) fn join(edge: Edge, client: OnUpgrade, upstream: OnUpgrade) {
    tokio::spawn(async move {
        let (client, upstream) = match tokio::try_join!(client, upstream) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "an upgrade came to nothing");
                return;
            }
        };
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        tokio::select! {
            ended = copy_bidirectional(&mut client, &mut upstream) => if let Err(error) = ended {
                tracing::trace!(%error, "an upgraded connection ended early");
            },
            () = edge.source.gone.cancelled() => {}
            () = edge.destination.gone.cancelled() => {}
        }
    });
}
