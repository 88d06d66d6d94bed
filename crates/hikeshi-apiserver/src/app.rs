//! Every request passes here: who is asking, may they, what is the answer, and what goes into the audit.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::audit::AuditEvent;
use crate::authz::{Attributes, Decision, User, authorize, refusal};
use crate::kubelet::Kubelet;
use crate::metric_source::MetricSource;
use crate::pki::Pki;
use crate::rbac::Policy;
use crate::registry::{self, Resource};
use crate::request::{Address, Call, Params, body, granted_verb, verb};
use crate::status::{ApiError, ApiResult, json_response};
use crate::store::{DEFINITIONS, Store, View};
use crate::tables::Rows;
use crate::token::{Bearer, Named};
use crate::{discovery, openapi, rest, sd};

/// The Kubernetes version whose behaviour is served.
pub(crate) const VERSION: &str = "v1.33.0";
/// Kubernetes' own limit for a request body.
pub(crate) const MAX_BODY: usize = 3 << 20;
/// Larger bodies are not repeated in the audit.
const MAX_AUDIT_BODY: usize = 16 << 10;

/// What every request needs.
pub(crate) struct App {
    pub store: Arc<Store>,
    pub pki: Arc<Pki>,
    pub kubelet: Arc<dyn Kubelet>,
    /// Set once the system has a Prometheus.
    pub metrics: Arc<OnceLock<Arc<dyn MetricSource>>>,
    /// The roles and bindings, with the revision they were read at.
    pub policy: Mutex<(u64, Arc<Policy>)>,
    /// The kinds, with the revision they were read at.
    pub kinds: Mutex<(u64, Arc<Vec<Arc<Resource>>>)>,
    /// What lists have shown of objects before.
    pub rows: Rows,
    pub audit: mpsc::UnboundedSender<AuditEvent>,
    /// The namespace of the system under drill.
    pub home: String,
    pub shutdown: CancellationToken,
}

impl App {
    /// Built-in kinds, then those of stored CustomResourceDefinitions, as of this moment.
    fn resources(&self) -> Arc<Vec<Arc<Resource>>> {
        let mut kept = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.read(|view| {
            if kept.0 != view.definitions_revision() {
                let mut all = registry::built_in().to_vec();
                all.extend(
                    view.list(DEFINITIONS, None)
                        .flat_map(|crd| registry::from_crd(crd)),
                );
                *kept = (view.definitions_revision(), Arc::new(all));
            }
        });
        Arc::clone(&kept.1)
    }

    /// The roles and bindings of this moment.
    pub fn policy(&self) -> Arc<Policy> {
        let mut kept = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.read(|view| {
            if kept.0 != view.rbac_revision() {
                *kept = (view.rbac_revision(), Arc::new(Policy::of(view)));
            }
        });
        Arc::clone(&kept.1)
    }

    fn resource(&self, address: &Address) -> Option<Arc<Resource>> {
        let (group, version, plural) = (&address.group, &address.version, &address.plural);
        registry::find(group, version, plural).or_else(|| {
            let hit = |r: &Arc<Resource>| r.group == *group && r.version == *version && r.plural == *plural;
            self.resources().iter().find(|r| hit(r)).cloned()
        })
    }

    /// Answers one request. `certified`: the user of the connection's client certificate.
    pub async fn answer(self: &Arc<Self>, request: Request<Incoming>, certified: Option<User>) -> Response {
        let started = Instant::now();
        let (parts, incoming) = request.into_parts();
        let path = parts.uri.path().to_owned();
        if matches!(path.as_str(), "/healthz" | "/livez" | "/readyz") {
            return "ok".into_response();
        }
        if path.trim_end_matches('/') == "/version" {
            return json_response(200, &version());
        }
        let Some(user) = self.authenticate(&parts.headers, certified) else {
            return ApiError::new(401, "Unauthorized", "Unauthorized").into_response();
        };
        let user = match self.impersonate(&parts.headers, user) {
            Ok(user) => user,
            Err(error) => return error.into_response(),
        };
        let read = read_body(&parts, incoming).await;
        let recorded = Recorded::of(&parts, &user);
        let (head, audited) = (AuditHead::of(&parts.headers, &user, &parts), !user.is_component());
        let (result, address, sent) = match read {
            Ok(bytes) => {
                let sent = audited.then(|| recorded.body(&parts, &bytes)).flatten();
                let address = Address::parse(&path);
                (
                    self.route(&user, parts, address.as_ref(), bytes).await,
                    address,
                    sent,
                )
            }
            Err(error) => (Err(error), Address::parse(&path), None),
        };
        let response = result.unwrap_or_else(IntoResponse::into_response);
        if audited {
            // The receiver goes away only with the whole process.
            let _ =
                self.audit
                    .send(head.finish(&recorded, address, response.status().as_u16(), sent, started));
        }
        response
    }

