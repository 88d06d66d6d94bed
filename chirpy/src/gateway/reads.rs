//! Timeline reads straight to timeline-service, those of a shard together.
//!
//! While some batches of a shard are under way, further reads of it wait for the next one, a few milliseconds at most: when
//! few people read, a batch is one read and nobody waits. Overload is answered by age: a read that could not be sent for so
//! long that its reader has lost interest is refused, and nothing that failed is asked for again on the reader's behalf.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, Method, StatusCode};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::cluster::slots::SHARDS;
use crate::service::{ApiError, parse_env};
use crate::timeline::batch::{self, Read};
use crate::upstream::Upstream;
use crate::wire::Answer;

/// Reads of a shard that may wait for a batch; further ones are refused.
const WAITING: usize = 4096;
/// Batches of a shard under way, at most: a shard that answers slowly is asked for no more than this at once.
const MOST_UNDER_WAY: usize = 16;
/// A read waits so long for the batches that are usual, then it starts one more.
const PATIENCE: Duration = Duration::from_millis(5);

/// Sends reads to timeline-service.
pub struct Reads {
    timelines: Upstream,
    /// By shard. Empty: every read is a request of its own.
    queues: Vec<mpsc::Sender<Waiting>>,
}

/// Why a reader gets no page.
#[derive(Clone, Debug)]
struct Refused(StatusCode, String);

impl Refused {
    fn busy() -> Self {
        let message = "too many timelines are being read; try again in a moment";
        Self(StatusCode::SERVICE_UNAVAILABLE, message.to_owned())
    }
}

impl From<Refused> for ApiError {
    fn from(Refused(status, message): Refused) -> Self {
        Self::new(status, message)
    }
}

struct Waiting {
    read: Read,
    at: Instant,
    answer: oneshot::Sender<Result<Bytes, Refused>>,
}

impl Waiting {
    /// The reader may have stopped waiting.
    fn answer(self, page: Result<Bytes, Refused>) {
        let _ = self.answer.send(page);
    }
}

impl Reads {
    /// `TIMELINE_BATCHES` is how many batches of a shard are usually under way; 0: every read is a request of its own.
    /// `TIMELINE_BATCH_LINGER_MS` is how long the first of a batch waits for company all the same.
    /// `TIMELINE_READ_MAX_WAIT_MS` is how long a read may wait to be sent before it is refused.
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env() -> anyhow::Result<Self> {
        let timelines = Upstream::from_env("timeline-service", "Timeline Service", 1000)?;
        let batches: usize = parse_env("TIMELINE_BATCHES", 2)?;
        let linger = Duration::from_millis(parse_env("TIMELINE_BATCH_LINGER_MS", 0)?);
        let longest = Duration::from_millis(parse_env("TIMELINE_READ_MAX_WAIT_MS", 100)?);
        let queue = |_| {
            let (sender, waiting) = mpsc::channel(WAITING);
            let line = Line {
                waiting,
                read: VecDeque::new(),
                linger,
                longest,
            };
            tokio::spawn(line.send(Gate::new(batches), timelines.clone()));
            sender
        };
        let queues = (0..SHARDS).filter(|_| batches > 0).map(queue).collect();
        Ok(Self { timelines, queues })
    }

