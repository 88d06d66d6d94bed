//! Starting an init, and finding or killing one that an earlier process started.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::AtFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, fchownat, geteuid};

use super::protocol::{InitRecord, PodSpecFile};
use super::tree::parse_stat;

/// Who pods are on the host when Hikeshi runs as root.
pub const POD_HOST_ID: u32 = 65534;

/// No pod's world takes longer to make, however busy the machine.
const SLOWEST: Duration = Duration::from_secs(60);

/// Why a pod's init did not come up.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("starting {program}: {source}")]
    Spawn { program: String, source: io::Error },
    /// The init's own words.
    #[error("{0}")]
    Init(String),
    #[error("the init's record is unreadable: {0}")]
    Record(#[from] serde_json::Error),
}

/// Gives a file or folder to the pods' user; only root has to.
pub fn give_to_pods(path: &Path) -> io::Result<()> {
    if geteuid().is_root() {
        chown(path, Some(POD_HOST_ID), Some(POD_HOST_ID))
    } else {
        Ok(())
    }
}

/// As [`give_to_pods`], for a place found before.
pub fn give_place_to_pods(place: &OwnedFd) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let id = POD_HOST_ID;
    fchownat(
        place,
        "",
        Some(Uid::from_raw(id)),
        Some(Gid::from_raw(id)),
        AtFlags::AT_EMPTY_PATH,
    )?;
    Ok(())
}

/// Writes `pod.json` (and an empty `hosts` if there is none) and starts `program internal pod-init DIR`.
/// Returns once the init answers on `init.sock`.
pub async fn launch(
    program: &Path,
    pod_dir: &Path,
    spec: &PodSpecFile,
    lifeline: Option<BorrowedFd<'_>>,
) -> Result<InitRecord, LaunchError> {
    let file = |path: &Path| {
        let path = path.display().to_string();
        move |source| LaunchError::File { path, source }
    };
    let lifeline = lifeline.map(|fd| fd.as_raw_fd());
    let spec = PodSpecFile {
        lifeline,
        ..spec.clone()
    };
    fs::create_dir_all(pod_dir).map_err(file(pod_dir))?;
    give_to_pods(pod_dir).map_err(file(pod_dir))?;
    fs::write(pod_dir.join("pod.json"), serde_json::to_vec(&spec)?).map_err(file(pod_dir))?;
    let hosts = pod_dir.join("hosts");
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&hosts)
        .map_err(file(&hosts))?;
    let mut command = tokio::process::Command::new(program);
    command
        .args(["internal", "pod-init"])
        .arg(pod_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command.stderr(Stdio::piped()).env_clear().current_dir("/");
    if geteuid().is_root() {
        command.uid(POD_HOST_ID).gid(POD_HOST_ID);
    }
    // SAFETY: between fork and exec only async-signal-safe calls on integers.
    unsafe {
        command.pre_exec(move || {
            if libc::setsid() < 0 {
                return Err(io::Error::last_os_error());
            }
            match lifeline {
                Some(fd) if libc::fcntl(fd, libc::F_SETFD, 0) < 0 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            }
        });
    }
    let spawn = |source| LaunchError::Spawn {
        program: program.display().to_string(),
        source,
    };
    command.kill_on_drop(true);
    let Ok(output) = tokio::time::timeout(SLOWEST, command.output()).await else {
        return Err(LaunchError::Init(format!("not ready within {SLOWEST:?}")));
    };
    let output = output.map_err(spawn)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr)
            .trim()
            .trim_start_matches("pod-init: ")
            .to_owned();
        return Err(LaunchError::Init(if said.is_empty() {
            output.status.to_string()
        } else {
            said
        }));
    }
    let path = pod_dir.join("init.json");
    Ok(serde_json::from_slice(&fs::read(&path).map_err(file(&path))?)?)
}

/// Whether the recorded init is this very process, still alive.
pub fn is_alive(record: &InitRecord) -> bool {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if boot_id.trim() != record.boot_id {
        return false;
    }
    let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", record.pid)) else {
        return false;
    };
    parse_stat(&stat)
        .is_some_and(|stat| stat.start_time == record.start_time && !matches!(stat.state, 'Z' | 'X'))
}

/// Kills the recorded init, and with it the pod, unless its pid is another process by now.
pub fn kill_recorded(record: &InitRecord) {
    if is_alive(record) {
        let _ = kill(Pid::from_raw(record.pid), Signal::SIGKILL);
    }
}

/// The record in a pod's folder, if its init ever became ready.
pub fn read_record(pod_dir: &Path) -> Option<InitRecord> {
    serde_json::from_slice(&fs::read(pod_dir.join("init.json")).ok()?).ok()
}
