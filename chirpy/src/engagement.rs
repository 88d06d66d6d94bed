//! What people do with posts: reply and like. Kept beside the posts by post-service, in tables of their own: a reply in the
//! database of its author's shard, likes and counts in that of the post they belong to.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::routing::{get, put};
use axum::{Json, Router};
use deadpool_postgres::{GenericClient, Transaction};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use crate::database::Age;
use crate::database::shards::{Shard, table};
use crate::follower::Person;
use crate::idempotency::{self, Seen};
use crate::post::{self, NewPost, Post, Posts};
use crate::service::ApiError;

/// What belongs to a post beside its text, as one reader sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Engagement {
    pub id: i64,
    /// The post this one answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<i64>,
    /// Who wrote that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to_author: Option<String>,
    pub likes: i64,
    pub replies: i64,
    /// Whether the reader likes it.
    pub liked: bool,
}

/// The likes of a post after a change to them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Likes {
    pub likes: i64,
    pub liked: bool,
}

pub fn routes(posts: Posts) -> Router {
    Router::new()
        .route("/engagement", get(engagement))
        .route("/posts/{id}/likes", get(likers))
        .route("/posts/{id}/likes/{user}", put(like).delete(unlike))
        .route("/posts/{id}/conversation", get(conversation))
        .route("/authors/{author}/count", get(count))
        .with_state(posts)
}

fn no_such_post() -> ApiError {
    ApiError::not_found("no such post")
}

/// Deletes an author's post, and takes a reply off its parent's count.
///
/// # Errors
/// 404 when there is no such post of theirs.
pub async fn delete(posts: &Posts, id: i64, author: i64) -> Result<(), ApiError> {
    let missing = || ApiError::not_found("no such post of yours");
    let shard = posts.of_post(id).await?.ok_or_else(missing)?;
    let delete = format!(
        "WITH gone AS (
             UPDATE {} SET deleted = true, changed_in = pg_current_xact_id()::text::bigint
             WHERE id = $1 AND author_id = $2 AND NOT deleted RETURNING id)
         SELECT reply.reply_to FROM gone LEFT JOIN replies AS reply ON reply.post_id = gone.id",
        table(shard)
    );
    let deleted = posts.database(shard).within(async |client| {
        let transaction = client.build_transaction().start().await?;
        let gone = transaction.query_opt(&delete, &[&id, &author]).await?;
        let parent: Option<i64> = gone.ok_or_else(missing)?.try_get(0)?;
        let elsewhere = match parent {
            Some(parent) => count_reply(posts, &transaction, shard, parent, -1).await?,
            None => None,
        };
        transaction.commit().await?;
        Ok(elsewhere)
    });
    if let Some(elsewhere) = deleted.await? {
        elsewhere.count(posts).await;
    }
    Ok(())
}

/// A post that answers another or carries a key: in one transaction with both.
pub async fn create(posts: &Posts, new: &NewPost, lifetime: Duration) -> Result<Post, ApiError> {
    let shard = posts.of_author(new.author_id);
    // The parent may be in another database, so it is looked at before the transaction; it may go meanwhile as it may go a
    // moment later.
    let parent = match new.reply_to {
        Some(parent) => Some((parent, conversation_of(posts, parent).await)),
        None => None,
    };
    let created = posts.database(shard).within(async |client| {
        let transaction = client.build_transaction().start().await?;
        if let Some(key) = &new.idempotency_key {
            let seen =
                idempotency::take(&transaction, new.author_id, key, &fingerprint(new), lifetime).await?;
            if let Seen::Before(answer) = seen {
                let unreadable = |error| anyhow::anyhow!("the answer kept for key {key}: {error}");
                return Ok((serde_json::from_str(&answer).map_err(unreadable)?, None));
            }
        }
        let post = post::insert_one(&transaction, shard, new).await?;
        let mut elsewhere = None;
        if let Some((parent, conversation)) = parent {
            let insert = "INSERT INTO replies (post_id, reply_to, conversation) VALUES ($1, $2, $3)";
            transaction
                .execute(insert, &[&post.id, &parent, &conversation?])
                .await?;
            elsewhere = count_reply(posts, &transaction, shard, parent, 1).await?;
        }
        if let Some(key) = &new.idempotency_key {
            let answer = serde_json::to_string(&post).map_err(anyhow::Error::from)?;
            idempotency::answered(&transaction, new.author_id, key, &answer).await?;
        }
        transaction.commit().await?;
        Ok((post, elsewhere))
    });
    let (post, elsewhere) = created.await?;
    if let Some(elsewhere) = elsewhere {
        elsewhere.count(posts).await;
    }
    Ok(post)
}

