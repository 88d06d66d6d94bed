//! Control's end of the control protocol.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::model::{Applied, Snapshot};
use crate::podlink;
use crate::protocol::{Reply, Request, SOCKET};

/// Why the data plane did not do what was asked. After any of them except [`ClientError::Refused`], connect again.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the data plane cannot be reached")]
    Io(#[from] io::Error),
    #[error("the data plane closed the connection")]
    Closed,
    #[error("the data plane answered something unexpected: {0}")]
    Unexpected(String),
    #[error("the data plane refused: {0}")]
    Refused(String),
}

/// One control connection. Dropping it lifts every fault it brought, at once; forwarding goes on.
///
/// Send something at least every [`crate::protocol::LEASE`] (a heartbeat a second is customary).
#[derive(Debug)]
pub struct DataplaneClient {
    stream: Mutex<BufReader<UnixStream>>,
}

impl DataplaneClient {
    /// Connects to the data plane whose folder is `dir`.
    pub async fn connect(dir: &Path) -> Result<Self, ClientError> {
        let (_folder, path) = podlink::short_path(&dir.join(SOCKET))?;
        let stream = UnixStream::connect(path).await?;
        Ok(Self {
            stream: Mutex::new(BufReader::new(stream)),
        })
    }

    /// Makes `snapshot` the whole truth, and this connection the holder of its faults' lease.
    pub async fn apply(&self, snapshot: Snapshot) -> Result<Applied, ClientError> {
        match self
            .ask(&Request::Apply {
                snapshot: Box::new(snapshot),
            })
            .await?
        {
            Reply::Applied { applied } => Ok(applied),
            other => Err(unexpected(other)),
        }
    }

    /// Says that control is alive.
    pub async fn heartbeat(&self) -> Result<(), ClientError> {
        match self.ask(&Request::Heartbeat).await? {
            Reply::Alive => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// The edge metrics in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        match self.ask(&Request::Metrics).await? {
            Reply::Metrics { text } => Ok(text),
            other => Err(unexpected(other)),
        }
    }

    async fn ask(&self, request: &Request) -> Result<Reply, ClientError> {
        let mut line = serde_json::to_vec(request).map_err(io::Error::from)?;
        line.push(b'\n');
        let mut stream = self.stream.lock().await;
        stream.get_mut().write_all(&line).await?;
        let mut answer = Vec::new();
        if stream.read_until(b'\n', &mut answer).await? == 0 {
            return Err(ClientError::Closed);
        }
        serde_json::from_slice(&answer).map_err(|error| {
            ClientError::Unexpected(format!("{error}: {}", String::from_utf8_lossy(&answer)))
        })
    }
}

fn unexpected(reply: Reply) -> ClientError {
    match reply {
        Reply::Error { message } => ClientError::Refused(message),
        other => ClientError::Unexpected(format!("{other:?}")),
    }
}
