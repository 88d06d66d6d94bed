//! The node by its REST API, without a socket.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Indices, Node, routes};

struct Served(axum::Router);

impl Served {
    fn new() -> Self {
        Self(routes(Node {
            indices: std::sync::Arc::<Indices>::default(),
            name: "test".into(),
        }))
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::from(body.to_owned()))
            .expect("a request");
        let answer = self.0.clone().oneshot(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// An index with some posts.
    async fn with_posts() -> Self {
        let served = Self::new();
        let body = json!({
            "settings": { "analysis": {
                "tokenizer": { "bigrams": { "type": "ngram", "min_gram": 1, "max_gram": 2 } },
                "analyzer": { "bigrams": { "type": "custom", "tokenizer": "bigrams", "filter": ["lowercase"] } },
            } },
            "mappings": { "properties": {
                "id": { "type": "long" },
                "text": { "type": "text", "analyzer": "bigrams" },
                "terms": { "type": "keyword" },
                "post": { "type": "object", "enabled": false },
            } },
        });
        let (status, answer) = served.call("PUT", "/posts", &body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        let mut lines = String::new();
        for (id, text, terms) in [
            (1, "明日の東京は晴れ", vec!["東京"]),
            (2, "京都の東", vec!["京都"]),
            (3, "Tokyo Tower", vec!["tokyo", "tower"]),
            (4, "東京タワー", vec!["東京", "タワー"]),
        ] {
            let document = json!({ "id": id, "text": text, "terms": terms, "post": { "n": id } });
            let action = json!({ "index": { "_index": "posts", "_id": id.to_string() } });
            lines.push_str(&format!("{action}\n{document}\n"));
        }
        let (status, answer) = served.call("POST", "/_bulk?refresh=true", &lines).await;
        assert_eq!((status, &answer["errors"]), (200, &json!(false)), "{answer}");
        assert_eq!(answer["items"][0]["index"]["result"], "created");
        served
    }

    async fn found(&self, query: Value) -> Vec<i64> {
        let body = json!({ "query": query, "sort": [{ "id": "asc" }] });
        let (status, answer) = self.call("POST", "/posts/_search", &body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        let hits = answer["hits"]["hits"].as_array().into_iter().flatten();
        let ids: Vec<i64> = hits
            .filter_map(|hit| hit["_source"]["post"]["n"].as_i64())
            .collect();
        assert_eq!(answer["hits"]["total"]["value"], ids.len());
        ids
    }
}

#[tokio::test]
async fn words_are_found_inside_sentences() {
    let served = Served::with_posts().await;
    let all = |text: &str| json!({ "match": { "text": { "query": text, "operator": "and" } } });
    assert_eq!(served.found(all("東京")).await, [1, 4]);
    assert_eq!(served.found(all("京")).await, [1, 2, 4]);
    assert_eq!(served.found(all("TOWER")).await, [3]);
    assert_eq!(served.found(all("大阪")).await, Vec::<i64>::new());
    assert_eq!(
        served.found(json!({ "match": { "text": "大京" } })).await,
        [1, 2, 4]
    );
    assert_eq!(served.found(json!({ "term": { "terms": "東京" } })).await, [1, 4]);
    assert_eq!(
        served.found(json!({ "terms": { "id": [2, 3, 9] } })).await,
        [2, 3]
    );
    assert_eq!(
        served
            .found(json!({ "range": { "id": { "gt": 1, "lte": 3 } } }))
            .await,
        [2, 3]
    );
    let both = json!({ "bool": { "filter": [all("東京")], "must_not": { "term": { "id": 4 } } } });
    assert_eq!(served.found(both).await, [1]);
    assert_eq!(served.found(json!({ "match_all": {} })).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn terms_are_counted() {
    let served = Served::with_posts().await;
    let body = json!({ "size": 0, "aggs": { "t": { "terms": { "field": "terms", "size": 2 } } } });
    let (_, answer) = served.call("POST", "/posts/_search", &body.to_string()).await;
    let buckets = &answer["aggregations"]["t"]["buckets"];
    assert_eq!(
        (&buckets[0]["key"], &buckets[0]["doc_count"]),
        (&json!("東京"), &json!(2)),
        "{answer}"
    );
    assert_eq!(answer["hits"]["hits"], json!([]));
}

#[tokio::test]
async fn a_search_gives_the_parts_of_a_source_that_are_asked_for() {
    let served = Served::with_posts().await;
    let query = json!({ "terms": { "_id": ["3", "9"] } });
    for (asked, given) in [
        (json!(["id", "text"]), json!({ "id": 3, "text": "Tokyo Tower" })),
        (json!("id"), json!({ "id": 3 })),
        (json!(false), Value::Null),
    ] {
        let body = json!({ "query": query, "_source": asked }).to_string();
        let (_, answer) = served.call("POST", "/posts/_search", &body).await;
        assert_eq!(answer["hits"]["total"]["value"], 1, "{answer}");
        assert_eq!(answer["hits"]["hits"][0]["_source"], given, "{asked}");
    }
    let body = json!({ "_source": ["po*"] }).to_string();
    assert_eq!(served.call("POST", "/posts/_search", &body).await.0, 400);
}

#[tokio::test]
async fn documents_are_replaced_and_removed() {
    let served = Served::with_posts().await;
    let lines = concat!(
        r#"{"index":{"_index":"posts","_id":"1"}}"#,
        "\n",
        r#"{"id":1,"text":"雨","post":{"n":1}}"#,
        "\n",
        r#"{"delete":{"_index":"posts","_id":"4"}}"#,
        "\n",
        r#"{"delete":{"_index":"posts","_id":"40"}}"#,
        "\n",
        r#"{"index":{"_index":"nowhere","_id":"1"}}"#,
        "\n",
        "{}\n",
        r#"{"index":{"_index":"posts","_id":"5"}}"#,
        "\n",
        r#"{"id":"five"}"#,
        "\n",
    );
    let (status, answer) = served.call("POST", "/_bulk?refresh=wait_for", lines).await;
    assert_eq!((status, &answer["errors"]), (200, &json!(true)));
    let statuses: Vec<&Value> = answer["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_object()?.values().next().map(|item| &item["status"]))
        .collect();
    assert_eq!(statuses, [200, 200, 404, 404, 400]);
    assert_eq!(
        answer["items"][3]["index"]["error"]["type"],
        "index_not_found_exception"
    );
    assert_eq!(served.found(json!({ "match": { "text": "東" } })).await, [2]);
    let (status, document) = served.call("GET", "/posts/_doc/1", "").await;
    assert_eq!((status, &document["_source"]["text"]), (200, &json!("雨")));
    assert_eq!(served.call("GET", "/posts/_doc/4", "").await.0, 404);
    let (_, count) = served.call("GET", "/posts/_count", "").await;
    assert_eq!(count["count"], 3);
}

#[tokio::test]
async fn what_comes_late_does_not_undo_what_is_newer() {
    let served = Served::with_posts().await;
    let external = |version: u64| json!({ "_index": "posts", "_id": "9", "version": version, "version_type": "external" });
    let index = |version: u64, text: &str| {
        let document = json!({ "id": 9, "text": text, "post": { "n": 9 } });
        format!("{}\n{document}\n", json!({ "index": external(version) }))
    };
    let delete = |version: u64| format!("{}\n", json!({ "delete": external(version) }));
    let text = async || {
        let (_, document) = served.call("GET", "/posts/_doc/9", "").await;
        document["_source"]["text"].clone()
    };
    for (lines, status, kind, left) in [
        (index(20, "雪"), 201, Value::Null, json!("雪")),
        (index(30, "晴"), 200, Value::Null, json!("晴")),
        // The first again, whose answer was lost, and one from before.
        (
            index(30, "晴"),
            409,
            json!("version_conflict_engine_exception"),
            json!("晴"),
        ),
        (
            index(20, "雪"),
            409,
            json!("version_conflict_engine_exception"),
            json!("晴"),
        ),
        (
            delete(25),
            409,
            json!("version_conflict_engine_exception"),
            json!("晴"),
        ),
        (delete(40), 200, Value::Null, Value::Null),
        (
            index(30, "晴"),
            409,
            json!("version_conflict_engine_exception"),
            Value::Null,
        ),
        (
            delete(40),
            409,
            json!("version_conflict_engine_exception"),
            Value::Null,
        ),
        (index(50, "曇"), 201, Value::Null, json!("曇")),
    ] {
        let (_, answer) = served.call("POST", "/_bulk", &lines).await;
        let item = answer["items"][0]
            .as_object()
            .and_then(|item| item.values().next());
        let item = item.expect("an item");
        assert_eq!(
            (&item["status"], &item["error"]["type"]),
            (&json!(status), &kind),
            "{lines}"
        );
        assert_eq!(answer["errors"], json!(kind != Value::Null));
        assert_eq!(text().await, left, "{lines}");
    }
    // Who asks for no version writes over whatever is there.
    let plain = json!({ "index": { "_index": "posts", "_id": "9" } });
    let (_, answer) = served
        .call(
            "POST",
            "/_bulk",
            &format!("{plain}\n{}\n", json!({ "text": "風" })),
        )
        .await;
    assert_eq!(answer["items"][0]["index"]["_version"], 51, "{answer}");
    for about in [
        json!({ "_index": "posts", "_id": "9", "version": 7 }),
        json!({ "_index": "posts", "_id": "9", "version": 7, "version_type": "external_gte" }),
        json!({ "_index": "posts", "_id": "9", "version": -7, "version_type": "external" }),
    ] {
        let lines = format!("{}\n", json!({ "delete": about }));
        let (_, answer) = served.call("POST", "/_bulk", &lines).await;
        assert_eq!(answer["items"][0]["delete"]["status"], 400, "{answer}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_refused_by_name() {
    let served = Served::with_posts().await;
    for (method, path, body, status, kind) in [
        ("PUT", "/posts", "{}", 400, "resource_already_exists_exception"),
        ("PUT", "/Posts", "{}", 400, "invalid_index_name_exception"),
        (
            "PUT",
            "/a",
            r#"{"mappings":{"properties":{"a":{"type":"geo_point"}}}}"#,
            400,
            "illegal_argument_exception",
        ),
        (
            "PUT",
            "/a",
            r#"{"mappings":{"properties":{"a":{"type":"text","analyzer":"kuromoji"}}}}"#,
            400,
            "illegal_argument_exception",
        ),
        ("POST", "/nowhere/_search", "{}", 404, "index_not_found_exception"),
        (
            "POST",
            "/posts/_search",
            r#"{"query":{"fuzzy":{}}}"#,
            400,
            "parsing_exception",
        ),
        (
            "POST",
            "/posts/_search",
            r#"{"suggest":{}}"#,
            400,
            "parsing_exception",
        ),
        (
            "POST",
            "/posts/_search",
            r#"{"size":100000}"#,
            400,
            "illegal_argument_exception",
        ),
        ("POST", "/posts/_search", "{", 400, "parsing_exception"),
        (
            "POST",
            "/_bulk",
            "{\"index\":{}}\n",
            400,
            "illegal_argument_exception",
        ),
    ] {
        let (answered, answer) = served.call(method, path, body).await;
        assert_eq!(
            (answered, &answer["error"]["type"]),
            (status, &json!(kind)),
            "{method} {path} {body}: {answer}"
        );
    }
    let (_, health) = served.call("GET", "/_cluster/health", "").await;
    assert_eq!(
        (&health["status"], &health["active_shards"]),
        (&json!("green"), &json!(1))
    );
    assert_eq!(served.call("DELETE", "/posts", "").await.0, 200);
    assert_eq!(served.call("HEAD", "/posts", "").await.0, 404);
}
