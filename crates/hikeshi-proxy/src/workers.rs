//! Threads that carry connections: one per core, each with a runtime of its own, so that a connection's two ends, its
//! buffers and its timers stay on one core, and control is answered however busy they are.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The threads; they end with this value.
#[derive(Debug)]
pub(crate) struct Workers {
    handles: Vec<Handle>,
    next: AtomicUsize,
    _running: DropGuard,
}

impl Workers {
    /// As many as this process has cores to run on.
    pub fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let stop = CancellationToken::new();
        let mut handles = Vec::with_capacity(count);
        for number in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let stopped = stop.clone();
            std::thread::Builder::new()
                .name(format!("dataplane-{number}"))
                .spawn(move || {
                    runtime.block_on(stopped.cancelled());
                    // A blocking task of a connection must not keep the thread.
                    runtime.shutdown_background();
                })?;
        }
        Ok(Self {
            handles,
            next: AtomicUsize::new(0),
            _running: stop.drop_guard(),
        })
    }

    /// Gives `stream` to the next thread, and runs what `serve` makes of it there.
    pub fn serve<F>(&self, stream: TcpStream, serve: impl FnOnce(TcpStream) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        // Fails only when the runtime that accepted it is ending.
        let Ok(stream) = stream.into_std() else { return };
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len().max(1);
        let Some(handle) = self.handles.get(number) else {
            return;
        };
        handle.spawn(async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => serve(stream).await,
                Err(error) => tracing::warn!(%error, "cannot carry a connection"),
            }
        });
    }
}
