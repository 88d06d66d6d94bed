//! One connection per node, shared by everyone: commands of concurrent requests leave in one write, and answers are
//! dealt out in the order of the questions.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::redirect::{self, AGAIN, Carrier, Told};
use super::resp::{self, Reply};
use super::{Cluster, RedisError};

/// Commands waiting to be written to one node; who comes later waits (until a deadline of its own).
const WAITING: usize = 4096;
/// Requests that leave in one write, at most.
const TOGETHER: usize = 512;
/// A node that owes an answer, or takes no bytes, for so long has its connection closed.
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

    /// See [`redirect::run`].
    ///
    /// # Errors
    /// See there.
    pub async fn run(
        &self,
        slot: u16,
        packed: Vec<u8>,
        replies: usize,
        within: Duration,
    ) -> Result<Vec<Reply>, RedisError> {
        redirect::run(self, &self.cluster, slot, &packed, replies, within).await
    }

    /// Commands of one reply each, every one for a key of its slot: those for one node leave as one call. Each has its own
    /// outcome, so a node that is slow or gone fails the commands that are its own. As in [`redirect::run`], twice is once.
    pub async fn run_each(
        &self,
        commands: &[(u16, Vec<u8>)],
        within: Duration,
    ) -> Vec<Result<Reply, RedisError>> {
        let deadline = tokio::time::Instant::now() + within;
        let mut outcomes: Vec<Option<Result<Reply, RedisError>>> = commands.iter().map(|_| None).collect();
        let mut pending: Vec<usize> = (0..commands.len()).collect();
        while !pending.is_empty() {
            let map = self.cluster.map().await;
            let mut nodes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            for place in pending.drain(..) {
                let (slot, _) = commands[place];
                match map.node(slot) {
                    Some(node) => nodes.entry(node).or_default().push(place),
                    None => outcomes[place] = Some(Err(RedisError::NoNode(slot))),
                }
            }
            let calls = nodes.into_iter().map(|(node, places)| async move {
                let length = places.iter().map(|place| commands[*place].1.len()).sum();
                let mut packed = Vec::with_capacity(length);
                for place in &places {
                    packed.extend_from_slice(&commands[*place].1);
                }
                let call = self.call(node, packed, places.len());
                let answer = tokio::time::timeout_at(deadline, call).await;
                (node, places, answer)
            });
            for (node, places, answer) in futures::future::join_all(calls).await {
                let node = || node.to_owned();
                match answer {
                    Ok(Ok(replies)) => {
                        for (place, reply) in places.into_iter().zip(replies) {
                            let outcome = match reply {
                                Reply::Error(message) => Err(RedisError::Reply {
                                    node: node(),
                                    message,
                                }),
                                reply => Ok(reply),
                            };
                            if outcome.as_ref().is_err_and(RedisError::elsewhere) {
                                pending.push(place);
                            }
                            outcomes[place] = Some(outcome);
                        }
                    }
                    // The connection broke: the next try sees the present.
                    Ok(Err(error)) => {
                        for place in places {
                            pending.push(place);
                            let (node, message) = (node(), error.to_string());
                            outcomes[place] = Some(Err(RedisError::Broken { node, message }));
                        }
                    }
                    Err(_) => {
                        for place in places {
                            outcomes[place] = Some(Err(RedisError::Timeout { node: node() }));
                        }
                    }
                }
            }
            if pending.is_empty() || tokio::time::Instant::now() + AGAIN >= deadline {
                break;
            }
            let _ = tokio::time::timeout_at(deadline, self.cluster.refresh()).await;
            tokio::time::sleep(AGAIN).await;
            // A key on its way between two nodes needs a word before it: that is a call of its own, and rare.
            for place in std::mem::take(&mut pending) {
                let asking = matches!(&outcomes[place], Some(Err(error)) if error.asks());
                if asking {
                    let (slot, packed) = &commands[place];
                    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
                    let answer = self.run(*slot, packed.clone(), 1, left).await;
                    outcomes[place] = Some(answer.map(|mut replies| replies.pop().unwrap_or(Reply::Nil)));
                } else {
                    pending.push(place);
                }
            }
        }
        let outcomes = outcomes.into_iter().enumerate();
        outcomes
            .map(|(place, outcome)| outcome.unwrap_or(Err(RedisError::NoNode(commands[place].0))))
            .collect()
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

impl Carrier for Multiplexed {
    type Reply = Reply;

    async fn call(&self, address: &str, packed: Vec<u8>, replies: usize) -> Result<Vec<Reply>, RedisError> {
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
        answered.await.map_err(|_| broken())?
    }
}

impl Told for Reply {
    fn error(&self) -> Option<String> {
        match self {
            Self::Error(message) => Some(message.clone()),
            _ => None,
        }
    }
}

/// Carries calls over one connection until it breaks; what was under way then is told so, and the next call finds the
/// channel closed and opens another.
async fn carry(cluster: &Cluster, address: &str, mut calls: mpsc::Receiver<Call>) {
    let mut asked: VecDeque<Asked> = VecDeque::new();
    let message = match cluster.dial_while_known(address).await {
        Some(connection) => {
            let mut stream = connection.into_stream();
            match converse(&mut stream, &mut calls, &mut asked).await {
                Ok(()) => return,
                Err(error) => error.to_string(),
            }
        }
        None => "it is none of the cluster's primaries any more".to_owned(),
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
                // Who has stopped waiting needs no answer: a node that lags must not work for them too.
                for call in waiting.drain(..).filter(|call| !call.answer.is_closed()) {
                    out.extend_from_slice(&call.packed);
                    asked.push_back(Asked {
                        at: Instant::now(),
                        replies: Vec::with_capacity(call.replies),
                        missing: call.replies,
                        answer: call.answer,
                    });
                }
                // Redis reads whatever it still has to answer, so this ends, unless Redis or the way there stands still.
                tokio::time::timeout(STALLED, writer.write_all(&out)).await??;
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

#[cfg(test)]
mod tests;
