//! New posts on their way to post-service, those of concurrent requests together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::post::{NewPost, Outcome, Post};
use crate::service::{ApiError, parse_env};
use crate::upstream::Upstream;

/// Posts that may wait for a batch; further ones are refused.
const WAITING: usize = 1000;
/// Posts in one request, at most.
const TOGETHER: usize = 64;
/// A post that could not be sent for so long is refused, while its author still waits to hear of it.
const LONGEST: Duration = Duration::from_secs(1);

const BUSY: &str = "too many posts are waiting; try again in a moment";

/// Sends posts to post-service.
pub struct Writes {
    posts: Upstream,
    /// None: every post is a request of its own.
    queue: Option<mpsc::Sender<Waiting>>,
}

struct Waiting {
    new: NewPost,
    at: Instant,
    answer: oneshot::Sender<Result<Post, ApiError>>,
}

impl Writes {
    /// `POST_BATCHES` is how many batches may be under way; 0: every post is a request of its own.
    ///
    /// # Errors
    /// When the variable does not parse.
    pub fn from_env(posts: Upstream) -> anyhow::Result<Self> {
        let batches: usize = parse_env("POST_BATCHES", 0)?;
        let queue = (batches > 0).then(|| {
            let (sender, waiting) = mpsc::channel(WAITING);
            tokio::spawn(send(posts.clone(), batches, waiting));
            sender
        });
        Ok(Self { posts, queue })
    }

    /// Stores a post; when this returns it, it is stored.
    ///
    /// # Errors
    /// 503 when too many wait; what post-service says; see [`Upstream::call`].
    pub async fn post(&self, new: NewPost) -> Result<Post, ApiError> {
        let Some(queue) = &self.queue else {
            return self.posts.post("/posts", &new).await;
        };
        let unavailable = |message: &str| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message);
        let (answer, answered) = oneshot::channel();
        queue
            .try_send(Waiting {
                new,
                at: Instant::now(),
                answer,
            })
            .map_err(|_| unavailable(BUSY))?;
        answered.await.map_err(|_| unavailable("the service is ending"))?
    }
}

async fn send(posts: Upstream, batches: usize, mut waiting: mpsc::Receiver<Waiting>) {
    let permits = Arc::new(Semaphore::new(batches));
    let mut next: Vec<Waiting> = vec![];
    while let Ok(permit) = permits.clone().acquire_owned().await {
        if waiting.recv_many(&mut next, TOGETHER).await == 0 {
            return;
        }
        // Nobody is told of a post whose author has gone: it was never acknowledged, and is not stored.
        next.retain(|waiting| !waiting.answer.is_closed());
        let batch = in_time(std::mem::take(&mut next), Instant::now());
        if batch.is_empty() {
            continue;
        }
        let posts = posts.clone();
        tokio::spawn(async move {
            let (news, answers): (Vec<NewPost>, Vec<_>) = batch
                .into_iter()
                .map(|waiting| (waiting.new, waiting.answer))
                .unzip();
            let outcome: Result<Vec<Outcome>, ApiError> = posts.post("/posts/batch", &news).await;
            drop(permit);
            deal(outcome, answers);
        });
    }
}

/// Those who have not waited too long; the others are told that they have.
fn in_time(waiting: Vec<Waiting>, now: Instant) -> Vec<Waiting> {
    let late = |one: &Waiting| now.saturating_duration_since(one.at) >= LONGEST;
    let (late, in_time): (Vec<_>, Vec<_>) = waiting.into_iter().partition(late);
    for one in late {
        let busy = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, BUSY);
        let _ = one.answer.send(Err(busy));
    }
    in_time
}

/// Gives everyone their own outcome. Who asked may have stopped waiting.
fn deal(outcome: Result<Vec<Outcome>, ApiError>, answers: Vec<oneshot::Sender<Result<Post, ApiError>>>) {
    match outcome {
        Ok(outcomes) if outcomes.len() == answers.len() => {
            for (outcome, answer) in outcomes.into_iter().zip(answers) {
                let _ = answer.send(match outcome {
                    Outcome::Stored(post) => Ok(post),
                    Outcome::Refused(status, message) => {
                        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
                        Err(ApiError::new(status, message))
                    }
                });
            }
        }
        outcome => {
            let error = outcome.err().unwrap_or_else(|| {
                ApiError::new(
                    StatusCode::BAD_GATEWAY,
                    "Post Service left a post without an answer",
                )
            });
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_that_waited_too_long_is_refused_and_not_sent() {
        let now = Instant::now();
        let waiting = |id, at| {
            let (answer, answered) = oneshot::channel();
            let new = NewPost {
                author_id: id,
                author: "ai".into(),
                text: "hi".into(),
                reply_to: None,
                idempotency_key: None,
            };
            (Waiting { new, at, answer }, answered)
        };
        let ((old, mut told), (young, mut untold)) = (waiting(1, now), waiting(2, now + LONGEST / 2));
        let sent = in_time(vec![old, young], now + LONGEST);
        assert_eq!(sent.iter().map(|one| one.new.author_id).collect::<Vec<_>>(), [2]);
        let refused = told.try_recv().expect("told").expect_err("refused");
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(untold.try_recv().is_err());
    }
}
