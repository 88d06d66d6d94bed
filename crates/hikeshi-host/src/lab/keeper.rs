//! Keeps what a lab has put in while somebody is there, and takes it out when they are not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hikeshi_scenario::Text;
use jiff::Timestamp;

use super::stage::lease;
use super::{GONE, Labs, State};

const EVERY: Duration = Duration::from_secs(3);
/// While what an earlier control left has not been looked for: nothing of it may come back.
const SOON: Duration = Duration::from_millis(200);

pub(crate) async fn run(labs: Arc<Labs>) {
    let mut pause = SOON;
    loop {
        tokio::time::sleep(pause).await;
        // Somebody is in the midst of something, which renews what it puts in by itself.
        let Ok(mut state) = labs.state.try_lock() else {
            continue;
        };
        if state.lab.is_none() {
            if !state.clean {
                // What a control before this one has left, or what could not be taken out at once.
                state.clean = match labs.cluster.sweep(&labs.file.entrance.namespace).await {
                    Ok(()) => true,
                    Err(error) => {
                        tracing::debug!(%error, "what a lab left could not be taken out; again soon");
                        false
                    }
                };
            }
            pause = if state.clean { EVERY } else { SOON };
            continue;
        }
        pause = EVERY;
        let anybody = state
            .lab
            .as_ref()
            .is_some_and(|lab| lab.sitting().is_some() || lab.on().is_some());
        if anybody && state.heard.elapsed() > GONE {
            labs.over(
                &mut state,
                text(
                    "画面が閉じられたため、ラボを終えました",
                    "the page was closed, so the lab was ended",
                ),
            )
            .await;
            continue;
        }
        if let Err(error) = labs.cluster.renew(lease()).await {
            tracing::warn!(%error, "a lab's lease could not be renewed; it ends by itself if that goes on");
        }
    }
}

impl Labs {
    /// Ends the lab that is on, and leaves nothing of it in the cluster.
    pub(super) async fn over(&self, state: &mut State, why: Text) {
        self.open.store(false, Ordering::Relaxed);
        if let Some(mut lab) = state.lab.take() {
            lab.end(why, Timestamp::now());
            if let Err(error) = state.book.write(&lab) {
                tracing::error!(%error, id = lab.id, "a lab could not be written down");
            }
            state.book.over.insert(lab.id.clone(), lab);
        }
        state.token.clear();
        state.routed = None;
        state.clean = match self.cluster.sweep(&self.file.entrance.namespace).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "a lab could not be taken out at once; its faults end by their lease, the rest is tried again");
                false
            }
        };
    }
}

fn text(ja: &str, en: &str) -> Text {
    Text {
        ja: ja.to_owned(),
        en: en.to_owned(),
    }
}
