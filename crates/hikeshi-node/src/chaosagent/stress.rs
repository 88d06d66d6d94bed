//! Stress programs in containers.
//!
//! Nothing here waits for a pod's init: one that hangs must hold up nobody else's faults.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::images::BIN_DIR;
use crate::shim::protocol::{ExecExit, ExecRequest, Request, Started};
use crate::shim::{InitClient, InitError};
use crate::stress::Load;

/// Where one target's stress stands.
pub(super) enum Run {
    /// The init has been asked. One question at a time, however long it takes: a hung init must not gather them.
    Starting(Load, AbortOnDropHandle<Option<Stress>>),
    On(Stress),
    /// It is over when this is: the program has ended, or its lease is closed and its init does not answer.
    Ending(AbortOnDropHandle<()>),
}

impl Run {
    pub fn start(dir: PathBuf, container: String, load: Load, changed: Arc<Notify>) -> Self {
        let task = async move {
            match Stress::start(&dir, &container, load, &changed).await {
                Ok(stress) => {
                    changed.notify_one();
                    Some(stress)
                }
                // The container may have ended just now: the next beat tries again.
                Err(error) => {
                    tracing::debug!(%error, dir = %dir.display(), container, "no stress yet");
                    None
                }
            }
        };
        Self::Starting(load, AbortOnDropHandle::new(tokio::spawn(task)))
    }

    /// Brought to what is wanted now; `None` when nothing is left of it.
    pub fn next(self, wanted: Option<&Load>, changed: &Arc<Notify>) -> Option<Self> {
        match self {
            Self::Starting(load, task) if wanted != Some(&load) => {
                // What the init may have started meanwhile ends at once: its lease goes with the task.
                drop(task);
                None
            }
            Self::Starting(_, task) if task.is_finished() => {
                let stress = task.now_or_never().and_then(Result::ok).flatten()?;
                Some(Self::On(stress))
            }
            Self::On(stress) if stress.has_ended() => None,
            Self::On(mut stress) if wanted == Some(&stress.load) => {
                stress.renew();
                Some(Self::On(stress))
            }
            Self::On(stress) => {
                let changed = changed.clone();
                let task = async move {
                    let _ = tokio::time::timeout(super::PATIENCE, stress.end()).await;
                    changed.notify_one();
                };
                Some(Self::Ending(AbortOnDropHandle::new(tokio::spawn(task))))
            }
            Self::Ending(task) if task.is_finished() => None,
            waiting => Some(waiting),
        }
    }

    /// Whether it burns now.
    pub fn is_in_force(&self) -> bool {
        matches!(self, Self::On(_) | Self::Ending(_))
    }
}

/// A running stress program. It ends when this is dropped: its lease is the pipe held here.
pub(super) struct Stress {
    load: Load,
    id: u64,
    init: InitClient,
    lease: io::PipeWriter,
    waiting: JoinHandle<()>,
}

impl Stress {
    /// Starts the program beside a container: its CPU and memory count as the container's.
    async fn start(
        pod_dir: &Path,
        container: &str,
        load: Load,
        changed: &Arc<Notify>,
    ) -> Result<Self, InitError> {
        let mut init = InitClient::connect(pod_dir)?;
        let mut argv = vec![
            format!("{BIN_DIR}/hikeshi"),
            "internal".to_owned(),
            "stress".to_owned(),
        ];
        argv.extend(load.arguments());
        let request = Request::Exec(ExecRequest {
            container: Some(container.to_owned()),
            argv,
            env: BTreeMap::new(),
            cwd: "/".into(),
            dropped_capabilities: 0,
            tty: false,
        });
        let (read, lease) = io::pipe()?;
        let null = std::fs::File::options().write(true).open("/dev/null")?;
        // A stopped program must not stop us.
        fcntl(&lease, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
        let fds = [read.as_raw_fd(), null.as_raw_fd(), null.as_raw_fd()];
        let (started, _): (Started, _) = init.call_with(&request, &fds).await?;
        let (mut watch, changed) = (InitClient::connect(pod_dir)?, changed.clone());
        let waiting = tokio::spawn(async move {
            let _ = watch
                .call::<ExecExit>(&Request::ExecWait { id: started.id })
                .await;
            changed.notify_one();
        });
        Ok(Self {
            load,
            id: started.id,
            init,
            lease,
            waiting,
        })
    }

    /// The program has ended: killed with its container, mostly.
    fn has_ended(&self) -> bool {
        self.waiting.is_finished()
    }

    /// Renews the lease. A full pipe holds news enough.
    fn renew(&mut self) {
        let _ = self.lease.write(&[0]);
    }

    /// Ends the program at once.
    async fn end(mut self) {
        let _ = self.init.command(&Request::ExecKill { id: self.id }).await;
    }
}

impl Drop for Stress {
    fn drop(&mut self) {
        self.waiting.abort();
    }
}
