//! People, trends, and an engine that comes back empty.

use serde_json::{Value, json};

use crate::ids;
use crate::stand::Stand;

#[tokio::test]
async fn people_and_trends_are_found_and_a_lost_index_is_made_again() {
    let mut chirpy = Stand::with(&[("TRENDS_CACHE_MS", "0")]).await;
    let (ai, _) = chirpy.account("ai").await;
    for text in [
        "東京に大雨です",
        "東京、大雨で電車が遅れています",
        "大雨ですね",
        "猫がいます",
    ] {
        let (status, post) = chirpy
            .call("POST", "/api/posts", Some(&ai), Some(json!({ "text": text })))
            .await;
        assert_eq!(status, 201, "{post}");
    }
    let terms = |trends: &Value| -> Vec<String> {
        let trends = trends.as_array().into_iter().flatten();
        trends
            .filter_map(|trend| Some(trend["term"].as_str()?.to_owned()))
            .collect()
    };
    let trends = || async { chirpy.call("GET", "/api/trends", None, None).await.1 };
    chirpy
        .until("大雨 is a trend", || async {
            let trends = trends().await;
            terms(&trends) == ["大雨"] && trends[0]["posts"] == 3
        })
        .await;

    let people = |query: &'static str| {
        let chirpy = &chirpy;
        async move {
            let path = format!("/api/search/people?q={query}");
            let (status, people) = chirpy.call("GET", &path, None, None).await;
            assert_eq!(status, 200, "{people}");
            people
        }
    };
    chirpy
        .until("the new account is found", || async {
            people("@ai").await[0]["name"] == "ai"
        })
        .await;
    assert_eq!(people("person000").await.as_array().map(Vec::len), Some(9));
    assert_eq!(people("nobody").await, json!([]));

    // 大雨 in full-width and half-width company, with what belongs to each post.
    let (_, found) = chirpy
        .call(
            "GET",
            "/api/search?q=%E5%A4%A7%E9%9B%A8%E3%80%80%E6%9D%B1%E4%BA%AC&include=counts",
            Some(&ai),
            None,
        )
        .await;
    assert_eq!((ids(&found).len(), &found[0]["likes"]), (2, &json!(0)), "{found}");

    // The node loses its memory; the indexer notices and reads everything again.
    chirpy.restart("search-node").await;
    chirpy
        .until("大雨 is found again", || async {
            let (_, found) = chirpy
                .call("GET", "/api/search?q=%E5%A4%A7%E9%9B%A8", None, None)
                .await;
            ids(&found).len() == 3
        })
        .await;
    chirpy
        .until("and so is the account", || async {
            let (_, people) = chirpy.call("GET", "/api/search/people?q=ai", None, None).await;
            people[0]["name"] == "ai"
        })
        .await;
}
