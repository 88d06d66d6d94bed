//! Which Service an ingress request goes to: pure, but for one counter per rule.

use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;

use crate::faults::http_match::wildcard;
use crate::http1::head;
use crate::model::{Condition, HostListener, IngressBackend, IngressRule, PathKind};

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

/// What a request is about; asked for only where rules look at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The Host header's value, else empty; with or without a port.
    pub host: &'a str,
    /// Without the query.
    pub path: &'a str,
    pub method: &'a str,
    pub headers: Headers<'a>,
}

/// A request's headers, as they came.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Headers<'a> {
    /// HTTP/1.1's head.
    Lines(&'a [u8]),
    Map(&'a HeaderMap),
}

impl Headers<'_> {
    /// Whether a value of this header fits one of the patterns.
    fn fit(self, name: &str, patterns: &[String]) -> bool {
        let fits = |value: &[u8]| {
            let text = std::str::from_utf8(value);
            text.is_ok_and(|text| patterns.iter().any(|pattern| wildcard(pattern, text)))
        };
        match self {
            Self::Lines(bytes) => head::headers(bytes, name).any(fits),
            Self::Map(map) => map.get_all(name).iter().any(|value| fits(value.as_bytes())),
        }
    }
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

    /// Chooses, and counts the request.
    pub fn route(&self, asked: Asked<'_>) -> Routed<'_> {
        let asked = Asked {
            host: without_port(asked.host),
            ..asked
        };
        let found = self.lanes.iter().find(|lane| is_about(&lane.rule, asked));
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
fn precedence(rule: &IngressRule) -> (u8, std::cmp::Reverse<usize>, u8, bool) {
    let host = match rule.host.as_deref() {
        Some(host) if host.starts_with("*.") => 1,
        Some(_) => 0,
        None => 2,
    };
    let kind = match rule.kind {
        PathKind::Exact => 0,
        PathKind::Pattern => 1,
        PathKind::Prefix => 2,
    };
    let length = std::cmp::Reverse(rule.path.len());
    (host, length, kind, rule.conditions.is_empty())
}

fn is_about(rule: &IngressRule, asked: Asked<'_>) -> bool {
    let Asked {
        host,
        path,
        method,
        headers,
    } = asked;
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
            PathKind::Pattern => wildcard(&rule.path, path),
        }
        && rule.conditions.iter().all(|condition| match condition {
            Condition::Method(methods) => methods.iter().any(|one| one == method),
            Condition::Header { name, values } => headers.fit(name, values),
        })
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
            conditions: Vec::new(),
            backends: backends.iter().map(backend).collect(),
        }
    }

    fn to<'a>(router: &'a Router, host: &str, path: &str) -> &'a str {
        asked(router, host, "GET", path, b"GET / HTTP/1.1\r\n\r\n")
    }

    fn asked<'a>(router: &'a Router, host: &str, method: &str, path: &str, head: &[u8]) -> &'a str {
        let asked = Asked {
            host,
            path,
            method,
            headers: Headers::Lines(head),
        };
        match router.route(asked) {
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
    fn one_persons_requests_on_one_journey_go_their_own_way() {
        use PathKind::{Pattern, Prefix};
        let mut own = rule(None, "/api/posts/*/update", Pattern, &[("trial", 1)]);
        own.conditions = vec![
            Condition::Method(vec!["POST".into()]),
            Condition::Header {
                name: "Cookie".into(),
                values: vec!["*lab=ann*".into()],
            },
        ];
        let router = Router::new(&[
            rule(None, "/api/posts/*/update", Pattern, &[("others", 1)]),
            rule(None, "/", Prefix, &[("usual", 1)]),
            own,
        ]);
        let ann = b"POST / HTTP/1.1\r\nHost: x\r\ncookie: a=1; lab=ann; b=2\r\n\r\n";
        let bob = b"POST / HTTP/1.1\r\nHost: x\r\nCookie: lab=bob\r\n\r\n";
        let update = "/api/posts/7/update";
        assert_eq!(asked(&router, "", "POST", update, ann), "trial");
        assert_eq!(asked(&router, "", "GET", update, ann), "others");
        assert_eq!(asked(&router, "", "POST", update, bob), "others");
        assert_eq!(asked(&router, "", "POST", "/api/posts", ann), "usual");
        let mut map = HeaderMap::new();
        map.append("cookie", "a=1".parse().unwrap());
        map.append("cookie", "lab=ann".parse().unwrap());
        let headers = Headers::Map(&map);
        let request = Asked {
            host: "",
            path: update,
            method: "POST",
            headers,
        };
        assert!(matches!(router.route(request), Routed::To(backend) if backend.service == "trial"));
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
