//! An API server in memory, as small as the controllers allow, with a kubelet that starts pods at once.
//!
//! It stands in for the real one so that these tests check the controllers alone.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Plural, namespace, name.
type Id = (String, String, String);

#[derive(Default)]
struct State {
    objects: BTreeMap<Id, Value>,
    /// Every change: plural, type, object. The resource version of a change is its index plus one.
    log: Vec<(String, &'static str, Value)>,
}

pub struct Api {
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

struct Target {
    plural: String,
    namespace: String,
    name: Option<String>,
    subresource: Option<String>,
}

fn target(path: &str) -> Target {
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    parts.drain(..if parts[0] == "api" { 2 } else { 3 });
    let mut namespace = String::new();
    if parts[0] == "namespaces" && parts.len() > 2 {
        namespace = parts[1].to_owned();
        parts.drain(..2);
    }
    let at = |index: usize| parts.get(index).map(|part| (*part).to_owned());
    Target {
        plural: parts[0].to_owned(),
        namespace,
        name: at(1),
        subresource: at(2),
    }
}

fn reply(code: StatusCode, value: &Value) -> Reply {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    *response.status_mut() = code;
    response
}

fn failure(code: StatusCode, reason: &str) -> Reply {
    reply(
        code,
        &json!({"kind": "Status", "status": "Failure", "reason": reason, "message": reason, "code": code.as_u16()}),
    )
}

impl Api {
    /// Starts the API and the controllers against it; all ends when the guard is dropped.
    pub fn start() -> (Arc<Self>, DropGuard) {
        let api = Arc::new(Self {
            state: Mutex::default(),
            version: watch::Sender::new(0),
        });
        for name in ["n1", "n2", "n3"] {
            api.put(
                "nodes",
                json!({"metadata": {"name": name}, "status": {
                "allocatable": {"cpu": "8", "memory": "8Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}]}}),
            );
        }
        let shutdown = CancellationToken::new();
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(kubelet(api.clone())));
        tokio::spawn(hikeshi_controllers::run(api.client(), shutdown.clone()));
        (api, shutdown.drop_guard())
    }

    fn client(self: &Arc<Self>) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.serve(request).await) }
        });
        Client::new(service, "default")
    }

    /// Creates or replaces an object as a user would.
    pub fn put(&self, plural: &str, mut object: Value) -> Value {
        let meta = &mut object["metadata"];
        let namespace = meta["namespace"].as_str().unwrap_or_default().to_owned();
        let id = (
            plural.to_owned(),
            namespace,
            meta["name"].as_str().expect("a name").to_owned(),
        );
        let mut state = self.state.lock().expect("not poisoned");
        self.store(&mut state, id, object)
    }

    fn store(&self, state: &mut State, id: Id, mut object: Value) -> Value {
        let former = state.objects.get(&id).cloned();
        let version = state.log.len() + 1;
        let respecified = former
            .as_ref()
            .is_some_and(|former| former["spec"] != object["spec"]);
        let meta = &mut object["metadata"];
        match &former {
            Some(former) => {
                meta["uid"] = former["metadata"]["uid"].clone();
                meta["creationTimestamp"] = former["metadata"]["creationTimestamp"].clone();
                let generation = former["metadata"]["generation"].as_i64().unwrap_or(1);
                meta["generation"] = json!(generation + i64::from(respecified));
                meta["resourceVersion"] = former["metadata"]["resourceVersion"].clone();
                if *former == object {
                    return object;
                }
            }
            None => {
                meta["uid"] = json!(format!("uid-{version}"));
                meta["generation"] = json!(1);
                meta["creationTimestamp"] = json!(Timestamp::now().to_string());
            }
        }
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let leaves = object["metadata"]["deletionTimestamp"].is_string()
            && object["metadata"]["finalizers"]
                .as_array()
                .is_none_or(Vec::is_empty)
            && id.0 != "pods";
        let kind = match (leaves, &former) {
            (true, _) => "DELETED",
            (false, None) => "ADDED",
            (false, Some(_)) => "MODIFIED",
        };
        state.log.push((id.0.clone(), kind, object.clone()));
        if leaves {
            state.objects.remove(&id);
        } else {
            state.objects.insert(id, object.clone());
        }
        self.version.send_replace(version as u64);
        object
    }

    fn remove(&self, id: &Id) {
        let mut state = self.state.lock().expect("not poisoned");
        if let Some(mut object) = state.objects.remove(id) {
            let version = state.log.len() + 1;
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            state.log.push((id.0.clone(), "DELETED", object));
            self.version.send_replace(version as u64);
        }
    }

    /// Deletes as a user would.
    pub fn delete(&self, plural: &str, name: &str) -> Value {
        let id = (plural.to_owned(), "ns".to_owned(), name.to_owned());
        let mut state = self.state.lock().expect("not poisoned");
        let Some(mut object) = state.objects.get(&id).cloned() else {
            return Value::Null;
        };
        object["metadata"]["deletionTimestamp"] = json!(Timestamp::now().to_string());
        if plural == "pods" && object["spec"]["nodeName"].is_null() {
            drop(state);
            self.remove(&id);
            return object;
        }
        self.store(&mut state, id, object)
    }

    pub fn list(&self, plural: &str) -> Vec<Value> {
        let state = self.state.lock().expect("not poisoned");
        state
            .objects
            .iter()
            .filter(|(id, _)| id.0 == plural)
            .map(|(_, object)| object.clone())
            .collect()
    }

