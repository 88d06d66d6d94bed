//! A running server and people with cookies.

use std::sync::Arc;
use std::time::Duration;

use hikeshi_server::api::{AlertFact, Lang};
use hikeshi_server::web::{Invites, TlsConfig, WebConfig, WebError, WebHandle, serve};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::fake::FakeHost;

/// Far longer than anything takes: reached only when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const PARTICIPANT: &str = "participant-token";
pub const HOST: &str = "host-token";

pub struct World {
    pub host: Arc<FakeHost>,
    pub base: String,
    /// The origin of the system's own page.
    pub app: String,
    pub alerts: mpsc::UnboundedReceiver<AlertFact>,
    _stop: DropGuard,
}

pub async fn start(listen: &str, tls: Option<TlsConfig>) -> Result<(World, WebHandle), WebError> {
    let host = Arc::new(FakeHost::new("d1"));
    let (sender, alerts) = mpsc::unbounded_channel();
    let config = WebConfig {
        listen: listen.parse().unwrap(),
        tls,
        invites: Invites {
            participant: PARTICIPANT.into(),
            host: HOST.into(),
        },
        cookie_key: [3; 32],
        alert_token: "alert-token".into(),
        alerts: sender,
        lang_default: Lang::Ja,
    };
    let shutdown = CancellationToken::new();
    let handle = serve(config, Arc::clone(&host) as _, shutdown.clone()).await?;
    let base = handle.join_url("").trim_end_matches("/join/").to_owned();
    let scheme = if handle.tls { "https" } else { "http" };
    let app = format!("{scheme}://{}", handle.app);
    Ok((
        World {
            host,
            base,
            app,
            alerts,
            _stop: shutdown.drop_guard(),
        },
        handle,
    ))
}

pub async fn world() -> World {
    start("127.0.0.1:0", None).await.unwrap().0
}

impl World {
    /// A browser that has not joined.
    pub fn stranger(&self) -> Person {
        Person {
            client: Client::builder()
                .timeout(PATIENCE)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            base: self.base.clone(),
            cookie: None,
        }
    }

    pub async fn join(&self, token: &str, name: &str, seat: &str) -> Person {
        let mut person = self.stranger();
        let answer = person.try_join(token, name, seat).await;
        assert_eq!(
            answer.status(),
            StatusCode::OK,
            "{}",
            answer.text().await.unwrap()
        );
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        person.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        person
    }
}

pub struct Person {
    client: Client,
    base: String,
    cookie: Option<String>,
}

impl Person {
    /// The same browser at another origin.
    pub fn at(&self, base: &str) -> Person {
        Person {
            client: self.client.clone(),
            base: base.to_owned(),
            cookie: self.cookie.clone(),
        }
    }

    pub async fn try_join(&self, token: &str, name: &str, seat: &str) -> Response {
        self.post("/api/join", json!({"token": token, "name": name, "seat": seat}))
            .await
    }

    fn with_cookie(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }

    pub fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        self.with_cookie(self.client.request(method, format!("{}{path}", self.base)))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(reqwest::Method::GET, path).send().await.unwrap()
    }

    pub async fn get_json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    /// As a page of the server's own would.
    pub async fn post(&self, path: &str, body: Value) -> Response {
        self.request(reqwest::Method::POST, path)
            .header("origin", &self.base)
            .json(&body)
            .send()
            .await
            .unwrap()
    }
}
