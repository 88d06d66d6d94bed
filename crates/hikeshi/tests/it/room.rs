//! The war room over HTTP, as its page uses it.

use std::time::Duration;

use serde_json::{Value, json};

/// A person's session.
pub struct Room {
    http: reqwest::Client,
    origin: String,
    cookie: String,
}

/// What a console command printed, piece by piece, and its exit code.
pub struct Console {
    pub pieces: Vec<String>,
    pub exit: i64,
}

impl Room {
    /// Joins by the link that `hikeshi drill start` prints.
    pub async fn join(url: &str, name: &str, seat: &str) -> Self {
        let (origin, token) = url.split_once("/join/").expect("a link to join by");
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .build()
            .expect("an HTTP client");
        let mut room = Self {
            http,
            origin: origin.to_owned(),
            cookie: String::new(),
        };
        let answer = room
            .post("/api/join", &json!({"token": token, "name": name, "seat": seat}))
            .await;
        let status = answer.status();
        let cookie = answer
            .headers()
            .get("set-cookie")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        assert!(
            status.is_success(),
            "joining: {status} {}",
            answer.text().await.unwrap_or_default()
        );
        let cookie = cookie.expect("a session cookie");
        room.cookie = cookie.split(';').next().expect("a cookie").to_owned();
        room
    }

    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        self.http
            .post(format!("{}{path}", self.origin))
            .header("origin", &self.origin)
            .header("cookie", &self.cookie)
            .json(body)
            .send()
            .await
            .expect("the war room answers")
    }

    pub async fn get(&self, path: &str) -> Value {
        self.request(path)
            .send()
            .await
            .expect("the war room answers")
            .json()
            .await
            .expect("JSON")
    }

    pub fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.http
            .get(format!("{}{path}", self.origin))
            .header("cookie", &self.cookie)
    }

    /// Presses a button.
    pub async fn command(&self, command: &Value) {
        let answer = self.post("/api/command", command).await;
        let status = answer.status();
        assert!(
            status.is_success(),
            "{command}: {status} {}",
            answer.text().await.unwrap_or_default()
        );
    }

    /// Types a line into the console.
    pub async fn console(&self, line: &str) -> Console {
        let answer = self.post("/api/console", &json!({"line": line})).await;
        assert!(answer.status().is_success(), "{line}: {}", answer.status());
        let body = answer.text().await.expect("the console's output");
        let parts: Vec<Value> = body
            .lines()
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect();
        let (last, pieces) = parts.split_last().expect("at least the end");
        Console {
            pieces: pieces
                .iter()
                .filter_map(|piece| piece["text"].as_str().map(str::to_owned))
                .collect(),
            exit: last["exit"]
                .as_i64()
                .unwrap_or_else(|| panic!("{line} did not end by itself: {last}")),
        }
    }
}
