//! Starts control in the background and waits until it answers.

use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::client;
use super::protocol::Request;
use crate::control::ports;
use crate::control::record::Record;
use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// How long control may take until its socket answers.
const LIMIT: Duration = Duration::from_secs(30);

/// Makes sure that a control runs for this state folder.
pub fn ensure(
    paths: &Paths,
    system: &str,
    listen: Option<SocketAddr>,
    mut progress: impl FnMut(&str),
) -> Result<(), Failure> {
    if let Some(address) = listen {
        ports::must_name_this_machine(address)?;
    }
    if Record::running(paths).is_some() && client::ask(paths, &Request::Status, |_| ()).is_ok() {
        if listen.is_some() {
            return Err(
                Failure::usage("hikeshi is already running, so --listen would change nothing")
                    .hint("end it with `hikeshi down` first"),
            );
        }
        return Ok(());
    }
    if let Some(address) = listen {
        ports::must_be_free(address)?;
    }
    crate::preflight::check(&crate::paths::share()?, system)?;
    paths.create()?;
    progress("starting the embedded cluster");
    let log = std::fs::File::create(paths.control_log())
        .component(format!("opening {}", paths.control_log().display()))?;
    let mut command = Command::new(std::env::current_exe().component("finding this program")?);
    command
        .args(["internal", "control", "--system", system])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    command.env("HIKESHI_HOME", &paths.home);
    if let Some(address) = listen {
        command.arg("--listen").arg(address.to_string());
    }
    // SAFETY: setsid is async-signal-safe; nothing is allocated between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    let mut child = command.spawn().component("starting control")?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().component("watching control start")? {
            return Err(why_it_ended(paths, &mut child, status));
        }
        if client::ask(paths, &Request::Status, |_| ()).is_ok() {
            return Ok(());
        }
        if started.elapsed() > LIMIT {
            return Err(Failure::component("control did not answer in time")
                .hint(format!("its log is {}", paths.control_log().display())));
        }
        wait_for_exit_or_a_moment(&child);
    }
}

/// Returns after 50 ms, or earlier when the child ends: there is nothing to be told by until its socket exists.
fn wait_for_exit_or_a_moment(child: &std::process::Child) {
    use std::os::fd::{AsFd, FromRawFd, OwnedFd};
    // SAFETY: pidfd_open returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    if let Ok(fd) = i32::try_from(fd)
        && fd >= 0
    {
        // SAFETY: the descriptor is new and only ours.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut waiting = [nix::poll::PollFd::new(fd.as_fd(), nix::poll::PollFlags::POLLIN)];
        let _ = nix::poll::poll(&mut waiting, nix::poll::PollTimeout::from(50u16));
    }
}

/// Control says its failure on its standard output (a full disk cannot lose it there); say that rather than "exit
/// status 3".
fn why_it_ended(paths: &Paths, child: &mut std::process::Child, status: std::process::ExitStatus) -> Failure {
    let mut said = Vec::new();
    if let Some(mut output) = child.stdout.take() {
        // Only what is there: a data plane that control left behind would keep the pipe open.
        let _ = nix::fcntl::fcntl(
            &output,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        );
        let _ = output.read_to_end(&mut said);
    }
    if let Ok(failure) = serde_json::from_slice(&said) {
        return failure;
    }
    let log = std::fs::read_to_string(paths.control_log()).unwrap_or_default();
    let tail: Vec<&str> = log.lines().rev().take(5).collect();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n  ");
    Failure::component(format!("control ended at once ({status}):\n  {tail}"))
}
