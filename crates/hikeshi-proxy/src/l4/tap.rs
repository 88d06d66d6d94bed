//! A client's stream whose passing bytes are looked at.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use prometheus_client::metrics::histogram::Histogram;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::commands::Commands;
use crate::metrics::EdgeMetrics;
use crate::socket::Direct;

/// Stands at the client's end: what a command took is what its client waited, the faults on the wire included.
pub(super) struct Tap {
    pub stream: TcpStream,
    commands: Commands,
    metrics: Arc<EdgeMetrics>,
    /// The counters that this connection has used.
    known: Vec<(&'static str, Histogram)>,
}

impl Tap {
    pub fn new(stream: TcpStream, metrics: Arc<EdgeMetrics>) -> Self {
        Self {
            stream,
            commands: Commands::default(),
            metrics,
            known: Vec::new(),
        }
    }

    fn answered(&mut self, bytes: &[u8]) {
        if !self.commands.is_watching() {
            return;
        }
        let protocol = self.commands.protocol();
        let (known, metrics) = (&mut self.known, &self.metrics);
        self.commands.answered(bytes, Instant::now(), |command| {
            let place = known.iter().position(|(name, _)| *name == command.name);
            let place = place.unwrap_or_else(|| {
                known.push((command.name, metrics.command(protocol, command.name)));
                known.len() - 1
            });
            known[place].1.observe(command.took.as_secs_f64());
        });
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut Direct(&this.stream)).poll_read(cx, buf))?;
        if this.commands.is_watching() {
            this.commands.asked(&buf.filled()[before..], Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut Direct(&self.stream)).poll_write(cx, buf))?;
        self.answered(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut Direct(&self.stream)).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut Direct(&self.stream)).poll_shutdown(cx)
    }
}
