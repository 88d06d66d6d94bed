use serde_json::json;

use super::*;

fn pod(namespace: &str, app: &str, index: u32) -> Value {
    json!({"metadata": {"name": format!("{app}-{index}"), "namespace": namespace,
            "labels": {"app": app, "pod-template-hash": "5f7", "index": index.to_string()},
            "ownerReferences": [{"kind": "ReplicaSet", "name": format!("{app}-5f7")}]},
        "spec": {}, "status": {"phase": "Running"}})
}

fn cluster() -> Cluster {
    Cluster {
        pods: vec![
            pod("chirpy", "gateway", 1),
            pod("chirpy", "gateway", 2),
            pod("chirpy", "post-service", 1),
            pod("chirpy", "redis", 1),
            pod("load", "chirpy-load", 1),
        ],
        ..Cluster::default()
    }
}

fn cujs() -> Cujs {
    hikeshi_slo::parse("cujs.yaml", include_str!("../../../../systems/chirpy/cujs.yaml")).unwrap()
}

fn edge(source: &str, destination: &str, route: &str, code: u16, per_second: f64) -> EdgeRate {
    EdgeRate {
        source: source.into(),
        destination: destination.into(),
        route: route.into(),
        code,
        per_second,
    }
}

/// The load posts twice and reads six times a second, two of ten requests are logins; a person posts once.
fn measured() -> Measured {
    Measured {
        edges: vec![
            edge("chirpy-load", "gateway", "", 200, 9.0),
            edge("chirpy-load", "gateway", "", 500, 1.0),
            edge("chirpy", "gateway", "POST /api/posts", 200, 1.0),
            edge("prometheus", "gateway", "", 200, 2.0),
            edge("gateway", "post-service", "", 200, 3.0),
        ],
        bytes: vec![("post-service".into(), "redis".into(), 4_000.0)],
        journeys: vec![
            ("post-message".into(), "chirpy-load".into(), 2.0),
            ("read-timeline".into(), "chirpy-load".into(), 6.0),
        ],
    }
}

fn http(app: &str, more: &[(&str, Value)], annotations: Value) -> Value {
    let mut spec = json!({"selector": {"labelSelectors": {"app": app}}, "mode": "all", "target": "Request",
        "port": 8080, "delay": "1s"});
    for (name, value) in more {
        spec[*name] = value.clone();
    }
    json!({"kind": "HTTPChaos", "metadata": {"annotations": annotations}, "spec": spec})
}

fn told(object: &Value) -> Traffic {
    traffic(object, "chirpy", &cluster(), &measured(), &cujs())
}

fn near(range: Option<Range>, least: f64, most: f64) {
    let range = range.expect("a figure");
    assert!(
        (range.least - least).abs() < 1e-9 && (range.most - most).abs() < 1e-9,
        "{range:?} is not {least} to {most}"
    );
}

#[test]
fn everything_that_a_workload_is_asked_is_hit_by_a_fault_on_all_of_it() {
    let all = told(&http("gateway", &[], json!({})));
    assert_eq!(all.requests_per_second, Some(13.0));
    near(all.hit_per_second, 13.0, 13.0);
    near(all.share, 1.0, 1.0);
    near(all.share_of_all, 13.0 / 16.0, 13.0 / 16.0);
    assert!(all.notes.is_empty(), "{:?}", all.notes);
    let shares: Vec<_> = all
        .journeys
        .iter()
        .map(|one| (one.journey.as_str(), one.share.most))
        .collect();
    assert_eq!(shares, [("post-message", 1.0), ("read-timeline", 1.0)]);
}

#[test]
fn mode_and_percentage_leave_a_part() {
    let one = told(&http(
        "gateway",
        &[("mode", json!("one"))],
        json!({PERCENT: "10"}),
    ));
    near(one.share, 0.05, 0.05);
    assert_eq!(one.journeys[0].share, Range::exactly(0.05));
    // A selector that takes one pod of two.
    let labels = json!({"labelSelectors": {"app": "gateway", "index": "1"}});
    near(
        told(&http("gateway", &[("selector", labels)], json!({PPM: "1000"}))).share,
        0.0005,
        0.0005,
    );
    let random = told(&http(
        "gateway",
        &[("mode", json!("random-max-percent")), ("value", json!("50"))],
        json!({}),
    ));
    near(random.share, 0.0, 0.5);
}

