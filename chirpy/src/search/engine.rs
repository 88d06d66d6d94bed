//! A client of the search engine's REST API, as Elasticsearch and OpenSearch have it, and as `chirpy search-node` does in
//! part. Only what Chirpy needs of it is asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::service::{parse_env, text_env};

/// Posts, by their text and terms.
pub const POSTS: &str = "chirpy-posts";
/// People, by their names.
pub const PEOPLE: &str = "chirpy-people";
/// Log lines.
pub const LOGS: &str = "chirpy-logs";
/// The document of each index that says how far it has come: it is lost with the index, and as old as it.
pub const CURSOR: &str = "cursor";

/// The engine has something at least as new.
const CONFLICT: &str = "version_conflict_engine_exception";

/// What went wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("no search node can be reached: {0}")]
    Unreachable(String),
    /// The engine said no.
    #[error("the search engine answered {status}: {reason}")]
    Refused { status: u16, reason: String },
}

impl EngineError {
    /// Whether an index or document is not there.
    pub fn missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

/// The engine's nodes.
pub struct Engine {
    nodes: Vec<String>,
    next: AtomicUsize,
    client: reqwest::Client,
    shards: u32,
    replicas: u32,
}

impl Engine {
    /// From `SEARCH_NODES` (base URLs, comma separated), `SEARCH_NODE_TIMEOUT_MS`, `SEARCH_SHARDS` (of each index) and
    /// `SEARCH_REPLICAS` (copies of each shard beside the first).
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env() -> anyhow::Result<Self> {
        let nodes = text_env("SEARCH_NODES", "http://search-node.chirpy.svc.cluster.local:9200");
        let nodes: Vec<String> = nodes
            .split(',')
            .map(|node| node.trim().trim_end_matches('/').to_owned())
            .filter(|node| !node.is_empty())
            .collect();
        anyhow::ensure!(!nodes.is_empty(), "SEARCH_NODES names no node");
        Self::new(
            nodes,
            Duration::from_millis(parse_env("SEARCH_NODE_TIMEOUT_MS", 3000)?),
            (parse_env("SEARCH_SHARDS", 1)?, parse_env("SEARCH_REPLICAS", 0)?),
        )
    }

    /// These nodes, by their base URLs.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn new(
        nodes: Vec<String>,
        timeout: Duration,
        (shards, replicas): (u32, u32),
    ) -> anyhow::Result<Self> {
        Ok(Self {
            nodes,
            next: AtomicUsize::new(0),
            client: reqwest::Client::builder()
                .no_proxy()
                .connect_timeout(Duration::from_secs(1))
                .pool_idle_timeout(Duration::from_secs(20))
                .timeout(timeout)
                .build()?,
            shards,
            replicas,
        })
    }