/// The conversation that a reply to `parent` belongs to: the parent's own, or it starts with the parent.
async fn conversation_of(posts: &Posts, parent: i64) -> Result<i64, ApiError> {
    let gone = || ApiError::not_found("the post you reply to is not there any more");
    let shard = posts.of_post(parent).await?.ok_or_else(gone)?;
    let select = format!(
        "SELECT coalesce(replies.conversation, posts.id)
         FROM {} AS posts LEFT JOIN replies ON replies.post_id = posts.id
         WHERE posts.id = $1 AND NOT posts.deleted",
        table(shard)
    );
    let rows = posts.database(shard).fresh(&select, &[&parent]).await?;
    Ok(rows.first().ok_or_else(gone)?.try_get(0)?)
}

/// A reply more or less of a post in another database, to be counted when the reply's own transaction is through.
struct Elsewhere {
    shard: Shard,
    parent: i64,
    by: i64,
}

impl Elsewhere {
    /// The count is for show and may miss one when this fails; the conversation itself is read from the replies.
    async fn count(self, posts: &Posts) {
        let counted = posts
            .database(self.shard)
            .within(async |client| count_replies(client, self.parent, self.by).await);
        if let Err(error) = counted.await {
            tracing::warn!(post = self.parent, %error, "A reply is not in its parent's count");
        }
    }
}

/// Counts a reply to `parent` with the transaction on `shard`, or says that its count is in another database.
async fn count_reply(
    posts: &Posts,
    transaction: &Transaction<'_>,
    shard: Shard,
    parent: i64,
    by: i64,
) -> Result<Option<Elsewhere>, ApiError> {
    let Some(parents) = posts.of_post(parent).await? else {
        return Ok(None);
    };
    if posts.place(parents) != posts.place(shard) {
        let shard = parents;
        return Ok(Some(Elsewhere { shard, parent, by }));
    }
    count_replies(transaction, parent, by).await?;
    Ok(None)
}

async fn count_replies(client: &impl GenericClient, parent: i64, by: i64) -> Result<(), ApiError> {
    let count = "INSERT INTO post_counts AS counts (post_id, replies) VALUES ($1, greatest(0, $2::bigint))
                 ON CONFLICT (post_id) DO UPDATE SET replies = greatest(0, counts.replies + $2::bigint)";
    client.execute(count, &[&parent, &by]).await?;
    Ok(())
}

/// Tells a retry from another post.
pub fn fingerprint(new: &NewPost) -> String {
    let reply_to = new.reply_to.map(|id| id.to_string()).unwrap_or_default();
    idempotency::fingerprint(&["POST /posts", &new.text, &reply_to])
}

#[derive(Deserialize)]
struct Asked {
    ids: String,
    user: i64,
}

async fn engagement(
    State(posts): State<Posts>,
    Query(asked): Query<Asked>,
) -> Result<Json<Vec<Engagement>>, ApiError> {
    let ids = post::parse_ids(&asked.ids)?;
    let by_database = posts.by_database(posts.by_shard(&ids).await?);
    let select = "SELECT asked.id, replies.reply_to, coalesce(counts.likes, 0), coalesce(counts.replies, 0), likes.user_id IS NOT NULL
                  FROM unnest($1::bigint[]) AS asked (id)
                  LEFT JOIN post_counts AS counts ON counts.post_id = asked.id
                  LEFT JOIN likes ON likes.post_id = asked.id AND likes.user_id = $2
                  LEFT JOIN replies ON replies.post_id = asked.id";
    let read = by_database.into_iter().map(async |(place, by_shard)| {
        let ids: Vec<i64> = by_shard.into_values().flatten().collect();
        let database = posts.databases.get(place).unwrap_or(&posts.home);
        // Whoever likes a post sees it at once.
        database.fresh(select, &[&ids, &asked.user]).await
    });
    let rows = try_join_all(read).await?.into_iter().flatten();
    let mut found = rows
        .map(|row| {
            Ok(Engagement {
                id: row.try_get(0)?,
                reply_to: row.try_get(1)?,
                reply_to_author: None,
                likes: row.try_get(2)?,
                replies: row.try_get(3)?,
                liked: row.try_get(4)?,
            })
        })
        .collect::<Result<Vec<_>, tokio_postgres::Error>>()?;
    let parents: Vec<i64> = found.iter().filter_map(|one| one.reply_to).collect();
    if !parents.is_empty() {
        let authors = authors(&posts, &parents).await?;
        for one in &mut found {
            one.reply_to_author = one.reply_to.and_then(|parent| authors.get(&parent).cloned());
        }
    }
    Ok(Json(found))
}

