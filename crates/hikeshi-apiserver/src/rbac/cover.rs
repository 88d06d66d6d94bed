//! Whether one set of rules grants everything that another does: the question behind every refusal to escalate.

use super::{Rule, holds};

/// The parts of `wanted` that `owned` does not grant; empty when all of it is. A wildcard is covered by a wildcard only.
pub(super) fn missing(owned: &[&Rule], wanted: &[Rule]) -> Vec<Rule> {
    let parts = wanted.iter().flat_map(parts);
    parts
        .filter(|part| !owned.iter().any(|rule| covers(rule, part)))
        .collect()
}

/// A rule as rules with one verb and one group, resource and name (or one path) each.
fn parts(rule: &Rule) -> Vec<Rule> {
    let one = |text: &String| vec![text.clone()];
    let mut found = Vec::new();
    for verb in &rule.verbs {
        for url in &rule.non_resource_urls {
            found.push(Rule {
                verbs: one(verb),
                non_resource_urls: one(url),
                ..Rule::default()
            });
        }
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let names = if rule.resource_names.is_empty() {
                    vec![Vec::new()]
                } else {
                    rule.resource_names.iter().map(one).collect()
                };
                for names in names {
                    found.push(Rule {
                        verbs: one(verb),
                        api_groups: one(group),
                        resources: one(resource),
                        resource_names: names,
                        non_resource_urls: Vec::new(),
                    });
                }
            }
        }
    }
    found
}

fn covers(owner: &Rule, part: &Rule) -> bool {
    let all = |owned: &[String], wanted: &[String]| wanted.iter().all(|w| holds(owned, w));
    let path = |url: &String| {
        owner
            .non_resource_urls
            .iter()
            .any(|owned| match owned.strip_suffix('*') {
                Some(start) => url.starts_with(start),
                None => url == owned,
            })
    };
    let resource = |wanted: &String| {
        holds(&owner.resources, wanted)
            || wanted
                .split_once('/')
                .is_some_and(|(_, sub)| owner.resources.iter().any(|r| r.strip_prefix("*/") == Some(sub)))
    };
    let names = owner.resource_names.is_empty()
        || (!part.resource_names.is_empty()
            && part
                .resource_names
                .iter()
                .all(|n| owner.resource_names.contains(n)));
    all(&owner.verbs, &part.verbs)
        && all(&owner.api_groups, &part.api_groups)
        && part.resources.iter().all(resource)
        && part.non_resource_urls.iter().all(path)
        && names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::super::speaks_of;
    use super::*;
    use crate::authz::Attributes;

    fn rule() -> impl Strategy<Value = Rule> {
        let some = |all: &'static [&'static str]| {
            subsequence(all, 1..=all.len()).prop_map(|l| l.into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        let names =
            subsequence(&["x", "y"][..], 0..=2).prop_map(|l| l.into_iter().map(str::to_owned).collect());
        (
            some(&["get", "list", "*"]),
            some(&["", "apps", "*"]),
            some(&["pods", "pods/log", "*/scale", "deployments/scale", "*"]),
            names,
        )
            .prop_map(|(verbs, api_groups, resources, resource_names)| Rule {
                verbs,
                api_groups,
                resources,
                resource_names,
                non_resource_urls: Vec::new(),
            })
    }

    proptest! {
        /// What is not missing is really granted: no question is answered yes by the wanted rules and no by the owned ones.
        #[test]
        fn nothing_is_gained(owned in prop::collection::vec(rule(), 0..4), wanted in prop::collection::vec(rule(), 1..3)) {
            let refs: Vec<&Rule> = owned.iter().collect();
            prop_assume!(missing(&refs, &wanted).is_empty());
            for verb in ["get", "list", "delete"] {
                for group in ["", "apps", "batch"] {
                    for (resource, sub) in [("pods", None), ("pods", Some("log")), ("deployments", Some("scale")), ("secrets", None)] {
                        for name in [None, Some("x"), Some("y"), Some("z")] {
                            let ask = Attributes { verb, group, resource, subresource: sub, name, namespace: None, namespaced: true };
                            let may = |rules: &[Rule]| rules.iter().any(|r| r.allows(&ask));
                            prop_assert!(!may(&wanted) || may(&owned), "{ask:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn wildcards_need_wildcards() {
        let rule = |resource: &str| Rule {
            verbs: vec!["get".into()],
            api_groups: vec!["".into()],
            resources: vec![resource.into()],
            ..Rule::default()
        };
        let (pods, all, log) = (rule("pods"), rule("*"), rule("pods/log"));
        assert_eq!(missing(&[&pods], std::slice::from_ref(&all)).len(), 1);
        assert!(missing(&[&all], &[pods.clone(), log.clone()]).is_empty());
        assert_eq!(
            missing(&[&pods], std::slice::from_ref(&log)),
            std::slice::from_ref(&log)
        );
        assert!(missing(&[&rule("*/log")], &[log]).is_empty());
        assert!(speaks_of(&["*/log".to_owned()], "pods", Some("log")));
        assert!(!speaks_of(&["pods".to_owned()], "pods", Some("log")));
    }
}
