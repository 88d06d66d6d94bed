//! The same Chirpy with the real engine: two data nodes of OpenSearch, each with a copy of every shard, and a third that votes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::ids;
use crate::stand::{Stand, free_port, is_root, unprivileged};

/// Where `cargo xtask opensearch` puts it: beside cargo's profiles.
fn distribution() -> Option<PathBuf> {
    let profile = Path::new(env!("CARGO_BIN_EXE_chirpy")).parent()?;
    let home = profile.parent()?.join("tools/opensearch");
    let java = Command::new("java").arg("-version").output();
    (home.join("VERSION").is_file() && java.is_ok_and(|java| java.status.success())).then_some(home)
}

struct Node {
    process: Option<Child>,
    name: String,
    http: u16,
    transport: u16,
}

/// Three nodes in a folder of their own.
struct OpenSearch {
    nodes: Vec<Node>,
    folder: tempfile::TempDir,
    http: reqwest::Client,
}

impl OpenSearch {
    fn start(distribution: &Path) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("chirpy-opensearch")
            .tempdir()
            .expect("a temporary folder");
        // OpenSearch refuses to be root, and whoever it is then may not be able to read the target folder.
        let copied = Command::new("cp")
            .arg("-r")
            .arg(distribution)
            .arg(folder.path().join("home"))
            .status();
        assert!(copied.expect("cp runs").success());
        let open = Command::new("chmod")
            .args(["-R", "a+rX"])
            .arg(folder.path())
            .status();
        assert!(open.expect("chmod runs").success());
        let nodes = ["data-0", "data-1", "voter-0"].map(|name| Node {
            process: None,
            name: name.to_owned(),
            http: free_port(),
            transport: free_port(),
        });
        let mut cluster = Self {
            nodes: nodes.into(),
            folder,
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
        };
        for place in 0..cluster.nodes.len() {
            cluster.run(place);
        }
        cluster
    }

    fn run(&mut self, place: usize) {
        let all = |of: &dyn Fn(&Node) -> String| self.nodes.iter().map(of).collect::<Vec<_>>().join(",");
        let (seeds, names) = (
            all(&|node| format!("127.0.0.1:{}", node.transport)),
            all(&|node| node.name.clone()),
        );
        let node = &self.nodes[place];
        let own = self.folder.path().join(&node.name);
        std::fs::create_dir_all(&own).expect("a folder");
        if is_root() {
            std::os::unix::fs::chown(&own, Some(65534), Some(65534)).expect("chown");
        }
        let roles = if node.name.starts_with("data") {
            "cluster_manager,data"
        } else {
            "cluster_manager"
        };
        let log = std::fs::File::create(self.folder.path().join(format!("{}.log", node.name)));
        let log = log.expect("a log");
        let mut command = Command::new("sh");
        command
            .arg(self.folder.path().join("home/bin/opensearch"))
            .env("TMPDIR", &own)
            .env(
                "OPENSEARCH_JAVA_OPTS",
                "-Xms256m -Xmx256m -XX:TieredStopAtLevel=1",
            )
            .env("cluster.name", "chirpy-test")
            .env("node.name", &node.name)
            .env("node.roles", roles)
            .env("network.host", "127.0.0.1")
            .env("http.port", node.http.to_string())
            .env("transport.port", node.transport.to_string())
            .env("discovery.seed_hosts", seeds)
            .env("cluster.initial_cluster_manager_nodes", names)
            .env("path.data", own.join("data"))
            .env("path.logs", own.join("logs"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        let child = unprivileged(command.current_dir("/")).spawn();
        self.nodes[place].process = Some(child.expect("OpenSearch starts"));
    }

    /// As a machine that loses power: without a word to the others.
    fn lose(&mut self, place: usize) {
        if let Some(mut process) = self.nodes[place].process.take() {
            process.kill().and_then(|()| process.wait()).expect("it ends");
        }
    }

    fn url(&self, place: usize) -> String {
        format!("http://127.0.0.1:{}", self.nodes[place].http)
    }

    /// Waits until the three have found each other: three Java machines take their time.
    async fn formed(&self) {
        let formed = async {
            while self.health(0).await["number_of_nodes"] != 3 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(180), formed).await;
        in_time.expect("three nodes of OpenSearch form a cluster");
    }

    /// What a data node says of the cluster; null while it says nothing.
    async fn health(&self, place: usize) -> Value {
        let health = format!("{}/_cluster/health", self.url(place));
        match self.http.get(health).send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }
}

impl Drop for OpenSearch {
    #[expect(clippy::print_stderr, reason = "a test that fails shows what the nodes said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                let log = self.folder.path().join(format!("{}.log", node.name));
                let log = std::fs::read_to_string(log).unwrap_or_default();
                let end: Vec<&str> = log.lines().rev().take(15).collect();
                eprintln!("== {}", node.name);
                end.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
        for place in 0..self.nodes.len() {
            self.lose(place);
        }
    }
}

