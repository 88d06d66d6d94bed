//! Watches: one line per change, as it happens.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use crate::app::App;
use crate::convert::from_stored;
use crate::request::{Call, Form};
use crate::selector::Selector;
use crate::status::{ApiError, ApiResult};
use crate::store::{Change, ChangeKind, Store};
use crate::tables::{Include, Partial, Table};

/// A watch ends after this when the client does not say; Kubernetes picks 30 to 60 minutes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// However long the client says: the end of a watch must be a time that a clock can show.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How often an idle watch with bookmarks hears the current revision.
const BOOKMARK_EVERY: Duration = Duration::from_secs(30);

pub(super) fn handle(app: &App, call: Call) -> ApiResult<Response> {
    let mut selector = Selector::parse(call.params.get("labelSelector"), call.params.get("fieldSelector"))?;
    if let Some(name) = &call.name {
        selector = selector.with_name(name);
    }
    let from = call.params.get("resourceVersion").to_owned();
    let initial = call.params.flag("sendInitialEvents");
    let bookmarks = call.params.flag("allowWatchBookmarks");
    let timeout = call
        .params
        .number("timeoutSeconds")?
        .filter(|t| *t > 0)
        .map_or(DEFAULT_TIMEOUT, |t| Duration::from_secs(t).min(LONGEST));
    let form = Form::of(&call.headers);
    let include = Include::parse(call.params.get("includeObject"));
    let (store, shutdown) = (Arc::clone(&app.store), app.shutdown.clone());
    let mut view = Watch {
        call,
        selector,
        form,
        include,
        head: true,
    };

    // Everything that can be refused is refused before the answer's head.
    let mut first: Vec<Bytes> = Vec::new();
    let mut seen = if initial || from.is_empty() || from == "0" {
        let (revision, objects) = store.list(&view.call.resource.store_key(), view.call.namespace.as_deref());
        for object in &objects {
            if view.wants(object) {
                first.push(view.line("ADDED", object));
            }
        }
        if initial {
            first.push(view.bookmark(revision, true));
        }
        revision
    } else {
        let revision = from
            .parse()
            .map_err(|_| ApiError::bad_request(format!("resourceVersion: {from:?} is not a whole number")))?;
        store
            .since(revision)
            .map_err(|oldest| ApiError::expired(revision, oldest))?;
        revision
    };

    let (send, receive) = mpsc::channel::<Result<Bytes, std::convert::Infallible>>(64);
    tokio::spawn(async move {
        let mut news = store.subscribe();
        let deadline = Instant::now() + timeout;
        for line in first {
            if send.send(Ok(line)).await.is_err() {
                return;
            }
        }
        let mut bookmark_at = Instant::now() + BOOKMARK_EVERY;
        loop {
            let (lines, latest) = view.changes(&store, seen);
            let expired = latest.is_none();
            seen = latest.unwrap_or(seen);
            for line in lines {
                if send.send(Ok(line)).await.is_err() {
                    return;
                }
            }
            if expired {
                return;
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = send.closed() => return,
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep_until(deadline) => return,
                () = tokio::time::sleep_until(bookmark_at), if bookmarks => {
                    bookmark_at = Instant::now() + BOOKMARK_EVERY;
                    if send.send(Ok(view.bookmark(seen, false))).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    let body = Body::from_stream(ReceiverStream::new(receive));
    Ok(([(http::header::CONTENT_TYPE, "application/json")], body).into_response())
}

struct Watch {
    call: Call,
    selector: Selector,
    form: Form,
    include: Include,
    /// Column definitions go out with the first row only.
    head: bool,
}

impl Watch {
    fn wants(&self, stored: &Arc<Value>) -> bool {
        self.call.shows(stored) && self.selector.matches(&from_stored(&self.call.resource, stored))
    }

    /// The lines of what happened after `seen`, and the revision reached; `None` when history no longer reaches back.
    fn changes(&mut self, store: &Store, seen: u64) -> (Vec<Bytes>, Option<u64>) {
        match store.since(seen) {
            Ok(changes) => {
                let reached = seen + changes.len() as u64;
                (
                    changes.iter().filter_map(|change| self.change(change)).collect(),
                    Some(reached),
                )
            }
            Err(oldest) => {
                let error = event("ERROR", &ApiError::expired(seen, oldest).status());
                (vec![error], None)
            }
        }
    }

    /// A change as this watch sees it: objects that enter the selector are added, those that leave it deleted.
    fn change(&mut self, change: &Change) -> Option<Bytes> {
        let elsewhere = self
            .call
            .namespace
            .as_ref()
            .is_some_and(|ns| *ns != change.namespace);
        if elsewhere || change.resource != *self.call.resource.store_key() {
            return None;
        }
        let before = change.previous.as_ref().is_some_and(|o| self.wants(o));
        let after = change.kind != ChangeKind::Deleted && self.wants(&change.object);
        let kind = match (before, after) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        Some(self.line(kind, &change.object))
    }

    fn line(&mut self, kind: &str, stored: &Arc<Value>) -> Bytes {
        let object = from_stored(&self.call.resource, stored);
        match self.form {
            Form::Json => event(kind, &*object),
            Form::Partial => event(kind, &Partial(&object)),
            Form::Table => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                let head = std::mem::take(&mut self.head);
                let one = std::iter::once(&*object);
                event(
                    kind,
                    &Table::of(&self.call.resource, one, metadata, self.include, head),
                )
            }
        }
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Json => {
                json!({"kind": self.call.resource.kind, "apiVersion": self.call.resource.api_version(), "metadata": metadata})
            }
            Form::Partial => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            Form::Table => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": [],
                "metadata": {"resourceVersion": revision.to_string()},
                "rows": [{"cells": [], "object":
                    {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}}],
            }),
        };
        event("BOOKMARK", &object)
    }
}

/// One line of a watch, written without copying the object.
fn event<T: Serialize>(kind: &str, object: &T) -> Bytes {
    #[derive(Serialize)]
    struct Event<'a, T> {
        #[serde(rename = "type")]
        kind: &'a str,
        object: &'a T,
    }
    let mut line = serde_json::to_vec(&Event { kind, object }).unwrap_or_default();
    line.push(b'\n');
    Bytes::from(line)
}
