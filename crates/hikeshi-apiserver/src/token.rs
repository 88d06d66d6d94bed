//! What a service account's token says: whose it is, and which object it is bound to.

use serde_json::{Value, json};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The bearer of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub namespace: String,
    pub account: Named,
    pub bound: Option<(Binding, Named)>,
}

/// An object by its name, and by its uid where the token is for that very object only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub name: String,
    pub uid: Option<String>,
}

/// What a token may be bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    Pod,
    Secret,
    Node,
}

impl Binding {
    pub fn of_kind(kind: &str) -> Option<Binding> {
        Some(match kind {
            "Pod" => Binding::Pod,
            "Secret" => Binding::Secret,
            "Node" => Binding::Node,
            _ => return None,
        })
    }

    fn claim(self) -> &'static str {
        match self {
            Binding::Pod => "pod",
            Binding::Secret => "secret",
            Binding::Node => "node",
        }
    }

    /// The store's key of the kind.
    pub fn key(self) -> &'static str {
        match self {
            Binding::Pod => "pods",
            Binding::Secret => "secrets",
            Binding::Node => "nodes",
        }
    }

    /// Where the object lives, for an account of a namespace.
    pub fn namespace(self, of_account: &str) -> &str {
        if self == Binding::Node { "" } else { of_account }
    }
}

impl Bearer {
    pub fn of(namespace: &str, account: &str) -> Bearer {
        Bearer {
            namespace: namespace.to_owned(),
            account: Named {
                name: account.to_owned(),
                uid: None,
            },
            bound: None,
        }
    }

    pub fn bound_to(mut self, kind: Binding, name: &str, uid: &str) -> Bearer {
        let named = Named {
            name: name.to_owned(),
            uid: Some(uid.to_owned()).filter(|uid| !uid.is_empty()),
        };
        self.bound = Some((kind, named));
        self
    }

    /// `system:serviceaccount:NAMESPACE:NAME`
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.account.name)
    }

    /// The claims of the token, as Kubernetes names them.
    pub fn claims(&self) -> Value {
        let named = |named: &Named| match &named.uid {
            Some(uid) => json!({"name": named.name, "uid": uid}),
            None => json!({"name": named.name}),
        };
        let mut claims = json!({"iss": ISSUER, "sub": self.user(), "kubernetes.io":
            {"namespace": self.namespace, "serviceaccount": named(&self.account)}});
        if let Some((kind, object)) = &self.bound {
            claims["kubernetes.io"][kind.claim()] = named(object);
        }
        claims
    }

    pub fn read(claims: &Value) -> Option<Bearer> {
        let own = &claims["kubernetes.io"];
        let named = |value: &Value| {
            Some(Named {
                name: value["name"].as_str()?.to_owned(),
                uid: value["uid"].as_str().map(str::to_owned),
            })
        };
        let kinds = [Binding::Pod, Binding::Secret, Binding::Node];
        let bound = kinds.into_iter().find(|kind| own.get(kind.claim()).is_some());
        Some(Bearer {
            namespace: own["namespace"].as_str()?.to_owned(),
            account: named(&own["serviceaccount"])?,
            bound: match bound {
                Some(kind) => Some((kind, named(&own[kind.claim()])?)),
                None => None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_tell_the_whole_bearer() {
        let plain = Bearer::of("chirpy", "robot");
        assert_eq!(plain.user(), "system:serviceaccount:chirpy:robot");
        for bearer in [plain.clone(), plain.bound_to(Binding::Pod, "web-1", "u-1")] {
            assert_eq!(Bearer::read(&bearer.claims()), Some(bearer));
        }
        assert_eq!(Bearer::read(&json!({"sub": "system:serviceaccount:a:b"})), None);
    }
}
