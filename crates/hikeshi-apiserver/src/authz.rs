//! Who may do what: one pure function, asked by every request and by `kubectl auth can-i`.

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

    fn is_seat(&self) -> bool {
        SEAT_GROUPS.iter().any(|g| self.is_in(g))
    }

    fn may_change(&self) -> bool {
        self.is_in("hikeshi:operator") || self.is_in("hikeshi:commander")
    }
}

const AUTHENTICATED: &str = "system:authenticated";
const SEAT_GROUPS: [&str; 5] = [
    "hikeshi:operator",
    "hikeshi:commander",
    "hikeshi:scribe",
    "hikeshi:communicator",
    "hikeshi:observer",
];
/// Besides the drill's namespace, seats may look at these.
const READABLE: [&str; 4] = ["monitoring", "kube-system", "kube-public", "default"];
/// Cluster-scoped resources seats may look at.
const CLUSTER_READABLE: [(&str, &str); 6] = [
    ("", "namespaces"),
    ("", "nodes"),
    ("", "persistentvolumes"),
    ("metrics.k8s.io", "nodes"),
    ("scheduling.k8s.io", "priorityclasses"),
    ("storage.k8s.io", "storageclasses"),
];

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow,
    /// Allowed, but the answer holds only what [`visible`] says.
    Filtered,
    Deny,
}

/// Decides. `home` is the namespace of the system under drill.
pub(crate) fn authorize(user: &User, ask: &Attributes<'_>, home: &str) -> Decision {
    let allow = |yes| if yes { Decision::Allow } else { Decision::Deny };
    if user.is_trusted() {
        return Decision::Allow;
    }
    if ask.group == "authorization.k8s.io" || ask.group == "authentication.k8s.io" {
        return allow(ask.resource.starts_with("selfsubject"));
    }
    let connect = matches!(ask.subresource, Some("exec" | "attach" | "portforward" | "proxy"));
    let reads = matches!(ask.verb, "get" | "list" | "watch") && !connect;
    if user.is_in("system:serviceaccounts") {
        let known = matches!(
            (ask.group, ask.resource),
            ("", "pods" | "services" | "endpoints" | "nodes" | "namespaces")
                | ("discovery.k8s.io", "endpointslices")
        );
        return allow(reads && known && ask.subresource.is_none());
    }
    if !user.is_seat() || ask.group == "chaos-mesh.org" {
        return Decision::Deny;
    }
    if !ask.namespaced {
        if !reads || !CLUSTER_READABLE.contains(&(ask.group, ask.resource)) {
            return Decision::Deny;
        }
        return match (ask.resource, ask.name) {
            ("namespaces", Some(name)) => allow(readable(name, home)),
            ("namespaces", None) => Decision::Filtered,
            _ => Decision::Allow,
        };
    }
    let secret = ask.group.is_empty() && ask.resource == "secrets";
    match ask.namespace {
        Some(namespace) if namespace == home => allow(user.may_change() || (reads && !secret)),
        Some(namespace) => allow(reads && !secret && readable(namespace, home)),
        None if !reads || secret => Decision::Deny,
        None => Decision::Filtered,
    }
}

fn readable(namespace: &str, home: &str) -> bool {
    namespace == home || READABLE.contains(&namespace)
}

