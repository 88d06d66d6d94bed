//! Where a message's body ends.

use super::{Chunked, Refused};

/// The rest of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    Chunked(Chunked),
    /// Answers only: it ends with the connection.
    UntilClose,
}

impl Framing {
    /// No body.
    pub const EMPTY: Self = Self::Length(0);

    pub fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::UntilClose => false,
        }
    }

    /// Reads on; returns how many of `bytes` belong to the body.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        self.advance_with(bytes, |_| {})
    }

    /// As [`Self::advance`]; hands on the content, without the chunks' own bytes.
    pub fn advance_with(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, Refused> {
        match self {
            Self::Length(left) => {
                let here = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                data(&bytes[..here]);
                *left -= here as u64;
                Ok(here)
            }
            Self::Chunked(chunked) => chunked.advance_with(bytes, data),
            Self::UntilClose => {
                data(bytes);
                Ok(bytes.len())
            }
        }
    }

    /// What goes ahead of the rest of a body when only the rest comes as it is, and `read` was the content so far.
    /// `None` once the content has ended and its trailers have begun: what is left then says nothing by itself.
    pub fn resumed(&self, read: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Length(_) | Self::UntilClose => Some(read.to_vec()),
            Self::Chunked(chunked) => chunked.resumed(read),
        }
    }
}
