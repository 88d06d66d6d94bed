//! What a connection remembers from one request to the next, so that a request costs no label formatting and no search
//! through the faults.

use std::sync::Arc;

use crate::faults::{ActiveFault, FaultBoard};
use crate::metrics::EdgeMetrics;
use crate::routes::Peer;

/// Most edges, and most backends, that are remembered.
const MOST: usize = 8;

#[derive(Default)]
pub(super) struct Memory {
    edges: Vec<KnownEdge>,
    faults: Vec<KnownFaults>,
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
    ) -> Arc<[Arc<ActiveFault>]> {
        // Before the board is read: what changes in between is seen next time.
        let version = board.version();
        let place = self
            .faults
            .iter()
            .position(|known| known.port == port && Arc::ptr_eq(&known.server, &server.uid));
        if let Some(known) = place.map(|place| &self.faults[place])
            && known.version == version
        {
            return known.faults.clone();
        }
        let faults: Arc<[_]> = board.http(&client.uid, &server.uid, port).into();
        match place {
            Some(place) => {
                self.faults.swap_remove(place);
            }
            None if self.faults.len() == MOST => {
                self.faults.remove(0);
            }
            None => {}
        }
        self.faults.push(KnownFaults {
            version,
            server: server.uid.clone(),
            port,
            faults: faults.clone(),
        });
        faults
    }
}