/// Who wrote these posts, deleted ones too.
async fn authors(posts: &Posts, ids: &[i64]) -> Result<HashMap<i64, String>, ApiError> {
    let by_shard = posts.by_shard(ids).await?;
    let read = by_shard.into_iter().map(async |(shard, ids)| {
        let select = format!("SELECT id, author_name FROM {} WHERE id = ANY($1)", table(shard));
        posts.database(shard).stale(&select, &[&ids]).await
    });
    let rows = try_join_all(read).await?.into_iter().flatten();
    let authors = rows.map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    Ok(authors.collect::<Result<_, tokio_postgres::Error>>()?)
}

async fn like(
    State(posts): State<Posts>,
    Path((id, user)): Path<(i64, i64)>,
) -> Result<Json<Likes>, ApiError> {
    let shard = posts.of_post(id).await?.ok_or_else(no_such_post)?;
    // Liking twice is liking once: only a new row adds to the count.
    let change = format!(
        "WITH added AS (
             INSERT INTO likes (post_id, user_id) SELECT id, $2 FROM {} WHERE id = $1 AND NOT deleted
             ON CONFLICT DO NOTHING RETURNING post_id)
         INSERT INTO post_counts AS counts (post_id, likes) SELECT post_id, 1 FROM added
         ON CONFLICT (post_id) DO UPDATE SET likes = counts.likes + 1 RETURNING likes",
        table(shard)
    );
    likes(&posts, shard, &change, (id, user), true).await
}

async fn unlike(
    State(posts): State<Posts>,
    Path((id, user)): Path<(i64, i64)>,
) -> Result<Json<Likes>, ApiError> {
    let shard = posts.of_post(id).await?.ok_or_else(no_such_post)?;
    let change = "WITH removed AS (DELETE FROM likes WHERE post_id = $1 AND user_id = $2 RETURNING post_id)
                  UPDATE post_counts AS counts SET likes = greatest(0, counts.likes - 1)
                  FROM removed WHERE counts.post_id = removed.post_id RETURNING counts.likes";
    likes(&posts, shard, change, (id, user), false).await
}

/// The likes of a post after a change to them. When nothing changed, the post was liked (or not) before, or is not there.
async fn likes(
    posts: &Posts,
    shard: Shard,
    change: &str,
    (id, user): (i64, i64),
    liked: bool,
) -> Result<Json<Likes>, ApiError> {
    let database = posts.database(shard);
    if let Some(row) = database.fresh(change, &[&id, &user]).await?.first() {
        return Ok(Json(Likes {
            likes: row.try_get(0)?,
            liked,
        }));
    }
    let select = format!(
        "SELECT coalesce(counts.likes, 0) FROM {} LEFT JOIN post_counts AS counts ON post_id = id
         WHERE id = $1 AND NOT deleted",
        table(shard)
    );
    let rows = database.fresh(&select, &[&id]).await?;
    let row = rows.first().ok_or_else(no_such_post)?;
    Ok(Json(Likes {
        likes: row.try_get(0)?,
        liked,
    }))
}

#[derive(Deserialize)]
struct Page {
    limit: Option<i64>,
    after: Option<i64>,
}

impl Page {
    fn limit(&self) -> i64 {
        self.limit.unwrap_or(50).clamp(1, 200)
    }
}

