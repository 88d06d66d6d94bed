//! Role-based access: what Roles, ClusterRoles and their bindings let a user do. Pure; the store's objects come in as JSON.

pub(crate) mod admit;
pub(crate) mod bootstrap;
mod cover;

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::authz::{Attributes, User};
use crate::store::View;

pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";
const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const ROLES: &str = "roles.rbac.authorization.k8s.io";
const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
const ROLE_BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";

/// One PolicyRule. A rule speaks either of resources or of paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    pub verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

fn holds(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

/// Whether `resources` speaks of a resource: `*`, `pods`, `pods/log`, or `*/scale`.
fn speaks_of(resources: &[String], resource: &str, subresource: Option<&str>) -> bool {
    resources.iter().any(|item| match (item.as_str(), subresource) {
        ("*", _) => true,
        (item, None) => item == resource,
        (item, Some(sub)) => item
            .split_once('/')
            .is_some_and(|(r, s)| s == sub && (r == "*" || r == resource)),
    })
}

impl Rule {
    fn allows(&self, ask: &Attributes<'_>) -> bool {
        let named = || {
            self.resource_names.is_empty()
                || ask
                    .name
                    .is_some_and(|name| self.resource_names.iter().any(|n| n == name))
        };
        holds(&self.verbs, ask.verb)
            && holds(&self.api_groups, ask.group)
            && speaks_of(&self.resources, ask.resource, ask.subresource)
            && named()
    }

    fn allows_path(&self, verb: &str, path: &str) -> bool {
        let covers = |url: &String| match url.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => url == path,
        };
        holds(&self.verbs, verb) && self.non_resource_urls.iter().any(covers)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Subject {
    kind: String,
    name: String,
    #[serde(default)]
    namespace: String,
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self.kind.as_str() {
            "User" => user.name == self.name,
            "Group" => user.is_in(&self.name),
            "ServiceAccount" => {
                user.name.strip_prefix("system:serviceaccount:")
                    == Some(&format!("{}:{}", self.namespace, self.name))
            }
            _ => false,
        }
    }
}

#[derive(Debug, Clone)]
struct Binding {
    /// `None`: everywhere (a ClusterRoleBinding).
    namespace: Option<String>,
    subjects: Vec<Subject>,
    cluster_role: bool,
    role: String,
}

/// All roles and bindings at one moment.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    /// By namespace (`None`: ClusterRole) and name.
    roles: HashMap<(Option<String>, String), Vec<Rule>>,
    bindings: Vec<Binding>,
}

impl Policy {
    pub fn of(view: &View) -> Policy {
        let mut policy = Policy::default();
        for kind in [CLUSTER_ROLES, ROLES] {
            view.list(kind, None).for_each(|role| policy.add_role(role));
        }
        for kind in [CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS] {
            view.list(kind, None)
                .for_each(|binding| policy.add_binding(binding));
        }
        policy
    }

    fn add_role(&mut self, role: &Value) {
        let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
        let name = role["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.roles.insert((namespace, name), rules_of(role));
    }

    fn add_binding(&mut self, binding: &Value) {
        let subjects = binding["subjects"].as_array().into_iter().flatten();
        self.bindings.push(Binding {
            namespace: binding["metadata"]["namespace"].as_str().map(str::to_owned),
            subjects: subjects
                .filter_map(|subject| Subject::deserialize(subject).ok())
                .collect(),
            cluster_role: binding["roleRef"]["kind"] == "ClusterRole",
            role: binding["roleRef"]["name"].as_str().unwrap_or_default().to_owned(),
        });
    }

    fn role(&self, namespace: Option<&str>, name: &str) -> Option<&[Rule]> {
        let key = (namespace.map(str::to_owned), name.to_owned());
        self.roles.get(&key).map(Vec::as_slice)
    }

    fn granted<'a>(&'a self, user: &'a User) -> impl Iterator<Item = (&'a Binding, &'a [Rule])> {
        let mine = |binding: &&Binding| binding.subjects.iter().any(|subject| subject.is(user));
        self.bindings.iter().filter(mine).filter_map(|binding| {
            let namespace = binding.namespace.as_deref().filter(|_| !binding.cluster_role);
            Some((binding, self.role(namespace, &binding.role)?))
        })
    }

    /// The rules a user has in a namespace (`None`: at the cluster's scope).
    pub fn rules<'a>(&'a self, user: &'a User, namespace: Option<&'a str>) -> impl Iterator<Item = &'a Rule> {
        let here = move |binding: &Binding| match &binding.namespace {
            None => true,
            Some(there) => namespace == Some(there.as_str()),
        };
        self.granted(user)
            .filter(move |(binding, _)| here(binding))
            .flat_map(|(_, rules)| rules)
    }

    pub fn allows(&self, user: &User, ask: &Attributes<'_>) -> bool {
        self.rules(user, ask.namespace).any(|rule| rule.allows(ask))
    }

    pub fn allows_path(&self, user: &User, verb: &str, path: &str) -> bool {
        self.rules(user, None).any(|rule| rule.allows_path(verb, path))
    }

    /// The namespaces in which a user may do what they may not do everywhere; for Namespace objects, those they may do it to.
    pub fn namespaces(&self, user: &User, ask: &Attributes<'_>) -> BTreeSet<String> {
        if ask.group.is_empty() && ask.resource == "namespaces" {
            let named = self.rules(user, None).flat_map(|rule| &rule.resource_names);
            let may = |name: &&String| {
                let ask = Attributes {
                    name: Some(name.as_str()),
                    ..ask.clone()
                };
                self.allows(user, &ask)
            };
            return named.filter(may).cloned().collect();
        }
        let all = self.granted(user);
        all.filter(|(_, rules)| rules.iter().any(|rule| rule.allows(ask)))
            .filter_map(|(binding, _)| binding.namespace.clone())
            .collect()
    }
}

/// The rules of a role object; those that cannot be read grant nothing.
fn rules_of(role: &Value) -> Vec<Rule> {
    let rules = role["rules"].as_array().into_iter().flatten();
    rules.filter_map(|rule| Rule::deserialize(rule).ok()).collect()
}

#[cfg(test)]
mod tests;
