//! search-node: a search engine for machines that have no room for Elasticsearch. It keeps its indices in memory and speaks
//! the part of Elasticsearch's REST API that search-service uses; what it does not have it refuses by name.

mod bulk;
mod error;
mod index;
mod mapping;
mod query;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::service::{Service, parse_env, text_env};
use error::Refused;
use index::Index;

/// Largest `_bulk` body, bytes.
const MAX_BULK: usize = 32 * 1024 * 1024;

/// All indices of this node.
#[derive(Default)]
pub struct Indices(RwLock<BTreeMap<String, Arc<Index>>>);

impl Indices {
    /// # Errors
    /// 404 when there is none of this name.
    pub fn get(&self, name: &str) -> Result<Arc<Index>, Refused> {
        let indices = self.0.read().unwrap_or_else(PoisonError::into_inner);
        indices.get(name).cloned().ok_or_else(|| Refused::no_index(name))
    }

    fn all(&self) -> Vec<Arc<Index>> {
        let indices = self.0.read().unwrap_or_else(PoisonError::into_inner);
        indices.values().cloned().collect()
    }

    fn create(&self, name: &str, body: &Value) -> Result<(), Refused> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if name.is_empty() || name.starts_with(['_', '-']) || !name.bytes().all(plain) {
            return Err(Refused::new(
                StatusCode::BAD_REQUEST,
                "invalid_index_name_exception",
                format!("invalid index name [{name}], must be small letters, digits, - _ and ."),
            ));
        }
        let mut indices = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if indices.contains_key(name) {
            return Err(Refused::new(
                StatusCode::BAD_REQUEST,
                "resource_already_exists_exception",
                format!("index [{name}] already exists"),
            ));
        }
        indices.insert(name.to_owned(), Arc::new(Index::create(name, body)?));
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Refused> {
        let mut indices = self.0.write().unwrap_or_else(PoisonError::into_inner);
        indices
            .remove(name)
            .map(drop)
            .ok_or_else(|| Refused::no_index(name))
    }
}

#[derive(Clone)]
struct Node {
    indices: Arc<Indices>,
    name: Arc<str>,
}

type Answer = Result<Json<Value>, Refused>;

/// Runs the role.
///
/// # Errors
/// Wrong configuration, or a port that is taken.
pub async fn run() -> anyhow::Result<()> {
    let service = Service::new("search-node");
    let every = Duration::from_millis(parse_env("SEARCH_REFRESH_INTERVAL_MS", 1000_u64)?.max(10));
    let node = Node {
        indices: Arc::default(),
        name: text_env("HOSTNAME", "search-node").into(),
    };
    tokio::spawn(refresh_often(node.indices.clone(), every));
    service.ready_now();
    service.serve(routes(node)).await
}

fn routes(node: Node) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/_cluster/health", get(health))
        .route("/_bulk", post(bulk_any).put(bulk_any))
        .route("/_refresh", post(refresh_all).get(refresh_all))
        .route("/{index}", put(create).get(exists).delete(remove))
        .route("/{index}/_bulk", post(bulk_one).put(bulk_one))
        .route("/{index}/_refresh", post(refresh).get(refresh))
        .route("/{index}/_count", get(count).post(count))
        .route("/{index}/_search", post(search).get(search))
        .route("/{index}/_doc/{id}", get(document))
        .layer(DefaultBodyLimit::max(MAX_BULK))
        .with_state(node)
}

/// Makes what was written visible from time to time, as an index's refresh interval does.
async fn refresh_often(indices: Arc<Indices>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        for index in indices.all() {
            if let Err(refused) = off_thread(move || index.refresh()).await {
                tracing::error!(error = refused.reason, "An index could not be refreshed");
            }
        }
    }
}

/// Searching and committing take a processor: not on the thread that serves everyone.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Refused::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "index_failure",
            error.to_string(),
        )
    })?
}

async fn root(State(node): State<Node>) -> Json<Value> {
    Json(json!({
        "name": &*node.name,
        "cluster_name": "chirpy",
        // The version whose API this is a part of; who asks for `distribution` learns that it is not the real one.
        "version": { "number": "7.10.2", "distribution": "chirpy-search-node" },
        "tagline": "You Know, for Chirps",
    }))
}