/// Who likes a post, the latest first: ids from the post's database, names from that of accounts.
async fn likers(
    State(posts): State<Posts>,
    Path(id): Path<i64>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Person>>, ApiError> {
    let Some(shard) = posts.of_post(id).await? else {
        return Ok(Json(vec![]));
    };
    let select = "SELECT user_id FROM likes WHERE post_id = $1 ORDER BY created_at DESC, user_id LIMIT $2";
    let rows = posts.database(shard).fresh(select, &[&id, &page.limit()]).await?;
    let users: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let select = "SELECT users.id, users.name FROM unnest($1::bigint[]) WITH ORDINALITY AS liked (id, place)
                  JOIN users ON users.id = liked.id ORDER BY place";
    let rows = posts.home.fresh(select, &[&users]).await?;
    let people = rows.iter().map(|row| {
        Ok(Person {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
        })
    });
    Ok(Json(people.collect::<Result<_, tokio_postgres::Error>>()?))
}

/// The conversation a post belongs to, oldest first, after a cursor. A deleted post is left out, its answers are not.
async fn conversation(
    State(posts): State<Posts>,
    Path(id): Path<i64>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Post>>, ApiError> {
    let shard = posts.of_post(id).await?.ok_or_else(no_such_post)?;
    let root = "SELECT conversation FROM replies WHERE post_id = $1";
    let root = posts.database(shard).fresh(root, &[&id]).await?;
    let root: i64 = root.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(id);
    let after = page.after.unwrap_or(0);
    // Answers are with their authors, so every database may have some.
    let select = "SELECT reply.post_id FROM replies AS reply JOIN posts ON posts.id = reply.post_id
                  WHERE reply.conversation = $1 AND reply.post_id > $2 AND NOT posts.deleted
                  ORDER BY reply.post_id LIMIT $3";
    let limit = page.limit();
    let answers = posts
        .databases
        .iter()
        .map(async |database| database.fresh(select, &[&root, &after, &limit]).await);
    let answers = try_join_all(answers).await?;
    let mut ids = answers
        .iter()
        .flatten()
        .map(|row| row.try_get(0))
        .collect::<Result<Vec<i64>, _>>()?;
    if root > after {
        ids.push(root);
    }
    let mut found: BTreeMap<i64, Post> = post::find(&posts, &ids, Age::Fresh)
        .await?
        .into_iter()
        .map(|post| (post.id, post))
        .collect();
    if found.is_empty() && page.after.is_none() {
        return Err(no_such_post());
    }
    let limit = usize::try_from(limit).unwrap_or_default();
    let page = std::iter::from_fn(|| found.pop_first())
        .map(|(_, post)| post)
        .take(limit);
    Ok(Json(page.collect()))
}

#[derive(Deserialize)]
struct Counted {
    /// Whether it may be a moment old.
    #[serde(default)]
    stale: bool,
}

async fn count(
    State(posts): State<Posts>,
    Path(author): Path<i64>,
    Query(counted): Query<Counted>,
) -> Result<Json<i64>, ApiError> {
    let (shard, database) = posts.author(author);
    let select = format!(
        "SELECT count(*) FROM {} WHERE author_id = $1 AND NOT deleted",
        table(shard)
    );
    let rows = database.read(Age::of(counted.stale), &select, &[&author]).await?;
    let row = rows
        .first()
        .ok_or_else(|| anyhow::anyhow!("PostgreSQL answered no count"))?;
    Ok(Json(row.try_get(0)?))
}

/// A post with what belongs to it: what clients get where they ask for it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shown {
    #[serde(flatten)]
    pub post: Post,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to_author: Option<String>,
    pub likes: i64,
    pub replies: i64,
    pub liked: bool,
}

/// Joins posts with what belongs to them; a post nobody touched has counts of zero.
pub fn join(posts: Vec<Post>, engagement: Vec<Engagement>) -> Vec<Shown> {
    let mut by_id: HashMap<i64, Engagement> = engagement.into_iter().map(|one| (one.id, one)).collect();
    let shown = posts.into_iter().map(|post| {
        let own = by_id.remove(&post.id).unwrap_or_default();
        Shown {
            post,
            reply_to: own.reply_to,
            reply_to_author: own.reply_to_author,
            likes: own.likes,
            replies: own.replies,
            liked: own.liked,
        }
    });
    shown.collect()
}
