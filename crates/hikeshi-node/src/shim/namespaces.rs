//! Leaving the host: new user, mount, pid, network, UTS and IPC namespaces, without privileges.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::{getegid, geteuid};

use super::protocol::PodUser;

/// Why namespaces could not be made, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    #[error("{reason}; {remedy}")]
    Forbidden {
        reason: String,
        remedy: &'static str,
        source: nix::Error,
    },
    #[error("writing {file}: {source}")]
    Mapping { file: &'static str, source: io::Error },
}

const REMEDY: &str = "allow them (see `hikeshi doctor`) or run Hikeshi as root";

/// Moves this process into new namespaces; children join the pid namespace. The image's ids stand for our own.
/// The mount namespace comes later ([`leave_mounts`]): pivot_root would change this process's root too.
pub fn enter(user: &PodUser) -> Result<(), NamespaceError> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )
    .map_err(|source| NamespaceError::Forbidden {
        reason: explain(source),
        remedy: REMEDY,
        source,
    })?;
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("{} {uid} 1\n", user.uid))?;
    write("/proc/self/gid_map", &format!("{} {gid} 1\n", user.gid))
}

/// A mount namespace for the calling process alone.
pub fn leave_mounts() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)
}

fn write(file: &'static str, text: &str) -> Result<(), NamespaceError> {
    fs::write(file, text).map_err(|source| NamespaceError::Mapping { file, source })
}

fn sysctl(path: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{path}"))
        .ok()
        .map(|text| text.trim().to_owned())
}

/// Names the switch that most likely forbids user namespaces on this machine.
fn explain(error: nix::Error) -> String {
    let cause = if sysctl("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        "kernel.unprivileged_userns_clone is 0"
    } else if sysctl("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        "AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1)"
    } else if sysctl("user/max_user_namespaces").as_deref() == Some("0") {
        "user.max_user_namespaces is 0"
    } else if error == nix::Error::ENOSPC {
        "the limit user.max_user_namespaces (or another user.max_*_namespaces) is reached"
    } else {
        "a container runtime's seccomp profile or the kernel's configuration may forbid them"
    };
    format!("this system does not let a process make user namespaces ({error}): {cause}")
}

/// Brings `lo` up and lets every user of the pod bind any port, as container runtimes do.
pub fn set_up_loopback() -> io::Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero ifreq is a valid value of this plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Lets any user of the pod bind ports below 1024. Needs the pod's own `/proc`.
pub fn free_low_ports() -> io::Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
}
