//! Lets a program's wildcard bind live beside the data plane's specific one: a seccomp user notification
//! stops bind(2) in the pod's processes, and the init sets SO_REUSEPORT on the socket before it goes on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

#[repr(C)]
#[derive(Default)]
pub struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    nr: i32,
    arch: u32,
    instruction_pointer: u64,
    args: [u64; 6],
}

#[repr(C)]
pub struct Response {
    id: u64,
    val: i64,
    error: i32,
    flags: u32,
}

nix::ioctl_readwrite!(notification_receive, b'!', 0, Notification);
nix::ioctl_readwrite!(notification_send, b'!', 1, Response);

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xC000_00B7;

const fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

const fn jump_if_equal(k: u32, skip_true: u8, skip_false: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: skip_true,
        jf: skip_false,
        k,
    }
}

/// Everything passes at full speed but bind(2) of the native architecture, which asks the init.
static FILTER: [libc::sock_filter; 6] = [
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 4),
    jump_if_equal(AUDIT_ARCH, 0, 3),
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
    jump_if_equal(libc::SYS_bind as u32, 0, 1),
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF),
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
];

/// Installs the filter in this process and returns the listener's descriptor number, or -errno.
/// Async-signal-safe: called between fork and exec. Sets no_new_privs.
pub fn install() -> RawFd {
    let program = libc::sock_fprog {
        len: FILTER.len() as u16,
        filter: FILTER.as_ptr().cast_mut(),
    };
    // SAFETY: both calls only read their arguments; the kernel copies the filter before returning.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return -*libc::__errno_location();
        }
        let fd = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        );
        if fd < 0 {
            -*libc::__errno_location()
        } else {
            fd as RawFd
        }
    }
}

/// Answers one waiting bind(2) on `listener`. `Ok(false)`: the caller has gone meanwhile.
pub fn answer(listener: RawFd) -> io::Result<bool> {
    let mut notification = Notification::default();
    // SAFETY: the listener is a seccomp notification descriptor and the struct is its exact layout.
    match unsafe { notification_receive(listener, &raw mut notification) } {
        Ok(_) => {}
        Err(nix::Error::ENOENT | nix::Error::EINTR | nix::Error::EAGAIN) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    // A failure here must not fail the program's bind: without the option it works as on any machine.
    let [fd, address, length, ..] = notification.args;
    let outcome = share_port(notification.pid, fd as RawFd, address, length);
    let mut response = Response {
        id: notification.id,
        val: 0,
        error: 0,
        flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
    };
    // SAFETY: as above. ENOENT means that the caller was killed or interrupted: nothing to answer.
    match unsafe { notification_send(listener, &raw mut response) } {
        Ok(_) | Err(nix::Error::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    outcome.map(|()| true)
}

/// PIDFD_THREAD (Linux 6.9): a descriptor for a thread that is not its process's first.
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL as libc::c_uint;

fn pidfd(tid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and returns a new descriptor.
    let open = |id: u32, flags: libc::c_uint| unsafe { libc::syscall(libc::SYS_pidfd_open, id, flags) };
    let mut fd = open(tid, 0);
    if fd < 0 {
        fd = open(tid, PIDFD_THREAD);
    }
    if fd < 0 {
        let status = std::fs::read_to_string(format!("/proc/{tid}/status"))?;
        let leader = status
            .lines()
            .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
        fd = open(leader.ok_or_else(|| io::Error::other("no Tgid"))?, 0);
    }
    nix::errno::Errno::result(fd)?;
    // SAFETY: the kernel has just returned this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn share_port(tid: u32, fd: RawFd, address: u64, length: u64) -> io::Result<()> {
    let process = pidfd(tid)?;
    // SAFETY: pidfd_getfd takes three integers and returns a new descriptor.
    let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) };
    nix::errno::Errno::result(copy)?;
    // SAFETY: the kernel has just returned this descriptor to us.
    let socket = socket2::Socket::from(unsafe { OwnedFd::from_raw_fd(copy as RawFd) });
    let domain = socket.domain()?;
    let internet = domain == socket2::Domain::IPV4 || domain == socket2::Domain::IPV6;
    if !internet || socket.r#type()? != socket2::Type::STREAM {
        return Ok(());
    }
    let wanted = read_address(tid, address, length)?;
    // Two programs on one address must still collide, as they would anywhere.
    let taken = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .any(|table| is_listened_on(&table, wanted));
    if !taken {
        socket.set_reuse_port(true)?;
    }
    Ok(())
}

/// The sockaddr that another process passed to bind(2).
fn read_address(tid: u32, address: u64, length: u64) -> io::Result<SocketAddr> {
    let mut bytes = [0u8; 28];
    let length = bytes.len().min(length as usize);
    let local = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: length,
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: length,
    };
    // SAFETY: writes at most `length` bytes into our buffer; the kernel checks the remote range.
    let read =
        unsafe { libc::process_vm_readv(tid as libc::pid_t, &raw const local, 1, &raw const remote, 1, 0) };
    let read = nix::errno::Errno::result(read)?.cast_unsigned();
    let family = u16::from_ne_bytes([bytes[0], bytes[1]]);
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    let ip: IpAddr = match i32::from(family) {
        libc::AF_INET if read >= 8 => Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]).into(),
        libc::AF_INET6 if read >= 24 => {
            let mut octets = [0u8; 16];
            octets.copy_from_slice(&bytes[8..24]);
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return Err(io::Error::other("not an internet address")),
    };
    Ok(SocketAddr::new(ip, port))
}

/// Whether `/proc/net/tcp` or `tcp6` lists a listener on just this address; all wildcards are one.
fn is_listened_on(table: &str, wanted: SocketAddr) -> bool {
    let listeners = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        (state == "0A").then_some(local)
    });
    listeners.filter_map(parse_hex_address).any(|known| {
        let same = known.ip() == wanted.ip() || (known.ip().is_unspecified() && wanted.ip().is_unspecified());
        known.port() == wanted.port() && same
    })
}

/// `0100007F:1F90`: words of the address in the machine's byte order, the port as a number.
fn parse_hex_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| {
        Some(
            u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        )
    };
    let ip: IpAddr = if address.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let mut octets = [0u8; 16];
        for (at, part) in octets.chunks_exact_mut(4).enumerate() {
            part.copy_from_slice(&word(at)?);
        }
        Ipv6Addr::from(octets).to_canonical()
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue\n\
        0: 0900407F:1F90 00000000:0000 0A 00000000:00000000\n\
        1: 00000000:0050 00000000:0000 0A 00000000:00000000\n\
        2: 0100007F:0051 0100007F:9999 01 00000000:00000000\n";

    #[test]
    fn only_the_same_address_collides() {
        let listened = |text: &str| is_listened_on(TABLE, text.parse().unwrap());
        assert!(listened("127.64.0.9:8080"));
        assert!(!listened("0.0.0.0:8080"));
        assert!(listened("0.0.0.0:80"));
        assert!(listened("[::]:80"));
        assert!(!listened("127.0.0.1:80"));
        assert!(!listened("127.0.0.1:81"), "a connection is no listener");
    }
}
