//! The door of a server that people reach: how many connections there are at once, how long a client may be silent, and
//! HTTP on what came in.

mod http_on;
mod places;

pub use http_on::{converse, handshake};
pub use places::{Door, Limits, Place};
