//! What a connection remembers from one request to the next, so that a request costs no label formatting and no search
//! through the faults.

use std::sync::Arc;

use crate::faults::{ActiveFault, FaultBoard};
use crate::metrics::EdgeMetrics;
use crate::plane::Shared;
use crate::routes::{Destination, Peer, Routes, Way};

/// Most edges, and most backends, that are remembered.
const MOST: usize = 8;

#[derive(Default)]
pub(super) struct Memory {
    way: Option<KnownWay>,
    edges: Vec<KnownEdge>,
    faults: Vec<KnownFaults>,
}

struct KnownWay {
    version: u64,
    routes: Arc<Routes>,
    way: Way,
}

struct KnownEdge {
    destination: String,
    /// What the ingress' route label was made of; empty elsewhere.
    method: String,
    path: String,
    metrics: Arc<EdgeMetrics>,
}

struct KnownFaults {
    version: u64,
    server: Arc<str>,
    port: u16,
    faults: Arc<[Arc<ActiveFault>]>,
}

impl Memory {
    /// The routes as they are now, and the way to the connection's one destination.
    pub fn way(&mut self, shared: &Shared, destination: &Destination) -> (&Routes, &Way) {
        // Before the routes are read: what changes in between is seen next time.
        let version = shared.routes_version();
        let known = self.way.take().filter(|known| known.version == version);
        let known = self.way.insert(known.unwrap_or_else(|| {
            let routes = shared.routes();
            let way = routes.way(destination);
            KnownWay { version, routes, way }
        }));
        (&known.routes, &known.way)
    }

    /// The counters of an edge; `find` looks them up when they are not remembered.
    pub fn edge(
        &mut self,
        destination: &str,
        (method, path): (&str, &str),
        find: impl FnOnce() -> Arc<EdgeMetrics>,
    ) -> Arc<EdgeMetrics> {
        let known = self
            .edges
            .iter()
            .find(|known| known.path == path && known.method == method && known.destination == destination);
        if let Some(known) = known {
            return known.metrics.clone();
        }
        let metrics = find();
        if self.edges.len() == MOST {
            self.edges.remove(0);
        }
        self.edges.push(KnownEdge {
            destination: destination.into(),
            method: method.into(),
            path: path.into(),
            metrics: metrics.clone(),
        });
        metrics
    }

    /// The HTTP faults on this edge, as the board says now.
    pub fn faults(
        &mut self,
        board: &FaultBoard,
        client: &Peer,
        server: &Peer,
        port: u16,
    ) -> &Arc<[Arc<ActiveFault>]> {
        // Before the board is read: what changes in between is seen next time.
        let version = board.version();
        let place = self
            .faults
            .iter()
            .position(|known| known.port == port && Arc::ptr_eq(&known.server, &server.uid));
        let read = || KnownFaults {
            version,
            server: server.uid.clone(),
            port,
            faults: board.http(&client.uid, &server.uid, port).into(),
        };
        let place = match place {
            Some(place) => {
                if self.faults[place].version != version {
                    self.faults[place] = read();
                }
                place
            }
            None => {
                if self.faults.len() == MOST {
                    self.faults.remove(0);
                }
                self.faults.push(read());
                self.faults.len() - 1
            }
        };
        &self.faults[place].faults
    }
}
