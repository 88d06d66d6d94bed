//! Against services and an engine of this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::*;

/// An engine that keeps documents, and may refuse one of them while it takes the others, as one does that has lost a shard.
#[derive(Clone, Default)]
struct Kept {
    documents: Arc<Mutex<BTreeMap<String, Value>>>,
    refused: Arc<Mutex<Option<&'static str>>>,
}

impl Kept {
    fn get(&self, id: &str) -> Option<Value> {
        let documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        documents.get(id).cloned()
    }

    fn refuse(&self, id: Option<&'static str>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    fn bulk(&self, body: &str) -> Value {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = body
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let (mut items, mut errors) = (vec![], false);
        while let Some(action) = lines.next() {
            let document = lines.next().expect("a document");
            let id = format!("{}/{}", action["index"]["_index"], action["index"]["_id"]).replace('"', "");
            if refused == Some(&*id) {
                errors = true;
                let error = json!({ "type": "unavailable_shards_exception", "reason": "primary shard is not active" });
                items.push(json!({ "index": { "status": 503, "error": error } }));
            } else {
                documents.insert(id, document);
                items.push(json!({ "index": { "status": 200 } }));
            }
        }
        json!({ "errors": errors, "items": items })
    }
}

async fn served(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

async fn document(State(kept): State<Kept>, Path((index, id)): Path<(String, String)>) -> Response {
    match kept.get(&format!("{index}/{id}")) {
        Some(source) => Json(json!({ "found": true, "_source": source })).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({ "found": false }))).into_response(),
    }
}

#[tokio::test]
async fn the_cursor_goes_no_further_than_what_is_indexed() {
    let kept = Kept::default();
    let engine = Router::new()
        .route("/{index}/_doc/{id}", get(document))
        .route(
            "/{index}",
            put(|| async { Json(json!({ "acknowledged": true })) }),
        )
        .route(
            "/_bulk",
            post(|State(kept): State<Kept>, body: String| async move { Json(kept.bulk(&body)) }),
        )
        .with_state(kept.clone());
    let change = |id: i64| {
        let post = json!({
            "id": id, "author_id": 1, "author": "ai", "text": "雨", "created_at": "2026-07-01T00:00:00.000Z",
        });
        json!({ "id": id, "post": post, "changed_in": 700 + id })
    };
    let changes = json!({ "changes": [change(1), change(2)], "after": [[702, 2]], "more": false });
    let services = Router::new()
        .route("/changes", get(move || async move { Json(changes) }))
        .route(
            "/users",
            get(|| async {
                Json(json!([{ "id": 1, "name": "ai", "created_at": "2026-07-01T00:00:00.000Z" }]))
            }),
        );
    let services = served(services).await;
    let upstream = |title| Upstream::new(&services, title, Duration::from_secs(60)).expect("a URL");
    let indexer = Indexer {
        engine: Arc::new(
            Engine::new(vec![served(engine).await], Duration::from_secs(60), (1, 0)).expect("an engine"),
        ),
        posts: upstream("Post Service"),
        accounts: upstream("Auth Service"),
        interval: Duration::ZERO,
    };

    for missing in ["chirpy-posts/2", "chirpy-people/1"] {
        kept.refuse(Some(missing));
        let error = indexer
            .step(&mut HashSet::new())
            .await
            .expect_err("not all of it was taken");
        assert!(
            format!("{error:#}").contains("primary shard is not active"),
            "{error:#}"
        );
        assert!(kept.get("chirpy-posts/1").is_some(), "some of it was");
        for cursor in ["chirpy-posts/cursor", "chirpy-people/cursor"] {
            assert_eq!(kept.get(cursor), None, "{missing} would never be read again");
        }
    }
    kept.refuse(None);
    indexer
        .step(&mut HashSet::new())
        .await
        .expect("all of it is taken");
    assert!(kept.get("chirpy-posts/2").is_some() && kept.get("chirpy-people/1").is_some());
    assert_eq!(
        (kept.get("chirpy-posts/cursor"), kept.get("chirpy-people/cursor")),
        (
            Some(json!({ "cursor": { "at": [[702, 2]] } })),
            Some(json!({ "cursor": { "at": 1 } }))
        )
    );
}
