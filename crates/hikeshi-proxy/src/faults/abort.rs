//! Abort: the connection closes and no answer comes. As an error from the HTTP service it makes hyper do exactly that.

/// An HTTP fault's abort (or an upstream that vanished mid-way).
#[derive(Debug, thiserror::Error)]
#[error("aborted by a fault")]
pub(crate) struct Aborted;
