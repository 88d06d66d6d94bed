//! Which Service an ingress request goes to: pure, but for one counter per rule.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{HostListener, IngressBackend, IngressRule, PathKind};

/// The heaviest weight a backend may have.
pub(crate) const MOST_WEIGHT: u16 = 1000;

/// One listener's rules in the order in which they are tried.
#[derive(Debug, Default)]
pub(crate) struct Router {
    rules: Vec<IngressRule>,
    lanes: Vec<Lane>,
}

/// A rule as it is tried.
#[derive(Debug)]
struct Lane {
    rule: IngressRule,
    /// Requests so far.
    requests: AtomicU64,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Routed<'a> {
    To(&'a IngressBackend),
    /// A rule is about it, but no backend of it has any weight.
    Nowhere,
    /// No rule is about it.
    Unmatched,
}

impl Router {
    pub fn new(rules: &[IngressRule]) -> Self {
        let mut sorted = rules.to_vec();
        // A stable sort: what is alike stays in the author's order.
        sorted.sort_by_key(precedence);
        let lane = |rule| Lane {
            rule,
            requests: AtomicU64::new(0),
        };
        Self {
            rules: rules.to_vec(),
            lanes: sorted.into_iter().map(lane).collect(),
        }
    }

    /// Whether it was made of these rules, so that its counts may go on.
    pub fn is_of(&self, rules: &[IngressRule]) -> bool {
        self.rules == rules
    }

    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Chooses, and counts the request. `host` is the Host header's value, with or without a port; `path` has no query.
    pub fn route(&self, host: &str, path: &str) -> Routed<'_> {
        let host = without_port(host);
        let found = self.lanes.iter().find(|lane| is_about(&lane.rule, host, path));
        let Some(lane) = found else {
            return Routed::Unmatched;
        };
        let n = lane.requests.fetch_add(1, Ordering::Relaxed);
        match share(n, lane.rule.backends.iter().map(|backend| backend.weight)) {
            Some(place) => Routed::To(&lane.rule.backends[place]),
            None => Routed::Nowhere,
        }
    }
}

/// What of a listener's rules could not be honoured, each with the field's name.
pub(crate) fn problems(listener: &HostListener) -> Vec<String> {
    let mut problems = Vec::new();
    for (n, rule) in listener.rules.iter().enumerate() {
        if !rule.path.starts_with('/') {
            problems.push(format!("rules[{n}].path: {:?} does not begin with /", rule.path));
        }
        if rule.host.as_deref().is_some_and(|host| {
            let name = host.strip_prefix("*.").unwrap_or(host);
            name.is_empty() || name.contains(['*', '/', ':'])
        }) {
            problems.push(format!(
                "rules[{n}].host: {:?} is neither a name nor `*.` and a name",
                rule.host.as_deref().unwrap_or_default()
            ));
        }
        for (b, backend) in rule.backends.iter().enumerate() {
            if backend.weight > MOST_WEIGHT {
                problems.push(format!(
                    "rules[{n}].backends[{b}].weight: {} is more than {MOST_WEIGHT}",
                    backend.weight
                ));
            }
        }
    }
    problems
}

/// Smaller is tried first.
fn precedence(rule: &IngressRule) -> (u8, std::cmp::Reverse<usize>, u8) {
    let host = match rule.host.as_deref() {
        Some(host) if host.starts_with("*.") => 1,
        Some(_) => 0,
        None => 2,
    };
    let kind = match rule.kind {
        PathKind::Exact => 0,
        PathKind::Prefix => 1,
    };
    (host, std::cmp::Reverse(rule.path.len()), kind)
}

fn is_about(rule: &IngressRule, host: &str, path: &str) -> bool {
    let host_fits = match rule.host.as_deref() {
        None => true,
        Some(wanted) => match wanted.strip_prefix("*.") {
            Some(parent) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
            None => host.eq_ignore_ascii_case(wanted),
        },
    };
    host_fits
        && match rule.kind {
            PathKind::Exact => path == rule.path,
            PathKind::Prefix => covers(rule.path.trim_end_matches('/'), path),
        }
}

/// `prefix` has no slash at its end.
fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an IPv6 address without a port stand within its brackets.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The place of request number `n` among `weights`; `None` when all of them are 0.
///
/// With W the sum of the weights, requests are sent round the numbers below W in strides of about W / golden ratio, made
/// coprime to W: any W requests in a row meet every number once, so shares are exact, and a heavy backend's requests are
/// spread among the others' instead of coming in one block.
fn share(n: u64, weights: impl Iterator<Item = u16> + Clone) -> Option<usize> {
    let whole: u64 = weights.clone().map(u64::from).sum();
    if whole == 0 {
        return None;
    }
    let mut at = (n % whole) * stride(whole) % whole;
    for (place, weight) in weights.enumerate() {
        match at.checked_sub(u64::from(weight)) {
            Some(rest) => at = rest,
            None => return Some(place),
        }
    }
    None
}

