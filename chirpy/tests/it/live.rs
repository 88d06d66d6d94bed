//! Live timelines, and what one person may ask for.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use serde_json::{Value, json};

use crate::sessions::told;
use crate::stand::{DEADLINE, Stand};

/// An open live timeline.
pub struct Reader<S> {
    bytes: S,
    text: String,
}

pub async fn open(
    chirpy: &Stand,
    token: &str,
    last: Option<i64>,
) -> Reader<impl Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin> {
    // A client of its own: the stand's has a deadline for whole answers.
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut request = http
        .get(format!("{}/api/timeline/live", chirpy.gateway))
        .bearer_auth(token);
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    Reader {
        bytes: answer.bytes_stream(),
        text: String::new(),
    }
}

impl<S: Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin> Reader<S> {
    /// The next block up to an empty line.
    async fn block(&mut self) -> String {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return block;
            }
            let bytes = tokio::time::timeout(Duration::from_secs(60), self.bytes.next())
                .await
                .expect("something within a minute")
                .expect("the stream goes on")
                .expect("bytes");
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// The next post, and the id to resume from.
    async fn post(&mut self) -> (Value, i64) {
        loop {
            let block = self.block().await;
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.map(|value| value.trim_start().to_owned())
            };
            if field("event:").as_deref() == Some("post") {
                let data = field("data:").expect("data");
                let id = field("id:").expect("an id").parse().expect("a number");
                return (serde_json::from_str(&data).expect("JSON"), id);
            }
        }
    }
}

impl<S: Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin> Reader<S> {
    /// Reads on until this post comes.
    pub async fn until(&mut self, id: i64) {
        let comes = async { while self.post().await.0["id"] != json!(id) {} };
        tokio::time::timeout(DEADLINE, comes)
            .await
            .expect("the post comes");
    }
}

#[tokio::test]
async fn posts_come_live_and_none_is_missed() {
    let chirpy = Stand::with(&[("LIVE_HEARTBEAT_S", "1")]).await;
    let (ai, _) = chirpy.account("ai").await;
    let (ken, session) = chirpy.account("ken").await;
    assert_eq!(
        chirpy.call("POST", "/api/follow/ai", Some(&ken), None).await.0,
        204
    );
    assert_eq!(chirpy.call("GET", "/api/timeline/live", None, None).await.0, 401);
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

    let mut reader = open(&chirpy, &ken, None).await;
    assert!(reader.block().await.contains(": listening"));
    let first = post("生放送").await;
    let (seen, last) = reader.post().await;
    assert_eq!((&seen["id"], &seen["text"]), (&json!(first), &json!("生放送")));
    assert_eq!(last, first);
    assert!(reader.block().await.contains(": still here"));
    drop(reader);

    // What came while nobody listened comes with the next stream.
    let second = post("留守中").await;
    chirpy
        .until("the post is in the timeline", || async {
            let (_, timeline) = chirpy.call("GET", "/api/timeline", Some(&ken), None).await;
            crate::ids(&timeline).contains(&second)
        })
        .await;
    let mut reader = open(&chirpy, &ken, Some(last)).await;
    reader.until(second).await;
    // So does an older one: it may have come to the timeline after the younger, while nobody listened.
    let mut late = open(&chirpy, &ken, Some(second)).await;
    late.until(first).await;

    // One message may hold more posts than fit a URL. This one is in no timeline of ken's: the message alone brings it.
    let (mio, _) = chirpy.account("mio").await;
    let body = json!({ "text": "見つけて" });
    let (_, hers) = chirpy.call("POST", "/api/posts", Some(&mio), Some(body)).await;
    let hers = hers["id"].as_i64().expect("an id");
    let (_, author) = chirpy.call("GET", "/api/users/ai", None, None).await;
    let many = (0..5000).map(|n| (1_i64 << 51) + n).chain([hers]);
    let many: Vec<String> = many.map(|id| format!("{id} {}", author["id"])).collect();
    for number in 0..10 {
        // Shards' channels have the first name of these that lies in the shard.
        let publish = redis::cmd("SPUBLISH")
            .arg(format!("live:{{{number}}}"))
            .arg(many.join(","))
            .get_packed_command();
        told(&chirpy.redis_nodes(), &publish).await;
    }
    reader.until(hers).await;

    // A primary dies; its replica takes over, and the stream goes on without its reader's doing.
    chirpy.fail_primaries_over().await;
    let third = post("引き継ぎ").await;
    reader.until(third).await;
    // So do sessions, though the old primaries are there still and answer.
    let body = json!({ "refresh_token": session["refresh_token"] });
    let (status, refreshed) = chirpy.call("POST", "/api/refresh", None, Some(body)).await;
    assert_eq!(status, 200, "{refreshed}");
    for _ in 0..6 {
        chirpy.login("ken").await;
    }
}

#[tokio::test]
async fn who_asks_too_much_is_told_when_to_come_again() {
    let chirpy = Stand::with(&[("RATE_LIMIT_WRITES_PER_SECOND", "0.2")]).await;
    let (ai, _) = chirpy.account("ai").await;
    let (ken, _) = chirpy.account("ken").await;
    let body = || Some(json!({ "text": "hi" }));
    assert_eq!(
        chirpy.ask("POST", "/api/posts", &ai, None, body()).await.status(),
        201
    );
    let refused = chirpy.ask("POST", "/api/posts", &ai, None, body()).await;
    assert_eq!(refused.status(), 429);
    let after: u64 = refused.headers()["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("seconds");
    assert!((1..=5).contains(&after), "{after}");
    assert!(refused.headers().contains_key("ratelimit"));
    assert_eq!(
        chirpy.call("GET", "/api/timeline", Some(&ai), None).await.0,
        200,
        "reads go on"
    );
    assert_eq!(
        chirpy
            .ask("POST", "/api/posts", &ken, None, body())
            .await
            .status(),
        201
    );
}
