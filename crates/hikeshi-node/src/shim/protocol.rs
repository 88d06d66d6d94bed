//! What a pod's init is told (`pod.json`) and what it may be asked (`init.sock`).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `pod.json`: everything an init needs to build its pod's world. Paths are paths of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSpecFile {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub hostname: String,
    /// The image's user: the single id that is mapped into the pod.
    pub user: PodUser,
    /// The folder mounted read-only at `/opt/hikeshi/bin`.
    #[serde(default)]
    pub bin_dir: Option<PathBuf>,
    /// In this order; a later bind may lie inside an earlier one.
    #[serde(default)]
    pub binds: Vec<Bind>,
    #[serde(default)]
    pub tmpfs: Vec<Tmpfs>,
    /// Nothing but the binds and the memory file systems can be written to.
    #[serde(default)]
    pub read_only_root: bool,
    /// Inherited descriptor; when its other end closes, the pod dies. Used by tests.
    #[serde(default)]
    pub lifeline: Option<RawFd>,
    /// Added to the priority number of everything in the pod, 0 to 19: others come first when the machine is busy.
    #[serde(default)]
    pub nice: i32,
}

/// The user that a pod's processes see themselves as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodUser {
    pub uid: u32,
    pub gid: u32,
    pub name: String,
    /// Home folder in the generated `/etc/passwd`.
    pub home: String,
}

/// A folder or file of the host seen inside the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    pub source: PathBuf,
    /// What of `source` is meant; links in it do not lead out of `source`.
    #[serde(default)]
    pub sub_path: Option<PathBuf>,
    pub target: PathBuf,
    #[serde(default)]
    pub read_only: bool,
}

/// A memory file system inside the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    pub target: PathBuf,
    #[serde(default)]
    pub size_bytes: Option<u64>,
}

/// `init.json`, written once the pod is ready: how to find the init again, and to kill it if it is deaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitRecord {
    /// Process id on the host.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since boot: tells a reused pid.
    pub start_time: u64,
    pub boot_id: String,
}

/// Requests on `init.sock`. `listen` and `sockets` are also `hikeshi_proxy::podlink::LinkRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// Reply: one descriptor, a listening TCP socket.
    Listen { addr: Ipv4Addr, port: u16 },
    /// Reply: `count` unconnected IPv4 TCP sockets.
    Sockets { count: usize },
    /// Starts a container; reply: [`Started`].
    Start(StartRequest),
    /// Sends a signal to a container's first process.
    Signal { container: String, signal: i32 },
    /// Kills every process of a container (SIGKILL).
    Kill { container: String },
    /// Reply: one descriptor, where a container's standard input is written.
    Stdin { container: String },
    /// Reply: two descriptors of a container's terminal: its master side, to write to and to size, and a pipe of what it
    /// shows from now on, the unfinished line first. Whoever reads too slowly misses some of it.
    Terminal { container: String },
    /// Reply: [`StatusReply`].
    Status,
    /// As `status`, but answered only when the generation is no longer `seen`.
    Watch { seen: u64 },
    /// Starts a process beside the containers. Without a terminal: three descriptors come with the
    /// request (stdin, stdout, stderr). With one: the reply carries the terminal's master side.
    Exec(ExecRequest),
    /// Reply [`ExecExit`] when the process has ended; answered once.
    ExecWait { id: u64 },
    /// Kills such a process with its process group.
    ExecKill { id: u64 },
    /// Reply: [`UsageReply`].
    Usage,
    /// Kills everything and ends.
    Shutdown,
}

/// What to run as a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRequest {
    pub container: String,
    /// `argv[0]` without a slash is looked up in `PATH` of `env`, inside the pod.
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Created if missing.
    pub cwd: PathBuf,
    /// Names the log file: `logs/CONTAINER/RESTART.log`.
    pub restart: u32,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub stdin: Stdin,
    /// The capabilities that it does without, a bit each (numbers from linux/capability.h).
    #[serde(default)]
    pub dropped_capabilities: u64,
    /// Its three streams are one terminal; `stdin` says nothing then.
    #[serde(default)]
    pub tty: bool,
}

/// Where a container's standard input comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stdin {
    /// Nowhere: it has ended before it begins.
    #[default]
    Closed,
    /// From whoever attaches; it stays open when they leave.
    Open,
    /// From the first who attaches; it ends when they leave.
    Once,
}

/// Upper bounds that the init enforces by measuring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Thousandths of a CPU.
    #[serde(default)]
    pub cpu_millis: Option<u64>,
    #[serde(default)]
    pub memory_bytes: Option<u64>,
}

/// A process beside the containers, as `kubectl exec` and exec probes start it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Whose CPU and memory it counts as; killed with that container.
    #[serde(default)]
    pub container: Option<String>,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: PathBuf,
    /// As its container's.
    #[serde(default)]
    pub dropped_capabilities: u64,
    #[serde(default)]
    pub tty: bool,
}

/// Reply to `start` and `exec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Process id inside the pod.
    pub pid: i32,
    /// For `exec-wait`; 0 for a container.
    #[serde(default)]
    pub id: u64,
}

/// Reply to `exec-wait`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecExit {
    /// 128 + signal when a signal ended it.
    pub exit_code: i32,
}

/// Reply to `status` and `watch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// Grows with every change.
    pub generation: u64,
    pub containers: Vec<ContainerStatus>,
}

/// A container's newest run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    pub name: String,
    pub restart: u32,
    /// Process id inside the pod.
    pub pid: i32,
    pub started_at: Timestamp,
    /// Absent while it runs.
    #[serde(default)]
    pub exit: Option<ContainerExit>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerExit {
    /// 128 + signal when a signal ended it.
    pub code: i32,
    #[serde(default)]
    pub signal: Option<i32>,
    pub oom_killed: bool,
    pub finished_at: Timestamp,
}

/// Reply to `usage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReply {
    /// What the containers have written outside their volumes (`/tmp` and the like), in bytes. They share one root.
    #[serde(default)]
    pub root_bytes: u64,
    pub containers: Vec<ContainerUsage>,
}

/// What a container's processes have used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUsage {
    pub name: String,
    /// CPU time since the container's first start in this pod, in nanoseconds; never falls.
    pub cpu_nanos: u64,
    /// Resident bytes that a kill would free: private memory of each process, shared memory once.
    pub memory_bytes: u64,
}

/// `{"ok":true,...}` around a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply<T> {
    pub ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(flatten)]
    pub body: Option<T>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use hikeshi_proxy::podlink::LinkRequest;

    #[test]
    fn the_data_planes_requests_are_requests_of_init() {
        for link in [
            LinkRequest::Listen {
                addr: Ipv4Addr::new(127, 96, 0, 5),
                port: 80,
            },
            LinkRequest::Sockets { count: 16 },
        ] {
            let json = serde_json::to_string(&link).unwrap();
            let request: Request = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&request).unwrap(), json);
        }
    }

    #[test]
    fn a_reply_is_flat_json() {
        let reply = Reply {
            ok: true,
            error: None,
            body: Some(Started { pid: 7, id: 0 }),
        };
        assert_eq!(
            serde_json::to_string(&reply).unwrap(),
            r#"{"ok":true,"pid":7,"id":0}"#
        );
    }
}
