//! PostgreSQL servers of a stand: any number, and streaming replicas of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

use crate::stand::{Stand, free_port, is_root, postgres_bin, unprivileged};

/// A server whose processes are stopped: it closes no connection and answers none, until this is dropped.
pub struct Frozen(Vec<String>);

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

/// What has ended meanwhile needs no signal.
fn signal(name: &str, processes: &[String]) {
    let mut kill = Command::new("kill");
    let _ = kill.arg(name).args(processes).stderr(Stdio::null()).status();
}

/// The processes whose parent this is.
fn children(parent: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("a list of processes");
    let names = processes
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let is_child = |name: &String| {
        // After the name in parentheses: the state, the parent.
        let stat = std::fs::read_to_string(format!("/proc/{name}/stat")).unwrap_or_default();
        let after = stat
            .rsplit_once(')')
            .map(|(_, after)| after.split_whitespace().nth(1));
        after.flatten() == Some(parent)
    };
    names.filter(is_child).collect()
}

/// A running server.
pub struct Postgres {
    pub url: String,
    pub port: u16,
    data: PathBuf,
    child: usize,
}

impl Postgres {
    /// One connection to it.
    pub async fn client(&self) -> tokio_postgres::Client {
        connect(&self.url).await.expect("PostgreSQL answers")
    }

    /// The first column of the first row.
    pub async fn number(&self, sql: &str) -> i64 {
        let row = self.client().await.query_one(sql, &[]).await.expect(sql);
        row.get(0)
    }

    pub async fn run(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.expect(sql);
    }

    pub async fn answers(&self) -> bool {
        connect(&self.url).await.is_some()
    }
}

async fn connect(url: &str) -> Option<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

fn ran(command: &mut Command) {
    let output = unprivileged(command.current_dir("/")).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

impl Stand {
    /// A server of its own, which answers.
    pub async fn postgres(&mut self, name: &str) -> Postgres {
        let data = self.data_folder(name);
        let mut initdb = Command::new(postgres_bin().join("initdb"));
        let words = [
            "-U",
            "chirpy",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
            "-D",
        ];
        ran(initdb.args(words).arg(&data));
        let (port, url) = place();
        self.serve(name, data, port, url).await
    }

    /// A streaming replica of a server, which answers. Its slot keeps what it has not got yet.
    pub async fn postgres_replica(&mut self, name: &str, of: &Postgres) -> Postgres {
        let data = self.data_folder(name);
        let mut copy = Command::new(postgres_bin().join("pg_basebackup"));
        copy.args([
            "-d",
            &of.url,
            "-X",
            "stream",
            "-R",
            "-C",
            "-S",
            name,
            "--checkpoint=fast",
            "--no-sync",
            "-D",
        ]);
        ran(copy.arg(&data));
        let (port, url) = place();
        self.serve(name, data, port, url).await
    }

    fn data_folder(&self, name: &str) -> PathBuf {
        let data = self.folder().join(name);
        std::fs::create_dir(&data).expect("a folder");
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&data, closed).expect("chmod");
        if is_root() {
            std::os::unix::fs::chown(&data, Some(65534), Some(65534)).expect("chown");
        }
        data
    }

    /// Starts a server that was ended, on the data it has. Its backends may hold that for a moment still: then it is tried again.
    pub async fn start_again(&mut self, name: &str, mut server: Postgres) -> Postgres {
        let begun = Instant::now();
        loop {
            server.child = self.launch(name, &server.data, server.port);
            while self.runs(server.child) {
                if server.answers().await {
                    return server;
                }
                assert!(
                    begun.elapsed() < Duration::from_secs(60),
                    "{name} does not answer"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Stops a server with its backends. What this gives is to be dropped before the stand is.
    pub fn freeze(&self, server: &Postgres) -> Frozen {
        let postmaster = self.children[server.child].id().to_string();
        // From now on it begins no further one.
        signal("-STOP", std::slice::from_ref(&postmaster));
        let mut all = children(&postmaster);
        signal("-STOP", &all);
        all.push(postmaster);
        Frozen(all)
    }

    /// Ends a server as `kill -9` does, its backends with it.
    pub fn kill_postgres(&mut self, server: &Postgres) {
        self.kill(server.child);
    }

    async fn serve(&mut self, name: &str, data: PathBuf, port: u16, url: String) -> Postgres {
        let child = self.launch(name, &data, port);
        let server = Postgres {
            url,
            port,
            data,
            child,
        };
        self.until(&format!("{name} answers"), || server.answers()).await;
        server
    }

    fn launch(&mut self, name: &str, data: &Path, port: u16) -> usize {
        let mut postgres = Command::new(postgres_bin().join("postgres"));
        postgres.arg("-D").arg(data).arg("-k").arg(data);
        // Nothing here outlives a loss of power; fsync costs time only.
        let settings = ["-c", "fsync=off", "-c", "wal_receiver_status_interval=1s"];
        postgres.args(["-p", &port.to_string()]).args(settings);
        self.spawn(unprivileged(postgres.current_dir("/")), name)
    }
}

fn place() -> (u16, String) {
    let port = free_port();
    (port, format!("postgres://chirpy@127.0.0.1:{port}/postgres"))
}
