//! Running commands beside a container.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::step::one_step;
use crate::shim::protocol::{ExecExit, ExecRequest, Request, StartRequest, Started};
use crate::shim::{InitClient, InitError};

/// Why a command did not run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("container {0:?} is not running")]
    NotRunning(String),
    #[error("{0}")]
    Init(#[from] InitError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The streams of a command that a person watches.
pub struct Streams {
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    pub stdout: mpsc::Sender<Bytes>,
    pub stderr: mpsc::Sender<Bytes>,
    /// (columns, rows)
    pub resize: Option<mpsc::Receiver<(u16, u16)>>,
}

/// Remembers how a container was started, for commands that join it later.
pub fn remember(pod_dir: &Path, start: &StartRequest) -> io::Result<()> {
    let folder = pod_dir.join("containers");
    fs::create_dir_all(&folder)?;
    fs::write(
        folder.join(format!("{}.json", one_step(&start.container)?)),
        serde_json::to_vec(start)?,
    )
}

fn request(pod_dir: &Path, container: &str, argv: Vec<String>, tty: bool) -> Result<Request, ExecError> {
    let not_running = || ExecError::NotRunning(container.to_owned());
    let name = one_step(container).map_err(|_| not_running())?;
    let bytes =
        fs::read(pod_dir.join("containers").join(format!("{name}.json"))).map_err(|_| not_running())?;
    let start: StartRequest = serde_json::from_slice(&bytes).map_err(|_| not_running())?;
    let mut env = start.env;
    if tty {
        env.entry("TERM".to_owned()).or_insert_with(|| "xterm".to_owned());
    }
    Ok(Request::Exec(ExecRequest {
        container: Some(container.to_owned()),
        argv,
        env,
        cwd: start.cwd,
        dropped_capabilities: start.dropped_capabilities,
        tty,
    }))
}

/// Runs a command to its end with the given streams; its exit code.
pub async fn run(
    pod_dir: &Path,
    container: &str,
    argv: Vec<String>,
    tty: bool,
    streams: Streams,
) -> Result<i32, ExecError> {
    let request = request(pod_dir, container, argv, tty)?;
    let mut init = InitClient::connect(pod_dir)?;
    if tty {
        let (started, terminal): (Started, _) = init.call_with(&request, &[]).await?;
        let terminal = terminal
            .into_iter()
            .next()
            .ok_or_else(|| io::Error::other("the init passed no terminal"))?;
        return on_terminal(&mut init, started, terminal, streams).await;
    }
    let (stdin_read, stdin_write) = io::pipe()?;
    let (stdout_read, stdout_write) = io::pipe()?;
    let (stderr_read, stderr_write) = io::pipe()?;
    let fds = [
        stdin_read.as_raw_fd(),
        stdout_write.as_raw_fd(),
        stderr_write.as_raw_fd(),
    ];
    let (started, _): (Started, _) = init.call_with(&request, &fds).await?;
    drop((stdin_read, stdout_write, stderr_write));
    let input = feed(pipe::Sender::from_owned_fd(stdin_write.into())?, streams.stdin);
    let out = copy(pipe::Receiver::from_owned_fd(stdout_read.into())?, streams.stdout);
    let err = copy(pipe::Receiver::from_owned_fd(stderr_read.into())?, streams.stderr);
    // Input may outlast the command: it ends with this scope.
    let input = tokio::spawn(input);
    let exit = async { init.call::<ExecExit>(&Request::ExecWait { id: started.id }).await };
    let (exit, ..) = tokio::join!(exit, out, err);
    input.abort();
    Ok(exit?.exit_code)
}

async fn feed(mut pipe: pipe::Sender, source: Option<mpsc::Receiver<Bytes>>) {
    let Some(mut source) = source else { return };
    while let Some(bytes) = source.recv().await {
        if pipe.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Opens a container's standard input; what comes is written to it, until nothing more comes or the container ends.
pub async fn attach(pod_dir: &Path, container: &str, input: mpsc::Receiver<Bytes>) -> Result<(), ExecError> {
    let request = Request::Stdin {
        container: container.to_owned(),
    };
    let mut passed = InitClient::connect(pod_dir)?.command(&request).await?;
    let stdin = passed
        .pop()
        .ok_or_else(|| io::Error::other("the init passed no standard input"))?;
    fcntl(&stdin, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
    tokio::spawn(feed(pipe::Sender::from_owned_fd(stdin)?, Some(input)));
    Ok(())
}

/// Shows a container's terminal and types on it, until the container has ended or nobody looks any more.
pub async fn attach_terminal(
    pod_dir: &Path,
    container: &str,
    stdin: Option<mpsc::Receiver<Bytes>>,
    stdout: mpsc::Sender<Bytes>,
    resize: Option<mpsc::Receiver<(u16, u16)>>,
) -> Result<(), ExecError> {
    let request = Request::Terminal {
        container: container.to_owned(),
    };
    let passed = InitClient::connect(pod_dir)?.command(&request).await?;
    let [terminal, shown] =
        <[OwnedFd; 2]>::try_from(passed).map_err(|_| io::Error::other("the init passed no terminal"))?;
    let terminal = watched(terminal)?;
    let shown = pipe::Receiver::from_owned_fd(shown)?;
    tokio::select! {
        () = copy(shown, stdout) => {}
        () = typed(&terminal, stdin) => {}
        () = sized(&terminal, resize) => {}
    }
    Ok(())
}

async fn copy(mut pipe: pipe::Receiver, sink: mpsc::Sender<Bytes>) {
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 || sink.send(Bytes::copy_from_slice(&buffer[..count])).await.is_err() {
            return;
        }
    }
}

async fn on_terminal(
    init: &mut InitClient,
    started: Started,
    terminal: OwnedFd,
    streams: Streams,
) -> Result<i32, ExecError> {
    let terminal = watched(terminal)?;
    let Streams {
        stdin,
        stdout,
        stderr: _,
        resize,
    } = streams;
    let output = async {
        let mut buffer = vec![0u8; 32 * 1024];
        loop {
            let Ok(mut guard) = terminal.readable().await else {
                return;
            };
            match guard.try_io(|fd| nix::unistd::read(fd, &mut buffer).map_err(io::Error::from)) {
                // EIO: the last program has left the terminal.
                Ok(Ok(0) | Err(_)) => return,
                Ok(Ok(count)) => {
                    if stdout
                        .send(Bytes::copy_from_slice(&buffer[..count]))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
                Err(_would_block) => {}
            }
        }
    };
    // The output ends when the programs have left; input and sizes never end by themselves.
    tokio::select! {
        () = output => {}
        () = typed(&terminal, stdin) => {}
        () = sized(&terminal, resize) => {}
    }
    // A hang-up for programs that stay although their user has gone.
    drop(terminal);
    Ok(init
        .call::<ExecExit>(&Request::ExecWait { id: started.id })
        .await?
        .exit_code)
}

/// A terminal's master side, to wait on.
fn watched(terminal: OwnedFd) -> Result<AsyncFd<OwnedFd>, ExecError> {
    fcntl(&terminal, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
    // SAFETY: an OwnedFd names one open descriptor until it is dropped, and is dropped with the AsyncFd.
    Ok(unsafe { AsyncFd::register(terminal) }.map_err(|error| error.into_parts().1)?)
}

/// Types what comes; ends only when the terminal does.
async fn typed(terminal: &AsyncFd<OwnedFd>, stdin: Option<mpsc::Receiver<Bytes>>) {
    let Some(mut stdin) = stdin else {
        return std::future::pending().await;
    };
    while let Some(mut bytes) = stdin.recv().await {
        while !bytes.is_empty() {
            let Ok(mut guard) = terminal.writable().await else {
                return;
            };
            match guard.try_io(|fd| nix::unistd::write(fd, &bytes).map_err(io::Error::from)) {
                Ok(Ok(count)) => bytes = bytes.slice(count..),
                Ok(Err(_)) => return,
                Err(_would_block) => {}
            }
        }
    }
    std::future::pending().await
}

/// Gives the terminal the sizes that come; never ends.
async fn sized(terminal: &AsyncFd<OwnedFd>, resize: Option<mpsc::Receiver<(u16, u16)>>) {
    let Some(mut resize) = resize else {
        return std::future::pending().await;
    };
    while let Some((columns, rows)) = resize.recv().await {
        let size = libc::winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: TIOCSWINSZ reads one winsize.
        unsafe { libc::ioctl(terminal.get_ref().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    }
    std::future::pending().await
}

/// Runs a command without input; its exit code and the first 10 KiB of its output. Killed after `limit`.
pub async fn collect(
    pod_dir: &Path,
    container: &str,
    argv: Vec<String>,
    limit: Duration,
) -> Result<(i32, String), ExecError> {
    let request = request(pod_dir, container, argv, false)?;
    let mut init = InitClient::connect(pod_dir)?;
    let null = fs::File::open("/dev/null")?;
    let (read, write) = io::pipe()?;
    let fds = [null.as_raw_fd(), write.as_raw_fd(), write.as_raw_fd()];
    let (started, _): (Started, _) = init.call_with(&request, &fds).await?;
    drop(write);
    let output = pipe::Receiver::from_owned_fd(read.into())?;
    let work = async {
        let mut text = Vec::new();
        let mut output = output;
        // The rest is read and forgotten: a program that says much must not be stopped by a full pipe.
        let read = async {
            (&mut output).take(10 * 1024).read_to_end(&mut text).await?;
            tokio::io::copy(&mut output, &mut tokio::io::sink()).await
        };
        let wait = Request::ExecWait { id: started.id };
        let (exit, _) = tokio::join!(init.call::<ExecExit>(&wait), read);
        Ok::<_, ExecError>((
            exit?.exit_code,
            String::from_utf8_lossy(&text).trim_end().to_owned(),
        ))
    };
    // A little before the caller's own limit, so that the command is killed by whoever still can.
    match tokio::time::timeout(limit.mul_f64(0.95), work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            InitClient::connect(pod_dir)?
                .command(&Request::ExecKill { id: started.id })
                .await?;
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("command timed out after {limit:?}"),
            )
            .into())
        }
    }
}
