//! Group commit: posts that arrive while another transaction is under way are stored together in the next one, with
//! their fan-out jobs. Each is acknowledged when its transaction is on disk, never before. Each database has a queue of its own:
//! one that does not answer holds back its own shards' posts only, and a group is one transaction per database.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use deadpool_postgres::{GenericClient, Object};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{COLUMNS, NewPost, Post, Posts, read};
use crate::cluster::slots;
use crate::database::Reads;
use crate::database::shards::{MAX_SHARDS, Shard};
use crate::service::{ApiError, parse_env};
use crate::{engagement, idempotency};

/// Takes posts and stores them.
#[derive(Clone)]
pub struct Committer {
    posts: Posts,
    /// Of each database.
    queues: Arc<[mpsc::Sender<Waiting>]>,
}

struct Waiting {
    shard: Shard,
    new: NewPost,
    answer: oneshot::Sender<Result<Post, ApiError>>,
}

/// What a writer does.
struct Writer {
    posts: Posts,
    database: Reads,
    /// Of idempotency keys.
    lifetime: Duration,
    queue: Arc<Mutex<mpsc::Receiver<Waiting>>>,
    batch: usize,
    linger: Duration,
    statement: String,
}

impl Committer {
    /// From `POST_COMMIT_WRITERS` (transactions of one database at the same time), `POST_COMMIT_BATCH` (posts in one, at most),
    /// `POST_COMMIT_LINGER_MS` (how long the first of a batch waits for company) and `POST_QUEUE` (posts that may wait
    /// for one; further ones are refused). `lifetime`: how long idempotency keys are remembered.
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env(posts: &Posts, lifetime: Duration) -> anyhow::Result<Self> {
        let places = parse_env("POST_QUEUE", 1000_usize)?.max(1);
        let (writers, batch) = (
            parse_env("POST_COMMIT_WRITERS", 2)?.max(1),
            parse_env("POST_COMMIT_BATCH", 64_usize)?.max(1),
        );
        let linger = Duration::from_millis(parse_env("POST_COMMIT_LINGER_MS", 0)?);
        let queues = posts.databases.iter().map(|database| {
            let (sender, queue) = mpsc::channel(places);
            let queue = Arc::new(Mutex::new(queue));
            for _ in 0..writers {
                let writer = Writer {
                    posts: posts.clone(),
                    database: database.clone(),
                    lifetime,
                    queue: queue.clone(),
                    batch,
                    linger,
                    statement: statement(),
                };
                tokio::spawn(writer.write());
            }
            sender
        });
        Ok(Self {
            posts: posts.clone(),
            queues: queues.collect(),
        })
    }

    /// Stores a post; when this returns it, it is on disk with its fan-out jobs.
    ///
    /// # Errors
    /// 503 when too many posts wait, or when PostgreSQL does not answer: then the post may be stored all the same, and whoever
    /// tries again with its idempotency key is told so.
    pub async fn commit(&self, new: NewPost) -> Result<Post, ApiError> {
        let (answer, answered) = oneshot::channel();
        let shard = self.posts.of_author(new.author_id);
        let queue = self.queues.get(self.posts.place(shard));
        let queue = queue.ok_or_else(|| anyhow::anyhow!("shard {shard} has no database"))?;
        let full = |_| {
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many posts are waiting to be stored",
            )
        };
        queue.try_send(Waiting { shard, new, answer }).map_err(full)?;
        let ended = |_| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the service is ending");
        answered.await.map_err(ended)?
    }
}

/// One statement is one transaction: the posts and their jobs are there together or not at all. Ids are given in the order
/// of the batch.
fn statement() -> String {
    format!(
        "WITH first AS MATERIALIZED (SELECT take_post_numbers(cardinality($1::smallint[])) AS number),
              post AS (INSERT INTO posts (shard, id, author_id, author_name, body)
                       SELECT shard, (number + place - 1) * {MAX_SHARDS} + shard, author_id, author_name, body
                       FROM first, unnest($1, $2::bigint[], $3::text[], $4::text[])
                           WITH ORDINALITY AS new (shard, author_id, author_name, body, place)
                       ORDER BY place RETURNING *),
              jobs AS (INSERT INTO fanout_jobs (shard, post_ids, author_ids)
                       SELECT shard, post_ids, author_ids
                       FROM (SELECT array_agg(id ORDER BY id) AS post_ids, array_agg(author_id ORDER BY id) AS author_ids FROM post) AS all_posts,
                            generate_series(0, {}) AS shard)
         SELECT {COLUMNS} FROM post ORDER BY id",
        slots::SHARDS - 1
    )
}

impl Writer {
    async fn write(self) {
        let mut batch = vec![];
        loop {
            {
                let mut queue = self.queue.lock().await;
                if queue.recv_many(&mut batch, self.batch).await == 0 {
                    return;
                }
                if !self.linger.is_zero() && batch.len() < self.batch {
                    tokio::time::sleep(self.linger).await;
                    while batch.len() < self.batch {
                        match queue.try_recv() {
                            Ok(waiting) => batch.push(waiting),
                            Err(_) => break,
                        }
                    }
                }
            }
            self.store(std::mem::take(&mut batch)).await;
        }
    }

