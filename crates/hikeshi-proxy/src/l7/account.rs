//! Counting a request when it is over, whichever way it ends.

use std::sync::Arc;

use tokio::time::Instant;

use crate::metrics::{CODE_CLIENT_CLOSED, EdgeMetrics};
use crate::routes::InFlight;

pub(super) struct Account {
    metrics: Arc<EdgeMetrics>,
    arrival: Instant,
    code: u16,
    counted: bool,
    _in_flight: Option<InFlight>,
}

impl Account {
    /// Dropped before [`Self::answered`], it counts a client that went away.
    pub fn new(metrics: Arc<EdgeMetrics>, arrival: Instant, in_flight: Option<InFlight>) -> Self {
        Self {
            metrics,
            arrival,
            code: CODE_CLIENT_CLOSED,
            counted: false,
            _in_flight: in_flight,
        }
    }

    pub fn answered(&mut self, code: u16) {
        self.code = code;
    }

    /// Counts now; the end no longer matters.
    pub fn count(&mut self) {
        if !std::mem::replace(&mut self.counted, true) {
            self.metrics.request(self.code, self.arrival.elapsed());
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.count();
    }
}