/// Whether a filtered answer may hold an object: by its namespace, or by its name if it is a Namespace.
pub(crate) fn visible(namespace: Option<&str>, name: &str, home: &str) -> bool {
    readable(namespace.unwrap_or(name), home)
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
mod tests {
    use super::*;

    fn user(group: &str) -> User {
        User::with_certificate("pika7".into(), vec![group.into()])
    }

    fn ask<'a>(verb: &'a str, resource: &'a str, namespace: Option<&'a str>) -> Attributes<'a> {
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        let (resource, sub) = resource
            .split_once('/')
            .map_or((resource, None), |(r, s)| (r, Some(s)));
        let namespaced = !["nodes", "namespaces"].contains(&resource);
        Attributes {
            verb,
            group,
            resource,
            subresource: sub,
            namespace,
            name: None,
            namespaced,
        }
    }

    fn decide(group: &str, verb: &str, resource: &str, namespace: Option<&str>) -> Decision {
        authorize(&user(group), &ask(verb, resource, namespace), "chirpy")
    }

    #[test]
    fn operators_change_their_namespace_and_nothing_else() {
        use Decision::{Allow, Deny};
        for verb in ["get", "create", "patch", "delete", "deletecollection"] {
            assert_eq!(
                decide("hikeshi:operator", verb, "deployments.apps", Some("chirpy")),
                Allow
            );
        }
        assert_eq!(
            decide("hikeshi:commander", "get", "pods/exec", Some("chirpy")),
            Allow
        );
        assert_eq!(
            decide("hikeshi:operator", "get", "secrets", Some("chirpy")),
            Allow
        );
        assert_eq!(
            decide("hikeshi:operator", "delete", "pods", Some("monitoring")),
            Deny
        );
        assert_eq!(
            decide("hikeshi:operator", "get", "pods/exec", Some("monitoring")),
            Deny
        );
        assert_eq!(decide("hikeshi:operator", "patch", "nodes", None), Deny);
        assert_eq!(
            decide("hikeshi:operator", "get", "pods", Some("hikeshi-system")),
            Deny
        );
        assert_eq!(decide("hikeshi:operator", "list", "secrets", None), Deny);
    }

    #[test]
    fn only_the_owner_and_our_own_parts_are_trusted() {
        assert!(user("system:masters").is_trusted());
        assert!(user("hikeshi:component").is_trusted());
        assert!(SEAT_GROUPS.iter().all(|group| !user(group).is_trusted()));
        assert!(!User::service_account("system:serviceaccount:chirpy:default".into()).is_trusted());
    }

    #[test]
    fn the_others_only_look() {
        use Decision::{Allow, Deny, Filtered};
        for role in ["scribe", "communicator", "observer"].map(|r| format!("hikeshi:{r}")) {
            assert_eq!(decide(&role, "list", "pods", Some("chirpy")), Allow);
            assert_eq!(decide(&role, "get", "pods/log", Some("chirpy")), Allow);
            assert_eq!(decide(&role, "list", "pods", None), Filtered);
            assert_eq!(decide(&role, "list", "namespaces", None), Filtered);
            assert_eq!(decide(&role, "get", "pods/exec", Some("chirpy")), Deny);
            assert_eq!(decide(&role, "get", "secrets", Some("chirpy")), Deny);
            assert_eq!(decide(&role, "delete", "pods", Some("chirpy")), Deny);
        }
    }

    #[test]
    fn experiments_are_hidden_from_every_seat() {
        for role in SEAT_GROUPS {
            for verb in ["get", "list", "watch", "create", "delete"] {
                for namespace in [None, Some("chirpy"), Some("hikeshi-system")] {
                    assert_eq!(
                        decide(role, verb, "networkchaos.chaos-mesh.org", namespace),
                        Decision::Deny
                    );
                }
            }
        }
        assert_eq!(
            decide("system:masters", "list", "networkchaos.chaos-mesh.org", None),
            Decision::Allow
        );
        assert!(!visible(Some("hikeshi-system"), "x", "chirpy"));
        assert!(!visible(None, "hikeshi-system", "chirpy"));
        assert!(visible(None, "chirpy", "chirpy"));
    }

    #[test]
    fn service_accounts_discover_only() {
        let account = User::service_account("system:serviceaccount:chirpy:prometheus".into());
        let decide = |verb, resource, ns| authorize(&account, &ask(verb, resource, ns), "chirpy");
        assert_eq!(decide("watch", "pods", None), Decision::Allow);
        assert_eq!(
            decide("list", "endpointslices.discovery.k8s.io", Some("chirpy")),
            Decision::Allow
        );
        assert_eq!(decide("get", "pods/log", Some("chirpy")), Decision::Deny);
        assert_eq!(decide("get", "secrets", Some("chirpy")), Decision::Deny);
        assert_eq!(decide("delete", "pods", Some("chirpy")), Decision::Deny);
    }

    #[test]
    fn strangers_get_nothing() {
        assert_eq!(decide("friends", "list", "pods", Some("chirpy")), Decision::Deny);
    }

    #[test]
    fn refusals_read_like_kubernetes() {
        let mut question = ask("delete", "pods", Some("chirpy"));
        question.name = Some("x");
        assert_eq!(
            refusal(&user("hikeshi:scribe"), &question),
            "pods \"x\" is forbidden: User \"pika7\" cannot delete resource \"pods\" in API group \"\" in the namespace \"chirpy\""
        );
    }
}
