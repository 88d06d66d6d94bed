//! Talking to a pod's init from async code.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hikeshi_proxy::podlink;
use serde::de::DeserializeOwned;
use tokio::io::unix::AsyncFd;

use super::protocol::{Reply, Request};

/// Why a request to an init failed.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("the pod's init does not answer: {0}")]
    Gone(#[from] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the pod's init answered something unreadable: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// One connection to an init. A request that waits (`watch`, `exec-wait`) needs a connection of its own.
#[derive(Debug)]
pub struct InitClient {
    fd: AsyncFd<OwnedFd>,
    path: PathBuf,
    /// A reply may still come to a request that nobody waits for any more: the connection is of no more use.
    stale: bool,
}

/// How long an init may take for a request; `None` for those that wait for something to happen. One that is stopped must
/// not stop whoever looks after other pods as well.
fn patience(request: &Request) -> Option<Duration> {
    match request {
        Request::Watch { .. } | Request::ExecWait { .. } => None,
        // Asked by the pod's own worker only; a pod is given up when they fail.
        Request::Start(_) | Request::Status => Some(Duration::from_secs(30)),
        Request::Exec(_) => Some(Duration::from_secs(10)),
        _ => Some(Duration::from_secs(4)),
    }
}

fn open(path: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = podlink::connect_at_once(path)?;
    // SAFETY: an OwnedFd names one open descriptor until it is dropped, and is dropped with the AsyncFd.
    unsafe { AsyncFd::register(fd) }.map_err(|error| error.into_parts().1)
}

impl InitClient {
    /// Connects to `init.sock` in a pod's folder, without waiting.
    pub fn connect(pod_dir: &Path) -> Result<Self, InitError> {
        let path = pod_dir.join("init.sock");
        Ok(Self {
            fd: open(&path)?,
            path,
            stale: false,
        })
    }

    /// The socket's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One round trip whose reply has a body.
    pub async fn call<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, InitError> {
        Ok(self.call_with(request, &[]).await?.0)
    }

    /// As [`Self::call`], with descriptors both ways.
    pub async fn call_with<T: DeserializeOwned>(
        &mut self,
        request: &Request,
        descriptors: &[RawFd],
    ) -> Result<(T, Vec<OwnedFd>), InitError> {
        let (value, received) = self.exchange(request, descriptors).await?;
        let reply: Reply<T> = serde_json::from_value(value)?;
        let body = reply
            .body
            .ok_or_else(|| InitError::Refused("the reply has no body".to_owned()))?;
        Ok((body, received))
    }

    /// One round trip whose reply is only "done", perhaps with descriptors.
    pub async fn command(&mut self, request: &Request) -> Result<Vec<OwnedFd>, InitError> {
        Ok(self.exchange(request, &[]).await?.1)
    }

    async fn exchange(
        &mut self,
        request: &Request,
        descriptors: &[RawFd],
    ) -> Result<(serde_json::Value, Vec<OwnedFd>), InitError> {
        if self.stale {
            self.fd = open(&self.path)?;
        }
        // Also when this future is dropped half-way.
        self.stale = true;
        let work = self.round_trip(request, descriptors);
        let (bytes, received) = match patience(request) {
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                let late = format!("no answer within {limit:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, late).into())
            })?,
            None => work.await?,
        };
        self.stale = false;
        let value: serde_json::Value = serde_json::from_slice(&bytes)?;
        if value["ok"] != serde_json::Value::Bool(true) {
            return Err(InitError::Refused(
                value["error"].as_str().unwrap_or("refused").to_owned(),
            ));
        }
        Ok((value, received))
    }

    async fn round_trip(
        &self,
        request: &Request,
        descriptors: &[RawFd],
    ) -> Result<(Vec<u8>, Vec<OwnedFd>), InitError> {
        let message = serde_json::to_vec(request)?;
        loop {
            let mut guard = self.fd.writable().await?;
            if let Ok(sent) = guard.try_io(|fd| podlink::send_packet(fd.as_raw_fd(), &message, descriptors)) {
                sent?;
                break;
            }
        }
        let (bytes, received) = loop {
            let mut guard = self.fd.readable().await?;
            if let Ok(packet) = guard.try_io(|fd| podlink::receive_packet(fd.as_raw_fd())) {
                break packet?;
            }
        };
        if bytes.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok((bytes, received))
    }
}
