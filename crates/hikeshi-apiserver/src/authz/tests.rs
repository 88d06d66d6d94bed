use super::*;

const SEATS: [&str; 5] = [
    "hikeshi:operator",
    "hikeshi:commander",
    "hikeshi:scribe",
    "hikeshi:communicator",
    "hikeshi:observer",
];

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

/// The policy of a fresh cluster whose system is `chirpy`.
fn policy() -> &'static Policy {
    static POLICY: std::sync::LazyLock<Policy> = std::sync::LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::Store::open(dir.path()).unwrap();
        crate::bootstrap::run(&store, 1, "chirpy").unwrap();
        for name in ["chirpy", "monitoring", "hikeshi-system"] {
            let namespaces = crate::registry::find("", "v1", "namespaces").unwrap();
            let object =
                serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let made = store.write(|view| {
                crate::rest::create_object(view, &namespaces, "", object, crate::rest::Saving::default())
            });
            made.unwrap();
        }
        store.read(Policy::of)
    });
    &POLICY
}

/// Without what a filtered answer tells.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Allow,
    Filtered,
    Deny,
}

fn answer(user: &User, ask: &Attributes<'_>) -> Answer {
    match authorize(policy(), user, ask) {
        Decision::Allow => Answer::Allow,
        Decision::Filtered(_) => Answer::Filtered,
        Decision::Deny => Answer::Deny,
    }
}

fn decide(group: &str, verb: &str, resource: &str, namespace: Option<&str>) -> Answer {
    answer(&user(group), &ask(verb, resource, namespace))
}

#[test]
fn operators_change_their_namespace_and_nothing_else() {
    use Answer::{Allow, Deny};
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
    assert!(SEATS.iter().all(|group| !user(group).is_trusted()));
    assert!(!User::service_account("system:serviceaccount:chirpy:default".into()).is_trusted());
}

#[test]
fn the_others_only_look() {
    use Answer::{Allow, Deny, Filtered};
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
    for role in SEATS {
        for verb in ["get", "list", "watch", "create", "delete"] {
            for namespace in [None, Some("chirpy"), Some("hikeshi-system")] {
                assert_eq!(
                    decide(role, verb, "networkchaos.chaos-mesh.org", namespace),
                    Answer::Deny
                );
            }
        }
    }
    assert_eq!(
        decide("system:masters", "list", "networkchaos.chaos-mesh.org", None),
        Answer::Allow
    );
}

#[test]
fn service_accounts_discover_only() {
    let account = User::service_account("system:serviceaccount:chirpy:prometheus".into());
    let decide = |verb, resource, ns| answer(&account, &ask(verb, resource, ns));
    assert_eq!(decide("watch", "pods", None), Answer::Allow);
    assert_eq!(
        decide("list", "endpointslices.discovery.k8s.io", Some("chirpy")),
        Answer::Allow
    );
    assert_eq!(decide("get", "pods/log", Some("chirpy")), Answer::Deny);
    assert_eq!(decide("get", "secrets", Some("chirpy")), Answer::Deny);
    assert_eq!(decide("delete", "pods", Some("chirpy")), Answer::Deny);
}

#[test]
fn strangers_get_nothing() {
    assert_eq!(decide("friends", "list", "pods", Some("chirpy")), Answer::Deny);
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
