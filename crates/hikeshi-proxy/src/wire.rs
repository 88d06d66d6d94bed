//! A TCP stream with the network's faults on it.
//!
//! With no fault on its edge the wire is the stream itself. Otherwise bytes wait in a lane per direction, each chunk with
//! the time of its arrival and the time it is due; so ten chunks delayed by 100 ms arrive after 100 ms, not after a
//! second. When the faults change, waiting chunks are scheduled anew from their own arrival: a lifted fault lets them go,
//! and one that stays asks nothing of them again.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::bell::Watch;
use crate::connect::Edge;
use crate::faults::{FaultBoard, Line, Toll};
use crate::metrics::EdgeMetrics;
use crate::socket::Direct;
use crate::timer::{ExactSleep, exact_sleep_until};

/// Bytes on their way.
#[derive(Debug)]
struct Chunk {
    data: Bytes,
    arrival: Instant,
    tolls: Vec<Toll>,
    due: Instant,
}

/// One direction.
#[derive(Default)]
struct Lane {
    line: Line,
    queue: VecDeque<Chunk>,
    waiting: usize,
    timer: Option<ExactSleep>,
}

impl Lane {
    fn is_clear(&self) -> bool {
        self.queue.is_empty() && self.line.is_clear()
    }

    fn push(&mut self, data: Bytes) {
        let arrival = Instant::now();
        let mut tolls = Vec::new();
        let due = self.line.due(&mut tolls, arrival, data.len());
        // TCP keeps the order: a chunk never overtakes the one before it.
        let due = self.queue.back().map_or(due, |last| due.max(last.due));
        self.waiting += data.len();
        self.queue.push_back(Chunk {
            data,
            arrival,
            tolls,
            due,
        });
    }

    fn reschedule(&mut self, line: Line) {
        self.line = line;
        let mut earliest = None;
        for chunk in &mut self.queue {
            let due = self.line.due(&mut chunk.tolls, chunk.arrival, chunk.data.len());
            chunk.due = earliest.map_or(due, |last: Instant| due.max(last));
            earliest = Some(chunk.due);
        }
        self.timer = None;
    }

    /// Ready when the first chunk may go on.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(head) = self.queue.front() else {
            return Poll::Ready(());
        };
        if head.due <= Instant::now() {
            return Poll::Ready(());
        }
        if self.timer.as_ref().is_none_or(|timer| timer.due() != head.due) {
            self.timer = Some(exact_sleep_until(head.due));
        }
        self.timer
            .as_mut()
            .map_or(Poll::Ready(()), |timer| Pin::new(timer).poll(cx))
    }

    /// The first chunk gave up `count` bytes.
    fn consumed(&mut self, count: usize) {
        self.waiting -= count;
        if let Some(head) = self.queue.front_mut() {
            head.data.advance(count);
            if head.data.is_empty() {
                self.queue.pop_front();
            }
        }
    }
}

pub(crate) struct Wire {
    stream: TcpStream,
    edge: Edge,
    board: Arc<FaultBoard>,
    /// The board's version that the lanes follow.
    seen: u64,
    /// Source to destination.
    out: Lane,
    /// Destination to source.
    back: Lane,
    /// The destination's end of file (or error) has been read but perhaps not yet handed on.
    ended: Option<io::Result<()>>,
    /// Woken when the board moves on from `seen`.
    change: Option<Watch>,
}

impl Wire {
    pub fn new(stream: TcpStream, edge: Edge, board: Arc<FaultBoard>) -> Self {
        edge.metrics.open.inc();
        let seen = board.version();
        let out = Lane {
            line: board.line(&edge.source.uid, &edge.destination.uid),
            ..Default::default()
        };
        let back = Lane {
            line: board.line(&edge.destination.uid, &edge.source.uid),
            ..Default::default()
        };
        Self {
            stream,
            edge,
            board,
            seen,
            out,
            back,
            ended: None,
            change: None,
        }
    }