fn stride(whole: u64) -> u64 {
    // 0.618... = 1 / golden ratio, in thousandths: any fraction would be exact, this one spreads best.
    let near = (whole * 618 / 1000).max(1);
    (near..).find(|step| gcd(*step, whole) == 1).unwrap_or(1)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(host: Option<&str>, path: &str, kind: PathKind, backends: &[(&str, u16)]) -> IngressRule {
        let backend = |(service, weight): &(&str, u16)| IngressBackend {
            namespace: "chirpy".into(),
            service: (*service).into(),
            port: 80,
            weight: *weight,
        };
        IngressRule {
            host: host.map(str::to_string),
            path: path.into(),
            kind,
            backends: backends.iter().map(backend).collect(),
        }
    }

    fn to<'a>(router: &'a Router, host: &str, path: &str) -> &'a str {
        match router.route(host, path) {
            Routed::To(backend) => &backend.service,
            Routed::Nowhere => "nowhere",
            Routed::Unmatched => "unmatched",
        }
    }

    #[test]
    fn the_most_exact_rule_wins_whatever_the_order() {
        use PathKind::{Exact, Prefix};
        let router = Router::new(&[
            rule(None, "/", Prefix, &[("any", 1)]),
            rule(Some("*.shop.test"), "/", Prefix, &[("star", 1)]),
            rule(Some("a.shop.test"), "/", Prefix, &[("a", 1)]),
            rule(Some("a.shop.test"), "/api", Prefix, &[("api", 1)]),
            rule(Some("a.shop.test"), "/api", Exact, &[("exact", 1)]),
            rule(Some("a.shop.test"), "/api/v1/", Prefix, &[("v1", 1)]),
            rule(Some("a.shop.test"), "/off", Prefix, &[("off", 0)]),
        ]);
        for (host, path, service) in [
            ("A.shop.test:8080", "/api", "exact"),
            ("a.shop.test", "/api/", "api"),
            ("a.shop.test", "/api/v1", "v1"),
            ("a.shop.test", "/api/v1/x", "v1"),
            ("a.shop.test", "/apis", "a"),
            ("a.shop.test", "/API", "a"),
            ("b.shop.test", "/api", "star"),
            ("c.b.shop.test", "/", "any"),
            (".shop.test", "/", "any"),
            ("", "/", "any"),
            ("a.shop.test", "/off/x", "nowhere"),
        ] {
            assert_eq!(to(&router, host, path), service, "{host} {path}");
        }
        let narrow = Router::new(&[rule(Some("[::1]"), "/x", Prefix, &[("x", 1)])]);
        assert_eq!(to(&narrow, "[::1]:80", "/x"), "x");
        assert_eq!(to(&narrow, "[::1]", "/x"), "x");
        assert_eq!(to(&narrow, "[::1]", "/y"), "unmatched");
    }

    #[test]
    fn weight_1_of_1000_is_one_request_in_any_1000_in_a_row() {
        let router = Router::new(&[rule(
            None,
            "/",
            PathKind::Prefix,
            &[("stable", 999), ("canary", 1)],
        )]);
        let hits: Vec<bool> = (0..10_000).map(|_| to(&router, "", "/") == "canary").collect();
        for window in hits.windows(1000) {
            assert_eq!(window.iter().filter(|hit| **hit).count(), 1);
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        let listener = HostListener {
            name: "web".into(),
            listen: ([127, 0, 0, 1], 0).into(),
            namespace: String::new(),
            service: String::new(),
            port: 0,
            rules: vec![
                rule(None, "x", PathKind::Exact, &[("a", 1001)]),
                rule(Some("a.*.b"), "/", PathKind::Exact, &[]),
            ],
        };
        let problems = problems(&listener).join("\n");
        for field in ["rules[0].path", "rules[0].backends[0].weight", "rules[1].host"] {
            assert!(problems.contains(field), "{problems}");
        }
    }

    proptest! {
        #[test]
        fn shares_are_exact_in_any_window(weights in prop::collection::vec(0u16..=30, 1..6), from in 0u64..1000) {
            let whole: u64 = weights.iter().copied().map(u64::from).sum();
            let mut got = vec![0u16; weights.len()];
            for n in from..from + whole {
                let place = share(n, weights.iter().copied());
                prop_assert!(place.is_some());
                got[place.unwrap_or_default()] += 1;
            }
            prop_assert_eq!(got, weights);
        }
    }
}
