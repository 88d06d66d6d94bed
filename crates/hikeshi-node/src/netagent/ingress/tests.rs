use serde_json::{Value, json};

use super::*;

fn services() -> Vec<Service> {
    let service = |name: &str| {
        json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"ports": [
            {"name": "http", "port": 80}, {"name": "admin", "port": 8080}]}})
    };
    ["a", "b"]
        .map(|name| serde_json::from_value(service(name)).unwrap())
        .into()
}

fn read(annotations: Value, spec: Value) -> Translation {
    let ingress: Ingress = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "shop",
        "annotations": annotations}, "spec": spec}))
    .unwrap();
    let services = services();
    translate(&ingress, &services.iter().collect::<Vec<_>>())
}

fn to(name: &str, port: Value) -> Value {
    json!({"service": {"name": name, "port": port}})
}

fn one_path(class: &str, kind: &str, path: &str) -> Value {
    json!({"ingressClassName": class, "rules": [{"http": {"paths": [
        {"path": path, "pathType": kind, "backend": to("a", json!({"number": 80}))}]}}]})
}

fn shown(made: &Translation) -> Vec<String> {
    made.rules
        .iter()
        .map(|rule| {
            let host = rule.host.as_deref().unwrap_or("any");
            let to: Vec<_> = rule
                .backends
                .iter()
                .map(|b| format!("{}/{}:{}={}", b.namespace, b.service, b.port, b.weight))
                .collect();
            format!("{host} {:?} {} {}", rule.kind, rule.path, to.join(" "))
        })
        .collect()
}

#[test]
fn hosts_paths_ports_and_the_default_backend() {
    let made = read(
        json!({}),
        json!({"ingressClassName": "hikeshi", "defaultBackend": to("b", json!({"name": "admin"})), "rules": [
            {"host": "shop.example.com", "http": {"paths": [
                {"path": "/update", "pathType": "Exact", "backend": to("a", json!({"number": 80}))},
                {"pathType": "Prefix", "backend": to("b", json!({"name": "http"}))}]}},
            {"host": "*.example.com", "http": {"paths": [
                {"path": "/x", "pathType": "Prefix", "backend": to("a", json!({"number": 8080}))}]}}]}),
    );
    assert_eq!(
        shown(&made),
        [
            "shop.example.com Exact /update shop/a:80=1",
            "shop.example.com Prefix / shop/b:80=1",
            "*.example.com Prefix /x shop/a:8080=1",
            "any Prefix / shop/b:8080=1",
        ]
    );
    assert!(made.served && made.refusals.is_empty());
}

#[test]
fn weights_come_from_the_load_balancers_annotation() {
    let action = json!({"type": "forward", "forwardConfig": {"targetGroups": [
        {"serviceName": "a", "servicePort": "80", "weight": 1}, {"serviceName": "b", "servicePort": 80, "weight": 999},
        {"serviceName": "b", "servicePort": "admin", "weight": 0}]}});
    let made = read(
        json!({"alb.ingress.kubernetes.io/actions.split": action.to_string(),
            "alb.ingress.kubernetes.io/scheme": "internal"}),
        json!({"ingressClassName": "alb", "rules": [{"http": {"paths": [
            {"path": "/update*", "pathType": "ImplementationSpecific", "backend": to("split", json!({"name": "use-annotation"}))},
            {"path": "/update", "pathType": "ImplementationSpecific", "backend": to("split", json!({"name": "use-annotation"}))},
            {"path": "/*", "pathType": "ImplementationSpecific", "backend": to("b", json!({"number": 80}))}]}}]}),
    );
    assert_eq!(
        shown(&made),
        [
            "any Pattern /update* shop/a:80=1 shop/b:80=999 shop/b:8080=0",
            "any Exact /update shop/a:80=1 shop/b:80=999 shop/b:8080=0",
            "any Prefix / shop/b:80=1",
        ]
    );
    assert!(made.refusals.is_empty(), "{:?}", made.refusals);
}

#[test]
fn conditions_narrow_a_rule_to_some_requests() {
    let spec = || {
        json!({"ingressClassName": "alb", "rules": [{"http": {"paths": [
            {"path": "/api/posts/*/update", "pathType": "ImplementationSpecific", "backend": to("a", json!({"number": 80}))},
            {"path": "/*", "pathType": "ImplementationSpecific", "backend": to("b", json!({"number": 80}))}]}}]})
    };
    let said = |conditions: Value| json!({"alb.ingress.kubernetes.io/conditions.a": conditions.to_string()});
    let made = read(
        said(json!([
            {"field": "http-request-method", "httpRequestMethodConfig": {"values": ["POST"]}},
            {"field": "http-header", "httpHeaderConfig": {"httpHeaderName": "Cookie", "values": ["*lab=x*"]}}])),
        spec(),
    );
    assert_eq!(
        made.rules[0].conditions,
        [
            Condition::Method(vec!["POST".into()]),
            Condition::Header {
                name: "Cookie".into(),
                values: vec!["*lab=x*".into()]
            }
        ]
    );
    assert!(made.rules[1].conditions.is_empty() && made.refusals.is_empty());
    let made = read(
        said(json!([{"field": "source-ip", "sourceIpConfig": {"values": ["10.0.0.0/8"]}}])),
        spec(),
    );
    assert_eq!(
        shown(&made),
        ["any Prefix / shop/b:80=1"],
        "the rule without its condition is not served"
    );
    assert!(
        made.refusals[0].contains("conditions.a]") && made.refusals[0].contains("http-header"),
        "{:?}",
        made.refusals
    );
}

