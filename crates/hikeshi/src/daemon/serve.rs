//! Answers the CLI until told to stop.

use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::protocol::{Reply, Request};
use super::session::{Running, SessionOptions};
use super::socket;
use crate::control::record::Record;
use crate::control::seats;
use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// How long a drill waits for the noise of the start to pass before it opens.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(100);

pub async fn serve(paths: Paths, listen: Option<SocketAddr>, system: String) -> Result<(), Failure> {
    hikeshi_proxy::raise_descriptor_limit().component("raising the limit of open files")?;
    let share = crate::paths::share()?;
    let lifeline = inherited_lifeline()?;
    let watched = lifeline
        .as_ref()
        .map(OwnedFd::try_clone)
        .transpose()
        .component("copying the lifeline")?;
    let before = Record::read(&paths);
    let fresh = before.is_none();
    // What already runs here goes on, whatever this control was started for.
    let system = before.and_then(|record| record.system).unwrap_or(system);
    let options = SessionOptions {
        drills: paths.drills(),
        share,
        paths: paths.clone(),
        lifeline,
        listen,
        system,
    };
    let running = Arc::new(Running::start(options).await?);
    go_on(&running, &paths, fresh).await?;
    let shutdown = running.control.shutdown.clone();
    let listener = socket::listen(&paths)?;
    let mut terminate = signal(SignalKind::terminate()).component("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).component("listening for SIGINT")?;
    let cut = lifeline_cut(watched);
    tokio::pin!(cut);
    loop {
        tokio::select! {
            (stream, _) = socket::next(|| listener.accept()) => {
                let (running, shutdown) = (running.clone(), shutdown.clone());
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &running, &shutdown).await {
                        tracing::debug!(%error, "a conversation on control.sock broke off");
                    }
                });
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = &mut cut => break,
            () = shutdown.cancelled() => break,
        }
    }
    shutdown.cancel();
    Ok(())
}

/// `HIKESHI_LIFELINE=FD`: the descriptor that a test holds the other end of.
fn inherited_lifeline() -> Result<Option<OwnedFd>, Failure> {
    let Ok(text) = std::env::var("HIKESHI_LIFELINE") else {
        return Ok(None);
    };
    let fd: i32 = text
        .parse()
        .map_err(|_| Failure::usage("HIKESHI_LIFELINE is not a descriptor"))?;
    // SAFETY: the parent passed this descriptor for us to own; fcntl tells whether it is one.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(Failure::usage(format!("HIKESHI_LIFELINE={fd} is not open")));
    }
    // SAFETY: as above.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Returns when the lifeline's other end closes; never when there is none.
async fn lifeline_cut(lifeline: Option<OwnedFd>) {
    // SAFETY: an `OwnedFd` is open for as long as it lives, and it lives in the `AsyncFd`.
    let watched = lifeline.and_then(|fd| unsafe { tokio::io::unix::AsyncFd::register(fd) }.ok());
    let Some(fd) = watched else {
        return std::future::pending().await;
    };
    // Nothing is ever written to it: readable means closed.
    let _ = fd.readable().await;
}

async fn converse(
    stream: UnixStream,
    running: &Arc<Running>,
    shutdown: &tokio_util::sync::CancellationToken,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read).read_line(&mut line).await?;
    let (lines, mut replies) = mpsc::unbounded_channel();
    let work = {
        let (running, lines) = (running.clone(), lines.clone());
        tokio::spawn(async move {
            let result = match serde_json::from_str(&line) {
                Ok(request) => answer(&running, request, &lines).await,
                Err(error) => Err(Failure::usage(format!("control did not understand: {error}"))),
            };
            let _ = lines.send(match result {
                Ok(value) => Reply::Done(value),
                Err(failure) => Reply::Failed(failure),
            });
        })
    };
    drop(lines);
    let mut stop = false;
    while let Some(reply) = replies.recv().await {
        stop = matches!(&reply, Reply::Done(value) if value["stopping"] == true);
        let mut bytes = serde_json::to_vec(&reply)?;
        bytes.push(b'\n');
        write.write_all(&bytes).await?;
    }
    let _ = work.await;
    if stop {
        shutdown.cancel();
    }
    Ok(())
}

