//! The control protocol: a Unix stream at `DIR/dataplane.sock`, one JSON value per line, each request answered in order.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Applied, Snapshot};

/// File names inside the data plane's folder.
pub const SOCKET: &str = "dataplane.sock";
pub const IDENTITY: &str = "dataplane.json";

/// Faults end when the connection that brought them says nothing for this long.
pub const LEASE: Duration = Duration::from_secs(5);

/// Longest line in bytes. A snapshot of a thousand pods is well under it.
pub const MAX_LINE: u64 = 64 * 1024 * 1024;

/// What control asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Request {
    Apply { snapshot: Box<Snapshot> },
    Heartbeat,
    Metrics,
}

/// What the data plane answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Reply {
    Applied { applied: Applied },
    Alive,
    Metrics { text: String },
    Error { message: String },
}

/// Who the data plane is (`dataplane.json`): a pid alone may have been used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// Clock ticks after boot, as in field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}
