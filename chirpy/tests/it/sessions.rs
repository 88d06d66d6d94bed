//! Tokens: the OAuth 2.0 endpoint, refresh tokens that are good once, keys that rotate.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::stand::{Stand, json_of};

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
        let session = json_of(request).await;
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

/// The status of a request whose path is sent as it is written here, as no tidy client would.
async fn status(chirpy: &Stand, method: &str, path: &str, body: &Value) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = chirpy.gateway.strip_prefix("http://").expect("a URL");
    let body = body.to_string();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: chirpy\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("the gateway");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer.split(' ').nth(1).expect("a status").to_owned()
}

/// Sends packed commands to whichever node has the key, and reads what it says to the last of them.
pub async fn told(nodes: &[String], packed: &[u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    for node in nodes {
        let mut stream = tokio::net::TcpStream::connect(node).await.expect("a node");
        stream.write_all(packed).await.expect("written");
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        if !answer.contains("-MOVED") {
            return answer;
        }
    }
    panic!("no node has the key");
}

#[tokio::test]
async fn a_rotation_that_is_sent_twice_is_one_and_the_old_token_still_ends_the_session() {
    let chirpy = Stand::up().await;
    let nodes = chirpy.redis_nodes();
    let key = "session:{twice}";
    let open = redis::cmd("HSET")
        .arg(key)
        .arg(&["token", "first", "user", "ai"])
        .get_packed_command();
    assert_eq!(told(&nodes, &open).await, ":2\r\n");
    let rotate = |given: &str, next: &str| {
        redis::cmd("EVAL")
            .arg(include_str!("../../src/sessions/rotate.lua"))
            .arg(1)
            .arg(key)
            .arg(&[given, next, "60"])
            .get_packed_command()
    };
    let good = "*2\r\n$2\r\nok\r\n$2\r\nai\r\n";
    assert_eq!(told(&nodes, &rotate("first", "second")).await, good);
    // Its answer was lost on the way, so the client of Redis sends it again.
    assert_eq!(told(&nodes, &rotate("first", "second")).await, good);
    assert_eq!(told(&nodes, &rotate("second", "third")).await, good);
    let stolen = told(&nodes, &rotate("second", "fourth")).await;
    assert!(stolen.contains("reused"), "{stolen}");
    let over = told(&nodes, &rotate("third", "fifth")).await;
    assert!(over.contains("ended"), "{over}");
}

#[tokio::test]
async fn a_gateway_that_has_no_keys_says_so_and_false_tokens_have_a_limit() {
    let mut chirpy = Stand::with(&[("RATE_LIMIT_PER_SECOND", "20"), ("JWKS_COOLDOWN_MS", "0")]).await;
    let (ai, _) = chirpy.account("ai").await;
    let me = |token: String| {
        let chirpy = &chirpy;
        async move { chirpy.call("GET", "/api/me", Some(&token), None).await.0 }
    };
    assert_eq!(me(ai.clone()).await, 200);
    // A path that becomes another further on would be admitted as what it is not, or lead out of the API.
    let account = json!({ "name": "ai", "password": "chirpchirp" });
    for path in [
        "/api/x/../login",
        "/api/x/%2E%2e/login",
        "/api/x\\..\\login",
        "/api/./login",
    ] {
        assert_eq!(status(&chirpy, "POST", path, &account).await, "400", "{path}");
    }
    assert_eq!(
        status(&chirpy, "GET", "/api/../metrics", &Value::Null).await,
        "400"
    );
    assert_eq!(status(&chirpy, "POST", "/api/login", &account).await, "200");
    // What is no token costs the allowance of everybody who is nobody: some are told so, then all are held back.
    let tries = (0..200).map(|n| me(format!("{ai}{n}")));
    let mut statuses = futures::future::join_all(tries).await;
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, [401, 429]);
    assert_eq!(
        me(ai.clone()).await,
        200,
        "whoever has a token has an allowance too"
    );

    chirpy.stop("auth-service");
    chirpy.restart("gateway").await;
    let (status, _) = chirpy.call("GET", "/api/me", Some(&ai), None).await;
    assert_eq!(status, 503, "nobody can tell whether the token is good");
    chirpy.restart("auth-service").await;
    let (status, _) = chirpy.call("GET", "/api/me", Some(&ai), None).await;
    assert_eq!(status, 200);
}
