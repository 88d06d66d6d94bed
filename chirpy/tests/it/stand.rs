//! A whole Chirpy on this machine: PostgreSQL, six Redis nodes and every role, in a temporary folder on free ports.

mod redis;

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything; a busy machine needs some of it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

pub struct Stand {
    pub(crate) children: Vec<Child>,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) environment: Vec<(String, String)>,
    /// The roles, in the order of their processes, which begin at this place among the children.
    roles: Vec<&'static str>,
    first_role: usize,
    pub gateway: String,
    pub http: reqwest::Client,
}

/// A port nobody listens on and no other call of this process was given, its bus port (plus 10,000, for Redis) free too. Both
/// are below the range from which the kernel takes ports for outgoing connections, so none of those can take it meanwhile.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 10_000).expect("below 10,000");
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (start + step) % 10_000;
        if [port, port + 10_000]
            .iter()
            .all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        {
            return port;
        }
    }
}

pub fn postgres_bin() -> PathBuf {
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is installed (package postgresql)")
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().expect("a PostgreSQL with initdb")
}

/// PostgreSQL refuses to run as root: as root, it runs as nobody.
pub fn unprivileged(command: &mut Command) -> &mut Command {
    if is_root() {
        command.uid(65534).gid(65534)
    } else {
        command
    }
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// What a request is answered with, as JSON.
pub async fn json_of(request: reqwest::RequestBuilder) -> Value {
    let answer = request.send().await.expect("an answer");
    answer.json().await.expect("JSON")
}

impl Stand {
    pub async fn up() -> Self {
        Self::with(&[]).await
    }

    /// A stand whose roles have these environment variables too.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        let mut stand = Self::empty();
        let database = stand.postgres("postgres").await;
        stand.start(&database.url, variables).await;
        stand
    }

    /// Nothing runs yet.
    pub fn empty() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("chirpy")
            .tempdir()
            .expect("a temporary folder");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("chmod");
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .expect("a client");
        Self {
            children: vec![],
            folder,
            environment: vec![],
            roles: vec![],
            first_role: 0,
            gateway: String::new(),
            http,
        }
    }

    /// Redis, and every role on a database that runs.
    pub async fn start(&mut self, database: &str, variables: &[(&str, &str)]) {
        let stand = self;
        let nodes = stand.redis().await;
        stand.environment = vec![
            ("DATABASE_URL".into(), database.into()),
            ("REDIS_NODES".into(), nodes),
            // Cheap: what is tested is not the cost of guessing.
            ("ARGON2_MEMORY_KIB".into(), "64".into()),
            ("ARGON2_ITERATIONS".into(), "1".into()),
            ("SEARCH_POLL_INTERVAL_MS".into(), "100".into()),
            // Nobody left a server behind here.
            ("WORDS_URL".into(), String::new()),
        ];
        stand.environment.extend(
            variables
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into())),
        );
        let mut roles = vec![
            "gateway",
            "chirpy-server",
            "auth-service",
            "post-service",
            "follower-service",
            "timeline-service",
            "search-service",
        ];
        let own_engine = !variables.iter().any(|(name, _)| *name == "SEARCH_NODES");
        if own_engine {
            roles.push("search-node");
        }
        let ports: Vec<u16> = roles.iter().map(|_| free_port()).collect();
        for (role, port) in roles.iter().zip(&ports) {
            let name = role.to_uppercase().replace('-', "_");
            stand
                .environment
                .push((format!("{name}_URL"), format!("http://127.0.0.1:{port}")));
        }
        if own_engine {
            stand
                .environment
                .push(("SEARCH_NODES".into(), stand.url("search-node")));
        }
        let (status, output) = stand.chirpy(&["seed", "--people", "30", "--hot-followers", "20"]);
        assert!(status, "seeding: {output}");
        stand.roles = roles.clone();
        stand.first_role = stand.children.len();
        for (role, port) in roles.iter().zip(&ports) {
            let mut command = Command::new(env!("CARGO_BIN_EXE_chirpy"));
            command
                .arg(role)
                .envs(stand.environment.clone())
                .env("PORT", port.to_string());
            stand.spawn(&mut command, role);
        }
        for (role, port) in roles.iter().zip(&ports) {
            stand
                .until(&format!("{role} is ready"), || stand.ready(*port))
                .await;
        }
        stand.gateway = format!("http://127.0.0.1:{}", ports[0]);
    }

    async fn ready(&self, port: u16) -> bool {
        let answer = self
            .http
            .get(format!("http://127.0.0.1:{port}/readyz"))
            .send()
            .await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Starts a process that ends with the stand; its place among the children.
    pub fn spawn(&mut self, command: &mut Command, log: &str) -> usize {
        let file = std::fs::File::create(self.folder.path().join(format!("{log}.log"))).expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.children.push(child);
        self.children.len() - 1
    }

    /// Whether a process has not ended.
    pub fn runs(&mut self, child: usize) -> bool {
        let child = self.children.get_mut(child).expect("a process");
        child.try_wait().expect("a process of ours").is_none()
    }

    /// Ends a process as `kill -9` does.
    pub fn kill(&mut self, child: usize) {
        let child = self.children.get_mut(child).expect("a process");
        child.kill().and_then(|()| child.wait()).expect("it ends");
    }

    /// Takes a post out of the timelines of everybody who follows its author (not the author's own): from how many.
    pub async fn forget(&self, author: &str, post: i64) -> usize {
        let (_, followers) = self
            .call(
                "GET",
                &format!("/api/users/{author}/followers?limit=100"),
                None,
                None,
            )
            .await;
        let nodes = self.environment.iter().find(|(name, _)| name == "REDIS_NODES");
        let port = nodes.and_then(|(_, nodes)| nodes.split(',').next()?.rsplit_once(':'));
        let port = port.expect("a Redis node").1;
        let post = post.to_string();
        let followers = followers.as_array().into_iter().flatten();
        let removed = followers.filter(|follower| {
            let key = format!("timeline:{{{}}}", follower["id"]);
            let mut command = Command::new("redis-cli");
            command.args(["-c", "-p", port, "zrem", &key, &post]);
            let answer = command.output().expect("redis-cli runs").stdout;
            answer.starts_with(b"1")
        });
        removed.count()
    }

    /// Waits for a condition; panics with every log's end when it never holds.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let start = Instant::now();
        while !holds().await {
            assert!(
                start.elapsed() < DEADLINE,
                "{what}: not within {DEADLINE:?}\n{}",
                logs(self.folder.path())
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a command role to its end: whether it succeeded, and its output.
    pub fn chirpy(&self, arguments: &[&str]) -> (bool, String) {
        self.chirpy_with(arguments, &[])
    }

    /// The same, with further environment variables.
    pub fn chirpy_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chirpy"));
        let output = command
            .args(arguments)
            .envs(self.environment.clone())
            .envs(variables.iter().copied())
            .output()
            .expect("chirpy runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    /// PostgreSQL's URL.
    pub fn database(&self) -> &str {
        let url = self.environment.iter().find(|(name, _)| name == "DATABASE_URL");
        &url.expect("a database").1
    }

    /// The base URL of a role.
    pub fn url(&self, role: &str) -> String {
        let name = format!("{}_URL", role.to_uppercase().replace('-', "_"));
        let of = self.environment.iter().find(|(variable, _)| *variable == name);
        of.expect("a role of the stand").1.clone()
    }

    /// One more replica of a role, ready: its base URL.
    pub async fn replica(&mut self, role: &str) -> String {
        let port = free_port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_chirpy"));
        command
            .arg(role)
            .envs(self.environment.clone())
            .env("PORT", port.to_string());
        self.spawn(&mut command, &format!("{role}-{port}"));
        self.until(&format!("another {role} is ready"), || self.ready(port))
            .await;
        format!("http://127.0.0.1:{port}")
    }

    /// Ends a role's first process; [`Stand::restart`] starts it again.
    pub fn stop(&mut self, role: &str) {
        let place = self.roles.iter().position(|name| *name == role).expect("a role");
        let child = &mut self.children[self.first_role + place];
        child.kill().and_then(|()| child.wait()).expect("it ends");
    }

    /// Where the Redis nodes listen.
    pub fn redis_nodes(&self) -> Vec<String> {
        let nodes = self.environment.iter().find(|(name, _)| name == "REDIS_NODES");
        let (_, nodes) = nodes.expect("there are some");
        nodes.split(',').map(str::to_owned).collect()
    }

    /// Ends a role's first process and starts another in its place.
    pub async fn restart(&mut self, role: &str) {
        let place = self.roles.iter().position(|name| *name == role).expect("a role");
        let port = self
            .url(role)
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        let port: u16 = port.expect("a port");
        let mut old = self.children.swap_remove(self.first_role + place);
        old.kill().and_then(|()| old.wait()).expect("it ends");
        let mut command = Command::new(env!("CARGO_BIN_EXE_chirpy"));
        command
            .arg(role)
            .envs(self.environment.clone())
            .env("PORT", port.to_string());
        self.spawn(&mut command, &format!("{role}-again"));
        let last = self.children.len() - 1;
        self.children.swap(self.first_role + place, last);
        self.until(&format!("{role} is ready again"), || self.ready(port))
            .await;
    }

    /// A new account, logged in: its access token and the whole session.
    pub async fn account(&self, name: &str) -> (String, Value) {
        let body = serde_json::json!({ "name": name, "password": "chirpchirp" });
        let (status, session) = self.call("POST", "/api/register", None, Some(body)).await;
        assert_eq!(status, 201, "{session}");
        (session["token"].as_str().expect("a token").to_owned(), session)
    }

    /// An account that is there already, logged in: its access token.
    pub async fn login(&self, name: &str) -> String {
        let account = serde_json::json!({ "name": name, "password": "chirpchirp" });
        let (status, session) = self.call("POST", "/api/login", None, Some(account)).await;
        assert_eq!(status, 200, "{session}");
        session["token"].as_str().expect("a token").to_owned()
    }

    /// One call with a header of its own: the whole answer.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        token: &str,
        header: Option<(&str, &str)>,
        body: Option<Value>,
    ) -> reqwest::Response {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.gateway));
        request = request.bearer_auth(token);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.expect("the gateway answers")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One call of the API: the status and the JSON answer (null when there is none).
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.gateway));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the gateway answers");
        (
            answer.status().as_u16(),
            answer.json().await.unwrap_or(Value::Null),
        )
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Already gone is as good.
            let _ = child.kill();
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

pub fn logs(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Ok(log) = std::fs::read_to_string(entry.path()) {
            let tail: Vec<&str> = log.lines().rev().take(5).collect();
            text.push_str(&format!("== {}\n", entry.file_name().to_string_lossy()));
            tail.iter()
                .rev()
                .for_each(|line| text.push_str(&format!("{line}\n")));
        }
    }
    text
}
