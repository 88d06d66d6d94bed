//! Ending a process that is not a child: TERM, wait on its pidfd, KILL.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::ProcessId;

/// How long a process may take over its own ending, in milliseconds.
const GRACE_MS: u16 = 5_000;

/// Asks `process` to end, then makes it. Returns when it is gone (or was never ours to end).
pub fn end(process: &ProcessId) {
    let Some(handle) = open(process.pid) else { return };
    // The pidfd holds the identity now: only after taking it does the check mean anything.
    if !process.is_alive() {
        return;
    }
    let pid = Pid::from_raw(process.pid);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        if kill(pid, signal).is_err() {
            return;
        }
        let mut waiting = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut waiting, PollTimeout::from(GRACE_MS)), Ok(ready) if ready > 0) {
            return;
        }
    }
    tracing::warn!(pid = handle.as_raw_fd(), "a process did not end even when killed");
}

/// A descriptor of the process that has `pid` now; readable once it has ended.
pub(super) fn open(pid: i32) -> Option<OwnedFd> {
    // SAFETY: pidfd_open takes a pid and flags and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: a non-negative result is a descriptor that only we hold.
    i32::try_from(fd)
        .ok()
        .filter(|fd| *fd >= 0)
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_a_stranger_and_leaves_a_recycled_pid_alone() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let process = ProcessId::of(child.id().cast_signed()).unwrap();
        end(&ProcessId {
            start_time: process.start_time + 1,
            ..process.clone()
        });
        assert!(process.is_alive());
        end(&process);
        assert!(!process.is_alive());
        child.wait().unwrap();
    }
}
