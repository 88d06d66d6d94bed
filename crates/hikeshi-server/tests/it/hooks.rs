use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::world;

#[tokio::test]
async fn alerts_are_taken_with_the_token_and_only_with_it() {
    let mut world = world().await;
    let body = json!({
        "version": "4", "status": "firing", "receiver": "hikeshi", "groupLabels": {}, "externalURL": "x",
        "alerts": [
            {"status": "firing", "labels": {"alertname": "Burn", "severity": "critical", "cuj": "read"},
             "annotations": {"summary": "burning"}, "startsAt": "2026-01-01T00:00:00.123Z",
             "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "x", "fingerprint": "f1"},
            {"status": "resolved", "labels": {"alertname": "Other"}, "annotations": {"description": "words"},
             "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-01T00:05:00Z", "fingerprint": "f2"}
        ]
    });
    let post = |token: Option<&str>, body: String| {
        let mut request = world
            .stranger()
            .request(Method::POST, "/hooks/alertmanager")
            .body(body);
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        async move { request.send().await.unwrap().status() }
    };
    for token in [None, Some("Bearer wrong"), Some("Bearer "), Some("alert-token")] {
        assert_eq!(
            post(token, body.to_string()).await,
            StatusCode::UNAUTHORIZED,
            "{token:?}"
        );
    }
    assert_eq!(
        post(Some("Bearer alert-token"), "{}".into()).await,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        post(Some("Bearer alert-token"), body.to_string()).await,
        StatusCode::OK
    );
    let fired = world.alerts.try_recv().unwrap();
    assert_eq!(
        (fired.fingerprint.as_str(), fired.name.as_str(), fired.firing),
        ("f1", "Burn", true)
    );
    assert_eq!(
        (fired.severity.as_str(), fired.summary.as_str()),
        ("critical", "burning")
    );
    assert_eq!(fired.labels["cuj"], "read");
    assert_eq!(fired.at.unwrap().to_string(), "2026-01-01T00:00:00.123Z");
    let over = world.alerts.try_recv().unwrap();
    assert_eq!(
        (over.name.as_str(), over.summary.as_str(), over.firing),
        ("Other", "words", false)
    );
    assert_eq!(over.at.unwrap().to_string(), "2026-01-01T00:05:00Z");
    assert!(world.alerts.try_recv().is_err());
    world.alerts.close();
    let status = world.stranger().request(Method::POST, "/hooks/alertmanager");
    let status = status
        .header("authorization", "Bearer alert-token")
        .json(&body)
        .send()
        .await
        .unwrap()
        .status();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}
