//! The data plane's main, and its end of the control protocol.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::plane::{Plane, Shared};
use crate::podlink;
use crate::process;
use crate::protocol::{LEASE, MAX_LINE, Reply, Request, SOCKET};

/// Why the data plane could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    #[error("a data plane already serves {0}")]
    AlreadyRunning(PathBuf),
    #[error("cannot {doing}")]
    Io { doing: &'static str, source: io::Error },
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> DataplaneError {
    move |source| DataplaneError::Io { doing, source }
}

/// Runs the data plane whose folder is `dir` until SIGTERM, or until the lifeline closes. It starts with nothing to do
/// and takes its first snapshot from whoever connects.
pub fn dataplane_main(dir: &Path) -> Result<(), DataplaneError> {
    process::raise_descriptor_limit().map_err(failed("raise the limit of open files"))?;
    let lifeline = process::lifeline().map_err(failed("watch the lifeline"))?;
    // Control and the accepting of connections; what is accepted goes to the workers' threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("start the runtime"))?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed("watch for SIGTERM"))?;
        let plane = Plane::new().map_err(failed("start the threads that carry connections"))?;
        let listener = listen(dir).await?;
        let cut = async {
            match lifeline {
                // An error is the watching thread's end: the line is as good as closed.
                Some(closed) => drop(closed.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            never = serve(listener, plane) => match never {},
            _ = terminate.recv() => tracing::info!("the data plane ends: SIGTERM"),
            () = cut => tracing::info!("the data plane ends: its lifeline closed"),
        }
        Ok(())
    });
    // Connections end with the process; nobody waits for them.
    runtime.shutdown_background();
    result
}

async fn listen(dir: &Path) -> Result<UnixListener, DataplaneError> {
    std::fs::create_dir_all(dir).map_err(failed("make the data plane's folder"))?;
    let path = dir.join(SOCKET);
    let (_folder, short) = podlink::short_path(&path).map_err(failed("open the data plane's folder"))?;
    if UnixStream::connect(&short).await.is_ok() {
        return Err(DataplaneError::AlreadyRunning(dir.to_path_buf()));
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove the socket of an earlier data plane")(error));
        }
        _ => {}
    }
    // Before anybody can connect: who has reached the data plane can tell who it is.
    process::write_identity(dir).map_err(failed("write dataplane.json"))?;
    UnixListener::bind(&short).map_err(failed("listen for control"))
}

/// What the control connections share.
struct Control {
    shared: Arc<Shared>,
    plane: Mutex<Plane>,
    /// The connection that holds the lease on the faults; 0 is nobody.
    holder: AtomicU64,
}

async fn serve(listener: UnixListener, plane: Plane) -> std::convert::Infallible {
    let control = Arc::new(Control {
        shared: plane.shared.clone(),
        plane: Mutex::new(plane),
        holder: AtomicU64::new(0),
    });
    let board = control.shared.board.clone();
    tokio::spawn(async move { board.watch_ends().await });
    let mut number = 0;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                number += 1;
                let control = control.clone();
                tokio::spawn(async move {
                    let session = Session { control, number };
                    let ended = session.run(stream).await;
                    tracing::info!(connection = number, reason = %ended.map_or_else(|e| e.to_string(), str::to_string),
                        "a control connection ended");
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept control");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

/// One control connection. Its end, however it comes, ends the lease it holds.
struct Session {
    control: Arc<Control>,
    number: u64,
}

impl Session {
    async fn run(&self, stream: UnixStream) -> io::Result<&'static str> {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = (&mut stream).take(MAX_LINE);
            match timeout(LEASE, limited.read_until(b'\n', &mut line)).await {
                Err(_silent) => return Ok("silent for longer than the lease"),
                Ok(read) => {
                    if read? == 0 {
                        return Ok("closed");
                    }
                }
            }
            let reply = match serde_json::from_slice(&line) {
                Ok(request) => self.answer(request).await,
                Err(error) => Reply::Error {
                    message: format!("not understood: {error}"),
                },
            };
            let mut bytes = serde_json::to_vec(&reply)?;
            bytes.push(b'\n');
            stream.get_mut().write_all(&bytes).await?;
        }
    }

    async fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Heartbeat => {
                self.control.shared.pool.prune();
                Reply::Alive
            }
            Request::Metrics => Reply::Metrics {
                text: self.control.shared.metrics.text(),
            },
            Request::Apply { snapshot } => {
                let mut plane = self.control.plane.lock().await;
                self.control.holder.store(self.number, Ordering::Release);
                Reply::Applied {
                    applied: plane.apply(*snapshot).await,
                }
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let held = self
            .control
            .holder
            .compare_exchange(self.number, 0, Ordering::AcqRel, Ordering::Acquire);
        if held.is_ok() {
            tracing::warn!("control is gone: every fault is lifted");
            self.control.shared.board.post(Vec::new());
        }
    }
}