async fn health(State(node): State<Node>) -> Json<Value> {
    let shards = node.indices.all().len();
    Json(json!({
        "cluster_name": "chirpy",
        "status": "green",
        "timed_out": false,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": shards,
        "active_shards": shards,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": 0,
    }))
}

fn parsed(body: &str) -> Result<Value, Refused> {
    if body.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(body).map_err(|error| Refused::parsing(format!("the body is no JSON: {error}")))
}

async fn create(State(node): State<Node>, Path(name): Path<String>, body: String) -> Answer {
    node.indices.create(&name, &parsed(&body)?)?;
    Ok(Json(
        json!({ "acknowledged": true, "shards_acknowledged": true, "index": name }),
    ))
}

async fn exists(State(node): State<Node>, Path(name): Path<String>) -> Answer {
    let documents = node.indices.get(&name)?.count();
    Ok(Json(json!({ (name): { "documents": documents } })))
}

async fn remove(State(node): State<Node>, Path(name): Path<String>) -> Answer {
    node.indices.remove(&name)?;
    Ok(Json(json!({ "acknowledged": true })))
}

#[derive(Deserialize)]
struct Refresh {
    refresh: Option<String>,
}

async fn bulk_any(state: State<Node>, asked: Query<Refresh>, body: String) -> Answer {
    bulk(state, None, asked, body).await
}

async fn bulk_one(
    state: State<Node>,
    Path(index): Path<String>,
    asked: Query<Refresh>,
    body: String,
) -> Answer {
    bulk(state, Some(index), asked, body).await
}

async fn bulk(
    State(node): State<Node>,
    index: Option<String>,
    Query(asked): Query<Refresh>,
    body: String,
) -> Answer {
    // `?refresh`, `=true` and `=wait_for` all mean: visible with the answer.
    let visible = asked.refresh.is_some_and(|refresh| refresh != "false");
    off_thread(move || {
        let answer = bulk::run(&node.indices, index.as_deref(), &body)?;
        if visible {
            node.indices.all().iter().try_for_each(|index| index.refresh())?;
        }
        Ok(Json(answer))
    })
    .await
}

const SHARDS: fn(usize) -> Json<Value> =
    |shards| Json(json!({ "_shards": { "total": shards, "successful": shards, "failed": 0 } }));

async fn refresh_all(State(node): State<Node>) -> Answer {
    off_thread(move || {
        let indices = node.indices.all();
        indices.iter().try_for_each(|index| index.refresh())?;
        Ok(SHARDS(indices.len()))
    })
    .await
}

async fn refresh(State(node): State<Node>, Path(name): Path<String>) -> Answer {
    let index = node.indices.get(&name)?;
    off_thread(move || {
        index.refresh()?;
        Ok(SHARDS(1))
    })
    .await
}

async fn search(State(node): State<Node>, Path(name): Path<String>, body: String) -> Answer {
    let (index, body) = (node.indices.get(&name)?, parsed(&body)?);
    off_thread(move || Ok(Json(index.search(&body)?))).await
}

async fn count(State(node): State<Node>, Path(name): Path<String>, body: String) -> Answer {
    let (index, body) = (node.indices.get(&name)?, parsed(&body)?);
    off_thread(move || {
        let answer = index.search(&json!({ "query": body["query"], "size": 0 }))?;
        Ok(Json(
            json!({ "count": answer["hits"]["total"]["value"], "_shards": answer["_shards"] }),
        ))
    })
    .await
}

async fn document(
    State(node): State<Node>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let index = node.indices.get(&name)?;
    let asked = id.clone();
    let found = off_thread(move || index.get(&asked)).await?;
    let status = if found.is_some() {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    let mut answer = json!({ "_index": name, "_id": id, "found": found.is_some() });
    if let Some(source) = found {
        answer["_source"] = source;
    }
    Ok((status, Json(answer)).into_response())
}

#[cfg(test)]
mod tests;
