//! Starting a process inside the pod: fork, descriptors, session, seccomp filter, exec.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{ForkResult, Pid, fork};

use super::notify;

/// A process ready to be started.
pub struct Command {
    program: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
}

/// What a process is started with, and without.
#[derive(Debug, Clone, Copy)]
pub struct With {
    /// They become descriptors 0, 1, 2.
    pub stdio: [RawFd; 3],
    /// The first of them is made its controlling terminal.
    pub tty: bool,
    /// The capabilities it does without, a bit each.
    pub dropped: u64,
}

/// A started process.
pub struct Process {
    pub pid: Pid,
    /// Where its bind(2) calls wait for an answer; absent where seccomp notification does not work.
    pub listener: Option<OwnedFd>,
    /// Why there is no listener.
    pub warning: Option<String>,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("no command given")]
    Empty,
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotFound(String),
    #[error("exec: {program:?}: {source}")]
    Exec { program: String, source: io::Error },
    #[error("an argument or variable contains a NUL byte")]
    Nul(#[from] std::ffi::NulError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<nix::Error> for SpawnError {
    fn from(error: nix::Error) -> Self {
        Self::Io(error.into())
    }
}

fn executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// As execvp does it, but before the fork, so that a missing program is an error of the request.
fn look_up(program: &str, env: &BTreeMap<String, String>, cwd: &Path) -> Option<PathBuf> {
    if program.contains('/') {
        let path = cwd.join(program);
        return path.exists().then_some(path);
    }
    let path = env.get("PATH").map_or(
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        String::as_str,
    );
    path.split(':')
        .map(|folder| Path::new(folder).join(program))
        .find(|candidate| executable(candidate))
}

impl Command {
    /// Checks and converts everything, so that nothing is left to allocate after the fork.
    pub fn new(argv: &[String], env: &BTreeMap<String, String>, cwd: &Path) -> Result<Self, SpawnError> {
        let name = argv
            .first()
            .filter(|name| !name.is_empty())
            .ok_or(SpawnError::Empty)?;
        let cwd = if cwd.is_absolute() {
            cwd.to_owned()
        } else {
            Path::new("/").join(cwd)
        };
        let program = look_up(name, env, &cwd).ok_or_else(|| SpawnError::NotFound(name.clone()))?;
        // As container runtimes do: a working directory that the image lacks is made.
        let _ = fs::create_dir_all(&cwd);
        let path = |path: &Path| CString::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
        Ok(Self {
            program: path(&program)?,
            argv: argv
                .iter()
                .map(|arg| CString::new(arg.as_str()))
                .collect::<Result<_, _>>()?,
            env: env
                .iter()
                .map(|(name, value)| CString::new(format!("{name}={value}")))
                .collect::<Result<_, _>>()?,
            cwd: path(&cwd)?,
        })
    }

    /// Starts it in a session of its own. The caller must be single-threaded.
    pub fn spawn(&self, with: With) -> Result<Process, SpawnError> {
        let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
            list.iter()
                .map(|item| item.as_ptr())
                .chain([std::ptr::null()])
                .collect()
        };
        let (argv, env) = (pointers(&self.argv), pointers(&self.env));
        // Carries the child's listener and, should exec fail, its errno; a successful exec closes it.
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        // SAFETY: the init has one thread, so the child may use everything that the parent may.
        match unsafe { fork()? } {
            ForkResult::Child => child(&self.program, &self.cwd, &argv, &env, with, theirs.as_raw_fd()),
            ForkResult::Parent { child } => {
                drop(theirs);
                self.watch_exec(child, &ours)
            }
        }
    }

    fn watch_exec(&self, pid: Pid, link: &OwnedFd) -> Result<Process, SpawnError> {
        let mut process = Process {
            pid,
            listener: None,
            warning: None,
        };
        let mut failure = None;
        loop {
            let (message, descriptors) = match hikeshi_proxy::podlink::receive_packet(link.as_raw_fd()) {
                Ok(packet) => packet,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let Some(kind) = message.first() else { break };
            let errno = message
                .get(1..5)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, i32::from_ne_bytes);
            match kind {
                b'L' => process.listener = descriptors.into_iter().next(),
                b'W' => process.warning = Some(io::Error::from_raw_os_error(errno).to_string()),
                _ => failure = Some(io::Error::from_raw_os_error(errno)),
            }
        }
        match failure {
            None => Ok(process),
            Some(source) => {
                // The event loop reaps it like any other child.
                let program = self.argv[0].to_string_lossy().into_owned();
                Err(SpawnError::Exec { program, source })
            }
        }
    }
}

/// Tells the parent `kind` with `errno` on the stack, and a descriptor if there is one.
fn tell(link: RawFd, kind: u8, errno: i32, descriptor: Option<RawFd>) {
    let mut message = [kind, 0, 0, 0, 0];
    message[1..].copy_from_slice(&errno.to_ne_bytes());
    let held;
    let descriptors: &[RawFd] = match descriptor {
        Some(fd) => {
            held = [fd];
            &held
        }
        None => &[],
    };
    let _ = hikeshi_proxy::podlink::send_packet(link, &message, descriptors);
}

fn child(
    program: &CStr,
    cwd: &CStr,
    argv: &[*const libc::c_char],
    env: &[*const libc::c_char],
    with: With,
    link: RawFd,
) -> ! {
    let With { stdio, tty, dropped } = with;
    // SAFETY: plain system calls on values that live until exec or exit; this process has one thread.
    unsafe {
        libc::setsid();
        for (target, source) in stdio.into_iter().enumerate() {
            // Sources are above 2 (the init keeps 0, 1, 2 open), so no dup2 overwrites a later source.
            if libc::dup2(source, target as RawFd) < 0 {
                tell(link, b'E', *libc::__errno_location(), None);
                libc::_exit(127);
            }
        }
        if tty {
            libc::ioctl(0, libc::TIOCSCTTY, 0);
        }
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        // What is ignored stays ignored over exec: SIGPIPE by Rust, SIGINT by a shell that started us in the background.
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::umask(0o022);
        if libc::chdir(cwd.as_ptr()) != 0 {
            tell(link, b'E', *libc::__errno_location(), None);
            libc::_exit(127);
        }
        match notify::install() {
            fd if fd >= 0 => tell(link, b'L', 0, Some(fd)),
            error => tell(link, b'W', -error, None),
        }
        let refused = super::privileges::drop_all_but_kept(dropped);
        if refused != 0 {
            tell(link, b'E', refused, None);
            libc::_exit(127);
        }
        libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr());
        tell(link, b'E', *libc::__errno_location(), None);
        libc::_exit(127)
    }
}

/// A non-blocking, close-on-exec read end and its close-on-exec write end.
pub fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    nix::fcntl::fcntl(
        &read,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
    )?;
    Ok((read, write))
}

/// A new terminal of the pod: master and slave.
pub fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    use nix::fcntl::{OFlag, open};
    let mode = nix::sys::stat::Mode::empty();
    let master = open(
        "/dev/ptmx",
        OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC,
        mode,
    )?;
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int; TIOCGPTPEER takes flags and returns a new descriptor.
    unsafe {
        nix::errno::Errno::result(libc::ioctl(
            master.as_raw_fd(),
            libc::TIOCSPTLCK,
            &raw const unlock,
        ))?;
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let slave = nix::errno::Errno::result(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags))?;
        Ok((master, OwnedFd::from_raw_fd(slave)))
    }
}
