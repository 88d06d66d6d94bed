//! The containers of a pod and the processes beside them: starting, ending, limits.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::logs::{LogFile, LogPipe};
use super::protocol::{
    ContainerExit, ContainerStatus, ContainerUsage, ExecRequest, Limits, StartRequest, Started, StatusReply,
    Stdin, UsageReply,
};
use super::spawn::{Command, Process, SpawnError, With, open_terminal};
use super::streams::Streams;
use super::throttle::{Action, Throttle};
use super::tree::{OWNER_VARIABLE, Tree};

const MEMORY_LOOK: Duration = Duration::from_millis(250);
const TREE_LOOK: Duration = Duration::from_secs(1);
/// How long the exit code of an exec waits for someone to ask.
const EXEC_EXIT_KEPT: Duration = Duration::from_secs(300);

struct Container {
    name: String,
    restart: u32,
    pid: i32,
    started_at: Timestamp,
    exit: Option<ContainerExit>,
    limits: Limits,
    throttle: Option<Throttle>,
    next_look: Instant,
    /// Stopped on request (SIGSTOP): the throttle must not continue it.
    paused: bool,
    oom_killed: bool,
    logs: Vec<LogPipe>,
    /// Where its standard input is written, and whether the first who attaches takes it away.
    stdin: Option<(OwnedFd, bool)>,
    /// The master side of its terminal.
    terminal: Option<OwnedFd>,
}

struct Exec {
    id: u64,
    exit: Option<(i32, Instant)>,
}

/// All that runs in the pod.
pub struct Containers {
    pod_folder: OwnedFd,
    journal: File,
    null: OwnedFd,
    list: Vec<Container>,
    execs: HashMap<i32, Exec>,
    next_exec: u64,
    tree: Tree,
    next_scan: Instant,
    epoch: Instant,
    /// Seccomp listeners of the processes started.
    pub listeners: Vec<OwnedFd>,
    /// Grows with every change that `status` shows.
    pub generation: u64,
}

impl Containers {
    /// `null` is open on /dev/null; `journal` takes the init's own messages.
    pub fn new(pod_folder: OwnedFd, journal: File, null: OwnedFd) -> Self {
        let now = Instant::now();
        Self {
            pod_folder,
            journal,
            null,
            list: Vec::new(),
            execs: HashMap::new(),
            next_exec: 1,
            tree: Tree::default(),
            next_scan: now,
            epoch: now,
            listeners: Vec::new(),
            generation: 1,
        }
    }

    /// A line in `init.log`.
    pub fn note(&mut self, message: &str) {
        let _ = writeln!(self.journal, "{:.3} {message}", Timestamp::now());
    }

