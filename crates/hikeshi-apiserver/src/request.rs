//! A request taken apart: which resource, which verb, which form of answer.

use std::sync::Arc;

use axum::extract::Query;
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use serde_json::Value;

use crate::authz::{Scope, User};
use crate::registry::Resource;
use crate::status::{ApiError, ApiResult};

/// Query parameters in order; some repeat (`command`).
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub fn of(uri: &Uri) -> ApiResult<Params> {
        Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map(|Query(pairs)| Params(pairs))
            .map_err(|e| ApiError::bad_request(format!("malformed query: {e}")))
    }

    /// The first value, or empty.
    pub fn get(&self, key: &str) -> &str {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map_or("", |(_, v)| v.as_str())
    }

    pub fn all(&self, key: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(k, _)| k == key)
            .map(|(_, v)| v.clone())
            .collect()
    }

    pub fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), "true" | "1")
    }

    pub fn number(&self, key: &str) -> ApiResult<Option<u64>> {
        match self.get(key) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| ApiError::bad_request(format!("{key}: {text:?} is not a whole number"))),
        }
    }
}

/// Where a path points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub sub: Option<String>,
}

impl Address {
    /// Parses `/api/v1/...` and `/apis/GROUP/VERSION/...` below the discovery documents.
    pub fn parse(path: &str) -> Option<Address> {
        let parts: Vec<String> = path
            .split('/')
            .filter(|p| !p.is_empty())
            .map(percent_decode)
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let own = |text: &&str| Some((*text).to_owned());
        let (plural, namespace, name, sub) = match rest {
            ["namespaces", name, sub @ ("status" | "finalize")] => ("namespaces", None, own(name), own(sub)),
            ["namespaces"] => ("namespaces", None, None, None),
            ["namespaces", name] => ("namespaces", None, own(name), None),
            ["namespaces", namespace, plural] => (*plural, own(namespace), None, None),
            ["namespaces", namespace, plural, name] => (*plural, own(namespace), own(name), None),
            ["namespaces", namespace, plural, name, sub] => (*plural, own(namespace), own(name), own(sub)),
            // Below `proxy` the path is the program's own.
            ["namespaces", namespace, plural, name, sub @ "proxy", ..] => {
                (*plural, own(namespace), own(name), own(sub))
            }
            [plural] => (*plural, None, None, None),
            [plural, name] => (*plural, None, own(name), None),
            [plural, name, sub] => (*plural, None, own(name), own(sub)),
            _ => return None,
        };
        Some(Address {
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
            namespace,
            name,
            sub,
        })
    }
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = text
            .get(i + 1..i + 3)
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[i], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Kubernetes' verb of a request.
pub(crate) fn verb(method: &Method, address: &Address, params: &Params) -> &'static str {
    match (method.as_str(), address.name.is_some()) {
        // Connecting is a verb of its own for us, whatever the HTTP method.
        _ if address.sub.as_deref() == Some("exec") => "exec",
        _ if address.sub.as_deref() == Some("attach") => "attach",
        ("GET" | "HEAD", _) if params.flag("watch") => "watch",
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "unknown",
    }
}

/// The verb that a role must grant: as [`verb`], but to connect to a pod is to create, whatever the HTTP method.
pub(crate) fn granted_verb(method: &Method, address: &Address, params: &Params) -> &'static str {
    match address.sub.as_deref() {
        Some("exec" | "attach" | "portforward") => "create",
        _ => verb(method, address, params),
    }
}

/// The form of an answer (`Accept`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Table,
    Partial,
}

impl Form {
    pub fn of(headers: &HeaderMap) -> Form {
        let accept = headers
            .get(http::header::ACCEPT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        for part in accept
            .split(',')
            .map(str::trim)
            .filter(|p| p.starts_with("application/json"))
        {
            if part.contains("as=Table") && part.contains("v=v1;")
                || part.ends_with("as=Table;g=meta.k8s.io;v=v1")
            {
                return Form::Table;
            }
            if part.contains("as=PartialObjectMetadata") {
                return Form::Partial;
            }
            if !part.contains(";as=") {
                return Form::Json;
            }
        }
        Form::Json
    }
}

/// A request for a resource, authenticated and authorized.
pub(crate) struct Call {
    pub resource: Arc<Resource>,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub sub: Option<String>,
    pub method: Method,
    pub params: Params,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub user: User,
    /// The answer must hold only what the caller may see.
    pub scope: Option<Arc<Scope>>,
    /// The caller is the machine's owner or a part of ours: its pods may see folders of the machine.
    pub trusted: bool,
}

impl Call {
    /// Whether the answer may hold this object.
    pub fn shows(&self, object: &Value) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.shows(object))
    }

    pub fn content_type(&self) -> &str {
        self.headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }

    /// The namespace in keys; empty for cluster-scoped resources.
    pub fn ns(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    pub fn dry_run(&self) -> ApiResult<bool> {
        match self.params.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(ApiError::bad_request(format!(
                "invalid dryRun {other:?}: must be All"
            ))),
        }
    }

    /// The body as JSON, decoded from JSON, YAML or Kubernetes' protobuf.
    pub fn object(&self) -> ApiResult<Value> {
        body(self.content_type(), &self.body)
    }
}

/// Decodes a body by its content type.
pub(crate) fn body(content_type: &str, bytes: &Bytes) -> ApiResult<Value> {
    let decoded = if content_type.contains("protobuf") || bytes.starts_with(crate::protobuf::MAGIC) {
        crate::protobuf::decode(bytes).map_err(|e| e.to_string())
    } else if !(content_type.is_empty() || content_type.contains("json") || content_type.contains("yaml")) {
        return Err(ApiError::unsupported_media(
            "application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ));
    } else if content_type.contains("yaml") {
        serde_saphyr::from_slice(bytes).map_err(|e| e.to_string())
    } else {
        serde_json::from_slice(bytes).map_err(|e| e.to_string())
    };
    decoded.map_err(|e| ApiError::bad_request(format!("the object provided is unrecognized: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let a = Address::parse("/apis/apps/v1/namespaces/chirpy/deployments/web/scale").unwrap();
        assert_eq!(
            (a.group.as_str(), a.plural.as_str(), a.namespace.as_deref()),
            ("apps", "deployments", Some("chirpy"))
        );
        assert_eq!(
            (a.name.as_deref(), a.sub.as_deref()),
            (Some("web"), Some("scale"))
        );
        let a = Address::parse("/api/v1/namespaces/x").unwrap();
        assert_eq!(
            (a.plural.as_str(), a.name.as_deref(), a.namespace),
            ("namespaces", Some("x"), None)
        );
        let a = Address::parse("/api/v1/namespaces/x/status").unwrap();
        assert_eq!(
            (a.plural.as_str(), a.sub.as_deref()),
            ("namespaces", Some("status"))
        );
        let a = Address::parse("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode").unwrap();
        assert_eq!(a.name.as_deref(), Some("system:node"));
        assert_eq!(Address::parse("/metrics"), None);
    }

    #[test]
    fn forms() {
        let form = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::ACCEPT, accept.parse().unwrap());
            Form::of(&headers)
        };
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form(kubectl), Form::Table);
        assert_eq!(form("application/json"), Form::Json);
        assert_eq!(form("application/json, */*"), Form::Json);
        assert_eq!(
            form("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"),
            Form::Partial
        );
    }
}