#[test]
fn a_path_is_told_apart_as_far_as_it_is_counted() {
    let posts = told(&http(
        "gateway",
        &[("path", json!("/api/posts*")), ("method", json!("POST"))],
        json!({}),
    ));
    // Two of the load's ten are posts and two of unknown path; the person's is one; none of the scrapes.
    near(posts.hit_per_second, 3.0, 5.0);
    assert_eq!(posts.notes.len(), 1, "{:?}", posts.notes);
    let journeys: Vec<_> = posts.journeys.iter().map(|one| one.journey.as_str()).collect();
    assert_eq!(journeys, ["post-message"]);
    near(
        told(&http("gateway", &[("path", json!("/metrics"))], json!({}))).hit_per_second,
        2.0,
        4.0,
    );
    // A journey's own path is known whole: the load's two posts, and of what is counted by route only the upper limit.
    let exact = told(&http(
        "gateway",
        &[("path", json!("/api/posts"))],
        json!({PERCENT: "10"}),
    ));
    near(exact.hit_per_second, 0.2, 0.5);
    assert_eq!(exact.journeys[0].share, Range::exactly(0.1));
    // Between pods no path is known at all.
    let inner = told(&http("post-service", &[("path", json!("/posts*"))], json!({})));
    near(inner.hit_per_second, 0.0, 3.0);
    assert!(inner.journeys.is_empty() && inner.notes.len() == 2, "{inner:?}");
}

#[test]
fn an_answers_code_is_counted_and_a_header_is_not() {
    let errors = told(&http(
        "gateway",
        &[("target", json!("Response")), ("code", json!(500))],
        json!({}),
    ));
    near(errors.hit_per_second, 1.0, 1.0);
    let person = told(&http("gateway", &[], json!({REQUEST_HEADERS: "cookie=*ann*"})));
    near(person.share, 0.0, 1.0);
}

#[test]
fn a_network_fault_touches_the_edges_of_its_direction() {
    let fault = |app: &str, direction: &str, target: Option<&str>| {
        let mut spec = json!({"selector": {"labelSelectors": {"app": app}}, "mode": "all", "action": "delay",
            "direction": direction, "delay": {"latency": "10ms"}});
        if let Some(target) = target {
            spec["target"] = json!({"selector": {"labelSelectors": {"app": target}}, "mode": "all"});
        }
        json!({"kind": "NetworkChaos", "metadata": {}, "spec": spec})
    };
    assert_eq!(told(&fault("gateway", "to", None)).requests_per_second, Some(3.0));
    assert_eq!(
        told(&fault("gateway", "from", None)).requests_per_second,
        Some(13.0)
    );
    assert_eq!(
        told(&fault("gateway", "both", None)).requests_per_second,
        Some(16.0)
    );
    assert_eq!(
        told(&fault("gateway", "both", Some("post-service"))).requests_per_second,
        Some(3.0)
    );
    let redis = told(&fault("redis", "both", None));
    assert_eq!(redis.requests_per_second, None);
    assert!(
        redis.notes[0].en.starts_with("not HTTP") && redis.notes[0].en.contains("4.0 kB"),
        "{redis:?}"
    );
}

#[test]
fn what_cannot_be_told_says_why() {
    let nobody = told(&http("nobody", &[], json!({})));
    assert_eq!(nobody.notes[0].en, "no pod matches");
    let blind = traffic(
        &http("gateway", &[], json!({})),
        "chirpy",
        &cluster(),
        &Measured::default(),
        &cujs(),
    );
    assert!(blind.notes[0].en.contains("does it scrape"), "{blind:?}");
    let mut twice = cluster();
    twice.pods.push(pod("other", "gateway", 9));
    let twice = traffic(
        &http("gateway", &[], json!({})),
        "chirpy",
        &twice,
        &measured(),
        &cujs(),
    );
    assert!(
        twice.requests_per_second.is_none() && twice.notes[0].en.contains("other namespaces"),
        "{twice:?}"
    );
}

#[test]
fn patterns_are_chaos_meshs() {
    for (pattern, text, fits) in [
        ("/api/*", "/api/posts", true),
        ("/api/*", "/api", false),
        ("*", "", true),
        ("/a?c", "/abc", true),
        ("/a?c", "/ac", false),
        ("/a*c", "/abbc/c", true),
    ] {
        assert_eq!(wildcard(pattern, text), fits, "{pattern} {text}");
    }
    assert!(prefix("/api/posts/*/likes", "/api/posts") && !prefix("/api/users/*", "/api/posts"));
}
