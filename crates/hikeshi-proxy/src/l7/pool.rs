//! Idle upstream connections, per source pod and backend: one pod never speaks on another's connection, or a fault on
//! one of them would hit both.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use crate::connect::{Edge, Upstream};
use crate::plane::Shared;

/// Most idle connections per source and backend.
const MOST_IDLE: usize = 64;

/// A request's body: as it comes, or as a fault made it.
pub(super) type RequestBody = Either<Incoming, Full<Bytes>>;

type Key = (Arc<str>, SocketAddrV4);

#[derive(Debug, Default)]
pub(crate) struct HttpPool {
    idle: Arc<Mutex<HashMap<Key, Vec<SendRequest<RequestBody>>>>>,
}

/// A connection in use, with its way back.
pub(super) struct Returns {
    idle: Arc<Mutex<HashMap<Key, Vec<SendRequest<RequestBody>>>>>,
    key: Key,
    pub sender: SendRequest<RequestBody>,
}

impl Returns {
    /// Call when the answer has been read to its end.
    pub fn give_back(self) {
        if self.sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let list = idle.entry(self.key).or_default();
        if list.len() < MOST_IDLE {
            list.push(self.sender);
        }
    }
}

impl HttpPool {
    /// Forgets connections that have ended.
    pub fn prune(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, list| {
            list.retain(|sender| !sender.is_closed());
            !list.is_empty()
        });
    }

    /// The most recently used idle connection that can take a request now.
    pub(super) fn take(&self, edge: &Edge, upstream: &Upstream) -> Option<Returns> {
        let key = (edge.source.uid.clone(), upstream.backend.socket_addr());
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let list = idle.get_mut(&key)?;
        list.retain(|sender| !sender.is_closed());
        let place = list.iter().rposition(SendRequest::is_ready)?;
        let sender = list.swap_remove(place);
        Some(Returns {
            idle: self.idle.clone(),
            key,
            sender,
        })
    }

    /// A new connection.
    pub(super) async fn open(&self, shared: &Shared, edge: Edge, upstream: &Upstream) -> io::Result<Returns> {
        let key = (edge.source.uid.clone(), upstream.backend.socket_addr());
        let (source_gone, destination_gone) = (edge.source.gone.clone(), edge.destination.gone.clone());
        let wire = tokio::select! {
            wire = upstream.connect(shared, edge) => wire?,
            () = destination_gone.cancelled() => return Err(io::ErrorKind::ConnectionReset.into()),
        };
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move {
            tokio::select! {
                ended = connection.with_upgrades() => if let Err(error) = ended {
                    tracing::trace!(%error, "an upstream connection ended early");
                },
                () = source_gone.cancelled() => {}
                () = destination_gone.cancelled() => {}
            }
        });
        Ok(Returns {
            idle: self.idle.clone(),
            key,
            sender,
        })
    }
}
