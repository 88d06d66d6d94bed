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

    /// A page of a timeline, with where to go on in a `Link` header as chirpy-server gives it.
    ///
    /// # Errors
    /// 503 when too many wait; see [`Upstream::pass`].
    pub async fn read(&self, read: Read, headers: &[(&str, &[u8])]) -> Result<Answer, ApiError> {
        if let Some(queue) = &self.queue {
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
                    link: next(read, &body),
                    body,
                });
            }
        }
        // A slow shard or an error is this reader's own matter.
        let path = format!("/timelines/{}", read.path());
        let mut answer = self.timelines.pass(&Method::GET, &path, headers, None).await?;
        answer.link = next(read, &answer.body);
        Ok(answer)
    }
}

/// Where the page after `body` is. The last post's id is found without reading the whole: no text can hold the quotes of
/// `{"id":` unescaped.
fn next(read: Read, body: &[u8]) -> Option<HeaderValue> {
    const START: &[u8] = b"{\"id\":";
    let last = body.windows(START.len()).rposition(|window| window == START)?;
    let digits = body.get(last + START.len()..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let id = std::str::from_utf8(&digits[..end]).ok()?;
    let limit = read.limit.unwrap_or(20);
    HeaderValue::from_str(&format!("<?before={id}&limit={limit}>; rel=\"next\"")).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_begins_below_the_last_post() {
        let read = Read {
            user: 7,
            limit: None,
            before: None,
        };
        let posts = [
            serde_json::json!({"id": 90, "text": "a"}),
            serde_json::json!({"id": 81, "text": "not {\"id\":1, \\{\"id\":2"}),
        ];
        let body = serde_json::to_vec(&posts).expect("JSON");
        let link = next(read, &body).expect("a link");
        assert_eq!(link, "<?before=81&limit=20>; rel=\"next\"");
        assert_eq!(next(read, b"[]"), None);
    }
}