    pub fn get(&self, plural: &str, name: &str) -> Value {
        self.list(plural)
            .into_iter()
            .find(|object| object["metadata"]["name"] == name)
            .unwrap_or_default()
    }

    /// Waits until the condition holds, looking again at every change.
    pub async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let mut changes = self.version.subscribe();
        let wait = async {
            while !condition(self) {
                changes.changed().await.expect("the API lives");
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), wait).await.is_err() {
            let state = self.state.lock().expect("not poisoned");
            panic!(
                "never: {what}; the world: {:#}",
                json!(state.objects.values().collect::<Vec<_>>())
            );
        }
    }

    async fn serve(self: Arc<Self>, request: Request<Body>) -> Reply {
        let (parts, body) = request.into_parts();
        let target = target(parts.uri.path());
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let body = body.collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let name = target
            .name
            .clone()
            .or_else(|| body["metadata"]["name"].as_str().map(str::to_owned));
        let id = (
            target.plural.clone(),
            target.namespace.clone(),
            name.unwrap_or_default(),
        );
        match parts.method {
            Method::GET if target.name.is_none() && query.contains("watch=true") => {
                self.watch(target.plural, &query)
            }
            Method::GET if target.name.is_none() => {
                let items = self.list(&target.plural);
                let version = self.version.borrow().to_string();
                reply(
                    StatusCode::OK,
                    &json!({"metadata": {"resourceVersion": version}, "items": items}),
                )
            }
            Method::DELETE => match self.get(&target.plural, &id.2) {
                Value::Null => failure(StatusCode::NOT_FOUND, "NotFound"),
                found
                    if body["preconditions"]["uid"].is_string()
                        && body["preconditions"]["uid"] != found["metadata"]["uid"] =>
                {
                    failure(StatusCode::CONFLICT, "Conflict")
                }
                _ => {
                    let left = self.delete(&target.plural, &id.2);
                    let gone = self.get(&target.plural, &id.2).is_null();
                    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 200});
                    reply(StatusCode::OK, if gone { &status } else { &left })
                }
            },
            method => self.write(&method, &target, id, body),
        }
    }

    fn write(&self, method: &Method, target: &Target, id: Id, body: Value) -> Reply {
        let mut state = self.state.lock().expect("not poisoned");
        let found = state.objects.get(&id).cloned();
        if *method == Method::POST && target.subresource.is_none() {
            if found.is_some() {
                return failure(StatusCode::CONFLICT, "AlreadyExists");
            }
            return reply(StatusCode::CREATED, &self.store(&mut state, id, body));
        }
        let Some(mut object) = found else {
            return failure(StatusCode::NOT_FOUND, "NotFound");
        };
        let claimed = &body["metadata"]["resourceVersion"];
        if claimed.is_string() && *claimed != object["metadata"]["resourceVersion"] {
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        match (method, target.subresource.as_deref()) {
            (&Method::GET, _) => return reply(StatusCode::OK, &object),
            (&Method::POST, Some("binding")) => object["spec"]["nodeName"] = body["target"]["name"].clone(),
            (&Method::PUT, Some("status")) => object["status"] = body["status"].clone(),
            (&Method::PUT, _) => object = body,
            _ => json_patch::merge(&mut object, &body),
        }
        reply(StatusCode::OK, &self.store(&mut state, id, object))
    }

    fn watch(self: Arc<Self>, plural: String, query: &str) -> Reply {
        let from = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("resourceVersion="))
            .unwrap_or("0");
        let from: usize = from.parse().expect("a resource version");
        let mut changes = self.version.subscribe();
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(16);
        tokio::spawn(async move {
            for at in from.. {
                let (kind, type_, object) = loop {
                    let next = self.state.lock().expect("not poisoned").log.get(at).cloned();
                    match next {
                        Some(change) => break change,
                        None if changes.changed().await.is_err() => return,
                        None => {}
                    }
                };
                let line = format!("{}\n", json!({"type": type_, "object": object}));
                if kind == plural && sender.send_data(Bytes::from(line)).await.is_err() {
                    return;
                }
            }
        });
        Response::new(body.boxed_unsync())
    }
}

/// Starts every pod that has a node, and ends those that are to go.
async fn kubelet(api: Arc<Api>) {
    let mut changes = api.version.subscribe();
    let mut next_ip = 0_u32;
    loop {
        for mut pod in api.list("pods") {
            let meta = &pod["metadata"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let id = ("pods".to_owned(), text(&meta["namespace"]), text(&meta["name"]));
            if meta["deletionTimestamp"].is_string() {
                api.remove(&id);
            } else if pod["spec"]["nodeName"].is_string()
                && pod["status"]["phase"].as_str() != Some("Running")
            {
                if pod["status"]["phase"] == "Succeeded" {
                    continue;
                }
                next_ip += 1;
                let phase = if pod["spec"]["restartPolicy"] == "Never" {
                    "Succeeded"
                } else {
                    "Running"
                };
                pod["status"] = json!({"phase": phase, "podIP": format!("127.64.0.{next_ip}"), "conditions":
                    [{"type": "Ready", "status": "True", "lastTransitionTime": Timestamp::now().to_string()}]});
                let mut state = api.state.lock().expect("not poisoned");
                // Only what is still there as it was seen: a pod deleted meanwhile must not come back.
                if state.objects.get(&id).is_some_and(|o| {
                    o["metadata"]["uid"] == pod["metadata"]["uid"]
                        && o["metadata"]["deletionTimestamp"].is_null()
                }) {
                    api.store(&mut state, id, pod);
                }
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
