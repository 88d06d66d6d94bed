//! `chirpy check`: what is missing, and where.

use std::time::Instant;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::ids;
use crate::stand::{Stand, json_of};

impl Stand {
    /// Checks these posts, waiting for them for so many seconds: whether all is well, and the verdict.
    pub fn check(&self, posts: &[i64], within_s: &str) -> (bool, Value) {
        self.check_with(posts, within_s, &[])
    }

    fn check_with(&self, posts: &[i64], within_s: &str, variables: &[(&str, &str)]) -> (bool, Value) {
        let list = self.folder().join("acknowledged");
        let lines: Vec<String> = posts.iter().map(|id| json!({ "id": id }).to_string()).collect();
        std::fs::write(&list, lines.join("\n")).expect("written");
        let path = list.to_str().expect("a path");
        let words = ["check", "--acknowledged", path, "--within-s", within_s];
        let (good, verdict) = self.chirpy_with(&words, variables);
        (good, serde_json::from_str(&verdict).expect("JSON"))
    }
}

#[tokio::test]
async fn a_redis_primary_that_never_comes_back_costs_no_post() {
    let chirpy = Stand::up().await;
    let hot = &*chirpy.login("tenki").await;
    let say = async |text: &str| {
        let body = json!({ "text": text });
        let (status, post) = chirpy.call("POST", "/api/posts", Some(hot), Some(body)).await;
        assert_eq!(status, 201, "{post}");
        post["id"].as_i64().expect("an id")
    };
    let before = say("晴れ").await;
    let (good, verdict) = chirpy.check(&[before], "60");
    assert!(good, "{verdict}");
    chirpy.lose_a_redis_primary().await;
    // Its twenty followers are on every shard.
    let after = say("雨").await;
    let (good, verdict) = chirpy.check(&[before, after], "60");
    assert!(good, "{verdict}");
    assert!(verdict["timelines_checked"].as_u64() > Some(20), "{verdict}");
    // Sessions are kept there too.
    for _ in 0..6 {
        chirpy.login("person0001").await;
    }
    let (status, timeline) = chirpy.call("GET", "/api/timeline", Some(hot), None).await;
    assert_eq!((status, ids(&timeline)[0]), (200, after), "{timeline}");
}

#[tokio::test]
async fn the_check_says_what_is_missing_where() {
    let chirpy = Stand::up().await;
    let (ai, _) = chirpy.account("ai").await;
    let reader = &*chirpy.login("person0001").await;
    assert_eq!(
        chirpy.call("POST", "/api/follow/ai", Some(reader), None).await.0,
        204
    );
    let mut posts = vec![];
    for text in ["一つ目", "二つ目", "三つ目", "四つ目"] {
        let body = json!({ "text": text });
        let (status, post) = chirpy.call("POST", "/api/posts", Some(&ai), Some(body)).await;
        assert_eq!(status, 201, "{post}");
        posts.push(post["id"].as_i64().expect("an id"));
    }
    let edit = json!({ "text": "二つ目、直しました" });
    let path = format!("/api/posts/{}/update", posts[1]);
    assert_eq!(chirpy.call("POST", &path, Some(&ai), Some(edit)).await.0, 200);
    let path = format!("/api/posts/{}", posts[2]);
    assert_eq!(chirpy.call("DELETE", &path, Some(&ai), None).await.0, 200);

    // It waits for what is on its way, and no longer than for that.
    let started = Instant::now();
    let (good, verdict) = chirpy.check(&posts, "60");
    assert!(good, "{verdict}");
    assert!(started.elapsed().as_secs() < 50, "it waited for what was there");
    // One follower of three posts; the deleted one is in nobody's.
    assert_eq!(verdict["timelines_checked"], 3, "{verdict}");
    assert_eq!(verdict["search_checked"], 4, "{verdict}");

    // An index that says other things than the database, as a lost update or a wrong one would have left it.
    let node = chirpy.url("search-node");
    let found = |id: i64, text: &str| {
        let action = json!({ "index": { "_index": "chirpy-posts", "_id": id.to_string() } });
        format!("{action}\n{}\n", json!({ "id": id, "text": text }))
    };
    let lines = format!(
        "{}{}{}\n",
        found(posts[1], "二つ目"),
        found(posts[2], "三つ目"),
        json!({ "delete": { "_index": "chirpy-posts", "_id": posts[3].to_string() } })
    );
    let answer = chirpy.http.post(format!("{node}/_bulk?refresh=true")).body(lines);
    let answer = json_of(answer).await;
    assert_eq!(answer["errors"], false, "{answer}");
    // And a timeline that has lost an entry.
    let deleted = chirpy.forget("ai", posts[0]).await;
    assert_eq!(deleted, 1, "the follower had it");
    let (good, verdict) = chirpy.check(&posts, "0");
    assert!(!good, "{verdict}");
    assert_eq!(
        (&verdict["missing"], &verdict["search_wrong"]),
        (&json!([]), &json!(3))
    );
    assert_eq!(verdict["search_stale"], json!([posts[1]]));
    assert_eq!(verdict["search_deleted"], json!([posts[2]]));
    assert_eq!(verdict["search_missing"], json!([posts[3]]));
    assert_eq!(verdict["timelines_missing"], 1, "{verdict}");
    assert_eq!(verdict["timelines"][0][0], posts[0], "{verdict}");

    // Asked about the database alone, it does not look anywhere else.
    let list = chirpy.folder().join("acknowledged");
    let path = list.to_str().expect("a path");
    let (good, verdict) = chirpy.chirpy(&["check", "--acknowledged", path, "--places", "database"]);
    assert!(good && verdict.contains(r#""search_checked":0"#), "{verdict}");
}

/// A way to a search node that is closed to whoever comes first.
async fn bumpy(node: &str) -> String {
    let to = node.strip_prefix("http://").expect("a URL").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        drop(listener.accept().await);
        while let Ok((mut client, _)) = listener.accept().await {
            let to = to.clone();
            tokio::spawn(async move {
                let mut node = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut client, &mut node).await
            });
        }
    });
    url
}

