//! Requests made to do harm: each is refused with words, and the server goes on.

use http::Request;
use kube::client::Body;
use serde_json::{Value, json};

use crate::support::{Cluster, deployment};

const NS: &str = "/api/v1/namespaces/chirpy";

async fn send(
    client: &kube::Client,
    method: &str,
    path: &str,
    content: &str,
    body: impl ToString,
) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content)
        .body(Body::from(body.to_string().into_bytes()))
        .unwrap();
    let answer = client.send(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect_bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

fn told(said: &(u16, Value), code: u16, words: &str) {
    let message = said.1["message"].as_str().unwrap_or_default();
    assert!(
        said.0 == code && message.contains(words),
        "{code} {words}: {said:?}"
    );
}

#[test]
fn bodies_of_another_shape_are_refused_with_words() {
    let cluster = Cluster::start();
    cluster.running_pod("web", &["web"]);
    cluster.admin().apply(&deployment("web", "web:1"));
    cluster.run(async {
        let client = cluster.client().await;
        let json = "application/json";
        let token = format!("{NS}/serviceaccounts/default/token");
        for body in [
            json!([]),
            json!("x"),
            json!({"metadata": "x"}),
            json!({"spec": "x"}),
        ] {
            let said = send(&client, "POST", &token, json, &body).await;
            told(&said, 400, "cannot be handled as a TokenRequest");
        }
        assert_eq!(
            send(&client, "POST", &token, json, json!({"spec": {}})).await.0,
            201
        );
        let apply = "application/apply-patch+yaml";
        let path = format!("{NS}/configmaps/x?fieldManager=me");
        for metadata in [json!("x"), json!([1])] {
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
            let said = send(&client, "PATCH", &path, apply, body).await;
            told(&said, 400, "metadata is not an object");
        }
        let chaos = "/apis/chaos-mesh.org/v1alpha1/namespaces/chirpy/podchaos";
        for metadata in [json!("x"), json!([])] {
            let said = send(&client, "POST", chaos, json, json!({"metadata": metadata})).await;
            told(&said, 400, "metadata is not an object");
        }
        let ill = json!({"metadata": {"name": "x", "labels": {"a": 1}}});
        let news = "/apis/events.k8s.io/v1/namespaces/chirpy/events";
        for path in [chaos, news, &format!("{NS}/events")] {
            let said = send(&client, "POST", path, json, &ill).await;
            told(&said, 400, "cannot unmarshal metadata.labels");
        }
        for path in [
            format!("{NS}/pods/web/eviction"),
            format!("{NS}/pods/web/binding"),
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".into(),
        ] {
            for body in [
                "[]",
                "\"x\"",
                "{\"metadata\": \"x\", \"deleteOptions\": 1, \"target\": []}",
            ] {
                let said = send(&client, "POST", &path, json, body).await;
                assert!(said.0 < 500, "{path} {body}: {said:?}");
            }
        }
    });
}

#[test]
fn numbers_beyond_reason_are_refused_or_cut() {
    let cluster = Cluster::start();
    cluster.admin().apply(&deployment("web", "web:1"));
    cluster.run(async {
        let client = cluster.client().await;
        let scale = "/apis/apps/v1/namespaces/chirpy/deployments/web/scale";
        let merge = "application/merge-patch+json";
        for replicas in [json!(3_000_000_000_u64), json!("3"), json!(1.5)] {
            let body = json!({"spec": {"replicas": replicas}});
            let said = send(&client, "PATCH", scale, merge, body).await;
            told(&said, 400, "Scale in version \"v1\" cannot be handled as a Scale");
        }
        let said = send(&client, "PATCH", scale, merge, json!({"spec": {"replicas": 3}})).await;
        assert_eq!((said.0, &said.1["spec"]["replicas"]), (200, &json!(3)));
        let mut copies = vec![json!({"op": "add", "path": "/metadata/annotations/x", "value": "x"})];
        let to = |n: usize| format!("/spec/template/metadata/annotations/{n}");
        copies.extend((0..60).map(|n| json!({"op": "copy", "from": "/metadata", "path": to(n)})));
        copies.extend((60..120).map(|n| json!({"op": "copy", "from": "/spec", "path": to(n)})));
        copies[1] = json!({"op": "add", "path": "/spec/template/metadata/annotations", "value": {}});
        let deployment = "/apis/apps/v1/namespaces/chirpy/deployments/web";
        let patch = "application/json-patch+json";
        let said = send(&client, "PATCH", deployment, patch, Value::Array(copies)).await;
        told(&said, 422, "accumulated size increase of copy");
        // Answered at all, then ended by the watch's own time: the client hangs up first.
        let watch = format!("{NS}/configmaps?watch=1&timeoutSeconds={}", u64::MAX);
        let request = Request::get(watch).body(Body::empty()).unwrap();
        assert_eq!(client.send(request).await.unwrap().status().as_u16(), 200);
        let web = json!({"metadata": {"name": "web"}, "spec": {"nodeName": "n",
            "containers": [{"name": "a", "image": "a:1"}]}});
        send(&client, "POST", &format!("{NS}/pods"), "application/json", &web).await;
        let path = format!("{NS}/pods/web?gracePeriodSeconds=-5");
        let said = send(&client, "DELETE", &path, "application/json", "").await;
        assert_eq!(said.1["metadata"]["deletionGracePeriodSeconds"], 1, "{said:?}");
    });
}

#[test]
fn nobody_takes_anothers_address() {
    let cluster = Cluster::start();
    cluster.running_pod("web", &["web"]);
    let seat = cluster.user("mika", &["hikeshi:operator"]);
    let status = |patch: Value| {
        seat.run(&[
            "patch",
            "pod",
            "web",
            "--subresource=status",
            "--type=merge",
            "-p",
            &json!({ "status": patch }).to_string(),
        ])
    };
    let out = status(json!({"podIP": "127.64.0.77"}));
    let said = crate::support::text(&out.stderr);
    assert!(
        said.contains("status.podIP is for the pod's kubelet to write"),
        "{said}"
    );
    assert!(status(json!({"message": "looked at"})).status.success());
    let pod = cluster.admin().json(&["get", "pod", "web"]);
    assert_eq!(
        (&pod["status"]["podIP"], &pod["status"]["message"]),
        (&json!("127.64.0.9"), &json!("looked at"))
    );
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "mine"},
        "spec": {"clusterIP": "127.64.0.9", "ports": [{"port": 80}]}});
    let out = seat.with_input(&["create", "-f", "-"], &service.to_string());
    let said = crate::support::text(&out.stderr);
    assert!(
        said.contains("the provided IP (127.64.0.9) is not in the valid range"),
        "{said}"
    );
    // What has a name only takes its address along when it becomes one, and gets a new one when it no longer is.
    let mut service = service;
    service["spec"].as_object_mut().unwrap().remove("clusterIP");
    seat.apply(&service);
    let patch = |spec: Value| seat.ok(&["patch", "svc", "mine", "-p", &json!({ "spec": spec }).to_string()]);
    patch(json!({"type": "ExternalName", "externalName": "example.com"}));
    assert_eq!(seat.json(&["get", "svc", "mine"])["spec"].get("clusterIP"), None);
    patch(json!({"type": "ClusterIP", "externalName": null}));
    let ip = seat.json(&["get", "svc", "mine"])["spec"]["clusterIP"].clone();
    assert!(ip.as_str().unwrap().starts_with("127.96."), "{ip}");
}
