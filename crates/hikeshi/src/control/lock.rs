//! One control process per state folder.

use std::fs::{File, OpenOptions};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use crate::failure::{Context, Failure};

/// Held for as long as control lives; the kernel lets it go however control ends.
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    pub fn take(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .component(format!("opening {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(Failure::component(format!(
                "another hikeshi is already running with the state folder {}",
                path.parent().unwrap_or(path).display()
            ))
            .hint("use it, end it with `hikeshi down`, or set HIKESHI_HOME to another folder")),
            Err((_, errno)) => Err(Failure::component(format!("locking {}: {errno}", path.display()))),
        }
    }
}
