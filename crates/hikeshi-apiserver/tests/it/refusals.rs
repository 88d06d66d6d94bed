//! What is not served is answered with a Status, at once.

use http::Request;
use kube::client::Body;
use serde_json::{Value, json};

use crate::support::{Cluster, text};

#[test]
fn unknown_paths_methods_and_formats_get_a_status() {
    let cluster = Cluster::start();
    cluster.running_pod("x", &["web"]);
    let ns = "/api/v1/namespaces/chirpy";
    let cases = [
        ("GET", format!("{ns}/pods/x/nosuch"), "", 404),
        ("GET", format!("{ns}/things"), "", 404),
        ("GET", "/apis/nope.example.com/v1/things".into(), "", 404),
        ("GET", "/api/v2/pods".into(), "", 404),
        ("GET", "/somewhere/else".into(), "", 404),
        ("GET", format!("{ns}/services/x/proxy/y"), "", 404),
        ("POST", "/api/v1/pods".into(), "application/json", 405),
        ("PUT", format!("{ns}/pods"), "application/json", 405),
        ("PATCH", format!("{ns}/pods"), "application/merge-patch+json", 405),
        ("POST", format!("{ns}/pods/x"), "application/json", 405),
        ("OPTIONS", format!("{ns}/pods/x"), "", 405),
        ("DELETE", format!("{ns}/pods/x/log"), "", 405),
        ("PUT", format!("{ns}/pods/x/exec"), "", 405),
        ("PUT", format!("{ns}/pods/x/portforward"), "", 405),
        ("GET", format!("{ns}/pods/x/binding"), "", 405),
        ("GET", format!("{ns}/pods/x/eviction"), "", 405),
        ("GET", format!("{ns}/serviceaccounts/default/token"), "", 405),
        ("DELETE", "/apis/metrics.k8s.io/v1beta1/nodes".into(), "", 405),
        (
            "GET",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".into(),
            "",
            405,
        ),
        (
            "POST",
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/chirpy/x".into(),
            "application/json",
            405,
        ),
        (
            "GET",
            "/apis/custom.metrics.k8s.io/v1beta1/namespaces/chirpy/services/a/b".into(),
            "",
            404,
        ),
        ("PATCH", format!("{ns}/pods/x"), "text/plain", 415),
        ("PATCH", format!("{ns}/pods/x"), "application/json", 415),
        ("POST", format!("{ns}/pods"), "application/cbor", 415),
        (
            "POST",
            format!("{ns}/pods"),
            "application/x-www-form-urlencoded",
            415,
        ),
        ("GET", format!("{ns}/pods/x/exec?command=true"), "", 400),
        ("GET", format!("{ns}/pods/x/portforward?ports=80"), "", 400),
        ("POST", format!("{ns}/pods"), "application/json", 400),
    ];
    cluster.run(async {
        let client = cluster.client().await;
        for (method, path, content, code) in cases {
            let mut request = Request::builder().method(method).uri(&path);
            if !content.is_empty() {
                request = request.header("content-type", content);
            }
            let body = if content.is_empty() {
                Vec::new()
            } else {
                b"[1]".to_vec()
            };
            let answer = client
                .send(request.body(Body::from(body)).unwrap())
                .await
                .unwrap();
            let status = answer.status().as_u16();
            let bytes = answer.into_body().collect_bytes().await.unwrap();
            let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            assert_eq!(
                (status, &said["code"]),
                (code, &code.into()),
                "{method} {path}: {said}"
            );
            assert_eq!(said["kind"], "Status", "{method} {path}");
            assert!(
                said["message"].as_str().is_some_and(|m| !m.is_empty()),
                "{method} {path}"
            );
        }
    });
}

#[test]
fn what_is_stored_and_not_enforced_says_so() {
    let cluster = Cluster::start();
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "nobody"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}});
    let out = cluster
        .admin()
        .with_input(&["apply", "-f", "-"], &policy.to_string());
    let said = text(&out.stderr);
    assert!(
        out.status.success() && said.contains("nothing here enforces it"),
        "{said}"
    );
}
