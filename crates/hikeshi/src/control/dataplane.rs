//! The data plane is a process of its own: found again after control's death, started when there is none.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::process::ProcessId;
use crate::failure::{Context, Failure};

const RECORD: &str = "dataplane-process.json";

/// Uses the data plane that is running in `folder`, or starts one from `program`.
pub fn ensure(folder: &Path, program: &Path, lifeline: Option<&OwnedFd>) -> Result<ProcessId, Failure> {
    let record = folder.join(RECORD);
    let running = std::fs::read(&record).ok().and_then(|bytes| serde_json::from_slice::<ProcessId>(&bytes).ok());
    if let Some(process) = running.filter(ProcessId::is_alive) {
        return Ok(process);
    }
    let process = start(folder, program, lifeline)?;
    let bytes = serde_json::to_vec(&process).component("recording the data plane")?;
    std::fs::write(&record, bytes).component(format!("writing {}", record.display()))?;
    Ok(process)
}

fn start(folder: &Path, program: &Path, lifeline: Option<&OwnedFd>) -> Result<ProcessId, Failure> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("dataplane.log"))
        .component("opening the data plane's log")?;
    let errors = log.try_clone().component("opening the data plane's log")?;
    let mut command = Command::new(program);
    command.args(["internal", "dataplane"]).arg(folder).stdin(Stdio::null()).stdout(log).stderr(errors);
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
    let child = command.spawn().component(format!("starting the data plane ({})", program.display()))?;
    let pid = child.id().cast_signed();
    reap(child);
    ProcessId::of(pid).ok_or_else(|| Failure::component("the data plane ended at once; see dataplane/dataplane.log"))
}

/// Waits for the child on a thread of its own, so that its end leaves no zombie while control lives.
fn reap(mut child: std::process::Child) {
    std::thread::spawn(move || {
        let _ = child.wait();
    });
}

/// Ends the data plane of this state folder, if there is one.
pub fn stop(folder: &Path) {
    let record = folder.join(RECORD);
    let running = std::fs::read(&record).ok().and_then(|bytes| serde_json::from_slice::<ProcessId>(&bytes).ok());
    if let Some(process) = running.filter(ProcessId::is_alive) {
        super::ending::end(&process);
    }
    let _ = std::fs::remove_file(record);
    let _ = std::fs::remove_file(folder.join("dataplane.sock"));
}
