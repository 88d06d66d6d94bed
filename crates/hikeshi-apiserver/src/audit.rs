//! The record of who asked what: one event per request of a person or a service account.

use jiff::Timestamp;

/// One request. Watches, logs and execs are recorded when they start; everything else when it is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    pub at: Timestamp,
    /// The certificate's common name, or `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    pub groups: Vec<String>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `exec` or `attach`.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    pub resource: String,
    pub subresource: Option<String>,
    /// Empty for cluster-scoped resources and for requests over all namespaces.
    pub namespace: String,
    pub name: Option<String>,
    /// kubectl's `Kubectl-Command` header, such as `kubectl scale`.
    pub kubectl_command: Option<String>,
    /// kubectl's `Kubectl-Session` header: equal for all requests of one invocation.
    pub kubectl_session: Option<String>,
    pub user_agent: String,
    /// HTTP status code answered; 101 for an exec that was opened.
    pub code: u16,
    /// The body of a mutating request when it is JSON (or was decoded to it) of at most 16 KiB. Never a Secret's.
    pub request_body: Option<serde_json::Value>,
    /// The raw query string.
    pub query: String,
    /// Seconds from the request's arrival to the answer's head.
    pub seconds: f64,
}
