//! One connection per node, shared by everyone: commands of concurrent requests leave in one write, and answers are
//! dealt out in the order of the questions.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::resp::{self, Reply};
use super::{Cluster, RedisError};

/// Commands waiting to be written to one node; who comes later waits (until a deadline of its own).
const WAITING: usize = 4096;
/// Requests that leave in one write, at most.
const TOGETHER: usize = 512;
/// A node that owes an answer for so long has its connection closed.
const STALLED: Duration = Duration::from_secs(5);

/// Shared connections to the cluster's nodes.
pub struct Multiplexed {
    cluster: Arc<Cluster>,
    nodes: Mutex<HashMap<String, mpsc::Sender<Call>>>,
}

struct Call {
    packed: Vec<u8>,
    replies: usize,
    answer: oneshot::Sender<Result<Vec<Reply>, RedisError>>,
}

/// A call whose commands were written.
struct Asked {
    at: Instant,
    replies: Vec<Reply>,
    missing: usize,
    answer: oneshot::Sender<Result<Vec<Reply>, RedisError>>,
}

impl Multiplexed {
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            nodes: Mutex::default(),
        }
    }

    /// Sends `replies` packed commands, all for keys of `slot`, to the slot's primary within `within`. They may be sent twice
    /// (a connection broke, a slot moved), so they must be such that twice is once.
    ///
    /// # Errors
    /// An error reply, or [`RedisError::Timeout`] when there was no answer in time.
    pub async fn run(
        &self,
        slot: u16,
        packed: Vec<u8>,
        replies: usize,
        within: Duration,
    ) -> Result<Vec<Reply>, RedisError> {
        let mut asked = String::new();
        let attempts = async {
            loop {
                let map = self.cluster.map().await;
                let address = map.node(slot).ok_or(RedisError::NoNode(slot))?;
                address.clone_into(&mut asked);
                let outcome = self.on_node(address, packed.clone(), replies).await;
                match outcome {
                    Err(RedisError::Reply { message, .. }) if message.starts_with("ASK ") => {
                        // The slot is on its way to another node, and this key is there already.
                        let target = message.rsplit(' ').next().unwrap_or_default();
                        let mut asking = redis::cmd("ASKING").get_packed_command();
                        asking.extend_from_slice(&packed);
                        let mut answers = self.on_node(target, asking, replies + 1).await?;
                        answers.remove(0);
                        return Ok(answers);
                    }
                    Err(error) if error.moved() || matches!(error, RedisError::Broken { .. }) => {
                        self.cluster.refresh().await;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    outcome => return outcome,
                }
            }
        };
        match tokio::time::timeout(within, attempts).await {
            Ok(outcome) => outcome,
            Err(_) => Err(RedisError::Timeout { node: asked }),
        }
    }

    async fn on_node(
        &self,
        address: &str,
        packed: Vec<u8>,
        replies: usize,
    ) -> Result<Vec<Reply>, RedisError> {
        let broken = || RedisError::Broken {
            node: address.to_owned(),
            message: "the connection is gone".into(),
        };
        let (answer, answered) = oneshot::channel();
        let call = Call {
            packed,
            replies,
            answer,
        };
        let sender = self.sender(address);
        sender.send(call).await.map_err(|_| broken())?;
        let replies = answered.await.map_err(|_| broken())??;
        match replies.iter().find_map(|reply| match reply {
            Reply::Error(message) => Some(message.clone()),
            _ => None,
        }) {
            Some(message) => Err(RedisError::Reply {
                node: address.to_owned(),
                message,
            }),
            None => Ok(replies),
        }
    }

    fn sender(&self, address: &str) -> mpsc::Sender<Call> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = nodes.get(address).filter(|sender| !sender.is_closed()) {
            return sender.clone();
        }
        let (sender, calls) = mpsc::channel(WAITING);
        nodes.insert(address.to_owned(), sender.clone());
        let (cluster, address) = (self.cluster.clone(), address.to_owned());
        tokio::spawn(async move { carry(&cluster, &address, calls).await });
        sender
    }
}

/// Carries calls over one connection until it breaks; what was under way then is told so, and the next call finds the
/// channel closed and opens another.
async fn carry(cluster: &Cluster, address: &str, mut calls: mpsc::Receiver<Call>) {
    let mut stream = cluster.dial(address).await.into_stream();
    let mut asked: VecDeque<Asked> = VecDeque::new();
    let message = match converse(&mut stream, &mut calls, &mut asked).await {
        Ok(()) => return,
        Err(error) => error.to_string(),
    };
    calls.close();
    let broken = || RedisError::Broken {
        node: address.to_owned(),
        message: message.clone(),
    };
    for call in asked {
        // Who asked may have stopped waiting.
        let _ = call.answer.send(Err(broken()));
    }
    while let Some(call) = calls.recv().await {
        let _ = call.answer.send(Err(broken()));
    }
}

async fn converse(
    stream: &mut TcpStream,
    calls: &mut mpsc::Receiver<Call>,
    asked: &mut VecDeque<Asked>,
) -> std::io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    let mut waiting = Vec::with_capacity(TOGETHER);
    let (mut out, mut buffer) = (Vec::new(), BytesMut::with_capacity(64 * 1024));
    let mut watch = tokio::time::interval(STALLED / 5);
    loop {
        tokio::select! {
            taken = calls.recv_many(&mut waiting, TOGETHER) => {
                if taken == 0 {
                    return Ok(());
                }
                out.clear();
                for call in waiting.drain(..) {
                    out.extend_from_slice(&call.packed);
                    asked.push_back(Asked {
                        at: Instant::now(),
                        replies: Vec::with_capacity(call.replies),
                        missing: call.replies,
                        answer: call.answer,
                    });
                }
                // Redis reads whatever it still has to answer, so this ends.
                writer.write_all(&out).await?;
            }
            read = reader.read_buf(&mut buffer) => {
                if read? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                deal(&mut buffer, asked)?;
                buffer.reserve(16 * 1024);
            }
            _ = watch.tick() => {
                if asked.front().is_some_and(|oldest| oldest.at.elapsed() > STALLED) {
                    return Err(std::io::ErrorKind::TimedOut.into());
                }
            }
        }
    }
}

/// Gives each whole reply in `buffer` to the oldest call that misses one.
fn deal(buffer: &mut BytesMut, asked: &mut VecDeque<Asked>) -> std::io::Result<()> {
    let invalid = |why: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, why.to_owned());
    while let Some(reply) = resp::take(buffer).map_err(|error| invalid(&error.to_string()))? {
        let Some(call) = asked.front_mut() else {
            return Err(invalid("an answer nobody asked for"));
        };
        call.replies.push(reply);
        call.missing -= 1;
        if call.missing == 0
            && let Some(call) = asked.pop_front()
        {
            // Who asked may have stopped waiting.
            let _ = call.answer.send(Ok(call.replies));
        }
    }
    Ok(())
}