    pub fn start(&mut self, request: &StartRequest) -> Result<Started, SpawnError> {
        let name = &request.container;
        // The name becomes a folder below the pod's own.
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Err(std::io::Error::other(format!("not a container name: {name:?}")).into());
        }
        let index = self.list.iter().position(|container| container.name == *name);
        if index.is_some_and(|index| self.list[index].exit.is_none()) {
            return Err(std::io::Error::other(format!("container {name} is running")).into());
        }
        let mut env = request.env.clone();
        env.insert(OWNER_VARIABLE.to_owned(), name.clone());
        let command = Command::new(&request.argv, &env, &request.cwd)?;
        let log = LogFile::open(self.pod_folder.as_fd(), name, request.restart)?;
        let log = Rc::new(RefCell::new(log));
        let streams = Streams::open(request, self.null.as_fd(), &log)?;
        let process = command.spawn(With {
            stdio: streams.inner.each_ref().map(AsRawFd::as_raw_fd),
            tty: request.tty,
            dropped: request.dropped_capabilities,
        })?;
        let pid = self.keep(process);
        let index = index.unwrap_or(self.list.len());
        self.tree.name(index, name);
        self.tree.adopt(pid, index);
        let now = self.nanos();
        let cpu = self.tree.container_cpu(index);
        let container = Container {
            name: name.clone(),
            restart: request.restart,
            pid,
            started_at: Timestamp::now(),
            exit: None,
            limits: request.limits,
            throttle: request
                .limits
                .cpu_millis
                .map(|millis| Throttle::new(millis, now, cpu)),
            next_look: Instant::now(),
            paused: false,
            oom_killed: false,
            logs: streams.logs,
            stdin: streams.stdin.map(|write| (write, request.stdin == Stdin::Once)),
            terminal: streams.terminal,
        };
        match self.list.get_mut(index) {
            Some(slot) => *slot = container,
            None => self.list.push(container),
        }
        self.generation += 1;
        self.note(&format!(
            "container {name} run {} started as pid {pid}",
            request.restart
        ));
        Ok(Started { pid, id: 0 })
    }

    /// Starts a process beside the containers; with a terminal, returns its master side.
    pub fn exec(
        &mut self,
        request: &ExecRequest,
        descriptors: &[OwnedFd],
    ) -> Result<(Started, Option<OwnedFd>), SpawnError> {
        let mut env = request.env.clone();
        env.extend(
            request
                .container
                .iter()
                .map(|name| (OWNER_VARIABLE.to_owned(), name.clone())),
        );
        let command = Command::new(&request.argv, &env, &request.cwd)?;
        let owner = request.container.as_ref().and_then(|name| self.index(name));
        let spawn = |stdio| {
            command.spawn(With {
                stdio,
                tty: request.tty,
                dropped: request.dropped_capabilities,
            })
        };
        let (process, master) = if request.tty {
            let (master, slave) = open_terminal()?;
            let raw = slave.as_raw_fd();
            (spawn([raw, raw, raw])?, Some(master))
        } else {
            let [stdin, stdout, stderr] = descriptors else {
                return Err(std::io::Error::other("exec needs three descriptors").into());
            };
            let stdio = [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()];
            (spawn(stdio)?, None)
        };
        let pid = self.keep(process);
        if let Some(owner) = owner {
            self.tree.adopt(pid, owner);
        }
        let id = self.next_exec;
        self.next_exec += 1;
        self.execs.insert(pid, Exec { id, exit: None });
        Ok((Started { pid, id }, master))
    }

    /// Where a container's standard input is written.
    pub fn stdin(&mut self, name: &str) -> std::io::Result<OwnedFd> {
        let closed = || std::io::Error::other(format!("the standard input of container {name} is not open"));
        let container = self.list.iter_mut().find(|container| container.name == name);
        let container = container
            .filter(|container| container.exit.is_none())
            .ok_or_else(closed)?;
        match container.stdin.take() {
            None => Err(closed()),
            Some((write, true)) => Ok(write),
            Some((write, false)) => {
                let other = write.try_clone()?;
                container.stdin = Some((write, false));
                Ok(other)
            }
        }
    }

    /// A container's terminal, and a pipe of what it shows.
    pub fn terminal(&mut self, name: &str) -> std::io::Result<[OwnedFd; 2]> {
        let none = || std::io::Error::other(format!("container {name} has no terminal, or has ended"));
        let container = self.list.iter_mut().find(|container| container.name == name);
        let container = container.ok_or_else(none)?;
        let (Some(terminal), Some(log)) = (&container.terminal, container.logs.first_mut()) else {
            return Err(none());
        };
        Ok([terminal.try_clone()?, log.watch()?])
    }

    fn keep(&mut self, process: Process) -> i32 {
        self.listeners.extend(process.listener);
        if let Some(warning) = process.warning {
            self.note(&format!(
                "no seccomp notification ({warning}): a program that binds 0.0.0.0 may find its port in use"
            ));
        }
        process.pid.as_raw()
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|container| container.name == name)
    }

    /// Signals a container's first process. `false`: it is not running.
    pub fn signal(&mut self, name: &str, signal: Signal) -> bool {
        let Some(index) = self.index(name) else {
            return false;
        };
        if self.list[index].exit.is_some() {
            return false;
        }
        match signal {
            // A pause means the whole container, not only its first process.
            Signal::SIGSTOP | Signal::SIGCONT => {
                self.list[index].paused = signal == Signal::SIGSTOP;
                self.signal_tree(index, signal);
            }
            _ => {
                let _ = kill(Pid::from_raw(self.list[index].pid), signal);
            }
        }
        true
    }

    /// Hands a signal that was sent to pid 1 from inside the pod to the sender's container.
    pub fn forward(&mut self, sender: i32, signal: Signal) {
        self.tree.scan();
        let owner = (0..self.list.len()).find(|index| self.tree.pids(*index).contains(&sender));
        let only = (self
            .list
            .iter()
            .filter(|container| container.exit.is_none())
            .count()
            == 1)
            .then(|| self.list.iter().position(|container| container.exit.is_none()))
            .flatten();
        if let Some(container) = owner.or(only).and_then(|index| self.list.get(index)) {
            let _ = kill(Pid::from_raw(container.pid), signal);
        }
    }

    /// Kills every process of a container. `false`: no such container.
    pub fn kill(&mut self, name: &str) -> bool {
        let Some(index) = self.index(name) else {
            return false;
        };
        self.signal_tree(index, Signal::SIGKILL);
        true
    }

    fn signal_tree(&mut self, index: usize, signal: Signal) {
        self.tree.scan();
        for pid in self.tree.pids(index) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    pub fn status(&self) -> StatusReply {
        let containers = self.list.iter().map(|container| ContainerStatus {
            name: container.name.clone(),
            restart: container.restart,
            pid: container.pid,
            started_at: container.started_at,
            exit: container.exit.clone(),
        });
        StatusReply {
            generation: self.generation,
            containers: containers.collect(),
        }
    }

    pub fn usage(&mut self) -> UsageReply {
        self.tree.scan();
        let containers = self
            .list
            .iter()
            .enumerate()
            .map(|(index, container)| ContainerUsage {
                name: container.name.clone(),
                cpu_nanos: self.tree.container_cpu(index),
                memory_bytes: self.tree.container_memory(index),
            });
        UsageReply {
            root_bytes: super::root::written(),
            containers: containers.collect(),
        }
    }

    /// The exit code of an exec, once; `Err`: unknown id.
    pub fn take_exec_exit(&mut self, id: u64) -> Result<Option<i32>, ()> {
        let pid = self
            .execs
            .iter()
            .find(|(_, exec)| exec.id == id)
            .map(|(pid, _)| *pid)
            .ok_or(())?;
        let exit = self
            .execs
            .get(&pid)
            .and_then(|exec| exec.exit)
            .map(|(code, _)| code);
        if exit.is_some() {
            self.execs.remove(&pid);
        }
        Ok(exit)
    }

    /// Kills an exec's process group. `false`: unknown id.
    pub fn kill_exec(&self, id: u64) -> bool {
        let found = self.execs.iter().find(|(_, exec)| exec.id == id);
        if let Some((pid, Exec { exit: None, .. })) = found {
            let _ = kill(Pid::from_raw(-pid), Signal::SIGKILL);
        }
        found.is_some()
    }

    /// Collects every ended child.
    pub fn reap(&mut self) {
        loop {
            let (pid, code, signal) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code, None),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid.as_raw(), 128 + signal as i32, Some(signal as i32))
                }
                Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => return,
                Ok(_) | Err(_) => continue,
            };
            if let Some(exec) = self.execs.get_mut(&pid) {
                exec.exit = Some((code, Instant::now()));
            }
            let running = |container: &Container| container.pid == pid && container.exit.is_none();
            if let Some(index) = self.list.iter().position(running) {
                self.ended(index, code, signal);
            }
        }
    }

    fn ended(&mut self, index: usize, code: i32, signal: Option<i32>) {
        // What its children still hold open would keep ports and files busy for the next run.
        self.signal_tree(index, Signal::SIGKILL);
        let container = &mut self.list[index];
        for mut log in container.logs.drain(..) {
            log.drain();
            log.finish();
        }
        let oom_killed = container.oom_killed && signal == Some(libc::SIGKILL);
        container.exit = Some(ContainerExit {
            code,
            signal,
            oom_killed,
            finished_at: Timestamp::now(),
        });
        container.throttle = None;
        container.stdin = None;
        container.terminal = None;
        self.generation += 1;
        let (name, restart) = (container.name.clone(), container.restart);
        let why = if oom_killed {
            " (over its memory limit)"
        } else {
            ""
        };
        self.note(&format!(
            "container {name} run {restart} ended with exit code {code}{why}"
        ));
    }

    /// The output pipes to poll: container, position, descriptor.
    pub fn pipes(&self) -> impl Iterator<Item = (usize, usize, RawFd)> {
        self.list.iter().enumerate().flat_map(|(index, container)| {
            container
                .logs
                .iter()
                .enumerate()
                .map(move |(at, log)| (index, at, log.raw()))
        })
    }

    /// Copies what a pipe holds into the log. `false`: it is closed; call [`Self::drop_closed`] after the round.
    pub fn pump(&mut self, container: usize, at: usize) -> bool {
        self.list
            .get_mut(container)
            .and_then(|container| container.logs.get_mut(at))
            .is_some_and(LogPipe::pump)
    }

    pub fn drop_closed(&mut self, closed: &[RawFd]) {
        for container in &mut self.list {
            container.logs.retain(|log| !closed.contains(&log.raw()));
        }
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Enforces the limits that are due; returns when to come back.
    pub fn enforce(&mut self) -> Duration {
        let now = Instant::now();
        if now >= self.next_scan {
            self.tree.scan();
            self.check_memory();
            self.execs
                .retain(|_, exec| exec.exit.is_none_or(|(_, at)| at.elapsed() < EXEC_EXIT_KEPT));
            let limited = self
                .list
                .iter()
                .any(|container| container.exit.is_none() && container.limits.memory_bytes.is_some());
            self.next_scan = now + if limited { MEMORY_LOOK } else { TREE_LOOK };
        }
        let due = |container: &Container| {
            container.throttle.is_some() && !container.paused && container.next_look <= now
        };
        if self.list.iter().any(due) {
            self.tree.measure(false);
            let nanos = self.nanos();
            for index in 0..self.list.len() {
                if due(&self.list[index]) {
                    self.throttle(index, now, nanos);
                }
            }
        }
        let looks = self
            .list
            .iter()
            .filter(|one| one.throttle.is_some() && !one.paused);
        let next = looks
            .map(|container| container.next_look)
            .min()
            .map_or(self.next_scan, |at| at.min(self.next_scan));
        next.saturating_duration_since(Instant::now())
    }

    fn throttle(&mut self, index: usize, now: Instant, nanos: u64) {
        let cpu = self.tree.container_cpu(index);
        let container = &mut self.list[index];
        let Some(throttle) = container.throttle.as_mut() else {
            return;
        };
        let (action, look) = throttle.step(nanos, cpu);
        container.next_look = now + look;
        match action {
            Action::Nothing => {}
            Action::Stop => self.signal_tree(index, Signal::SIGSTOP),
            Action::Continue => self.signal_tree(index, Signal::SIGCONT),
        }
    }

    fn check_memory(&mut self) {
        for index in 0..self.list.len() {
            let container = &self.list[index];
            let (None, Some(limit)) = (&container.exit, container.limits.memory_bytes) else {
                continue;
            };
            let used = self.tree.container_memory(index);
            if used > limit && !container.oom_killed {
                let name = container.name.clone();
                self.list[index].oom_killed = true;
                self.note(&format!("{name} uses {used} bytes, limit {limit}: killed"));
                self.signal_tree(index, Signal::SIGKILL);
            }
        }
    }
}
