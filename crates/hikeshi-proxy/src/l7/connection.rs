//! One client's connection from its first request to its end.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::client::{Client, Next, Patience};
use super::exchange;
use super::memory::Memory;
use super::route::Request;
use super::upstream::{Connection, Kept};
use super::{h2, reject};
use crate::l4::relay;
use crate::plane::Shared;
use crate::routes::{Destination, Peer};

/// What a connection has.
pub(super) struct Session {
    pub shared: Arc<Shared>,
    pub source: Arc<Peer>,
    pub destination: Arc<Destination>,
    pub client: Client,
    pub kept: Kept,
    pub memory: Memory,
}

/// What becomes of the client's connection after an exchange.
pub(super) enum End {
    /// Another request may come.
    Next,
    Closed,
    /// It is closed after these bytes.
    Farewell(Vec<u8>),
    /// What was sent is not all: the client must see that.
    Reset,
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    source: Arc<Peer>,
    destination: Arc<Destination>,
    stream: TcpStream,
) {
    let gone = source.gone.ever();
    let session = Session {
        shared,
        source,
        destination,
        client: Client::new(stream, Patience::default()),
        kept: Kept::default(),
        memory: Memory::default(),
    };
    tokio::select! {
        biased;
        () = session.run() => {}
        () = gone => {}
    }
}

impl Session {
    async fn run(mut self) {
        loop {
            let end = match self.client.next(&mut self.kept).await {
                Next::Request(head) => exchange::exchange(&mut self, head).await,
                // Boxed, as every connection's task has room for the largest thing it may ever do.
                Next::Http2 => return Box::pin(h2::serve(self)).await,
                Next::Closed => End::Closed,
                Next::Refused(refused) => End::Farewell(reject::refused(refused)),
                Next::Slow => End::Farewell(reject::slow()),
            };
            match end {
                End::Next => continue,
                End::Closed => {}
                End::Farewell(words) => self.client.bid_farewell(&words).await,
                End::Reset => relay::reset(&self.client.stream),
            }
            self.kept.give_back(&self.shared.pool);
            return;
        }
    }

    /// A connection for this request that carries nothing: the client's own, else one that nobody has.
    pub fn idle_connection(&mut self, request: &Request) -> Option<Box<Connection>> {
        let (upstream, peer) = (&request.upstream, &request.edge.destination);
        let kept = self.kept.take(upstream, peer);
        kept.or_else(|| self.shared.pool.take(&self.source, upstream, peer))
    }
}
