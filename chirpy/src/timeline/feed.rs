//! Follows post-service's changes, so that new posts are at hand before they are read and edits show at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::bodies::Bodies;
use crate::post::{Change, PAGE_OF_CHANGES};
use crate::upstream::Upstream;

/// Follows until the process is asked to end. A failure only means that changes show later.
pub async fn follow(posts: Upstream, bodies: Arc<Bodies>, every: Duration, mut stop: watch::Receiver<bool>) {
    let mut cursor: Option<(i64, i64)> = None;
    loop {
        let full = match step(&posts, &bodies, cursor).await {
            Ok((after, full)) => {
                cursor = Some(after);
                full
            }
            Err(error) => {
                tracing::debug!(%error, "Changes of posts could not be read");
                false
            }
        };
        if full {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Where to go on, and whether there may be more right away.
async fn step(
    posts: &Upstream,
    bodies: &Bodies,
    cursor: Option<(i64, i64)>,
) -> Result<((i64, i64), bool), crate::service::ApiError> {
    let Some((transaction, id)) = cursor else {
        return Ok((posts.get("/changes/now").await?, true));
    };
    // What comes back was true when it was asked for, not when it arrived.
    let asked = Instant::now();
    let changes: Vec<Change> = posts
        .get(&format!("/changes?transaction={transaction}&id={id}"))
        .await?;
    for change in &changes {
        bodies.put(change.id, change.post.as_ref(), asked);
    }
    let after = changes.last().map_or((transaction, id), |last| last.cursor);
    Ok((after, changes.len() >= PAGE_OF_CHANGES))
}
