//! A system of one's own for a while: rehearsals and measurements run on one that ends with this process, whatever
//! happens to it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use crate::daemon::session::{Running, SessionOptions};
use crate::failure::{Context, Failure};
use crate::paths::Paths;

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
        own.create()?;
        let started = Instant::now();
        let paths = Paths::at(own.home.join(format!("stage-{}", std::process::id())));
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
        let pods = running.bring_up(progress).await?;
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
    pub async fn close(self) -> Result<(), Failure> {
        let paths = self.paths.clone();
        // The lock and control's tasks go first: nothing may start again what is ended next.
        self.running.control.shutdown.cancel();
        drop(self.running);
        hikeshi_node::destroy_all(&paths.home)
            .await
            .component("ending the pods")?;
        crate::control::dataplane::stop(&paths.dataplane());
        std::fs::remove_dir_all(&paths.home).component(format!("removing {}", paths.home.display()))
    }
}