#[tokio::test]
async fn two_data_nodes_of_opensearch_find_trend_and_lose_nothing() {
    let Some(distribution) = distribution() else {
        // Past the test runner's capture: whoever reads the run must see it.
        let said =
            "SKIPPED: Chirpy with a real OpenSearch: it is not here; `cargo xtask opensearch` fetches it.\n";
        std::io::stderr().write_all(said.as_bytes()).expect("stderr");
        return;
    };
    let mut opensearch = OpenSearch::start(&distribution);
    opensearch.formed().await;
    let nodes = format!("{},{}", opensearch.url(0), opensearch.url(1));
    let chirpy = Stand::with(&[
        ("SEARCH_NODES", &nodes),
        ("SEARCH_SHARDS", "2"),
        ("SEARCH_REPLICAS", "1"),
        ("TRENDS_CACHE_MS", "0"),
    ])
    .await;

    let (ai, _) = chirpy.account("ai").await;
    let mut posts = vec![];
    for text in [
        "明日の東京は晴れらしい",
        "京都の東で大雨",
        "大雨で電車が遅れています",
        "Ｒｅｄｉｓ cluster",
        "大雨ですね",
    ] {
        let (status, post) = chirpy
            .call("POST", "/api/posts", Some(&ai), Some(json!({ "text": text })))
            .await;
        assert_eq!(status, 201, "{post}");
        posts.push(post["id"].as_i64().expect("an id"));
    }
    let found = |query: &'static str| {
        let chirpy = &chirpy;
        async move {
            let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
            let (status, found) = chirpy
                .call("GET", &format!("/api/search?q={query}"), None, None)
                .await;
            assert_eq!(status, 200, "{found}");
            ids(&found)
        }
    };
    // Each copy of a shard is refreshed by itself, so what one search finds the next one may not find yet.
    let finds = |query: &'static str, expected: Vec<i64>| {
        let (chirpy, found) = (&chirpy, &found);
        async move {
            let held = || async { found(query).await == expected };
            chirpy.until(&format!("{query} is found"), held).await;
        }
    };
    // Inside a sentence, and neither across 京都の東 nor by halves; folded; people.
    finds("大雨", vec![posts[4], posts[2], posts[1]]).await;
    finds("東京", vec![posts[0]]).await;
    finds("REDIS", vec![posts[3]]).await;
    chirpy
        .until("nine people are found", || async {
            let (_, people) = chirpy
                .call("GET", "/api/search/people?q=person000", None, None)
                .await;
            people.as_array().map(Vec::len) == Some(9)
        })
        .await;
    // Trends are the engine's aggregation, over two shards.
    let trend = |posts: i64| {
        let chirpy = &chirpy;
        async move {
            let is_trend = || async {
                let (_, trends) = chirpy.call("GET", "/api/trends", None, None).await;
                (&trends[0]["term"], &trends[0]["posts"]) == (&json!("大雨"), &json!(posts))
            };
            chirpy
                .until(&format!("大雨 is a trend of {posts}"), is_trend)
                .await;
        }
    };
    trend(3).await;

    // Every shard has a replica, on the other node.
    chirpy
        .until("every copy of every shard is there", || async {
            opensearch.health(0).await["status"] == "green"
        })
        .await;
    let health = opensearch.health(0).await;
    assert_eq!(
        (&health["number_of_data_nodes"], &health["active_shards"]),
        (&json!(2), &json!(8)),
        "{health}"
    );

    // One node goes; what was acknowledged and indexed is found, and so is what comes after.
    opensearch.lose(0);
    let (status, post) = chirpy
        .call(
            "POST",
            "/api/posts",
            Some(&ai),
            Some(json!({ "text": "停電のあとの大雨" })),
        )
        .await;
    assert_eq!(status, 201, "{post}");
    posts.push(post["id"].as_i64().expect("an id"));
    let (good, verdict) = chirpy.check(&posts, "60");
    assert!(good, "with one data node of two: {verdict}");
    assert_eq!(verdict["search_checked"], 6, "{verdict}");
    trend(4).await;

    // It comes back and is given its copies again.
    opensearch.run(0);
    chirpy
        .until("every copy is there again", || async {
            let health = opensearch.health(1).await;
            health["status"] == "green" && health["number_of_data_nodes"] == 2
        })
        .await;
    // An index that somebody removed is made again with its own analyzers, and filled from the beginning.
    let removed = chirpy.http.delete(format!("{}/chirpy-posts", opensearch.url(1)));
    assert!(removed.send().await.expect("an answer").status().is_success());
    let (good, verdict) = chirpy.check(&posts, "60");
    assert!(good, "after the index was removed: {verdict}");
    finds("東京", vec![posts[0]]).await;
}
