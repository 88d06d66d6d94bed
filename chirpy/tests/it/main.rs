//! Chirpy against a real PostgreSQL and a real Redis Cluster.

#![expect(clippy::expect_used, reason = "a test says what it expected")]

mod at_scale;
mod beside;
mod check;
mod failover;
mod follows;
mod habits;
mod live;
mod opensearch;
mod postgres;
mod posts;
mod search;
mod sessions;
mod shards;
mod stand;

use serde_json::{Value, json};
use stand::Stand;

fn ids(posts: &Value) -> Vec<i64> {
    posts
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|post| post["id"].as_i64())
        .collect()
}

/// `cargo test -p chirpy --test it look -- --ignored --nocapture`: a Chirpy to look at in a browser, until Ctrl-C.
#[tokio::test]
#[ignore = "runs until it is interrupted"]
#[expect(clippy::print_stderr, reason = "whoever started it wants the address")]
async fn look() {
    let chirpy = Stand::up().await;
    eprintln!("Chirpy is at {}", chirpy.gateway);
    tokio::signal::ctrl_c().await.expect("a signal");
}

#[tokio::test]
async fn a_user_registers_posts_follows_reads_and_searches() {
    let chirpy = Stand::up().await;

    let page = chirpy
        .http
        .get(&chirpy.gateway)
        .header("accept-language", "ja")
        .send()
        .await
        .expect("a page");
    assert!(page.text().await.expect("text").contains(r#"<html lang="ja">"#));

    // Registering, logging in, and what is refused.
    let account = json!({ "name": "ai", "password": "chirpchirp" });
    let (status, ai) = chirpy
        .call("POST", "/api/register", None, Some(account.clone()))
        .await;
    assert_eq!(status, 201, "{ai}");
    assert_eq!(
        chirpy
            .call("POST", "/api/register", None, Some(account.clone()))
            .await
            .0,
        409
    );
    let wrong = json!({ "name": "ai", "password": "wrong one" });
    assert_eq!(chirpy.call("POST", "/api/login", None, Some(wrong)).await.0, 401);
    assert_eq!(chirpy.call("GET", "/api/timeline", None, None).await.0, 401);
    assert_eq!(
        chirpy.call("GET", "/api/timeline", Some("forged"), None).await.0,
        401
    );
    let (status, again) = chirpy.call("POST", "/api/login", None, Some(account)).await;
    assert_eq!(status, 200, "{again}");
    let refresh = json!({ "refresh_token": again["refresh_token"] });
    let (status, ai) = chirpy
        .call("POST", "/api/refresh", None, Some(refresh.clone()))
        .await;
    assert_eq!(status, 200, "{ai}");
    assert_eq!(
        chirpy.call("POST", "/api/refresh", None, Some(refresh)).await.0,
        401,
        "a refresh token is good once"
    );
    let ai = ai["token"].as_str().expect("a token").to_owned();

    // Posting and editing.
    let text = json!({ "text": "明日の東京は晴れらしい" });
    let (status, post) = chirpy.call("POST", "/api/posts", Some(&ai), Some(text)).await;
    assert_eq!(status, 201, "{post}");
    let id = post["id"].as_i64().expect("an id");
    assert_eq!(
        chirpy
            .call("POST", "/api/posts", Some(&ai), Some(json!({ "text": " " })))
            .await
            .0,
        400
    );
    let edit = json!({ "text": "明日の東京は雨らしい" });
    let path = format!("/api/posts/{id}/update");
    let (status, edited) = chirpy.call("POST", &path, Some(&ai), Some(edit)).await;
    assert_eq!(
        (status, edited["text"].as_str()),
        (200, Some("明日の東京は雨らしい"))
    );

    // A seeded person follows: old posts come with the follow, new ones by fan-out.
    let reader = chirpy.login("person0001").await;
    assert_eq!(
        chirpy
            .call("POST", &path, Some(&reader), Some(json!({ "text": "mine" })))
            .await
            .0,
        404
    );
    assert_eq!(
        chirpy.call("POST", "/api/follow/ai", Some(&reader), None).await.0,
        204
    );
    assert_eq!(
        chirpy
            .call("POST", "/api/follow/nobody", Some(&reader), None)
            .await
            .0,
        404
    );
    let (_, timeline) = chirpy.call("GET", "/api/timeline", Some(&reader), None).await;
    assert!(ids(&timeline).contains(&id), "{timeline}");
    let (_, second) = chirpy
        .call("POST", "/api/posts", Some(&ai), Some(json!({ "text": "second" })))
        .await;
    let second = second["id"].as_i64().expect("an id");
    for token in [&reader, &ai] {
        chirpy
            .until("the new post is in the timeline", || async {
                let (_, timeline) = chirpy.call("GET", "/api/timeline", Some(token), None).await;
                ids(&timeline).first() == Some(&second)
            })
            .await;
    }
    let (_, followers) = chirpy
        .call("GET", "/api/users/ai/followers", Some(&reader), None)
        .await;
    assert_eq!(followers[0]["name"], "person0001");

    // Search follows posts, edits and deletions.
    let found = |query: &'static str| {
        let (chirpy, ai) = (&chirpy, &ai);
        async move {
            ids(&chirpy
                .call("GET", &format!("/api/search?q={query}"), Some(ai), None)
                .await
                .1)
        }
    };
    // 東京, 雨, 晴れ
    chirpy
        .until("東京 is found", || async {
            found("%E6%9D%B1%E4%BA%AC").await == [id]
        })
        .await;
    chirpy
        .until("雨 is found", || async { found("%E9%9B%A8").await == [id] })
        .await;
    assert_eq!(
        found("%E6%99%B4%E3%82%8C").await,
        Vec::<i64>::new(),
        "the text before the edit is gone"
    );
    assert_eq!(
        chirpy
            .call("DELETE", &format!("/api/posts/{second}"), Some(&ai), None)
            .await
            .0,
        200
    );
    chirpy
        .until("the deleted post is not found", || async {
            found("second").await.is_empty()
        })
        .await;
    let (_, timeline) = chirpy.call("GET", "/api/timeline", Some(&reader), None).await;
    assert_eq!(ids(&timeline), [id]);

    // Unfollowing takes the posts away.
    assert_eq!(
        chirpy
            .call("DELETE", "/api/follow/ai", Some(&reader), None)
            .await
            .0,
        204
    );
    let (_, timeline) = chirpy.call("GET", "/api/timeline", Some(&reader), None).await;
    assert_eq!(ids(&timeline), Vec::<i64>::new());

    // The check knows what is stored and what is not.
    let list = chirpy.folder().join("acknowledged");
    let list_path = list.to_str().expect("a path").to_owned();
    std::fs::write(&list, format!("{{\"id\":{id}}}\n{{\"id\":{second}}}\n")).expect("written");
    let (good, verdict) = chirpy.chirpy(&["check", "--acknowledged", &list_path]);
    let verdict: Value = serde_json::from_str(&verdict).expect("JSON");
    assert!(good, "{verdict}");
    assert_eq!(
        (&verdict["acknowledged"], &verdict["in_database"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        (&verdict["search_checked"], &verdict["search_wrong"]),
        (&json!(2), &json!(0)),
        "an edited post and a deleted one: {verdict}"
    );
    std::fs::write(&list, "{\"id\":999999}\n").expect("written");
    let (good, verdict) = chirpy.chirpy(&["check", "--acknowledged", &list_path]);
    assert!(!good && verdict.contains("[999999]"), "{verdict}");
}
