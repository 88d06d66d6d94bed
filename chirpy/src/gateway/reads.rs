//! Timeline reads straight to timeline-service, those of concurrent requests together: while some batches are under way,
//! further reads wait for the next one. When few people read, a batch is one read and nobody waits.

use std::sync::Arc;

use axum::http::{HeaderValue, Method, StatusCode};
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::service::{ApiError, parse_env};
use crate::timeline::batch::{self, Read};
use crate::upstream::Upstream;
use crate::wire::Answer;

/// Reads that may wait for a batch; further ones are refused.
const WAITING: usize = 4096;

/// Sends reads to timeline-service.
pub struct Reads {
    timelines: Upstream,
    /// None: every read is a request of its own.
    queue: Option<mpsc::Sender<Waiting>>,
}

struct Waiting {
    read: Read,
    /// Answered with none when the read has to be made by itself.
    answer: oneshot::Sender<Option<Bytes>>,
}

impl Reads {
    /// `TIMELINE_BATCHES` is how many batches may be under way; 0: every read is a request of its own.
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env() -> anyhow::Result<Self> {
        let timelines = Upstream::from_env("timeline-service", "Timeline Service", 1000)?;
        let batches: usize = parse_env("TIMELINE_BATCHES", 4)?;
        let queue = (batches > 0).then(|| {
            let (sender, waiting) = mpsc::channel(WAITING);
            tokio::spawn(send(timelines.clone(), batches, waiting));
            sender
        });
        Ok(Self { timelines, queue })
    }

    /// The page of `user`'s timeline that `query` asks for.
    ///
    /// # Errors
    /// 503 when too many wait; see [`Upstream::pass`].
    pub async fn read(&self, user: &str, query: &str, headers: &[(&str, &[u8])]) -> Result<Answer, ApiError> {
        let batched = self.queue.as_ref().zip(Read::asked(user, query));
        if let Some((queue, read)) = batched {
            let (answer, answered) = oneshot::channel();
            let full = |_| {
                ApiError::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many timelines are being read",
                )
            };
            queue.try_send(Waiting { read, answer }).map_err(full)?;
            if let Ok(Some(body)) = answered.await {
                return Ok(Answer {
                    status: StatusCode::OK,
                    content_type: Some(HeaderValue::from_static("application/json")),
                    body,
                });
            }
        }
        // A slow shard or an error is this reader's own matter.
        let path = format!("/timelines/{user}?{query}");
        self.timelines.pass(&Method::GET, &path, headers, None).await
    }
}

async fn send(timelines: Upstream, batches: usize, mut waiting: mpsc::Receiver<Waiting>) {
    let permits = Arc::new(Semaphore::new(batches));
    let mut next: Vec<Waiting> = vec![];
    while let Ok(permit) = permits.clone().acquire_owned().await {
        if waiting.recv_many(&mut next, batch::MOST).await == 0 {
            return;
        }
        // Work for those who have gone would keep those who have not waiting until they go too.
        next.retain(|reader| !reader.answer.is_closed());
        if next.is_empty() {
            continue;
        }
        let (timelines, readers) = (timelines.clone(), std::mem::take(&mut next));
        tokio::spawn(async move {
            let reads: Vec<Read> = readers.iter().map(|reader| reader.read).collect();
            let bodies = exchange(&timelines, &reads).await;
            drop(permit);
            let mut bodies = bodies.into_iter();
            for reader in readers {
                // Who asked may have stopped waiting.
                let _ = reader.answer.send(bodies.next().flatten());
            }
        });
    }
}

async fn exchange(timelines: &Upstream, reads: &[Read]) -> Vec<Option<Bytes>> {
    let body = batch::ask(reads);
    let outcome = timelines.pass(&Method::POST, "/timelines/read", &[], Some(body.as_bytes()));
    match outcome.await {
        Ok(answer) if answer.status == StatusCode::OK => batch::split(answer.body).unwrap_or_default(),
        // Each reader asks again and gets the error that is its own.
        _ => vec![],
    }
}
