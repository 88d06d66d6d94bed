//! The data plane is a process of its own: found again after control's death, started when there is none.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::process::ProcessId;
use crate::failure::{Context, Failure};

const RECORD: &str = "dataplane-process.json";
/// Before a data plane that has ended is started again: at first, and at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Uses the data plane that is running in `folder`, or starts one from `program`.
pub fn ensure(folder: &Path, program: &Path, lifeline: Option<&OwnedFd>) -> Result<ProcessId, Failure> {
    if let Some(process) = running(folder) {
        return Ok(process);
    }
    let record = folder.join(RECORD);
    let process = start(folder, program, lifeline)?;
    let bytes = serde_json::to_vec(&process).component("recording the data plane")?;
    std::fs::write(&record, bytes).component(format!("writing {}", record.display()))?;
    Ok(process)
}

/// Starts the data plane again whenever it ends, until `shutdown`. The network agent finds the new one by itself.
pub async fn keep(
    folder: PathBuf,
    program: PathBuf,
    lifeline: Option<OwnedFd>,
    mut process: ProcessId,
    shutdown: CancellationToken,
) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        let since = Instant::now();
        tokio::select! {
            () = ended(&process) => {}
            () = shutdown.cancelled() => return,
        }
        // One that ends again and again must not keep the machine busy.
        pause = if since.elapsed() > LONGEST_PAUSE {
            SHORTEST_PAUSE
        } else {
            (pause * 2).min(LONGEST_PAUSE)
        };
        tracing::error!(pid = process.pid, "the data plane has ended; starting it again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
        match ensure(&folder, &program, lifeline.as_ref()) {
            Ok(again) => process = again,
            Err(error) => tracing::error!(%error, "the data plane could not be started"),
        }
    }
}

/// Returns when `process` is no more.
async fn ended(process: &ProcessId) {
    let Some(handle) = super::ending::open(process.pid) else {
        return;
    };
    // The pidfd holds the identity now: only after taking it does the check mean anything.
    if !process.is_alive() {
        return;
    }
    // SAFETY: an `OwnedFd` is open for as long as it lives, and it lives in the `AsyncFd`.
    match unsafe { tokio::io::unix::AsyncFd::register(handle) } {
        Ok(handle) => drop(handle.readable().await),
        Err(error) => {
            tracing::error!(error = %error.into_parts().1, "the data plane cannot be watched");
            std::future::pending().await
        }
    }
}

fn start(folder: &Path, program: &Path, lifeline: Option<&OwnedFd>) -> Result<ProcessId, Failure> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("dataplane.log"))
        .component("opening the data plane's log")?;
    let errors = log.try_clone().component("opening the data plane's log")?;
    let mut command = Command::new(program);
    command
        .args(["internal", "dataplane"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    let inherited = lifeline.map(AsRawFd::as_raw_fd);
    if let Some(fd) = inherited {
        command.env("HIKESHI_LIFELINE", fd.to_string());
    } else {
        command.env_remove("HIKESHI_LIFELINE");
    }
    // SAFETY: setsid and fcntl are async-signal-safe; nothing is allocated between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::setsid();
            if let Some(fd) = inherited {
                libc::fcntl(fd, libc::F_SETFD, 0);
            }
            Ok(())
        });
    }
    let child = command
        .spawn()
        .component(format!("starting the data plane ({})", program.display()))?;
    let pid = child.id().cast_signed();
    reap(child);
    ProcessId::of(pid)
        .ok_or_else(|| Failure::component("the data plane ended at once; see dataplane/dataplane.log"))
}

/// Waits for the child on a thread of its own, so that its end leaves no zombie while control lives.
fn reap(mut child: std::process::Child) {
    std::thread::spawn(move || {
        let _ = child.wait();
    });
}

/// The data plane of this state folder, if it is alive.
pub fn running(folder: &Path) -> Option<ProcessId> {
    let bytes = std::fs::read(folder.join(RECORD)).ok()?;
    serde_json::from_slice::<ProcessId>(&bytes)
        .ok()
        .filter(ProcessId::is_alive)
}

/// Ends the data plane of this state folder, if there is one.
pub fn stop(folder: &Path) {
    if let Some(process) = running(folder) {
        super::ending::end(&process);
    }
    let _ = std::fs::remove_file(folder.join(RECORD));
    let _ = std::fs::remove_file(folder.join("dataplane.sock"));
}
