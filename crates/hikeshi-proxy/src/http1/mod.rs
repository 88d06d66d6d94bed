//! HTTP/1.1 as bytes: where a head ends, where a body ends, and what may not be let through. Pure: no IO, no clock.
//!
//! The relay forwards what these functions accept byte for byte, so whatever two readers might understand differently
//! (RFC 9112, section 11.2) has to be refused here: both lengths at once, folded lines, bare line feeds, and the like.

pub mod chunked;
pub mod framing;
pub mod head;
pub mod response;
mod scan;
pub mod strip;

pub use chunked::Chunked;
pub use framing::Framing;
pub use head::RequestHead;
pub use response::ResponseHead;

/// The longest head in bytes, its last empty line included.
pub const MAX_HEAD: usize = 64 * 1024;
/// Most header lines of a head.
pub const MAX_HEADERS: usize = 128;

/// Why a message cannot be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Answered with 400 (a response: 502); the text says what was wrong.
    #[error("{0}")]
    Malformed(&'static str),
    /// Answered with 431: more than [`MAX_HEAD`] bytes or [`MAX_HEADERS`] lines.
    #[error("the header block is too large")]
    TooLarge,
}
