//! Keeps the engine's indices up to date with post-service's changes and auth-service's accounts.
//!
//! How far it has come is a document of the engine's own, written with the same request as what it speaks of: an engine that
//! lost its data has lost the cursor too, and everything is indexed again.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use super::engine::{Bulk, Engine, PEOPLE, POSTS, STATE};
use super::terms::{fold, terms};
use crate::auth::Account;
use crate::post::{Change, Changes, Cursor};
use crate::upstream::Upstream;

/// Accounts are numbered before they are committed: one may appear so many numbers behind the newest.
const OVERLAP: i64 = 50;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    posts: Cursor,
    people: i64,
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
        let mut failing = false;
        let mut recent = HashSet::new();
        loop {
            match self.step(&mut recent).await {
                Ok(more) => {
                    failing = false;
                    if more {
                        continue;
                    }
                    caught_up.send_replace(true);
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(error = %format!("{error:#}"), "The search index waits");
                    }
                }
            }
            tokio::time::sleep(self.interval).await;
        }
    }

    /// Reads and indexes one portion; whether there may be more at once.
    async fn step(&self, recent: &mut HashSet<i64>) -> anyhow::Result<bool> {
        // Asked each time: the engine may have come back empty.
        let held = self.held().await?;
        let first = held.is_none();
        let mut state = match held {
            Some(held) => held,
            None => {
                self.engine.create_indices().await?;
                recent.clear();
                State::default()
            }
        };
        let before = state.people;
        let mut bulk = Bulk::default();
        let found: Changes = self
            .posts
            .get(&format!("/changes?after={}", state.posts.in_url()))
            .await
            .context("post-service's changes")?;
        for change in &found.changes {
            add_post(&mut bulk, change)?;
        }
        let more_posts = found.more || !found.changes.is_empty();
        state.posts = found.after;
        let people: Vec<Account> = self
            .accounts
            .get(&format!("/users?after={}", state.people - OVERLAP))
            .await
            .context("auth-service's accounts")?;
        let newest = people
            .last()
            .map_or(state.people, |person| person.id.max(state.people));
        for person in people.iter().filter(|person| !recent.contains(&person.id)) {
            let document = json!({ "id": person.id, "name": person.name });
            bulk.index(PEOPLE, &person.id.to_string(), &document);
        }
        let seen: Vec<i64> = people.iter().map(|person| person.id).collect();
        state.people = newest;
        if first || !bulk.is_empty() {
            bulk.index(STATE, "cursor", &json!({ "state": state }));
            self.engine.bulk(&bulk).await?;
        }
        // Only once they are indexed.
        recent.extend(seen);
        recent.retain(|id| *id > newest - 2 * OVERLAP);
        Ok(more_posts || newest != before)
    }

    /// The engine's cursor; none when it has no index or lost it.
    async fn held(&self) -> anyhow::Result<Option<State>> {
        match self.engine.document(STATE, "cursor").await {
            Ok(mut document) => Ok(Some(serde_json::from_value(document["state"].take())?)),
            Err(error) if error.missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn add_post(bulk: &mut Bulk, change: &Change) -> anyhow::Result<()> {
    let id = change.id.to_string();
    let Some(post) = &change.post else {
        bulk.delete(POSTS, &id);
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
    bulk.index(POSTS, &id, &document);
    Ok(())
}
