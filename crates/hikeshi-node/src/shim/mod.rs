//! The init of a pod: pid 1 of its namespaces. One thread, no runtime: it must be able to fork, and thirty of
//! them must cost next to nothing.

pub mod beneath;
mod client;
mod containers;
pub mod launch;
mod logs;
mod namespaces;
mod notify;
mod priority;
pub(crate) mod privileges;
pub mod protocol;
mod root;
mod serve;
mod spawn;
mod streams;
mod throttle;
mod tree;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use hikeshi_proxy::podlink;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, Pid, fork, sethostname, setsid};

pub use client::{InitClient, InitError};
use containers::Containers;
pub use logs::MAX_LINE;
use protocol::{InitRecord, PodSpecFile};
use serve::Server;
pub use tree::{parse_stat, stats};

/// Exit code for "the pod's world could not be made".
const FAILED: i32 = 3;

type Failure = Box<dyn std::error::Error>;

/// Runs a pod's init from the folder that holds its `pod.json` and `hosts`. Returns in the first process once the
/// pod is ready (0) or has failed (3, with the reason on stderr); the init itself lives on as its child.
pub fn pod_init_main(pod_dir: &Path) -> i32 {
    match start(pod_dir) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "pod-init: {error}");
            FAILED
        }
    }
}

/// What the init holds from before it left the host's file system.
struct Outside {
    spec: PodSpecFile,
    folder: OwnedFd,
    socket: OwnedFd,
    journal: File,
    null: OwnedFd,
    lifeline: Option<OwnedFd>,
}

fn prepare(pod_dir: &Path) -> Result<Outside, Failure> {
    let path = pod_dir.join("pod.json");
    let text = fs::read(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    let spec: PodSpecFile =
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    // Nothing inherited may reach the pod's programs.
    // SAFETY: marks descriptors close-on-exec; closes none.
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    let journal = OpenOptions::new()
        .create(true)
        .append(true)
        .open(pod_dir.join("init.log"))?;
    let null = OwnedFd::from(OpenOptions::new().read(true).write(true).open("/dev/null")?);
    let folder = OwnedFd::from(File::open(pod_dir)?);
    let socket = podlink::listen_at(&pod_dir.join("init.sock"))?;
    priority::set(spec.nice)?;
    // SAFETY: the kubelet names a descriptor that it made for us to inherit.
    let lifeline = spec.lifeline.map(|raw| unsafe { OwnedFd::from_raw_fd(raw) });
    Ok(Outside {
        spec,
        folder,
        socket,
        journal,
        null,
        lifeline,
    })
}

fn start(pod_dir: &Path) -> Result<i32, Failure> {
    let outside = prepare(pod_dir)?;
    namespaces::enter(&outside.spec.user)?;
    let (mut ready, report) = io::pipe()?;
    // SAFETY: this process has one thread.
    match unsafe { fork()? } {
        ForkResult::Child => {
            drop(ready);
            let code = match become_init(pod_dir, outside, report) {
                Ok(()) => 0,
                Err(()) => FAILED,
            };
            // SAFETY: ends this process without running the parent's exit handlers a second time.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => {
            drop(report);
            let mut answer = String::new();
            ready.read_to_string(&mut answer)?;
            if answer != "ready" {
                return Err(if answer.is_empty() {
                    "the init died".into()
                } else {
                    answer.into()
                });
            }
            record(pod_dir, child)?;
            Ok(0)
        }
    }
}

/// Writes `init.json` before anyone can learn that the pod is ready.
fn record(pod_dir: &Path, child: Pid) -> Result<(), Failure> {
    let stat = fs::read_to_string(format!("/proc/{child}/stat"))
        .map_err(|error| format!("the init died: {error}"))?;
    let stat = parse_stat(&stat).ok_or("unreadable /proc/PID/stat")?;
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned();
    let record = InitRecord {
        pid: child.as_raw(),
        start_time: stat.start_time,
        boot_id,
    };
    fs::write(pod_dir.join("init.json"), serde_json::to_vec(&record)?)?;
    Ok(())
}

fn become_init(pod_dir: &Path, outside: Outside, mut report: io::PipeWriter) -> Result<(), ()> {
    let mut server = match build(pod_dir, outside) {
        Ok(server) => server,
        Err(error) => {
            let _ = report.write_all(error.to_string().as_bytes());
            return Err(());
        }
    };
    // Whoever started us is gone: nobody would ever know of this pod.
    report.write_all(b"ready").map_err(drop)?;
    drop(report);
    if let Err(error) = server.run() {
        server
            .containers
            .note(&format!("the init's loop failed: {error}"));
        return Err(());
    }
    // Returning ends pid 1, and the kernel kills whatever else is in the pod.
    Ok(())
}

fn build(pod_dir: &Path, outside: Outside) -> Result<Server, Failure> {
    let Outside {
        spec,
        folder,
        socket,
        journal,
        null,
        lifeline,
    } = outside;
    setsid()?;
    // SAFETY: duplicates descriptors that we hold over the standard ones; the starter's own are let go, so that
    // it may wait for the end of its pipes.
    unsafe {
        libc::dup2(null.as_raw_fd(), 0);
        libc::dup2(journal.as_raw_fd(), 1);
        libc::dup2(journal.as_raw_fd(), 2);
    }
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        signals.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    namespaces::set_up_loopback().map_err(|error| format!("bringing lo up: {error}"))?;
    sethostname(&spec.hostname)?;
    namespaces::leave_mounts().map_err(|error| format!("making a mount namespace: {error}"))?;
    root::build(pod_dir, &spec)?;
    let mut containers = Containers::new(folder, journal, null);
    if let Err(error) = namespaces::free_low_ports() {
        containers.note(&format!("ports below 1024 stay privileged: {error}"));
    }
    containers.note(&format!(
        "pod {}/{} ({}) is ready",
        spec.namespace, spec.name, spec.uid
    ));
    Ok(Server::new(containers, socket, signals, lifeline))
}
