//! Descriptors, of which every connection takes one.

use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process have as many as it may ask for. What may not be had is done without.
pub fn raise_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it is not allowed, connections are fewer: the engine makes do.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Whether there are no more, of this process or of the machine.
pub(super) fn are_used_up(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    [Errno::EMFILE, Errno::ENFILE]
        .iter()
        .any(|errno| number == Some(*errno as i32))
}
