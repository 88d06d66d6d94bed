//! Status checks: requests that run beside the reconciliation, so that a service which hangs holds up no deadline.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hikeshi_chaos::workflow::{Http, Spec};
use http::Request;
use jiff::Timestamp;
use kube::Client;
use kube::api::DynamicObject;
use kube::client::Body;

use super::node;
use super::plan::has_ended;
use crate::runtime::{Context, Key};

/// How long the answer's count may take to be written.
const WRITE: Duration = Duration::from_secs(10);
/// How many answers a status remembers unless `recordsHistoryLimit` says otherwise, as in Chaos Mesh.
const RECORDS: usize = 100;

/// The nodes (uids) that a request is under way for: one at a time each.
#[derive(Default)]
pub(super) struct Probes {
    running: Arc<Mutex<HashSet<String>>>,
}

/// Takes a node out again, however its request ends.
struct Running {
    all: Arc<Mutex<HashSet<String>>>,
    uid: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.uid);
    }
}

impl Probes {
    /// Asks once and counts the answer in the node's status, unless a request for that node is under way.
    pub fn begin(&self, context: &Context, spec: &Spec, node: &Arc<DynamicObject>) {
        let template = spec.template(node.data["spec"]["templateName"].as_str().unwrap_or_default());
        let Some(check) = template.and_then(|template| template.status_check.as_ref()) else {
            return;
        };
        let (Some(http), Some(uid)) = (check.http.clone(), node.metadata.uid.clone()) else {
            return;
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.insert(uid.clone()) {
            return;
        }
        drop(running);
        let running = Running {
            all: self.running.clone(),
            uid,
        };
        let limit = Duration::from_secs(check.timeout_seconds.unwrap_or(1).max(1));
        let keep = check
            .records_history_limit
            .and_then(|most| usize::try_from(most).ok());
        let keep = keep.unwrap_or(RECORDS);
        let (context, node) = (context.clone(), node.clone());
        tokio::spawn(async move {
            let namespace = node.metadata.namespace.as_deref().unwrap_or_default();
            let answer = tokio::time::timeout(limit, ask(&context.client, &http, namespace)).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs())));
            let written = tokio::time::timeout(WRITE, count(&context, &node, &answer, keep)).await;
            if written.is_err() {
                tracing::warn!(node = %Key::of(node.as_ref()), "a status check's answer was not written");
            }
            drop(running);
        });
    }
}

/// Counts an answer, unless its node has ended meanwhile: what comes after the end must abort nothing.
async fn count(context: &Context, node: &DynamicObject, answer: &Result<u16, String>, keep: usize) {
    let key = Key::of(node);
    let now = context.tables.chaos("WorkflowNode").get(&key);
    let Some(now) = now.filter(|now| now.metadata.uid == node.metadata.uid && !has_ended(now)) else {
        return;
    };
    let counts = node::counted(&now.data["status"]["statusCheck"], answer, Timestamp::now(), keep);
    if let Err(error) = super::note(context, node, "statusCheck", counts).await {
        tracing::warn!(%key, %error, "a status check's answer was not written");
    }
}

/// Asks a Service through the API; an error says what was wrong with the answer.
async fn ask(client: &Client, http: &Http, own_namespace: &str) -> Result<u16, String> {
    let url = http.service()?;
    let (low, high) = http.criteria.codes()?;
    let namespace = url.namespace.as_deref().unwrap_or(own_namespace);
    let path = format!(
        "/api/v1/namespaces/{namespace}/services/{}:{}/proxy{}",
        url.service, url.port, url.path
    );
    let method = http
        .method
        .as_deref()
        .filter(|method| !method.is_empty())
        .unwrap_or("GET");
    let mut request = Request::builder().method(method).uri(path);
    for (name, values) in http.headers.iter().flatten() {
        for value in values {
            request = request.header(name, value);
        }
    }
    let body = http.body.clone().unwrap_or_default().into_bytes();
    let request = request
        .body(Body::from(body))
        .map_err(|error| error.to_string())?;
    let answer = client.send(request).await.map_err(|error| error.to_string())?;
    let code = answer.status().as_u16();
    if (low..=high).contains(&code) {
        Ok(code)
    } else {
        Err(format!("status code {code} is not {}", http.criteria.status_code))
    }
}