    /// A page of a timeline, with where to go on in a `Link` header as chirpy-server gives it.
    ///
    /// # Errors
    /// 503 when too many wait or this one has waited too long; see [`Upstream::pass`].
    pub async fn read(&self, read: Read, headers: &[(&str, &[u8])]) -> Result<Answer, ApiError> {
        let Some(queue) = self.queues.get(read.shard()) else {
            let path = format!("/timelines/{}", read.path());
            let mut answer = self.timelines.pass(&Method::GET, &path, headers, None).await?;
            answer.link = next(read, &answer.body);
            return Ok(answer);
        };
        let (answer, answered) = oneshot::channel();
        let at = Instant::now();
        let waiting = Waiting { read, at, answer };
        queue.try_send(waiting).map_err(|_| Refused::busy())?;
        let body = answered.await.map_err(|_| Refused::busy())??;
        Ok(Answer {
            status: StatusCode::OK,
            content_type: Some(HeaderValue::from_static("application/json")),
            link: next(read, &body),
            retry_after: None,
            body,
        })
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

/// Lets batches go: the usual number at once, more of them only to reads that have waited.
struct Gate {
    usual: Arc<Semaphore>,
    most: Arc<Semaphore>,
}

/// A batch's place among those under way: of the usual number, unless it has waited, and of all.
struct Place {
    _usual: Option<OwnedSemaphorePermit>,
    _most: OwnedSemaphorePermit,
}

impl Gate {
    fn new(usual: usize) -> Self {
        Self {
            usual: Arc::new(Semaphore::new(usual)),
            most: Arc::new(Semaphore::new(MOST_UNDER_WAY.max(usual))),
        }
    }

    /// A place for reads of which the oldest came at `oldest`; none when there is none until `until`.
    async fn pass(&self, oldest: Instant, until: Instant) -> Option<Place> {
        let usual = timeout_at(oldest + PATIENCE, self.usual.clone().acquire_owned()).await;
        let most = timeout_at(until, self.most.clone().acquire_owned()).await;
        Some(Place {
            _usual: usual.ok().and_then(Result::ok),
            _most: most.ok()?.ok()?,
        })
    }
}

/// The reads of one shard that are not sent yet.
struct Line {
    waiting: mpsc::Receiver<Waiting>,
    /// Taken out of the channel, oldest first.
    read: VecDeque<Waiting>,
    linger: Duration,
    longest: Duration,
}

impl Line {
    async fn send(mut self, gate: Gate, timelines: Upstream) {
        let mut first = vec![];
        loop {
            if self.read.is_empty() {
                if self.waiting.recv_many(&mut first, batch::MOST).await == 0 {
                    return;
                }
                self.read.extend(first.drain(..));
            }
            let Some(oldest) = self.read.front().map(|one| one.at) else {
                continue;
            };
            if !self.linger.is_zero() {
                sleep_until(oldest + self.linger).await;
            }
            let place = gate.pass(oldest, oldest + self.longest).await;
            // Those who came meanwhile come along, and those who have waited too long do not.
            while let Ok(one) = self.waiting.try_recv() {
                self.read.push_back(one);
            }
            self.shed(Instant::now());
            if let Some(place) = place {
                let batch: Vec<Waiting> = self.read.drain(..self.read.len().min(batch::MOST)).collect();
                if !batch.is_empty() {
                    tokio::spawn(carry(timelines.clone(), batch, place));
                }
            }
        }
    }

    /// Refuses who has waited too long, and forgets who has gone: work for them would keep the others waiting until they go
    /// too.
    fn shed(&mut self, now: Instant) {
        let longest = self.longest;
        let old = |one: &Waiting| now.saturating_duration_since(one.at) >= longest;
        while self.read.front().is_some_and(old) {
            if let Some(one) = self.read.pop_front() {
                one.answer(Err(Refused::busy()));
            }
        }
        self.read.retain(|one| !one.answer.is_closed());
    }
}

/// Asks for a batch and gives every reader their page. What failed for all is told to all.
async fn carry(timelines: Upstream, readers: Vec<Waiting>, place: Place) {
    let reads: Vec<Read> = readers.iter().map(|reader| reader.read).collect();
    let body = batch::ask(&reads);
    let outcome = timelines
        .pass(&Method::POST, "/timelines/read", &[], Some(body.as_bytes()))
        .await;
    drop(place);
    let pages = match outcome {
        Ok(answer) if answer.status == StatusCode::OK => {
            batch::split(answer.body).filter(|pages| pages.len() == readers.len())
        }
        Ok(_) => None,
        Err(error) => {
            let refused = Refused(error.status, error.message);
            for reader in readers {
                reader.answer(Err(refused.clone()));
            }
            return;
        }
    };
    let Some(pages) = pages else {
        let message = "Timeline Service answered something unreadable";
        let refused = Refused(StatusCode::BAD_GATEWAY, message.to_owned());
        for reader in readers {
            reader.answer(Err(refused.clone()));
        }
        return;
    };
    for (reader, page) in readers.into_iter().zip(pages) {
        let told = |status| Refused(status, "the timeline cannot be read just now".to_owned());
        reader.answer(page.map_err(told));
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

    #[tokio::test]
    async fn more_batches_than_usual_are_for_reads_that_have_waited_and_there_is_an_end_to_them() {
        let gate = Gate::new(1);
        let mut held = vec![];
        for number in 0..MOST_UNDER_WAY {
            let now = Instant::now();
            let place = gate
                .pass(now, now + Duration::from_secs(60))
                .await
                .expect("a place");
            assert_eq!(place._usual.is_some(), number == 0);
            assert!(number == 0 || now.elapsed() >= PATIENCE);
            held.push(place);
        }
        let now = Instant::now();
        assert!(gate.pass(now, now + Duration::from_millis(10)).await.is_none());
        held.truncate(1);
        assert!(gate.pass(now, now + Duration::from_secs(60)).await.is_some());
    }

    #[test]
    fn whoever_waited_too_long_is_told_so_and_whoever_has_gone_is_forgotten() {
        let (now, longest) = (Instant::now(), Duration::from_millis(100));
        let waiting = |user, at| {
            let (answer, answered) = oneshot::channel();
            let read = Read {
                user,
                limit: None,
                before: None,
            };
            (Waiting { read, at, answer }, answered)
        };
        let (old, mut told) = waiting(1, now);
        let (gone, answered) = waiting(2, now + longest / 2);
        let (young, mut untold) = waiting(3, now + longest / 2);
        drop(answered);
        let mut line = Line {
            waiting: mpsc::channel(1).1,
            read: VecDeque::from([old, gone, young]),
            linger: Duration::ZERO,
            longest,
        };
        line.shed(now + longest);
        let refused = told.try_recv().expect("answered").expect_err("refused");
        assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE);
        assert!(untold.try_recv().is_err(), "still waiting");
        let left: Vec<i64> = line.read.iter().map(|one| one.read.user).collect();
        assert_eq!(left, [3]);
    }
}
