//! A system of one's own for a while: rehearsals and measurements run on one that ends with this process, whatever
//! happens to it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use crate::control::{dataplane, process::ProcessId, record::Record};
use crate::daemon::session::{Running, SessionOptions};
use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// Its state folder's name; the pid of the process that it belongs to follows.
const PREFIX: &str = "stage-";

/// A running system in a state folder of its own.
pub struct Stage {
    pub running: Running,
    pub pods: u32,
    /// Seconds from nothing until every pod was ready.
    pub seconds: f64,
    paths: Paths,
    /// Held by this process alone: when it dies, however it dies, everything that it started ends.
    _lifeline: OwnedFd,
}

impl Stage {
    /// Starts `system` under `own`'s state folder; drills are written to `own`'s.
    pub async fn open(
        own: &Paths,
        share: &Path,
        system: &str,
        progress: impl FnMut(String),
    ) -> Result<Self, Failure> {
        crate::preflight::check(share, system)?;
        own.create()?;
        let started = Instant::now();
        let paths = Paths::at(own.home.join(format!("{PREFIX}{}", std::process::id())));
        let (end, held) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).component("making the lifeline")?;
        let running = Running::start(SessionOptions {
            paths: paths.clone(),
            share: share.to_path_buf(),
            drills: own.drills(),
            lifeline: Some(end),
            listen: None,
            system: system.to_owned(),
        })
        .await?;
        let pods = running.bring_up(false, progress).await?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Self {
            running,
            pods,
            seconds,
            paths,
            _lifeline: held,
        })
    }

    /// Ends the system and removes its state folder.
    pub async fn close(mut self) -> Result<(), Failure> {
        let paths = self.paths.clone();
        // The lock and control's tasks go first: nothing may start again what is ended next.
        self.running.control.stop().await;
        drop(self.running);
        destroy(&paths).await
    }
}

/// Removes what is left of stages whose process is no more: a process that is killed cannot close its own. Answers how
/// many there were.
pub async fn sweep(own: &Paths) -> Result<usize, Failure> {
    let entries = std::fs::read_dir(&own.home).component(format!("listing {}", own.home.display()))?;
    let mut swept = 0;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let Some(pid) = pid.and_then(|pid| pid.parse::<i32>().ok()) else {
            continue;
        };
        let paths = Paths::at(entry.path());
        if !is_alive(&paths, pid) {
            destroy(&paths).await?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// The record tells a process from a later one with its pid; before it is written there is the pid alone.
fn is_alive(paths: &Paths, pid: i32) -> bool {
    match Record::read(paths) {
        Some(record) => record.process.is_alive(),
        None => ProcessId::of(pid).is_some(),
    }
}

/// Ends what runs in a stage's folder, and removes it.
async fn destroy(paths: &Paths) -> Result<(), Failure> {
    hikeshi_node::destroy_all(&paths.home)
        .await
        .component("ending the pods")?;
    dataplane::stop(&paths.dataplane());
    std::fs::remove_dir_all(&paths.home).component(format!("removing {}", paths.home.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_stages_of_dead_processes_are_swept() {
        let home = tempfile::tempdir().unwrap();
        let own = Paths::at(home.path().to_path_buf());
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let folder = |name: &str| {
            let folder = home.path().join(name);
            std::fs::create_dir_all(folder.join("pods")).unwrap();
            folder
        };
        let dead = folder(&format!("{PREFIX}{}", ended.id()));
        let alive = folder(&format!("{PREFIX}{}", std::process::id()));
        let other = folder("stage-notes");
        assert_eq!(sweep(&own).await.unwrap(), 1);
        assert!(!dead.exists());
        assert!(alive.exists() && other.exists());
        assert_eq!(sweep(&own).await.unwrap(), 0);
    }
}
