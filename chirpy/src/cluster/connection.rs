//! One connection to one Redis node.

use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use redis::{Value, ValueCodec};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

/// What went wrong between us and a node.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    #[error("no node is known for slot {0}")]
    NoNode(u16),
    #[error("connecting to {node}: {source}")]
    Connect { node: String, source: std::io::Error },
    /// The node took the connection and closed it with this error.
    #[error("{node} refused the connection: {message}")]
    Refused { node: String, message: String },
    #[error("{node}: {message}")]
    Broken { node: String, message: String },
    /// An error reply to a command.
    #[error("{node} answered: {message}")]
    Reply { node: String, message: String },
    #[error("no answer from {node} in time")]
    Timeout { node: String },
}

impl RedisError {
    /// A word for a metric's label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoNode(_) => "no_node",
            Self::Connect { .. } => "connect",
            Self::Refused { .. } => "refused",
            Self::Broken { .. } => "broken",
            Self::Reply { .. } => "reply",
            Self::Timeout { .. } => "timeout",
        }
    }

    /// Whether the slot map that led here is out of date, or the node's own is for a moment (`CLUSTERDOWN`: it has not yet
    /// heard of every slot, as just after the cluster was made or a node came back).
    pub fn moved(&self) -> bool {
        let Self::Reply { message, .. } = self else {
            return false;
        };
        ["MOVED", "READONLY", "CLUSTERDOWN", "TRYAGAIN"]
            .iter()
            .any(|passing| message.starts_with(passing))
    }

    /// Whether the key is on its way to another node and there already (`ASK`).
    pub fn asks(&self) -> bool {
        matches!(self, Self::Reply { message, .. } if message.starts_with("ASK "))
    }

    /// Whether another node, or the same one in a moment, would have answered.
    pub fn elsewhere(&self) -> bool {
        self.moved() || self.asks()
    }
}

/// An open connection that Redis has accepted.
pub struct Connection {
    node: String,
    stream: Framed<TcpStream, ValueCodec>,
    pub opened: Instant,
}

impl Connection {
    /// Connects and says who we are; the reply to that is the proof that we are a client.
    ///
    /// # Errors
    /// [`RedisError::Refused`] when Redis has too many clients.
    pub async fn open(node: &str, name: &str, within: Duration) -> Result<Self, RedisError> {
        let connect = async {
            let stream = TcpStream::connect(node)
                .await
                .map_err(|source| RedisError::Connect {
                    node: node.to_owned(),
                    source,
                })?;
            let _ = stream.set_nodelay(true);
            let stream = Framed::new(stream, ValueCodec::default());
            let mut connection = Self {
                node: node.to_owned(),
                stream,
                opened: Instant::now(),
            };
            let hello = redis::cmd("CLIENT").arg("SETNAME").arg(name).get_packed_command();
            match connection.send(hello, 1).await.map(|mut replies| replies.pop()) {
                Ok(Some(Value::ServerError(error))) => Err(RedisError::Refused {
                    node: node.to_owned(),
                    message: error.to_string(),
                }),
                Ok(_) => Ok(connection),
                // Redis closes a connection too many so fast that its reason may be lost on the way.
                Err(error) => Err(RedisError::Refused {
                    node: node.to_owned(),
                    message: error.to_string(),
                }),
            }
        };
        tokio::time::timeout(within, connect)
            .await
            .map_err(|_| RedisError::Timeout {
                node: node.to_owned(),
            })?
    }

    /// The bare stream; between two commands nothing is buffered.
    pub fn into_stream(self) -> TcpStream {
        self.stream.into_inner()
    }

    async fn send(&mut self, packed: Vec<u8>, replies: usize) -> Result<Vec<Value>, RedisError> {
        let node = self.node.clone();
        let broken = |message: String| RedisError::Broken {
            node: node.clone(),
            message,
        };
        self.stream
            .send(packed)
            .await
            .map_err(|error| broken(error.to_string()))?;
        let mut values = Vec::with_capacity(replies);
        while values.len() < replies {
            match self.stream.next().await {
                Some(Ok(value)) => values.push(value),
                Some(Err(error)) => return Err(broken(error.to_string())),
                None => return Err(broken("closed by the server".into())),
            }
        }
        Ok(values)
    }

    /// Sends `replies` packed commands at once and reads that many replies.
    ///
    /// # Errors
    /// The first error reply, or what broke the connection (which must not be used again then).
    pub async fn pipeline(&mut self, packed: Vec<u8>, replies: usize) -> Result<Vec<Value>, RedisError> {
        let values = self.send(packed, replies).await?;
        match values.iter().find_map(|value| {
            if let Value::ServerError(error) = value {
                Some(error)
            } else {
                None
            }
        }) {
            Some(error) => Err(RedisError::Reply {
                node: self.node.clone(),
                message: error.to_string(),
            }),
            None => Ok(values),
        }
    }
}
