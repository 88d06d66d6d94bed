//! What a follow and its end do to timelines that fan-out writes to meanwhile.

use futures::future::join_all;
use serde_json::json;

use crate::ids;
use crate::stand::Stand;

#[tokio::test]
async fn what_fan_out_brings_after_the_end_of_a_follow_is_taken_away() {
    // Fan-out goes by a list of followers that may be three seconds old.
    let chirpy = Stand::with(&[("FANOUT_FOLLOWERS_CACHE_S", "3")]).await;
    let ((ai, _), (ken, _)) = (chirpy.account("ai").await, chirpy.account("ken").await);
    let follow = |method: &'static str| chirpy.call(method, "/api/follow/ai", Some(&ken), None);
    assert!(follow("POST").await.0 < 300);
    let timeline = |token: String| {
        let chirpy = &chirpy;
        async move { ids(&chirpy.call("GET", "/api/timeline", Some(&token), None).await.1) }
    };
    let post = |text: &'static str| {
        let (chirpy, ai) = (&chirpy, &ai);
        async move {
            let (status, post) = chirpy
                .call("POST", "/api/posts", Some(ai), Some(json!({ "text": text })))
                .await;
            assert_eq!(status, 201, "{post}");
            post["id"].as_i64().expect("an id")
        }
    };
    let first = post("while ken follows").await;
    chirpy
        .until("ken has it", || async {
            timeline(ken.clone()).await.contains(&first)
        })
        .await;
    assert!(follow("DELETE").await.0 < 300);
    let second = post("after ken has left").await;
    chirpy
        .until("the author has it", || async {
            timeline(ai.clone()).await.contains(&second)
        })
        .await;
    chirpy
        .until("ken has nothing of hers", || async {
            timeline(ken.clone()).await.is_empty()
        })
        .await;
}

#[tokio::test]
async fn the_end_of_a_follow_takes_away_all_that_the_timeline_has_of_the_author() {
    let chirpy = &Stand::with(&[("RATE_LIMIT_PER_SECOND", "0")]).await;
    let ((ai, _), (mio, _)) = (chirpy.account("ai").await, chirpy.account("mio").await);
    let (ken, _) = chirpy.account("ken").await;
    for name in ["ai", "mio"] {
        let path = format!("/api/follow/{name}");
        assert!(chirpy.call("POST", &path, Some(&ken), None).await.0 < 300);
    }
    let timeline = async || {
        let path = "/api/timeline?limit=200";
        ids(&chirpy.call("GET", path, Some(&ken), None).await.1)
    };
    let post = |token| {
        chirpy.call(
            "POST",
            "/api/posts",
            Some(token),
            Some(json!({ "text": "もしもし" })),
        )
    };
    // More than come with a new follow.
    let answers = join_all((0..60).map(|_| post(&ai))).await;
    assert!(answers.iter().all(|(status, _)| *status == 201));
    let (_, kept) = post(&mio).await;
    chirpy
        .until("ken has them all", || async { timeline().await.len() == 61 })
        .await;
    assert!(chirpy.call("DELETE", "/api/follow/ai", Some(&ken), None).await.0 < 300);
    assert_eq!(timeline().await, ids(&json!([kept])));
}
