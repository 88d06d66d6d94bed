//! Tokens: the OAuth 2.0 endpoint, refresh tokens that are good once, keys that rotate.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::stand::Stand;

async fn token(chirpy: &Stand, form: &[(&str, &str)]) -> (u16, Value) {
    let request = chirpy
        .http
        .post(format!("{}/api/oauth/token", chirpy.gateway))
        .form(form);
    let answer = request.send().await.expect("the gateway answers");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_its_theft_ends_the_session() {
    let chirpy = Stand::up().await;
    chirpy.account("ai").await;
    let password = [
        ("grant_type", "password"),
        ("username", "ai"),
        ("password", "chirpchirp"),
    ];
    let (status, first) = token(&chirpy, &password).await;
    assert_eq!((status, &first["token_type"]), (200, &json!("Bearer")), "{first}");
    let access = first["access_token"].as_str().expect("a token");
    assert_eq!(
        chirpy.call("GET", "/api/me", Some(access), None).await.1["name"],
        "ai"
    );

    let refresh = |session: &Value| session["refresh_token"].as_str().expect("a token").to_owned();
    let again = |with: String| {
        let chirpy = &chirpy;
        async move {
            token(
                chirpy,
                &[("grant_type", "refresh_token"), ("refresh_token", &with)],
            )
            .await
        }
    };
    let (status, second) = again(refresh(&first)).await;
    assert_eq!(status, 200, "{second}");
    // The first token comes again: whoever holds the second one is out as well.
    let (status, reused) = again(refresh(&first)).await;
    assert_eq!(
        (status, &reused["error"]),
        (400, &json!("invalid_grant")),
        "{reused}"
    );
    let (status, ended) = again(refresh(&second)).await;
    assert_eq!(
        (status, &ended["error"]),
        (400, &json!("invalid_grant")),
        "{ended}"
    );

    // Another session of the same person goes on, until its logout.
    let (_, other) = token(&chirpy, &password).await;
    let (status, other) = again(refresh(&other)).await;
    assert_eq!(status, 200, "{other}");
    let body = json!({ "refresh_token": refresh(&other) });
    assert_eq!(chirpy.call("POST", "/api/logout", None, Some(body)).await.0, 204);
    assert_eq!(again(refresh(&other)).await.0, 400);

    for (form, error) in [
        (
            vec![
                ("grant_type", "password"),
                ("username", "ai"),
                ("password", "guessed"),
            ],
            "invalid_grant",
        ),
        (
            vec![
                ("grant_type", "password"),
                ("username", "nobody"),
                ("password", "guessed"),
            ],
            "invalid_grant",
        ),
        (vec![("grant_type", "implicit")], "unsupported_grant_type"),
        (vec![("username", "ai")], "invalid_request"),
    ] {
        let (status, refused) = token(&chirpy, &form).await;
        assert_eq!((status, &refused["error"]), (400, &json!(error)), "{refused}");
        assert!(refused["error_description"].is_string(), "{refused}");
    }
}

fn kids(set: &Value) -> HashSet<String> {
    let keys = set["keys"].as_array().into_iter().flatten();
    keys.filter_map(|key| Some(key["kid"].as_str()?.to_owned()))
        .collect()
}

#[tokio::test]
async fn keys_rotate_without_anyone_noticing() {
    // Keys change every second; the gateway asks again only when it meets one it does not know.
    let mut chirpy = Stand::with(&[
        ("SIGNING_KEY_ROTATE_S", "1"),
        ("SIGNING_KEY_PUBLISH_AHEAD_S", "0.2"),
        ("SIGNING_KEY_REFRESH_S", "0.1"),
        ("JWKS_REFRESH_S", "3600"),
        ("JWKS_COOLDOWN_MS", "0"),
    ])
    .await;
    let second = chirpy.replica("auth-service").await;
    let published = |base: String| {
        let http = chirpy.http.clone();
        async move {
            let answer = http.get(format!("{base}/.well-known/jwks.json")).send().await;
            let set: Value = answer.expect("an answer").json().await.expect("JSON");
            kids(&set)
        }
    };
    let first = chirpy.url("auth-service");
    let begun = published(first.clone()).await;
    assert!(!begun.is_empty());
    let (oldest, _) = chirpy.account("ai").await;
    let mut tokens = vec![oldest];
    let account = json!({ "name": "ai", "password": "chirpchirp" });
    chirpy
        .until("three more keys are published", || async {
            published(first.clone()).await.difference(&begun).count() >= 3
        })
        .await;
    // Both replicas publish the same keys and sign with one of them.
    chirpy
        .until("the replicas agree", || async {
            published(first.clone()).await == published(second.clone()).await
        })
        .await;
    for base in [&first, &second] {
        let request = chirpy.http.post(format!("{base}/login")).json(&account);
        let session: Value = request
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON");
        tokens.push(session["token"].as_str().expect("a token").to_owned());
    }
    for token in &tokens {
        let (status, me) = chirpy.call("GET", "/api/me", Some(token), None).await;
        assert_eq!((status, &me["name"]), (200, &json!("ai")), "{me}");
    }
    let gateway = published(chirpy.gateway.clone()).await;
    assert!(
        gateway.len() >= 2,
        "the gateway publishes what it knows: {gateway:?}"
    );
}
