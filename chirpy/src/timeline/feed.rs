//! Follows post-service's changes, so that new posts are at hand before they are read and edits show at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::bodies::Bodies;
use crate::post::{Changes, Cursor};
use crate::upstream::Upstream;

/// Follows until the process is asked to end. A failure only means that changes show later.
pub async fn follow(posts: Upstream, bodies: Arc<Bodies>, every: Duration, mut stop: watch::Receiver<bool>) {
    let mut cursor: Option<Cursor> = None;
    loop {
        let full = match step(&posts, &bodies, cursor.as_ref()).await {
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
    cursor: Option<&Cursor>,
) -> Result<(Cursor, bool), crate::service::ApiError> {
    let Some(cursor) = cursor else {
        return Ok((posts.get("/changes/now").await?, true));
    };
    // What comes back was true when it was asked for, not when it arrived.
    let asked = Instant::now();
    let found: Changes = posts.get(&format!("/changes?after={}", cursor.in_url())).await?;
    for change in &found.changes {
        bodies.put(change.id, change.post.as_ref(), asked);
    }
    Ok((found.after, found.more))
}
