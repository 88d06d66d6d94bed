//! control.sock: how the command line asks control, and nobody else.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen as accept_at, socket,
};
use tokio::net::UnixListener;

use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// Listens at control.sock, in place of one that a former control left.
pub(super) fn listen(paths: &Paths) -> Result<UnixListener, Failure> {
    let path = paths.control_socket();
    let _ = std::fs::remove_file(&path);
    // The path may be longer than a socket address: go through a descriptor of its folder.
    let folder = std::fs::File::open(&paths.home).component("opening the state folder")?;
    let short = format!("/proc/self/fd/{}/control.sock", folder.as_raw_fd());
    let bound = bind_private(Path::new(&short)).component("listening on control.sock")?;
    accept_at(&bound, Backlog::MAXCONN).component("listening on control.sock")?;
    UnixListener::from_std(bound.into()).component("listening on control.sock")
}

/// Binds a socket whose file is its owner's alone before anyone can connect: nobody can until it is listened on.
fn bind_private(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let bound = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(bound.as_raw_fd(), &UnixAddr::new(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(bound)
}

/// The next connection. A failure to accept (out of descriptors, most likely) ends nothing: others' closing helps.
pub(super) async fn next<T, F>(mut accept: impl FnMut() -> F) -> T
where
    F: Future<Output = io::Result<T>>,
{
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting on control.sock failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_connect_before_the_socket_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let _bound = bind_private(&path).unwrap();
        let early = std::os::unix::net::UnixStream::connect(&path).unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::ConnectionRefused);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_failure_to_accept_ends_nothing() {
        let mut left = 2;
        let accepted = next(|| {
            left -= 1;
            std::future::ready(if left >= 0 {
                Err(io::Error::from_raw_os_error(libc::EMFILE))
            } else {
                Ok("a client")
            })
        });
        assert_eq!(accepted.await, "a client");
    }
}
