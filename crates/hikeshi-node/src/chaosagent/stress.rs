//! A stress program in a container.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::images::BIN_DIR;
use crate::shim::protocol::{ExecExit, ExecRequest, Request, Started};
use crate::shim::{InitClient, InitError};
use crate::stress::Load;

/// How long an init may take to start one.
const SLOWEST: Duration = Duration::from_secs(4);

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
    pub async fn start(
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
            tty: false,
        });
        let (read, lease) = io::pipe()?;
        let null = std::fs::File::options().write(true).open("/dev/null")?;
        // A stopped program must not stop us.
        fcntl(&lease, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
        let fds = [read.as_raw_fd(), null.as_raw_fd(), null.as_raw_fd()];
        // The other pods' leases are renewed by whoever waits here.
        let started = tokio::time::timeout(SLOWEST, init.call_with(&request, &fds)).await;
        let (started, _): (Started, _) =
            started.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))?;
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

    pub fn load(&self) -> &Load {
        &self.load
    }

    /// The program has ended: killed with its container, mostly.
    pub fn has_ended(&self) -> bool {
        self.waiting.is_finished()
    }

    /// Renews the lease. A full pipe holds news enough.
    pub fn renew(&mut self) {
        let _ = self.lease.write(&[0]);
    }

    /// Ends the program at once.
    pub async fn end(mut self) {
        let _ = self.init.command(&Request::ExecKill { id: self.id }).await;
    }
}

impl Drop for Stress {
    fn drop(&mut self) {
        self.waiting.abort();
    }
}