// The way above is led on by this process while it waits for the check to end: more threads than one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_post_is_owed_to_whoever_has_an_older_one() {
    let chirpy = Stand::with(&[("RATE_LIMIT_PER_SECOND", "0")]).await;
    let post = async |token: &str, text: &str| {
        let body = Some(json!({ "text": text }));
        let (status, post) = chirpy.call("POST", "/api/posts", Some(token), body).await;
        assert_eq!(status, 201, "{post}");
        post["id"].as_i64().expect("an id")
    };
    let reader = &*chirpy.login("person0001").await;
    let follow = async |name: &str| {
        let path = format!("/api/follow/{name}");
        assert_eq!(chirpy.call("POST", &path, Some(reader), None).await.0, 204);
    };
    let ((early, _), (late, _)) = (chirpy.account("early").await, chirpy.account("late").await);
    // As many newer ones as a follow brings, of an author followed from the beginning and of one followed in the end.
    follow("early").await;
    post(&early, "the first of all").await;
    let (owed, excused) = (post(&early, "owed").await, post(&late, "excused").await);
    for token in [&early, &late] {
        join_all((0..50).map(|_| post(token, "a newer one"))).await;
    }
    // Until then nothing tells whom the reader followed when, and the late one's posts are on their way to nobody.
    let last = post(&early, "the last of all").await;
    chirpy
        .until("all so far has been delivered", || async {
            let page = chirpy.call("GET", "/api/timeline?limit=200", Some(reader), None);
            let shown = ids(&page.await.1);
            shown.contains(&owed) && shown.contains(&last)
        })
        .await;
    follow("late").await;
    let posts = [owed, excused];
    let (good, verdict) = chirpy.check(&posts, "60");
    assert!(good, "{verdict}");
    let timelines = |verdict: &Value| {
        let count = |name: &str| verdict[name].as_u64().expect("a count");
        ["timelines_checked", "timelines_missing", "timelines_excused"].map(count)
    };
    assert_eq!(timelines(&verdict), [2, 0, 1], "{verdict}");

    // A delivery that was lost is no follow that came later. And what timelines wait for takes no time of search's.
    assert_eq!(chirpy.forget("early", owed).await, 1);
    let node = bumpy(&chirpy.url("search-node")).await;
    let (good, verdict) = chirpy.check_with(&posts, "3", &[("SEARCH_NODES", &node)]);
    assert!(!good, "{verdict}");
    assert_eq!(timelines(&verdict), [2, 1, 1], "{verdict}");
    assert_eq!(verdict["timelines"][0][0], owed);
    assert_eq!(
        (&verdict["search_wrong"], &verdict["search_error"]),
        (&json!(0), &Value::Null),
        "{verdict}"
    );
}
