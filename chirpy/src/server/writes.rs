//! New posts on their way to post-service, those of concurrent requests together.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::post::{NewPost, Outcome, Post};
use crate::service::{ApiError, parse_env};
use crate::upstream::Upstream;

/// Posts that may wait for a batch; further ones are refused.
const WAITING: usize = 1000;
/// Posts in one request, at most.
const TOGETHER: usize = 64;

/// Sends posts to post-service.
pub struct Writes {
    posts: Upstream,
    /// None: every post is a request of its own.
    queue: Option<mpsc::Sender<Waiting>>,
}

struct Waiting {
    new: NewPost,
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
            .try_send(Waiting { new, answer })
            .map_err(|_| unavailable("too many posts are waiting"))?;
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
        if next.is_empty() {
            continue;
        }
        let (posts, batch) = (posts.clone(), std::mem::take(&mut next));
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
                let _ = answer.send(Err(ApiError::new(error.status, error.message.clone())));
            }
        }
    }
}
