//! The init's event loop: requests, ended children, output, bind(2) notifications, limits, lifeline.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use hikeshi_proxy::podlink::{MAX_DESCRIPTORS, receive_packet, send_packet};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{SockFlag, accept4};
use serde::Serialize;
use serde_json::{Value, json};

use super::containers::Containers;
use super::notify;
use super::protocol::{ExecExit, Reply, Request};

struct Client {
    fd: OwnedFd,
    /// Waits for a generation other than this.
    watch: Option<u64>,
    exec_wait: Option<u64>,
}

/// Everything the loop listens to.
pub struct Server {
    pub containers: Containers,
    pub socket: OwnedFd,
    pub signals: SignalFd,
    pub lifeline: Option<OwnedFd>,
    clients: Vec<Client>,
}

/// What a descriptor of the poll set stands for.
#[derive(Clone, Copy)]
enum Source {
    Socket,
    Signals,
    Lifeline,
    Client(RawFd),
    Pipe { container: usize, at: usize },
    Bind,
}

enum Outcome {
    Reply(Value, Vec<OwnedFd>),
    Later,
    End,
}

fn ok(body: impl Serialize) -> Outcome {
    let reply = Reply {
        ok: true,
        error: None,
        body: Some(body),
    };
    match serde_json::to_value(reply) {
        Ok(value) => Outcome::Reply(value, Vec::new()),
        Err(error) => failure(&error.to_string()),
    }
}

fn done() -> Outcome {
    Outcome::Reply(json!({"ok": true}), Vec::new())
}

fn failure(error: &str) -> Outcome {
    Outcome::Reply(json!({"ok": false, "error": error}), Vec::new())
}

impl Server {
    pub fn new(
        containers: Containers,
        socket: OwnedFd,
        signals: SignalFd,
        lifeline: Option<OwnedFd>,
    ) -> Self {
        Self {
            containers,
            socket,
            signals,
            lifeline,
            clients: Vec::new(),
        }
    }

