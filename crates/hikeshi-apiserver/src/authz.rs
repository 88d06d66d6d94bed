//! Who may do what: one pure function, asked by every request and by `kubectl auth can-i`.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::rbac::Policy;

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub name: String,
    pub groups: Vec<String>,
}

impl User {
    pub fn service_account(name: String) -> User {
        let namespace = name.split(':').nth(2).unwrap_or_default();
        let groups = vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            AUTHENTICATED.into(),
        ];
        User { name, groups }
    }

    pub fn with_certificate(name: String, mut groups: Vec<String>) -> User {
        groups.push(AUTHENTICATED.into());
        User { name, groups }
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// Our own parts, which the audit does not record.
    pub fn is_component(&self) -> bool {
        self.is_in("hikeshi:component") || (self.is_in("system:masters") && self.name.starts_with("hikeshi-"))
    }

    /// The machine's owner, and our own parts: nothing is refused to them.
    pub fn is_trusted(&self) -> bool {
        self.is_in("system:masters") || self.is_in("hikeshi:component")
    }

    /// Seats see a list across namespaces cut down to what is theirs, where Kubernetes would refuse it as a whole.
    fn is_seat(&self) -> bool {
        self.groups.iter().any(|group| group.starts_with("hikeshi:"))
    }

    /// The user a request names by `Impersonate-*` headers.
    pub fn impersonated(name: &str, groups: Vec<String>) -> User {
        if groups.is_empty() && name.starts_with("system:serviceaccount:") {
            return User::service_account(name.to_owned());
        }
        User::with_certificate(name.to_owned(), groups)
    }
}

const AUTHENTICATED: &str = "system:authenticated";

/// One question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: Option<&'a str>,
    /// `None`: all namespaces, or a cluster-scoped resource.
    pub namespace: Option<&'a str>,
    pub name: Option<&'a str>,
    /// Whether the resource lives in namespaces.
    pub namespaced: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow,
    /// Allowed, but the answer holds only what lies in these namespaces.
    Filtered(Arc<Scope>),
    Deny,
}

/// The namespaces of which a filtered answer tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope(BTreeSet<String>);

impl Scope {
    /// Whether the answer may hold an object: by its namespace, or by its name if it is a Namespace.
    pub fn shows(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let place = metadata["namespace"].as_str().or(metadata["name"].as_str());
        place.is_some_and(|place| self.0.contains(place))
    }
}

/// Decides.
pub(crate) fn authorize(policy: &Policy, user: &User, ask: &Attributes<'_>) -> Decision {
    if user.is_trusted() || policy.allows(user, ask) {
        return Decision::Allow;
    }
    let spans = ask.namespace.is_none() && ask.name.is_none() && matches!(ask.verb, "list" | "watch");
    let told_apart = ask.namespaced || (ask.group.is_empty() && ask.resource == "namespaces");
    let secret = ask.group.is_empty() && ask.resource == "secrets";
    if !user.is_seat() || !spans || !told_apart || secret {
        return Decision::Deny;
    }
    let scope = policy.namespaces(user, ask);
    if scope.is_empty() {
        Decision::Deny
    } else {
        Decision::Filtered(Arc::new(Scope(scope)))
    }
}

/// Kubernetes' words for a refusal.
pub(crate) fn refusal(user: &User, ask: &Attributes<'_>) -> String {
    let resource = match ask.subresource {
        Some(sub) => format!("{}/{sub}", ask.resource),
        None => ask.resource.to_owned(),
    };
    let mut object = if ask.group.is_empty() {
        ask.resource.to_owned()
    } else {
        format!("{}.{}", ask.resource, ask.group)
    };
    if let Some(name) = ask.name {
        object = format!("{object} \"{name}\"");
    }
    let scope = match ask.namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    format!(
        "{object} is forbidden: User \"{}\" cannot {} resource \"{resource}\" in API group \"{}\" {scope}",
        user.name, ask.verb, ask.group
    )
}

#[cfg(test)]
mod tests;
