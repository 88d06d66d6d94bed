//! Events as they happen, by server-sent events. `id` is the sequence number, so a browser that was away resumes
//! where it left off; one that was too slow is caught up from the log.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use hikeshi_drill::event::{Event, EventKind};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::App;
use super::session::Session;
use crate::api::{ApiError, Viewer};

const HEARTBEAT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
pub(super) struct From {
    #[serde(default)]
    after: u64,
}

pub(super) async fn stream(
    State(app): State<Arc<App>>,
    Session(viewer): Session,
    Path(drill): Path<String>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    let resumed = headers
        .get("last-event-id")
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok());
    let after = resumed.unwrap_or(from.after);
    // Subscribed before the log is read: an event written in between comes twice, and once is left out.
    let live = app.host.subscribe();
    let past = app.host.events(&drill, after, &viewer).await?;
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        let follower = Follower {
            app: &app,
            drill: &drill,
            viewer: &viewer,
            sender,
            last: after,
        };
        follower.run(past, live).await;
    });
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

struct Follower<'a> {
    app: &'a App,
    drill: &'a str,
    viewer: &'a Viewer,
    sender: mpsc::Sender<Result<SseEvent, Infallible>>,
    /// Highest sequence number dealt with.
    last: u64,
}

impl Follower<'_> {
    async fn run(mut self, past: Vec<Event>, mut live: tokio::sync::broadcast::Receiver<Arc<Event>>) {
        if !self.send_all(past).await {
            return;
        }
        loop {
            let received = tokio::select! {
                received = live.recv() => received,
                () = self.sender.closed() => return,
                () = self.app.shutdown.cancelled() => return,
            };
            let going_on = match received {
                Ok(event) => self.one(&event).await,
                Err(RecvError::Lagged(_)) => {
                    match self.app.host.events(self.drill, self.last, self.viewer).await {
                        Ok(missed) => self.send_all(missed).await,
                        Err(_) => false,
                    }
                }
                Err(RecvError::Closed) => false,
            };
            if !going_on {
                return;
            }
        }
    }

    async fn one(&mut self, event: &Event) -> bool {
        if let EventKind::DrillStarted { drill, .. } = &event.kind
            && drill != self.drill
        {
            // Another drill has begun: its numbers start anew, so this stream ends here.
            drop(
                self.sender
                    .send(Ok(SseEvent::default().event("next").data(drill)))
                    .await,
            );
            return false;
        }
        if event.seq <= self.last {
            return true;
        }
        self.last = event.seq;
        !self.app.host.visible(event, self.viewer) || self.send(event).await
    }

    async fn send_all(&mut self, events: Vec<Event>) -> bool {
        for event in &events {
            if event.seq > self.last {
                self.last = event.seq;
                if !self.send(event).await {
                    return false;
                }
            }
        }
        true
    }

    async fn send(&self, event: &Event) -> bool {
        match SseEvent::default().id(event.seq.to_string()).json_data(event) {
            Ok(sse) => self.sender.send(Ok(sse)).await.is_ok(),
            Err(error) => {
                tracing::error!(%error, seq = event.seq, "an event cannot be written as JSON");
                true
            }
        }
    }
}