#[test]
fn each_class_reads_its_own_paths() {
    for (class, path, wanted) in [
        ("alb", "/a", "Exact /a"),
        ("alb", "/a/*", "Prefix /a"),
        ("nginx", "/a", "Prefix /a"),
        ("hikeshi", "/a/*", "Prefix /a"),
    ] {
        let made = read(json!({}), one_path(class, "ImplementationSpecific", path));
        assert_eq!(
            shown(&made),
            [format!("any {wanted} shop/a:80=1")],
            "{class} {path}"
        );
    }
    let old = read(
        json!({"kubernetes.io/ingress.class": "alb"}),
        json!({"rules": [{"http": {"paths": [{"path": "/a", "pathType": "ImplementationSpecific",
            "backend": to("a", json!({"number": 80}))}]}}]}),
    );
    assert_eq!(shown(&old), ["any Exact /a shop/a:80=1"]);
}

#[test]
fn what_cannot_be_honoured_is_named() {
    let action = |value: Value| json!({"alb.ingress.kubernetes.io/actions.split": value.to_string()});
    let split = json!({"rules": [{"http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": to("split", json!({"name": "use-annotation"}))}]}}]});
    let groups = |group: Value| json!({"type": "forward", "forwardConfig": {"targetGroups": [group]}});
    let plain = || one_path("alb", "Prefix", "/");
    let mut no_port = plain();
    no_port["rules"][0]["http"]["paths"][0]["backend"] = to("a", json!({"name": "grpc"}));
    let mut no_service = plain();
    no_service["rules"][0]["http"]["paths"][0]["backend"] = to("gone", json!({"number": 80}));
    let mut resource = plain();
    resource["rules"][0]["http"]["paths"][0]["backend"] =
        json!({"resource": {"kind": "Bucket", "name": "x"}});
    let mut host = plain();
    host["rules"][0]["host"] = json!("a*.example.com");
    let mut tls = plain();
    tls["tls"] = json!([{"hosts": ["x"]}]);
    for (annotations, spec, field) in [
        (
            json!({}),
            one_path("traefik", "Prefix", "/"),
            "spec.ingressClassName: \"traefik\"",
        ),
        (
            json!({}),
            no_port,
            "spec.rules[0].http.paths[0].backend.service: Service \"a\" has no port grpc",
        ),
        (
            json!({}),
            no_service,
            "spec.rules[0].http.paths[0].backend.service: there is no Service \"gone\"",
        ),
        (
            json!({}),
            resource,
            "spec.rules[0].http.paths[0].backend.resource:",
        ),
        (json!({}), host, "spec.rules[0].host: \"a*.example.com\""),
        (
            json!({}),
            one_path("alb", "Prefix", "x"),
            "spec.rules[0].http.paths[0].path: \"x\"",
        ),
        (
            json!({}),
            one_path("alb", "Regex", "/"),
            "spec.rules[0].http.paths[0].pathType: \"Regex\"",
        ),
        (json!({}), tls, "spec.tls:"),
        (
            json!({}),
            split.clone(),
            "spec.rules[0].http.paths[0].backend: there is no annotation",
        ),
        (
            action(json!({"type": "redirect"})),
            split.clone(),
            "metadata.annotations[alb.ingress.kubernetes.io/actions.split]: type \"redirect\"",
        ),
        (
            action(
                json!({"type": "forward", "forwardConfig": {"targetGroups": [], "targetGroupStickinessConfig": {}}}),
            ),
            split.clone(),
            "metadata.annotations[alb.ingress.kubernetes.io/actions.split]: unknown field `targetGroupStickinessConfig`",
        ),
        (
            action(groups(
                json!({"serviceName": "a", "servicePort": 80, "weight": 1001}),
            )),
            split.clone(),
            "metadata.annotations[alb.ingress.kubernetes.io/actions.split].forwardConfig.targetGroups[0].weight: 1001",
        ),
        (
            action(groups(json!({"serviceName": "gone", "servicePort": 80}))),
            split,
            "metadata.annotations[alb.ingress.kubernetes.io/actions.split].forwardConfig.targetGroups[0]: there is no Service",
        ),
        (
            json!({"nginx.ingress.kubernetes.io/rewrite-target": "/"}),
            plain(),
            "metadata.annotations[nginx.ingress.kubernetes.io/rewrite-target]:",
        ),
        (
            json!({"alb.ingress.kubernetes.io/conditions.a": "{}"}),
            plain(),
            "metadata.annotations[alb.ingress.kubernetes.io/conditions.a]:",
        ),
    ] {
        let made = read(annotations, spec);
        assert_eq!(made.refusals.len(), 1, "{field}: {made:?}");
        assert!(
            made.refusals[0].starts_with(field),
            "{field}: {:?}",
            made.refusals
        );
        assert!(
            made.rules
                .iter()
                .all(|rule| rule.backends.is_empty() || field == "spec.tls:"),
            "what is refused is not served otherwise: {made:?}"
        );
    }
}

#[test]
fn the_oldest_ingress_is_the_first() {
    let made = |name: &str, at: &str| -> Ingress {
        serde_json::from_value(json!({"metadata": {"name": name, "creationTimestamp": at}})).unwrap()
    };
    let all = [
        made("b", "2026-01-01T00:00:01Z"),
        made("a", "2026-01-01T00:00:01Z"),
        made("c", "2026-01-01T00:00:00Z"),
    ];
    let names: Vec<_> = in_order(all.iter()).iter().map(|one| one.name_any()).collect();
    assert_eq!(names, ["c", "a", "b"]);
}
