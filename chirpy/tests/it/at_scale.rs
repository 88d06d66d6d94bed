//! The switches that `cargo xtask bench chirpy` turns on: what is batched, merged and kept in memory must read the same.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::ids;
use crate::stand::Stand;

const SWITCHES: &[(&str, &str)] = &[
    ("RATE_LIMIT_PER_SECOND", "0"),
    ("GATEWAY_READS_TIMELINES", "true"),
    ("TIMELINE_BATCHES", "1"),
    ("POST_BATCHES", "1"),
    ("POST_COMMIT_LINGER_MS", "5"),
    ("FANOUT_MULTIPLEXED", "true"),
    ("FANOUT_MERGE_JOBS", "true"),
    ("FANOUT_MAX_LEASED", "500"),
    ("FANOUT_LARGE_FOLLOWERS", "15"),
    ("FANOUT_LARGE_REFRESH_S", "1"),
];

async fn page(chirpy: &Stand, token: &str, query: &str) -> Value {
    let (status, page) = chirpy
        .call("GET", &format!("/api/timeline{query}"), Some(token), None)
        .await;
    assert_eq!(status, 200, "{page}");
    page
}

#[tokio::test]
async fn concurrent_posts_and_reads_of_a_large_account_lose_nothing() {
    let chirpy = &Stand::with(SWITCHES).await;
    // Twenty of thirty people follow the hot account: too many for a copy each.
    let hot = chirpy.login("tenki").await;
    let readers = join_all(["person0001", "person0007", "person0020"].map(|name| chirpy.login(name))).await;

    let posts = (0..60).map(|n| {
        let author = if n % 2 == 0 { &hot } else { &readers[0] };
        chirpy.call(
            "POST",
            "/api/posts",
            Some(author),
            Some(json!({ "text": format!("post {n}") })),
        )
    });
    let answers = join_all(posts).await;
    let mut acknowledged = vec![];
    for (n, (status, post)) in answers.iter().enumerate() {
        assert_eq!(*status, 201, "{post}");
        assert_eq!(
            post["text"],
            format!("post {n}"),
            "everyone gets the answer to their own"
        );
        acknowledged.push(post["id"].as_i64().expect("an id"));
    }
    let by_hot: Vec<i64> = acknowledged.iter().copied().step_by(2).collect();
    let refused = chirpy
        .call("POST", "/api/posts", Some(&hot), Some(json!({ "text": " " })))
        .await;
    assert_eq!(refused.0, 400, "{}", refused.1);

    for token in readers.iter().chain([&hot]) {
        chirpy
            .until("the hot account's posts are in the timeline", || async {
                let shown = ids(&page(chirpy, token, "?limit=100").await);
                by_hot.iter().all(|id| shown.contains(id))
            })
            .await;
    }
    chirpy
        .until("one's own posts are in one's timeline", || async {
            let shown = ids(&page(chirpy, &readers[0], "?limit=100").await);
            acknowledged.iter().all(|id| shown.contains(id))
        })
        .await;

    // Many at once get what one alone gets; pages follow one another without a gap.
    let whole = ids(&page(chirpy, &readers[0], "?limit=100").await);
    assert!(
        whole.windows(2).all(|pair| pair[0] > pair[1]),
        "newest first: {whole:?}"
    );
    let pages = join_all((0..50).map(|_| page(chirpy, &readers[0], "?limit=7"))).await;
    assert!(pages.iter().all(|page| ids(page) == whole[..7]));
    let next = page(chirpy, &readers[0], &format!("?limit=7&before={}", whole[6])).await;
    assert_eq!(ids(&next), whole[7..14]);
    assert_eq!(chirpy.call("GET", "/api/timeline", None, None).await.0, 401);
    assert_eq!(
        chirpy
            .call("GET", "/api/timeline?limit=x", Some(&hot), None)
            .await
            .0,
        400
    );

    // A reader who comes back to the live timeline misses none of them either: they are in no timeline of their own.
    let mut live = crate::live::open(chirpy, &readers[1], Some(by_hot[0])).await;
    live.until(by_hot[by_hot.len() - 1]).await;

    // An edit and a deletion show at once, though posts are kept in memory.
    let (edited, deleted) = (by_hot[3], by_hot[4]);
    let path = format!("/api/posts/{edited}/update");
    assert_eq!(
        chirpy
            .call("POST", &path, Some(&hot), Some(json!({ "text": "mended" })))
            .await
            .0,
        200
    );
    let path = format!("/api/posts/{deleted}");
    assert_eq!(chirpy.call("DELETE", &path, Some(&hot), None).await.0, 200);
    let now = page(chirpy, &readers[1], "?limit=100").await;
    let texts: Vec<_> = now.as_array().into_iter().flatten().collect();
    assert!(
        texts
            .iter()
            .any(|post| post["id"] == edited && post["text"] == "mended"),
        "{now}"
    );
    assert!(!ids(&now).contains(&deleted), "{now}");

    // The check looks into the lists of large accounts too.
    let list = chirpy.folder().join("acknowledged");
    let lines: String = acknowledged
        .iter()
        .map(|id| format!("{{\"id\":{id}}}\n"))
        .collect();
    std::fs::write(&list, lines).expect("written");
    let path = list.to_str().expect("a path");
    let (good, verdict) = chirpy.chirpy(&["check", "--acknowledged", path, "--newest", "60"]);
    let verdict: Value = serde_json::from_str(&verdict).expect("JSON");
    assert!(good, "{verdict}");
    assert_eq!(verdict["in_database"], 60, "{verdict}");
    assert_eq!(verdict["timelines_missing"], 0, "{verdict}");
    assert!(verdict["timelines_checked"].as_u64() > Some(100), "{verdict}");
}