    /// Its edge's counters.
    pub fn metrics(&self) -> &Arc<EdgeMetrics> {
        &self.edge.metrics
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Catches up with the board.
    fn refresh(&mut self) {
        let version = self.board.version();
        if version == self.seen {
            return;
        }
        self.seen = version;
        self.change = None;
        let (source, destination) = (&self.edge.source.uid, &self.edge.destination.uid);
        let out = self.board.line(source, destination);
        if !out.same(&self.out.line) {
            self.out.reschedule(out);
        }
        let back = self.board.line(destination, source);
        if !back.same(&self.back.line) {
            self.back.reschedule(back);
        }
    }

    /// Ready when the board has changed since [`Self::refresh`]; else the task is woken when it does.
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (board, seen) = (&self.board, self.seen);
        let change = self.change.get_or_insert_with(|| board.change_since(seen));
        Pin::new(change).poll(cx)
    }

    /// Sends what is due; ready when nothing waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send_until(cx, 1)
    }

    /// Sends what is due; ready when fewer than `room` bytes wait.
    fn poll_send_until(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<()>> {
        loop {
            self.refresh();
            if self.out.line.reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if self.out.waiting < room {
                return Poll::Ready(Ok(()));
            }
            if self.out.line.blocked || self.out.poll_due(cx).is_pending() {
                ready!(self.poll_change(cx));
                continue;
            }
            let Some(head) = self.out.queue.front() else {
                continue;
            };
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &head.data))?;
            self.edge.metrics.sent.inc_by(count as u64);
            self.out.consumed(count);
        }
    }

    /// Takes in what has come, as long as there is room.
    fn fill(&mut self, cx: &mut Context<'_>) {
        let mut space = [std::mem::MaybeUninit::<u8>::uninit(); 16 * 1024];
        while self.ended.is_none() && !self.back.line.blocked && self.back.waiting < self.back.line.window() {
            let room = self.back.line.piece().min(space.len());
            let mut buffer = ReadBuf::uninit(&mut space[..room]);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => self.ended = Some(Err(error)),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => self.ended = Some(Ok(())),
                Poll::Ready(Ok(())) => {
                    self.edge.metrics.received.inc_by(buffer.filled().len() as u64);
                    self.back.push(Bytes::copy_from_slice(buffer.filled()));
                }
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.edge.metrics.open.dec();
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Whoever waits for an answer drives the question.
        if !this.out.queue.is_empty()
            && let Poll::Ready(Err(error)) = this.poll_send(cx)
        {
            return Poll::Ready(Err(error));
        }
        loop {
            this.refresh();
            if this.back.line.reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if this.back.is_clear() && this.ended.is_none() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut Direct(&this.stream)).poll_read(cx, buf))?;
                this.edge
                    .metrics
                    .received
                    .inc_by((buf.filled().len() - before) as u64);
                return Poll::Ready(Ok(()));
            }
            this.fill(cx);
            if this.back.line.blocked {
                ready!(this.poll_change(cx));
                continue;
            }
            let Some(head) = this.back.queue.front() else {
                match &mut this.ended {
                    Some(end) => return Poll::Ready(std::mem::replace(end, Ok(()))),
                    None => {
                        ready!(this.poll_change(cx));
                        continue;
                    }
                }
            };
            let count = head.data.len().min(buf.remaining());
            if this.back.poll_due(cx).is_pending() {
                ready!(this.poll_change(cx));
                continue;
            }
            let Some(head) = this.back.queue.front() else {
                continue;
            };
            buf.put_slice(&head.data[..count]);
            this.back.consumed(count);
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.refresh();
        if self.out.is_clear() && !self.out.line.reset {
            // send(2) costs the kernel less than writev(2).
            let count = ready!(Pin::new(&mut Direct(&self.stream)).poll_write(cx, buf))?;
            self.edge.metrics.sent.inc_by(count as u64);
            return Poll::Ready(Ok(count));
        }
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.refresh();
        if this.out.line.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if this.out.is_clear() {
            let count = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs))?;
            this.edge.metrics.sent.inc_by(count as u64);
            return Poll::Ready(Ok(count));
        }
        let window = this.out.line.window();
        ready!(this.poll_send_until(cx, window))?;
        let Some(first) = bufs.iter().find(|buf| !buf.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        let count = first.len().min(this.out.line.piece());
        this.out.push(Bytes::copy_from_slice(&first[..count]));
        // Sends what is due at once, and otherwise sees to it that this task is woken.
        if let Poll::Ready(Err(error)) = this.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.queue.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            self.poll_send(cx)
        }
    }

    /// A closing whose FIN cannot pass a partition gives the connection up: its bytes would never have arrived.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.refresh();
        if self.out.line.blocked {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
