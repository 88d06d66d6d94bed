//! Redis' sharded pub/sub: one channel per third of the slots, on the nodes that hold those timelines.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::{SinkExt as _, StreamExt as _};
use redis::{Value, ValueCodec};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::codec::Framed;

use crate::cluster::{Cluster, Pool, slots};

/// The channel of a shard: a name whose slot lies in that shard, so that its messages travel with the timelines they are about.
pub fn channel(shard: i16) -> String {
    let named = (0_u32..).map(|number| format!("live:{{{number}}}"));
    named
        .into_iter()
        .find(|name| slots::shard(slots::slot(name.as_bytes())) == shard)
        .unwrap_or_default()
}

/// Posts are in a shard's timelines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub shard: i16,
    /// Ids of posts and of their authors.
    pub posts: Vec<(i64, i64)>,
}

impl Message {
    fn payload(&self) -> String {
        let mut text = String::with_capacity(self.posts.len() * 16);
        for (post, author) in &self.posts {
            if !text.is_empty() {
                text.push(',');
            }
            // Writing to a String does not fail.
            let _ = write!(text, "{post} {author}");
        }
        text
    }

    fn parse(shard: i16, payload: &[u8]) -> Option<Self> {
        let posts = std::str::from_utf8(payload).ok()?.split(',').map(|one| {
            let (post, author) = one.split_once(' ')?;
            Some((post.parse().ok()?, author.parse().ok()?))
        });
        let posts = posts.collect::<Option<_>>()?;
        Some(Self { shard, posts })
    }
}

/// Tells listeners about posts that have reached their timelines: a message per delivery. What is lost here is found by the
/// next look at a timeline, so fan-out never waits for it.
pub struct Publisher(Vec<mpsc::Sender<Message>>);

impl Publisher {
    /// Messages waiting to be sent to one shard's node; more than this at once are left out.
    const QUEUE: usize = 1024;

    /// A shard whose node is slow holds back no other's messages.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        let pool = Arc::new(Pool::new(cluster, 1, Duration::from_secs(300)));
        let shard = |shard| {
            let (sender, receiver) = mpsc::channel(Self::QUEUE);
            tokio::spawn(publish(pool.clone(), channel(shard), receiver));
            sender
        };
        Self((0..slots::SHARDS).map(shard).collect())
    }

    /// A job is done: its posts, each with its author, are in the shard's timelines.
    pub fn delivered(&self, shard: i16, posts: &[(i64, i64)]) {
        let queue = usize::try_from(shard).ok().and_then(|shard| self.0.get(shard));
        let message = Message {
            shard,
            posts: posts.to_vec(),
        };
        if queue.is_some_and(|queue| queue.try_send(message).is_err()) {
            tracing::debug!(shard, "Too many live updates at once; some are left out");
        }
    }
}

async fn publish(pool: Arc<Pool>, channel: String, mut messages: mpsc::Receiver<Message>) {
    let slot = slots::slot(channel.as_bytes());
    let mut batch = vec![];
    while messages.recv_many(&mut batch, 64).await > 0 {
        let mut packed = vec![];
        let count = batch.len();
        for message in batch.drain(..) {
            redis::cmd("SPUBLISH")
                .arg(&channel)
                .arg(message.payload())
                .write_packed_command(&mut packed);
        }
        if let Err(error) = pool.run(slot, packed, count, Duration::from_secs(1)).await {
            tracing::debug!(%error, "Live updates were not published");
        }
    }
}

/// What a subscription says.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Message(Message),
    /// The subscription stands again after a break: messages may have been missed.
    Again(i16),
}

/// How often a silent connection is asked whether it still lives, and how long it may take to say so.
const PING: Duration = Duration::from_secs(3);
const SILENCE: Duration = Duration::from_secs(8);

/// Listens to a shard's channel for as long as someone takes what it hears, through failovers and moved slots.
pub async fn subscribe(cluster: Arc<Cluster>, shard: i16, heard: mpsc::Sender<Heard>) {
    let channel = channel(shard);
    let mut first = true;
    while !heard.is_closed() {
        let outcome = listen(&cluster, shard, &channel, &heard, &mut first).await;
        if let Err(error) = outcome {
            tracing::info!(shard, error = %format!("{error:#}"), "The live channel broke off; subscribing again");
        }
        cluster.refresh().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn listen(
    cluster: &Cluster,
    shard: i16,
    channel: &str,
    heard: &mpsc::Sender<Heard>,
    first: &mut bool,
) -> anyhow::Result<()> {
    let map = cluster.map().await;
    let node = map
        .node(slots::slot(channel.as_bytes()))
        .context("no node is known")?;
    let stream = timeout(Duration::from_secs(1), TcpStream::connect(node))
        .await
        .context("connecting took too long")??;
    let mut stream = Framed::new(stream, ValueCodec::default());
    stream
        .send(redis::cmd("SSUBSCRIBE").arg(channel).get_packed_command())
        .await?;
    let mut ping = tokio::time::interval(PING);
    let mut last = Instant::now();
    loop {
        let value = tokio::select! {
            value = stream.next() => value.context("closed by the server")??,
            _ = ping.tick() => {
                anyhow::ensure!(last.elapsed() < SILENCE, "{node} says nothing any more");
                stream.send(redis::cmd("PING").get_packed_command()).await?;
                continue;
            }
            () = heard.closed() => return Ok(()),
        };
        last = Instant::now();
        match kind(&value) {
            Some((b"smessage", payload)) => {
                if let Some(message) = Message::parse(shard, payload) {
                    heard.send(Heard::Message(message)).await?;
                }
            }
            Some((b"ssubscribe", _)) => {
                if !std::mem::replace(first, false) {
                    heard.send(Heard::Again(shard)).await?;
                }
            }
            Some((b"pong", _)) => {}
            // MOVED, or the slot has gone to another node (sunsubscribe).
            _ => anyhow::bail!("{node} answered {value:?}"),
        }
    }
}

/// A push's kind and its last part.
fn kind(value: &Value) -> Option<(&[u8], &[u8])> {
    let parts = match value {
        Value::Array(parts) | Value::Push { data: parts, .. } => parts,
        _ => return None,
    };
    Some((text(parts.first()?)?, text(parts.last()?)?))
}

/// The bytes of a part; a subscription's own answer ends with a number, which says nothing here.
fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::Int(_) => Some(&[]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shards_channel_lies_in_the_shard() {
        for shard in 0..slots::SHARDS {
            assert_eq!(slots::shard(slots::slot(channel(shard).as_bytes())), shard);
        }
    }

    #[test]
    fn messages_come_back_as_they_went() {
        let message = Message {
            shard: 2,
            posts: vec![(7, 3), (8, 3), (9, 4)],
        };
        assert_eq!(message.payload(), "7 3,8 3,9 4");
        assert_eq!(Message::parse(2, message.payload().as_bytes()), Some(message));
        for bad in ["", "7", "7 x", "7 3 1", "7 3,", "7 3,x"] {
            assert_eq!(Message::parse(2, bad.as_bytes()), None, "{bad}");
        }
    }
}
