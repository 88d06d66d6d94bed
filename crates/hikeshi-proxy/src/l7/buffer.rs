//! A connection's read buffer: none while the connection is idle, small for heads, larger once a body streams.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::http1::MAX_HEAD;

/// Bytes of a buffer of requests at first: a usual head and a small body.
const REQUEST: usize = 4 * 1024;
/// Bytes of a buffer of answers at first. Room for a usual page, since each read more is a write more, and a wakeup more of
/// whoever waits for it.
const ANSWER: usize = 16 * 1024;
/// Bytes of a buffer that was filled by one read.
const LARGE: usize = 32 * 1024;
/// Most bytes of spare buffers of one kind that a thread keeps.
const MOST_SPARE: usize = 1024 * 1024;

type Spare = RefCell<Vec<Box<[u8]>>>;

thread_local! {
    static SPARE_REQUEST: Spare = const { RefCell::new(Vec::new()) };
    static SPARE_ANSWER: Spare = const { RefCell::new(Vec::new()) };
}

/// Bytes that have been read and not yet consumed.
#[derive(Debug)]
pub(super) struct Buffer {
    /// Bytes of the space at first.
    first: usize,
    space: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// For what a client sends.
    pub fn of_requests() -> Self {
        Self::new(REQUEST)
    }

    /// For what a backend sends.
    pub fn of_answers() -> Self {
        Self::new(ANSWER)
    }

    fn new(first: usize) -> Self {
        Self {
            first,
            space: Box::default(),
            start: 0,
            end: 0,
        }
    }

    fn spare(&self) -> &'static std::thread::LocalKey<Spare> {
        if self.first == REQUEST {
            &SPARE_REQUEST
        } else {
            &SPARE_ANSWER
        }
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.space[self.start..self.end]
    }

    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.space[self.start..self.end]
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    #[inline]
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Gives the memory back, if nothing is in it.
    pub fn rest(&mut self) {
        if self.is_empty() && !self.space.is_empty() {
            let space = std::mem::take(&mut self.space);
            if space.len() == self.first {
                self.spare().with_borrow_mut(|spare| {
                    if spare.len() < MOST_SPARE / self.first {
                        spare.push(space);
                    }
                });
            }
        }
    }

    /// Reads once; ready with the number of bytes, 0 at the end.
    pub fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut space = ReadBuf::new(&mut self.space[self.end..]);
        ready!(Pin::new(from).poll_read(cx, &mut space))?;
        let count = space.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }

    fn make_room(&mut self) {
        if self.space.is_empty() {
            let spare = self.spare().with_borrow_mut(Vec::pop);
            self.space = spare.unwrap_or_else(|| vec![0; self.first].into());
        }
        if self.end < self.space.len() {
            return;
        }
        // Full: what is in it moves to the front of a larger space, or of this one when it is large enough.
        let wanted = (self.len() * 2).clamp(LARGE, 2 * MAX_HEAD);
        if wanted > self.space.len() {
            let mut space = vec![0; wanted].into_boxed_slice();
            space[..self.len()].copy_from_slice(self.bytes());
            self.space = space;
        } else {
            self.space.copy_within(self.start..self.end, 0);
        }
        (self.start, self.end) = (0, self.end - self.start);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.consume(self.len());
        self.rest();
    }
}
