//! Group commit: posts that arrive while another transaction is under way are stored together in the next one, with
//! their fan-out jobs. Each is acknowledged when its transaction is on disk, never before. Each database has a queue of its own:
//! one that does not answer holds back its own shards' posts only, and a group is one transaction per database.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use deadpool_postgres::GenericClient;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{COLUMNS, CREATED_NOW, NewPost, Post, Posts, read};
use crate::cluster::slots;
use crate::database::Reads;
use crate::database::shards::{MAX_SHARDS, Shard};
use crate::engagement;
use crate::service::{ApiError, parse_env};

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

/// One statement is one transaction, and one way there and back: the posts, their jobs, and the keys with the answers that are
/// to be given again, are there together or not at all. Ids are given in the order of the batch. A key that was used before
/// keeps its post out: that one is to be looked at by itself. Keys are taken in order, so that two transactions with the
/// same ones wait for each other rather than both for ever.
fn statement() -> String {
    format!(
        "WITH first AS MATERIALIZED (SELECT take_post_numbers(cardinality($1::smallint[])) AS number),
              numbered AS MATERIALIZED (
                  SELECT shard, (number + place - 1) * {MAX_SHARDS} + shard AS id, author_id, author_name, body, key, fingerprint, place
                  FROM first, unnest($1, $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
                      WITH ORDINALITY AS new (shard, author_id, author_name, body, key, fingerprint, place)),
              taken AS (INSERT INTO idempotency_keys (user_id, key, fingerprint, answer)
                        SELECT author_id, key, fingerprint,
                               json_build_object('id', id, 'author_id', author_id, 'author', author_name, 'text', body, 'created_at', {CREATED_NOW})
                        FROM numbered WHERE key IS NOT NULL ORDER BY author_id, key
                        ON CONFLICT DO NOTHING RETURNING (answer::json->>'id')::bigint AS id),
              post AS (INSERT INTO posts (shard, id, author_id, author_name, body)
                       SELECT shard, id, author_id, author_name, body
                       FROM numbered WHERE key IS NULL OR id IN (SELECT id FROM taken)
                       ORDER BY place RETURNING *),
              jobs AS (INSERT INTO fanout_jobs (shard, post_ids, author_ids)
                       SELECT shard, post_ids, author_ids
                       FROM (SELECT array_agg(id ORDER BY id) AS post_ids, array_agg(author_id ORDER BY id) AS author_ids FROM post) AS all_posts,
                            generate_series(0, {last}) AS shard
                       WHERE post_ids IS NOT NULL)
         SELECT {COLUMNS}, place FROM post JOIN (SELECT id, place FROM numbered) AS places USING (id) ORDER BY id",
        last = slots::SHARDS - 1
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
            .within(async |client| insert(client, &self.statement, &news).await);
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
}

/// Writes one post and its jobs, as part of the caller's transaction, who sees to its key.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn insert_one(client: &impl GenericClient, shard: Shard, new: &NewPost) -> Result<Post, ApiError> {
    let unkeyed = NewPost {
        idempotency_key: None,
        ..new.clone()
    };
    let posts = insert(client, &statement(), &[(shard, unkeyed)]).await?;
    let post = posts.into_iter().flatten().next();
    Ok(post.ok_or_else(|| anyhow::anyhow!("PostgreSQL answered no post"))?)
}

/// The posts in the order of `news`; none: its key was used before, and it is to be looked at by itself.
async fn insert(
    client: &impl GenericClient,
    statement: &str,
    news: &[(Shard, NewPost)],
) -> Result<Vec<Option<Post>>, ApiError> {
    let statement = client.prepare_cached(statement).await?;
    let shards: Vec<Shard> = news.iter().map(|(shard, _)| *shard).collect();
    let authors: Vec<i64> = news.iter().map(|(_, new)| new.author_id).collect();
    let names: Vec<&str> = news.iter().map(|(_, new)| new.author.as_str()).collect();
    let texts: Vec<&str> = news.iter().map(|(_, new)| new.text.as_str()).collect();
    let keys: Vec<Option<&str>> = news
        .iter()
        .map(|(_, new)| new.idempotency_key.as_deref())
        .collect();
    let fingerprints: Vec<Option<String>> = news
        .iter()
        .map(|(_, new)| new.idempotency_key.as_ref().map(|_| engagement::fingerprint(new)))
        .collect();
    let rows = client
        .query(
            &statement,
            &[&shards, &authors, &names, &texts, &keys, &fingerprints],
        )
        .await?;
    let mut posts: Vec<Option<Post>> = news.iter().map(|_| None).collect();
    for row in &rows {
        let place = usize::try_from(row.try_get::<_, i64>("place")?).map_err(anyhow::Error::from)?;
        if let Some(post) = place.checked_sub(1).and_then(|place| posts.get_mut(place)) {
            *post = Some(read(row)?);
        }
    }
    let matches = posts.iter().zip(news).all(|(post, (_, new))| match post {
        Some(post) => post.author_id == new.author_id && post.text == new.text,
        None => new.idempotency_key.is_some(),
    });
    if !matches {
        return Err(anyhow::anyhow!("PostgreSQL answered other posts than were sent").into());
    }
    Ok(posts)
}