    /// One request, to the next node in turn; the others are tried when it cannot be reached or cannot serve.
    async fn call(&self, method: Method, path: &str, kind: &str, body: String) -> Result<Value, EngineError> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut failure = EngineError::Unreachable("there is none".into());
        for turn in 0..self.nodes.len() {
            let Some(node) = self.nodes.get((first + turn) % self.nodes.len()) else {
                continue;
            };
            let mut request = self.client.request(method.clone(), format!("{node}{path}"));
            if !body.is_empty() {
                request = request
                    .header(reqwest::header::CONTENT_TYPE, kind)
                    .body(body.clone());
            }
            let outcome = async {
                let answer = request.send().await?;
                Ok::<_, reqwest::Error>((answer.status(), answer.bytes().await?))
            };
            match outcome.await {
                Ok((status, bytes)) if status.is_success() => {
                    return serde_json::from_slice(&bytes).map_err(|error| EngineError::Refused {
                        status: status.as_u16(),
                        reason: format!("no JSON: {error}"),
                    });
                }
                Ok((status, bytes)) => {
                    let refused = EngineError::Refused {
                        status: status.as_u16(),
                        reason: reason(&bytes),
                    };
                    if !matches!(status.as_u16(), 502..=504 | 429) {
                        return Err(refused);
                    }
                    failure = refused;
                }
                Err(error) => failure = EngineError::Unreachable(error.to_string()),
            }
        }
        Err(failure)
    }

    async fn json(&self, method: Method, path: &str, body: &Value) -> Result<Value, EngineError> {
        self.call(method, path, "application/json", body.to_string())
            .await
    }

    /// Creates those of the indices that are missing.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn create_indices(&self) -> Result<(), EngineError> {
        for (index, properties) in [
            (
                POSTS,
                json!({
                    "id": { "type": "long" },
                    "created_ms": { "type": "long" },
                    "text": { "type": "text", "analyzer": "bigrams" },
                    "terms": { "type": "keyword" },
                    "post": { "type": "object", "enabled": false },
                    "cursor": { "type": "object", "enabled": false },
                }),
            ),
            (
                PEOPLE,
                json!({
                    "id": { "type": "long" },
                    "name": { "type": "text", "analyzer": "bigrams" },
                    "cursor": { "type": "object", "enabled": false },
                }),
            ),
        ] {
            self.create(index, &properties).await?;
        }
        Ok(())
    }

    /// Creates the index of log lines when it is missing.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn create_logs(&self) -> Result<(), EngineError> {
        let keyword = json!({ "type": "keyword" });
        let properties = json!({
            "ts": keyword, "level": keyword, "service": keyword,
            "msg": { "type": "text", "analyzer": "bigrams" },
        });
        self.create(LOGS, &properties).await
    }

    async fn create(&self, index: &str, properties: &Value) -> Result<(), EngineError> {
        let body = json!({
            "settings": {
                "index": { "number_of_shards": self.shards, "number_of_replicas": self.replicas },
                // One analyzer for what is stored and what is asked, so that they agree: every character and every pair.
                "analysis": {
                    "tokenizer": { "bigrams": { "type": "ngram", "min_gram": 1, "max_gram": 2 } },
                    "analyzer": { "bigrams": { "type": "custom", "tokenizer": "bigrams", "filter": ["lowercase"] } },
                },
            },
            "mappings": { "dynamic": false, "properties": properties },
        });
        match self.json(Method::PUT, &format!("/{index}"), &body).await {
            Ok(_) => tracing::info!(index, "A search index was created"),
            Err(EngineError::Refused { status: 400, reason })
                if reason.contains("resource_already_exists") => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sends actions; searches see them with the index's next refresh (a second by default). Whatever the engine refuses of them
    /// is an error, but for documents that it has in the same or in a newer version.
    ///
    /// # Errors
    /// See [`EngineError`]; an index that is not there counts as missing.
    pub async fn bulk(&self, actions: &Bulk) -> Result<(), EngineError> {
        let body = actions.0.clone();
        let answer = self
            .call(Method::POST, "/_bulk", "application/x-ndjson", body)
            .await?;
        if answer["errors"] != json!(true) {
            return Ok(());
        }
        let items = answer["items"].as_array().into_iter().flatten();
        let errors = items.filter_map(|item| {
            let outcome = item.as_object()?.values().next()?;
            let error = outcome.get("error")?;
            if error["type"] == json!(CONFLICT) {
                return None;
            }
            let status = outcome["status"]
                .as_u64()
                .and_then(|status| status.try_into().ok());
            Some((
                status.unwrap_or(500),
                format!("{}: {}", error["type"], error["reason"]),
            ))
        });
        match errors.into_iter().next() {
            Some((status, reason)) => Err(EngineError::Refused { status, reason }),
            None => Ok(()),
        }
    }

    /// A document's source.
    ///
    /// # Errors
    /// See [`EngineError`]; a document that is not there counts as missing.
    pub async fn document(&self, index: &str, id: &str) -> Result<Value, EngineError> {
        let path = format!("/{index}/_doc/{id}");
        let mut answer = self.call(Method::GET, &path, "", String::new()).await?;
        Ok(answer["_source"].take())
    }

    /// The indexed texts of those of the posts that search finds; at most 10,000 may be asked for.
    ///
    /// # Errors
    /// See [`EngineError`]; an index that is not there holds nothing.
    pub async fn texts(&self, ids: &[i64]) -> Result<HashMap<i64, String>, EngineError> {
        let body =
            json!({ "size": ids.len(), "query": { "terms": { "id": ids } }, "_source": ["id", "text"] });
        let mut answer = match self.search(POSTS, &body).await {
            Err(error) if error.missing() => return Ok(HashMap::new()),
            answer => answer?,
        };
        let hits = answer["hits"]["hits"].as_array_mut().map(std::mem::take);
        let texts = hits.into_iter().flatten().filter_map(|mut hit| {
            let source = &mut hit["_source"];
            let id = source["id"].as_i64()?;
            match source["text"].take() {
                Value::String(text) => Some((id, text)),
                _ => None,
            }
        });
        Ok(texts.collect())
    }

    /// A search's whole answer.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn search(&self, index: &str, body: &Value) -> Result<Value, EngineError> {
        self.json(Method::POST, &format!("/{index}/_search"), body).await
    }
}

fn reason(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    match &value["error"] {
        Value::Object(error) => format!(
            "{}: {}",
            error.get("type").and_then(Value::as_str).unwrap_or("error"),
            error.get("reason").and_then(Value::as_str).unwrap_or("")
        ),
        Value::String(error) => error.clone(),
        _ if value["found"] == json!(false) => "no such document".to_owned(),
        _ => String::from_utf8_lossy(body).chars().take(200).collect(),
    }
}

fn versioned(index: &str, id: &str, version: i64) -> Value {
    json!({ "_index": index, "_id": id, "version": version, "version_type": "external" })
}

/// Actions of one `_bulk` request: lines of JSON.
#[derive(Default)]
pub struct Bulk(String);

impl Bulk {
    pub fn index(&mut self, index: &str, id: &str, document: &Value) {
        self.line(&json!({ "index": { "_index": index, "_id": id } }));
        self.line(document);
    }

    /// The same, unless the index has the document in this or a newer version, or knows that it was removed in one.
    pub fn index_version(&mut self, index: &str, id: &str, version: i64, document: &Value) {
        self.line(&json!({ "index": versioned(index, id, version) }));
        self.line(document);
    }

    /// Removes a document, unless the index has it in this or a newer version.
    pub fn delete_version(&mut self, index: &str, id: &str, version: i64) {
        self.line(&json!({ "delete": versioned(index, id, version) }));
    }

    fn line(&mut self, value: &Value) {
        self.0.push_str(&value.to_string());
        self.0.push('\n');
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
