//! The data plane as a process: who it is, and when it ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::oneshot;

use crate::protocol::{IDENTITY, Identity};

/// Ends the data plane when the descriptor named by this variable reads its end.
const LIFELINE: &str = "HIKESHI_LIFELINE";

/// Takes all the open files that this process may have: each connection is two descriptors, each pod has a hundred
/// listeners, and in control every watch and command is one.
///
/// # Errors
/// What the system says to it.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// Who this process is.
pub(crate) fn identity() -> io::Result<Identity> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The program's name (field 2) may contain anything, brackets too: count from the last one.
    let start_time = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().nth(19));
    let start_time = start_time
        .and_then(|ticks| ticks.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/stat has no start time"))?;
    Ok(Identity {
        pid: std::process::id(),
        start_time,
    })
}

/// Writes `dataplane.json`, whole or not at all.
pub(crate) fn write_identity(dir: &Path) -> io::Result<()> {
    let new = dir.join(format!("{IDENTITY}.new"));
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(&identity()?)?)?;
    std::fs::rename(new, dir.join(IDENTITY))
}

/// A receiver that fires when the lifeline closes; `None` without one.
pub(crate) fn lifeline() -> io::Result<Option<oneshot::Receiver<()>>> {
    let Ok(number) = std::env::var(LIFELINE) else {
        return Ok(None);
    };
    let fd = number.parse::<i32>().ok().filter(|fd| *fd >= 0);
    let fd = fd.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{LIFELINE}={number}")))?;
    // SAFETY: whoever set the variable gave this process the descriptor for this one purpose; nothing else uses it.
    let mut line = unsafe { File::from_raw_fd(fd) };
    let (closed, watch) = oneshot::channel();
    std::thread::Builder::new()
        .name("lifeline".into())
        .spawn(move || {
            let mut byte = [0u8; 1];
            // Whatever is written to it has no meaning; only its end does.
            while matches!(line.read(&mut byte), Ok(n) if n > 0) {}
            let _ = closed.send(());
        })?;
    Ok(Some(watch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_we_may_have_is_asked_for() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard - 1, hard).unwrap();
        raise_descriptor_limit().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    }
}
