//! Keeps the engine's indices up to date with post-service's changes and auth-service's accounts.
//!
//! How far each index has come is a document in it: an index that was lost has lost its cursor too, one that was put back
//! from a copy has the copy's, and what it lacks is indexed again. The cursor goes on only when everything before it is
//! indexed; what is indexed twice, or late, carries the number of its change and does not undo a newer one.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;

use super::engine::{Bulk, CURSOR, Engine, PEOPLE, POSTS};
use super::terms::{fold, terms};
use crate::auth::Account;
use crate::post::{Change, Changes, Cursor};
use crate::upstream::Upstream;

/// Accounts are numbered before they are committed: one may appear so many numbers behind the newest.
const OVERLAP: i64 = 50;

/// What is indexed in one step, and how far that goes.
#[derive(Default)]
struct Portion {
    documents: Bulk,
    cursors: Bulk,
}

pub struct Indexer {
    pub engine: std::sync::Arc<Engine>,
    pub posts: Upstream,
    pub accounts: Upstream,
    pub interval: Duration,
}

impl Indexer {
    /// Follows for as long as the process lives; `caught_up` turns true when there is nothing more to read for the moment.
    pub async fn follow(self, caught_up: watch::Sender<bool>) {
        let mut failing = String::new();
        let mut recent = HashSet::new();
        loop {
            match self.step(&mut recent).await {
                Ok(more) => {
                    failing.clear();
                    if more {
                        continue;
                    }
                    caught_up.send_replace(true);
                }
                // Once per cause: an engine that starts fails in several ways, one after the other.
                Err(error) => {
                    let error = format!("{error:#}");
                    if failing != error {
                        tracing::warn!(error, "The search index waits");
                        failing = error;
                    }
                }
            }
            tokio::time::sleep(self.interval).await;
        }
    }

    /// Reads and indexes one portion; whether there may be more at once.
    async fn step(&self, recent: &mut HashSet<i64>) -> anyhow::Result<bool> {
        // Asked each time: the engine may have come back empty, or one index may have been removed.
        let (posts, people) = (self.held(POSTS).await?, self.held(PEOPLE).await?);
        if posts.is_none() || people.is_none() {
            self.engine.create_indices().await?;
            recent.clear();
        }
        let mut portion = Portion::default();
        let more_posts = self.changes(posts, &mut portion).await?;
        let seen = self.accounts(people, recent, &mut portion).await?;
        let newest = seen.iter().max().copied().unwrap_or_default();
        // One after the other: of one request, an engine may do some actions and not others.
        for bulk in [portion.documents, portion.cursors] {
            if !bulk.is_empty() {
                self.engine.bulk(&bulk).await?;
            }
        }
        // Only once they are indexed.
        let more_people = newest > people.unwrap_or_default();
        recent.extend(seen);
        recent.retain(|id| *id > newest - 2 * OVERLAP);
        Ok(more_posts || more_people)
    }

    /// What changed of posts since the cursor.
    async fn changes(&self, held: Option<Cursor>, portion: &mut Portion) -> anyhow::Result<bool> {
        let first = held.is_none();
        let after = held.unwrap_or_default();
        let found: Changes = self
            .posts
            .get(&format!("/changes?after={}", after.in_url()))
            .await
            .context("post-service's changes")?;
        for change in &found.changes {
            add_post(&mut portion.documents, change)?;
        }
        if first || found.after != after {
            let cursors = &mut portion.cursors;
            cursors.index(POSTS, CURSOR, &json!({ "cursor": { "at": found.after } }));
        }
        Ok(found.more)
    }

    /// The accounts since the cursor, those included that were indexed a moment ago.
    async fn accounts(
        &self,
        held: Option<i64>,
        recent: &HashSet<i64>,
        portion: &mut Portion,
    ) -> anyhow::Result<Vec<i64>> {
        let after = held.unwrap_or_default();
        let people: Vec<Account> = self
            .accounts
            .get(&format!("/users?after={}", after - OVERLAP))
            .await
            .context("auth-service's accounts")?;
        let mut new = people
            .iter()
            .filter(|person| !recent.contains(&person.id))
            .peekable();
        if new.peek().is_some() || held.is_none() {
            let newest = people.last().map_or(after, |person| person.id.max(after));
            let cursors = &mut portion.cursors;
            cursors.index(PEOPLE, CURSOR, &json!({ "cursor": { "at": newest } }));
        }
        for person in new {
            let document = json!({ "id": person.id, "name": person.name });
            let documents = &mut portion.documents;
            documents.index(PEOPLE, &person.id.to_string(), &document);
        }
        Ok(people.iter().map(|person| person.id).collect())
    }

    /// An index's cursor; none when there is no index, or it lost it.
    async fn held<T: DeserializeOwned>(&self, index: &str) -> anyhow::Result<Option<T>> {
        match self.engine.document(index, CURSOR).await {
            Ok(mut document) => Ok(Some(serde_json::from_value(document["cursor"]["at"].take())?)),
            Err(error) if error.missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn add_post(bulk: &mut Bulk, change: &Change) -> anyhow::Result<()> {
    let id = change.id.to_string();
    let Some(post) = &change.post else {
        bulk.delete_version(POSTS, &id, change.changed_in);
        return Ok(());
    };
    let created: jiff::Timestamp = post.created_at.parse().context("a post's time")?;
    let document = json!({
        "id": post.id,
        "created_ms": created.as_millisecond(),
        "text": fold(&post.text),
        "terms": terms(&post.text),
        "post": post,
    });
    bulk.index_version(POSTS, &id, change.changed_in, &document);
    Ok(())
}

#[cfg(test)]
mod tests;