    fn authenticate(&self, headers: &HeaderMap, certified: Option<User>) -> Option<User> {
        let header = headers
            .get(http::header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok());
        match header.and_then(|h| h.strip_prefix("Bearer ")) {
            Some(token) => {
                let bearer = self.pki.verify_token(token.trim())?;
                self.store.read(|view| lives(view, &bearer))?;
                Some(User::service_account(bearer.user()))
            }
            None => certified,
        }
    }

    /// The user whom the caller asks to act as (`kubectl --as`), if they may; else the caller.
    fn impersonate(&self, headers: &HeaderMap, caller: User) -> ApiResult<User> {
        let all = |name: &str| -> Vec<String> {
            let values = headers.get_all(name).iter();
            values
                .filter_map(|v| v.to_str().ok())
                .map(str::to_owned)
                .collect()
        };
        let (users, groups) = (all("impersonate-user"), all("impersonate-group"));
        let Some(name) = users.first() else {
            return if groups.is_empty() {
                Ok(caller)
            } else {
                Err(ApiError::bad_request(
                    "requested groups without impersonating a user",
                ))
            };
        };
        let policy = self.policy();
        let wanted = groups
            .iter()
            .map(|group| ("groups", group))
            .chain([("users", name)]);
        for (resource, name) in wanted {
            let question = Attributes {
                verb: "impersonate",
                resource,
                name: Some(name),
                ..Attributes::default()
            };
            if !caller.is_trusted() && !policy.allows(&caller, &question) {
                return Err(ApiError::forbidden(refusal(&caller, &question)));
            }
        }
        Ok(User::impersonated(name, groups))
    }

    async fn route(
        &self,
        user: &User,
        parts: Parts,
        address: Option<&Address>,
        body: Bytes,
    ) -> ApiResult<Response> {
        let path = parts.uri.path();
        let policy = self.policy();
        if address.is_none() && path != "/hikeshi/sd/pods" {
            let verb = parts.method.as_str().to_ascii_lowercase();
            if !(user.is_trusted() || policy.allows_path(user, &verb, path)) {
                let message = format!("forbidden: User \"{}\" cannot {verb} path \"{path}\"", user.name);
                return Err(ApiError::forbidden(message));
            }
        }
        if parts.method == Method::GET {
            let resources = self.resources();
            if let Some(response) = discovery::answer(path, &parts.headers, &resources) {
                return Ok(response);
            }
            if path == "/openapi/v3" {
                return Ok(json_response(200, &openapi::index(&resources)));
            }
            if let Some(path) = path.strip_prefix("/openapi/v3/") {
                let document = openapi::document(path, &resources).ok_or_else(ApiError::no_such_path)?;
                let mut response = json_response(200, &document);
                if Params::of(&parts.uri)?.get("hash") == openapi::hash(path, &resources) {
                    keep_a_year(response.headers_mut());
                }
                return Ok(response);
            }
            if path == "/hikeshi/sd/pods" {
                return self.service_discovery(user, &Params::of(&parts.uri)?);
            }
        }
        let address = address.ok_or_else(ApiError::no_such_path)?;
        let params = Params::of(&parts.uri)?;
        let verb = granted_verb(&parts.method, address, &params);
        let ask = |namespaced: bool| Attributes {
            verb,
            group: &address.group,
            resource: &address.plural,
            subresource: address.sub.as_deref(),
            namespace: address.namespace.as_deref(),
            name: address.name.as_deref(),
            namespaced,
        };
        if rest::is_metric(address) {
            let question = ask(true);
            return match authorize(&policy, user, &question) {
                Decision::Deny => Err(ApiError::forbidden(refusal(user, &question))),
                _ => rest::metric(self, address, &parts.method, &params).await,
            };
        }
        let resource = self.resource(address).ok_or_else(ApiError::no_such_path)?;
        let placed = resource.namespaced || address.namespace.is_none();
        // Objects of a namespace are addressed through it; only lists and watches may span all.
        let spans = address.namespace.is_none() && parts.method == Method::GET && address.name.is_none();
        if !placed || (resource.namespaced && address.namespace.is_none() && !spans) {
            return Err(if address.name.is_none() && placed {
                ApiError::method_not_allowed()
            } else {
                ApiError::no_such_path()
            });
        }
        let question = ask(resource.namespaced);
        let scope = match authorize(&policy, user, &question) {
            Decision::Allow => None,
            Decision::Filtered(scope) => Some(scope),
            Decision::Deny => {
                let mut error = ApiError::forbidden(refusal(user, &question));
                error.details = json!({"name": address.name, "group": address.group, "kind": address.plural});
                return Err(error);
            }
        };
        let call = Call {
            resource,
            namespace: address.namespace.clone(),
            name: address.name.clone(),
            sub: address.sub.clone(),
            method: parts.method.clone(),
            params,
            headers: parts.headers.clone(),
            body,
            user: user.clone(),
            scope,
            trusted: user.is_trusted(),
        };
        rest::handle(self, call, parts).await
    }