    /// Serves until shutdown is asked for, the lifeline closes or SIGTERM comes from outside the pod.
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            let wait = self.containers.enforce();
            // Rounded up: a poll that returns early would spin until the time is reached.
            let millis = wait.as_micros().div_ceil(1000).min(60_000);
            let ready = self.wait(
                PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX),
            )?;
            let mut closed = Vec::new();
            for (fd, source, flags) in ready {
                match source {
                    Source::Lifeline => return Ok(()),
                    Source::Signals => {
                        if self.take_signals()? {
                            return Ok(());
                        }
                    }
                    Source::Socket => self.accept(),
                    Source::Client(raw) => {
                        if self.serve(raw) {
                            return Ok(());
                        }
                    }
                    Source::Pipe { container, at } => {
                        if !self.containers.pump(container, at) {
                            closed.push(fd);
                        }
                    }
                    Source::Bind if flags.contains(PollFlags::POLLIN) => {
                        if let Err(error) = notify::answer(fd) {
                            self.containers
                                .note(&format!("a bind(2) was not prepared: {error}"));
                        }
                    }
                    Source::Bind => self
                        .containers
                        .listeners
                        .retain(|listener| listener.as_raw_fd() != fd),
                }
            }
            self.containers.drop_closed(&closed);
            self.answer_waiting();
        }
    }

    fn wait(&self, timeout: PollTimeout) -> io::Result<Vec<(RawFd, Source, PollFlags)>> {
        // Output before signals: what a container wrote last is read before its end is recorded.
        let mut sources: Vec<(BorrowedFd<'_>, Source)> = Vec::new();
        for (container, at, raw) in self.containers.pipes() {
            // SAFETY: the pipe lives in `self.containers`, borrowed for as long as this list.
            sources.push((
                unsafe { BorrowedFd::borrow_raw(raw) },
                Source::Pipe { container, at },
            ));
        }
        sources.push((self.signals.as_fd(), Source::Signals));
        sources.extend(self.lifeline.as_ref().map(|fd| (fd.as_fd(), Source::Lifeline)));
        sources.push((self.socket.as_fd(), Source::Socket));
        sources.extend(
            self.clients
                .iter()
                .map(|client| (client.fd.as_fd(), Source::Client(client.fd.as_raw_fd()))),
        );
        sources.extend(
            self.containers
                .listeners
                .iter()
                .map(|fd| (fd.as_fd(), Source::Bind)),
        );
        let mut set: Vec<PollFd<'_>> = sources
            .iter()
            .map(|(fd, _)| PollFd::new(*fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut set, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = set.iter().zip(&sources).filter_map(|(entry, (fd, source))| {
            let flags = entry.revents()?;
            (!flags.is_empty()).then(|| (fd.as_raw_fd(), *source, flags))
        });
        Ok(ready.collect())
    }

    /// `true`: end the pod.
    fn take_signals(&mut self) -> io::Result<bool> {
        while let Some(info) = self.signals.read_signal()? {
            let Ok(signal) = Signal::try_from(info.ssi_signo.cast_signed()) else {
                continue;
            };
            match signal {
                Signal::SIGCHLD => self.containers.reap(),
                // A sender outside the pod's pid namespace shows as 0: the host's operator means the pod.
                Signal::SIGTERM | Signal::SIGINT if info.ssi_pid == 0 => return Ok(true),
                // From inside, pid 1 stands for the container's program, as in any container.
                _ if info.ssi_pid != 0 => self.containers.forward(info.ssi_pid.cast_signed(), signal),
                _ => {}
            }
        }
        Ok(false)
    }

    fn accept(&mut self) {
        if let Ok(raw) = accept4(
            self.socket.as_raw_fd(),
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        ) {
            // SAFETY: accept has just returned this descriptor to us.
            self.clients.push(Client {
                fd: unsafe { OwnedFd::from_raw_fd(raw) },
                watch: None,
                exec_wait: None,
            });
        }
    }

    /// `true`: end the pod.
    fn serve(&mut self, raw: RawFd) -> bool {
        let (bytes, descriptors) = match receive_packet(raw) {
            Ok(packet) if !packet.0.is_empty() => packet,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            _ => {
                self.clients.retain(|client| client.fd.as_raw_fd() != raw);
                return false;
            }
        };
        let outcome = match serde_json::from_slice(&bytes) {
            Ok(request) => self.handle(raw, request, &descriptors),
            Err(error) => failure(&format!("not a request: {error}")),
        };
        match outcome {
            Outcome::Reply(value, fds) => self.reply(raw, &value, &fds),
            Outcome::Later => {}
            Outcome::End => {
                self.reply(raw, &json!({"ok": true}), &[]);
                return true;
            }
        }
        false
    }

    fn reply(&mut self, raw: RawFd, value: &Value, fds: &[OwnedFd]) {
        let raws: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        if send_packet(raw, value.to_string().as_bytes(), &raws).is_err() {
            // Gone, or it does not read its replies.
            self.clients.retain(|client| client.fd.as_raw_fd() != raw);
        }
    }

    fn handle(&mut self, raw: RawFd, request: Request, descriptors: &[OwnedFd]) -> Outcome {
        match request {
            Request::Listen { addr, port } => match listen(addr, port) {
                Ok(fd) => Outcome::Reply(json!({"ok": true}), vec![fd]),
                Err(error) => failure(&format!("listening on {addr}:{port}: {error}")),
            },
            Request::Sockets { count } => match (0..count.min(MAX_DESCRIPTORS)).map(|_| tcp()).collect() {
                Ok(fds) => Outcome::Reply(json!({"ok": true}), fds),
                Err::<Vec<OwnedFd>, io::Error>(error) => failure(&format!("making sockets: {error}")),
            },
            Request::Start(request) => match self.containers.start(&request) {
                Ok(started) => ok(started),
                Err(error) => failure(&error.to_string()),
            },
            Request::Signal { container, signal } => match Signal::try_from(signal) {
                Ok(signal) if self.containers.signal(&container, signal) => done(),
                Ok(_) => failure(&format!("container {container} is not running")),
                Err(_) => failure(&format!("no such signal: {signal}")),
            },
            Request::Kill { container } if self.containers.kill(&container) => done(),
            Request::Kill { container } => failure(&format!("no container {container}")),
            Request::Stdin { container } => match self.containers.stdin(&container) {
                Ok(fd) => Outcome::Reply(json!({"ok": true}), vec![fd]),
                Err(error) => failure(&error.to_string()),
            },
            Request::Terminal { container } => match self.containers.terminal(&container) {
                Ok(both) => Outcome::Reply(json!({"ok": true}), both.into()),
                Err(error) => failure(&error.to_string()),
            },
            Request::Status => ok(self.containers.status()),
            Request::Watch { seen } if seen != self.containers.generation => ok(self.containers.status()),
            Request::Watch { seen } => {
                self.defer(raw, |client| client.watch = Some(seen));
                Outcome::Later
            }
            Request::Exec(request) => match self.containers.exec(&request, descriptors) {
                Ok((started, master)) => match ok(started) {
                    Outcome::Reply(value, _) => Outcome::Reply(value, master.into_iter().collect()),
                    other => other,
                },
                Err(error) => failure(&error.to_string()),
            },
            Request::ExecWait { id } => match self.containers.take_exec_exit(id) {
                Ok(Some(exit_code)) => ok(ExecExit { exit_code }),
                Ok(None) => {
                    self.defer(raw, |client| client.exec_wait = Some(id));
                    Outcome::Later
                }
                Err(()) => failure(&format!("no exec {id}")),
            },
            Request::ExecKill { id } if self.containers.kill_exec(id) => done(),
            Request::ExecKill { id } => failure(&format!("no exec {id}")),
            Request::Usage => ok(self.containers.usage()),
            Request::Shutdown => Outcome::End,
        }
    }

    fn defer(&mut self, raw: RawFd, change: impl FnOnce(&mut Client)) {
        if let Some(client) = self
            .clients
            .iter_mut()
            .find(|client| client.fd.as_raw_fd() == raw)
        {
            change(client);
        }
    }

    /// Answers the clients that waited for what has happened now.
    fn answer_waiting(&mut self) {
        let mut replies = Vec::new();
        for client in &mut self.clients {
            if client
                .watch
                .is_some_and(|seen| seen != self.containers.generation)
            {
                client.watch = None;
                replies.push((client.fd.as_raw_fd(), ok(self.containers.status())));
            }
            if let Some(id) = client.exec_wait {
                match self.containers.take_exec_exit(id) {
                    Ok(None) => continue,
                    Ok(Some(exit_code)) => replies.push((client.fd.as_raw_fd(), ok(ExecExit { exit_code }))),
                    Err(()) => replies.push((client.fd.as_raw_fd(), failure(&format!("no exec {id}")))),
                }
                client.exec_wait = None;
            }
        }
        for (raw, outcome) in replies {
            if let Outcome::Reply(value, fds) = outcome {
                self.reply(raw, &value, &fds);
            }
        }
    }
}

fn tcp() -> io::Result<OwnedFd> {
    let socket = socket2::Socket::new(
        socket2::Domain::IPV4,
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A listener that may share its port with the pod's own wildcard bind.
fn listen(addr: Ipv4Addr, port: u16) -> io::Result<OwnedFd> {
    let socket = socket2::Socket::from(tcp()?);
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&std::net::SocketAddrV4::new(addr, port).into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}