async fn answer(
    running: &Arc<Running>,
    request: Request,
    lines: &mpsc::UnboundedSender<Reply>,
) -> Result<Value, Failure> {
    let progress = |text: String| {
        running.host.progress(text.clone());
        let _ = lines.send(Reply::Progress(text));
    };
    match request {
        Request::Up { system, left_behind } => {
            if system != running.system {
                return Err(Failure::usage(format!(
                    "this control runs {:?}, not {system:?}",
                    running.system
                ))
                .hint("`hikeshi down` first"));
            }
            let started = std::time::Instant::now();
            let pods = running.bring_up(left_behind, progress).await?;
            // A drill that control found in its briefing waits for this, too.
            running.host.system_is_up(pods, started.elapsed().as_secs_f64());
            Ok(merge(status(running), json!({"pods": pods})))
        }
        Request::Status => Ok(status(running)),
        Request::DrillStart { scenario } => start_drill(running, &scenario, progress).await,
        Request::DrillEnd => {
            let id = running
                .host
                .end("ended from the command line")
                .await
                .map_err(|error| Failure::not_so(error.to_string()))?;
            Ok(json!({"drill": id}))
        }
        Request::SeatKubeconfig { name, seat } => {
            let path = seats::kubeconfig(
                &running.control.paths,
                &running.control.pki,
                running.control.api_address,
                &name,
                &seat,
            )?;
            Ok(json!({"path": path}))
        }
        Request::Stop => Ok(json!({"stopping": true})),
        Request::Experiment(asked) => super::experiments::answer(running.host.as_ref(), asked).await,
        Request::Lab { by, act } => super::lab::answer(running.host.as_ref(), &by, act).await,
        Request::LabOutcome { id } => super::lab::outcome(running.host.as_ref(), &id).await,
    }
}

/// Goes on with the drill that was run on this system when control ended.
async fn go_on(running: &Running, paths: &Paths, fresh: bool) -> Result<(), Failure> {
    let Ok(id) = std::fs::read_to_string(paths.drilled()) else {
        return Ok(());
    };
    match running.host.resume(&id) {
        // `hikeshi down` took its system away: there is nothing to go on with.
        Ok(Some(_)) if fresh => {
            let ended = running.host.end("the system was taken down").await;
            ended.component("ending the last drill")?;
        }
        Ok(Some(_)) => tracing::info!(drill = id, "going on with the drill that was on"),
        Ok(None) => {}
        // A log or a scenario that cannot be read must not keep everything else from starting.
        Err(error) => tracing::error!(drill = id, %error, "the drill that was on cannot be gone on with"),
    }
    if fresh {
        let _ = std::fs::remove_file(paths.drilled());
    }
    Ok(())
}

async fn start_drill(
    running: &Arc<Running>,
    scenario: &str,
    mut progress: impl FnMut(String),
) -> Result<Value, Failure> {
    use hikeshi_host::{HostError, LibraryError};
    let started = std::time::Instant::now();
    let session = running
        .host
        .open(scenario, false, 1)
        .await
        .map_err(|error| match &error {
            HostError::Library(LibraryError::Unknown { .. }) => {
                Failure::usage(error.to_string()).hint("`hikeshi scenario list` names them all")
            }
            HostError::Library(_) => Failure::usage(error.to_string()),
            HostError::Busy(_) => Failure::not_so(error.to_string()).hint("`hikeshi drill end` ends it"),
            _ => Failure::component(error.to_string()),
        })?;
    let id = session.id().to_owned();
    // Written whole or not at all: half an id would be no drill's.
    let result = match seats::write_private(&running.control.paths.drilled(), &id) {
        Ok(()) => running.bring_up(false, &mut progress).await,
        Err(failure) => Err(failure),
    };
    match result {
        Ok(pods) => {
            progress("waiting for the normal state".to_owned());
            running.host.settle(SETTLE).await;
            running.host.system_is_up(pods, started.elapsed().as_secs_f64());
            Ok(merge(status(running), json!({"drill": id, "pods": pods})))
        }
        Err(failure) => {
            // A drill whose system never came up is over.
            let _ = running.host.end("the system did not start").await;
            Err(failure)
        }
    }
}

fn status(running: &Running) -> Value {
    let drill = running.host.running().map(
        |session| json!({"id": session.id(), "scenario": session.with_state(|state| state.scenario.clone())}),
    );
    json!({
        "running": true,
        "system": running.system,
        "api": format!("https://{}", running.control.api_address),
        "url": running.host_url(),
        "invite": running.invite_url(),
        "kubeconfig": running.control.paths.kubeconfig(),
        "hosts": *running.control.host_addresses.borrow(),
        "drill": drill,
    })
}

fn merge(mut into: Value, more: Value) -> Value {
    if let (Some(into), Some(more)) = (into.as_object_mut(), more.as_object()) {
        into.extend(more.clone());
    }
    into
}