    async fn store(&self, mut batch: Vec<Waiting>) {
        // Nobody is told of a post whose author has gone: it was never acknowledged, and is not stored.
        batch.retain(|waiting| !waiting.answer.is_closed());
        if batch.is_empty() {
            return;
        }
        let (news, answers): (Vec<(Shard, NewPost)>, Vec<_>) = batch
            .into_iter()
            .map(|waiting| ((waiting.shard, waiting.new), waiting.answer))
            .unzip();
        // A server that is frozen holds this writer no longer than it may: the other posts want to be answered too, and stored
        // once there is another server.
        let stored = self
            .database
            .within(async |client| self.insert(client, &news).await);
        let posts = match stored.await {
            Ok(posts) => posts,
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
                return;
            }
        };
        for ((post, (_, new)), answer) in posts.into_iter().zip(news).zip(answers) {
            let Some(post) = post else {
                let (posts, lifetime) = (self.posts.clone(), self.lifetime);
                tokio::spawn(async move {
                    let _ = answer.send(engagement::create(&posts, &new, lifetime).await);
                });
                continue;
            };
            // Who posted may have stopped waiting; the post is stored all the same.
            let _ = answer.send(Ok(post));
        }
    }

    /// None: its key was used before, and it is to be looked at by itself.
    async fn insert(
        &self,
        client: &mut Object,
        news: &[(Shard, NewPost)],
    ) -> Result<Vec<Option<Post>>, ApiError> {
        let keyed = |(_, new): &(Shard, NewPost)| new.idempotency_key.is_some();
        let all: Vec<(Shard, &NewPost)> = news.iter().map(|(shard, new)| (*shard, new)).collect();
        if !news.iter().any(keyed) {
            let posts = insert(client, &self.statement, &all).await?;
            return Ok(posts.into_iter().map(Some).collect());
        }
        let transaction = client.build_transaction().start().await?;
        let with_key = || {
            all.iter()
                .filter_map(|(_, new)| Some((new.author_id, new.idempotency_key.as_deref()?, *new)))
        };
        let wanted: Vec<_> = with_key()
            .map(|(author, key, new)| (author, key, engagement::fingerprint(new)))
            .collect();
        let mut taken = idempotency::take_all(&transaction, &wanted).await?.into_iter();
        let fresh: Vec<bool> = news
            .iter()
            .map(|new| !keyed(new) || taken.next() == Some(true))
            .collect();
        let chosen: Vec<(Shard, &NewPost)> = all
            .iter()
            .zip(&fresh)
            .filter(|(_, fresh)| **fresh)
            .map(|(new, _)| *new)
            .collect();
        let posts = insert(&transaction, &self.statement, &chosen).await?;
        let mut answers = vec![];
        for ((_, new), post) in chosen.iter().zip(&posts) {
            if let Some(key) = &new.idempotency_key {
                let answer = serde_json::to_string(post).map_err(anyhow::Error::from)?;
                answers.push((new.author_id, key.as_str(), answer));
            }
        }
        idempotency::answered_all(&transaction, &answers).await?;
        transaction.commit().await?;
        let mut posts = posts.into_iter();
        Ok(fresh
            .into_iter()
            .map(|fresh| fresh.then(|| posts.next()).flatten())
            .collect())
    }
}

/// Writes one post and its jobs, as part of the caller's transaction.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn insert_one(client: &impl GenericClient, shard: Shard, new: &NewPost) -> Result<Post, ApiError> {
    let post = insert(client, &statement(), &[(shard, new)]).await?.pop();
    Ok(post.ok_or_else(|| anyhow::anyhow!("PostgreSQL answered no post"))?)
}

async fn insert(
    client: &impl GenericClient,
    statement: &str,
    news: &[(Shard, &NewPost)],
) -> Result<Vec<Post>, ApiError> {
    if news.is_empty() {
        return Ok(vec![]);
    }
    let statement = client.prepare_cached(statement).await?;
    let shards: Vec<Shard> = news.iter().map(|(shard, _)| *shard).collect();
    let authors: Vec<i64> = news.iter().map(|(_, new)| new.author_id).collect();
    let names: Vec<&str> = news.iter().map(|(_, new)| new.author.as_str()).collect();
    let texts: Vec<&str> = news.iter().map(|(_, new)| new.text.as_str()).collect();
    let rows = client
        .query(&statement, &[&shards, &authors, &names, &texts])
        .await?;
    let posts: Vec<Post> = rows.iter().map(read).collect::<Result<_, _>>()?;
    let matches = posts.len() == news.len()
        && posts
            .iter()
            .zip(news)
            .all(|(post, (_, new))| post.author_id == new.author_id && post.text == new.text);
    if !matches {
        return Err(anyhow::anyhow!("PostgreSQL answered other posts than were sent").into());
    }
    Ok(posts)
}