    fn service_discovery(&self, user: &User, params: &Params) -> ApiResult<Response> {
        let namespace = params.get("namespace");
        let question = Attributes {
            verb: "list",
            resource: "pods",
            namespace: Some(namespace).filter(|n| !n.is_empty()),
            namespaced: true,
            ..Attributes::default()
        };
        match authorize(&self.policy(), user, &question) {
            Decision::Deny => Err(ApiError::forbidden(refusal(user, &question))),
            decision => {
                let (_, pods) = self.store.list("pods", None);
                let seen = |pod: &&Value| match &decision {
                    Decision::Filtered(scope) => scope.shows(pod),
                    _ => true,
                };
                Ok(json_response(
                    200,
                    &sd::targets(pods.iter().map(|p| &**p).filter(seen), namespace),
                ))
            }
        }
    }
}

/// Whether a token's account is still there, and what the token is bound to.
fn lives(view: &View, bearer: &Bearer) -> Option<()> {
    let same = |key: &str, namespace: &str, held: &Named| {
        let found = view.get(key, namespace, &held.name)?;
        let uid = held.uid.as_deref();
        uid.is_none_or(|uid| found["metadata"]["uid"] == uid)
            .then_some(())
    };
    same("serviceaccounts", &bearer.namespace, &bearer.account)?;
    match &bearer.bound {
        None => Some(()),
        Some((kind, object)) => same(kind.key(), kind.namespace(&bearer.namespace), object),
    }
}

/// What is at this address never changes.
fn keep_a_year(headers: &mut HeaderMap) {
    let year = Timestamp::now().saturating_add(SignedDuration::from_hours(365 * 24));
    let until = year
        .unwrap_or(Timestamp::MAX)
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    headers.insert(http::header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(
        http::header::CACHE_CONTROL,
        HeaderValue::from_static("public, immutable"),
    );
    headers.extend(
        HeaderValue::from_str(&until)
            .ok()
            .map(|until| (http::header::EXPIRES, until)),
    );
}

fn version() -> Value {
    json!({"major": "1", "minor": "33", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
    "platform": format!("{}/{}", std::env::consts::OS, match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    })})
}

async fn read_body(parts: &Parts, incoming: Incoming) -> ApiResult<Bytes> {
    if parts.headers.contains_key(http::header::UPGRADE) || parts.method == Method::GET {
        return Ok(Bytes::new());
    }
    match Limited::new(Body::new(incoming), MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("Request entity too large: limit is {MAX_BODY}");
            Err(ApiError::new(413, "RequestEntityTooLarge", message))
        }
        Err(error) => Err(ApiError::bad_request(format!(
            "the body could not be read: {error}"
        ))),
    }
}

/// The parts of an audit event known before the answer.
struct Recorded {
    verb: String,
    query: String,
}

impl Recorded {
    fn of(parts: &Parts, _user: &User) -> Recorded {
        let params = Params::of(&parts.uri).unwrap_or_default();
        let address = Address::parse(parts.uri.path());
        let verb = address.map_or_else(
            || "get".to_owned(),
            |a| verb(&parts.method, &a, &params).to_owned(),
        );
        Recorded {
            verb,
            query: parts.uri.query().unwrap_or_default().to_owned(),
        }
    }

    fn body(&self, parts: &Parts, bytes: &Bytes) -> Option<Value> {
        let secret = parts.uri.path().split('/').any(|p| p == "secrets");
        if bytes.is_empty() || bytes.len() > MAX_AUDIT_BODY || secret {
            return None;
        }
        let content = parts
            .headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        body(content, bytes).ok()
    }
}

struct AuditHead {
    at: Timestamp,
    user: User,
    kubectl_command: Option<String>,
    kubectl_session: Option<String>,
    user_agent: String,
    path: String,
}

impl AuditHead {
    fn of(headers: &HeaderMap, user: &User, parts: &Parts) -> AuditHead {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        AuditHead {
            at: Timestamp::now(),
            user: user.clone(),
            kubectl_command: text("kubectl-command"),
            kubectl_session: text("kubectl-session"),
            user_agent: text("user-agent").unwrap_or_default(),
            path: parts.uri.path().to_owned(),
        }
    }

    fn finish(
        self,
        recorded: &Recorded,
        address: Option<Address>,
        code: u16,
        request_body: Option<Value>,
        started: Instant,
    ) -> AuditEvent {
        let address = address.unwrap_or(Address {
            group: String::new(),
            version: String::new(),
            // What is no resource is told by its path.
            plural: self.path,
            namespace: None,
            name: None,
            sub: None,
        });
        AuditEvent {
            at: self.at,
            user: self.user.name,
            groups: self.user.groups,
            verb: recorded.verb.clone(),
            group: address.group,
            resource: address.plural,
            subresource: address.sub,
            namespace: address.namespace.unwrap_or_default(),
            name: address.name,
            kubectl_command: self.kubectl_command,
            kubectl_session: self.kubectl_session,
            user_agent: self.user_agent,
            code,
            request_body,
            query: recorded.query.clone(),
            seconds: started.elapsed().as_secs_f64(),
        }
    }
}
