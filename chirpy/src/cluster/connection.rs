//! One connection to one Redis node.

use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use redis::{Value, ValueCodec};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

use super::redirect::{self, Carrier, Told};

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

    /// The slot that an error about a slot's place names.
    pub fn slot(&self) -> Option<u16> {
        let Self::Reply { message, .. } = self else {
            return None;
        };
        let about = message
            .strip_prefix("MOVED ")
            .or_else(|| message.strip_prefix("ASK "))?;
        about.split(' ').next()?.parse().ok()
    }

    /// Whether another node, or the same one in a moment, would have answered.
    pub fn elsewhere(&self) -> bool {
        self.moved() || self.asks()
    }
}

impl Told for Value {
    fn error(&self) -> Option<String> {
        // Its own Display names the code as Rust spells it: `Moved`.
        match self {
            Self::ServerError(error) => Some(match error.details() {
                Some(details) => format!("{} {details}", error.code()),
                None => error.code().to_owned(),
            }),
            _ => None,
        }
    }
}

/// An open connection that Redis has accepted.
pub struct Connection {
    node: String,
    /// Who we say we are, and how long connecting may take.
    opening: Opening,
    stream: Framed<TcpStream, ValueCodec>,
    pub opened: Instant,
}

/// How connections are opened. As a carrier it opens one for every call.
#[derive(Clone, Copy)]
struct Opening {
    name: &'static str,
    within: Duration,
}

impl Carrier for Opening {
    type Reply = Value;

    async fn call(&self, node: &str, packed: Vec<u8>, replies: usize) -> Result<Vec<Value>, RedisError> {
        let mut connection = Connection::open(node, self.name, self.within).await?;
        connection.exchange(packed, replies).await
    }
}

impl Connection {
    /// Connects and says who we are; the reply to that is the proof that we are a client.
    ///
    /// # Errors
    /// [`RedisError::Refused`] when Redis has too many clients.
    pub async fn open(node: &str, name: &'static str, within: Duration) -> Result<Self, RedisError> {
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
                opening: Opening { name, within },
                stream,
                opened: Instant::now(),
            };
            let hello = redis::cmd("CLIENT").arg("SETNAME").arg(name).get_packed_command();
            let refusal = match connection.exchange(hello, 1).await {
                Ok(replies) => replies.iter().find_map(Told::error),
                // Redis closes a connection too many so fast that its reason may be lost on the way.
                Err(error) => Some(error.to_string()),
            };
            match refusal {
                Some(message) => Err(RedisError::Refused {
                    node: node.to_owned(),
                    message,
                }),
                None => Ok(connection),
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

    /// Sends `replies` packed commands at once and reads that many replies, whatever they say.
    ///
    /// # Errors
    /// What broke the connection, which must not be used again then.
    pub async fn exchange(&mut self, packed: Vec<u8>, replies: usize) -> Result<Vec<Value>, RedisError> {
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

    /// The same for commands that are all to succeed. What has gone to another node is asked of that one, over a connection of
    /// its own.
    ///
    /// # Errors
    /// The first error reply, or what broke the connection (which must not be used again then).
    pub async fn pipeline(&mut self, packed: Vec<u8>, replies: usize) -> Result<Vec<Value>, RedisError> {
        let mut answers = self.exchange(packed.clone(), replies).await?;
        redirect::follow(&self.opening, &self.node, &packed, &mut answers).await?;
        redirect::good(&self.node, answers)
    }
}
