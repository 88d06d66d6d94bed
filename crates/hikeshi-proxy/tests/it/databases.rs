//! Commands of real databases, timed as they pass.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hikeshi_proxy::AppProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{SERVICE, World, wait_for};

/// A database's server; ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A world whose `db` is about to be served by a program of its own, at the address that is returned.
async fn world() -> (World, SocketAddr) {
    let mut world = World::new(AppProtocol::Tcp).await;
    drop(world.take_server());
    let address = world.db.address().into();
    world.apply().await;
    (world, address)
}

/// How many commands of a kind the edge has timed.
async fn timed(world: &World, protocol: &str, command: &str) -> Option<u64> {
    // A connection of its own: the world's says nothing while a database starts, and has lost its lease by then.
    let text = world.dataplane.client().await.metrics().await.unwrap();
    let start = format!(
        "hikeshi_edge_command_duration_seconds_count{{source=\"app\",destination=\"db\",protocol=\"{protocol}\",\
         command=\"{command}\"}} "
    );
    text.lines()
        .find_map(|line| line.strip_prefix(&start)?.parse().ok())
}

#[tokio::test]
async fn redis_commands_are_timed_and_arrive_unchanged() {
    let (world, address) = world().await;
    let _server = Server(
        Command::new("redis-server")
            .args([
                "--bind",
                &address.ip().to_string(),
                "--port",
                &address.port().to_string(),
            ])
            .args(["--save", "", "--appendonly", "no", "--protected-mode", "no"])
            .current_dir(world.dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed by cargo xtask setup"),
    );
    wait_for("redis", async || TcpStream::connect(address).await.ok()).await;
    let mut stream = world.app.dial(SERVICE).await;
    let big = "x".repeat(100_000);
    let asked = format!(
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{big}\r\n*2\r\n$3\r\nget\r\n$1\r\nk\r\n*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n\
         *2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*1\r\n$7\r\nNOTHING\r\n*1\r\n$4\r\nPING\r\n",
        big.len()
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"+PONG\r\n") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "redis closed");
    }
    let begin = format!("+OK\r\n${}\r\n{big}\r\n$-1\r\n%", big.len());
    assert!(answer.starts_with(begin.as_bytes()));
    // Bytes are sent on first and looked at afterwards: the client may have the last answer before it is counted.
    wait_for("the last command's count", async || {
        timed(&world, "redis", "PING").await
    })
    .await;
    for (command, count) in [("SET", 1), ("GET", 2), ("HELLO", 1), ("other", 1), ("PING", 1)] {
        assert_eq!(timed(&world, "redis", command).await, Some(count), "{command}");
    }
    // What is no longer understood is carried all the same.
    stream.write_all(b"PING\r\n").await.unwrap();
    let mut pong = [0; 7];
    stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"+PONG\r\n");
}

/// As who PostgreSQL may run: it refuses to be root.
fn postgres(program: &str) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(program);
    if nix::unistd::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    command
        .env("LC_ALL", "C")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn new_cluster(dir: &Path) -> PathBuf {
    let data = dir.join("postgres");
    std::fs::create_dir(&data).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&data, Some(65_534), Some(65_534)).unwrap();
        // tempfile keeps others out.
        std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let made = postgres("initdb")
        .args(["-A", "trust", "-U", "me", "-N", "-D"])
        .arg(&data)
        .current_dir("/")
        .status();
    assert!(made.expect("initdb is on the PATH").success());
    // It sees its caller's own address, which is a pod's.
    std::fs::write(data.join("pg_hba.conf"), "host all all 127.0.0.0/8 trust\n").unwrap();
    data
}

#[tokio::test]
async fn postgresql_commands_are_timed_by_what_the_server_calls_them() {
    let (world, address) = world().await;
    let data = new_cluster(world.dir.path());
    let _server = Server(
        postgres("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &address.port().to_string()])
            .args([
                "-c",
                &format!("listen_addresses={}", address.ip()),
                "-c",
                "fsync=off",
            ])
            .args(["-c", "unix_socket_directories="])
            .current_dir("/")
            .spawn()
            .unwrap(),
    );
    let door = world.app.door(SERVICE);
    let psql = |sql: &'static str| {
        let mut command = postgres("psql");
        command
            .args(["-X", "-U", "me", "-d", "postgres", "-h", &door.ip().to_string()])
            .args(["-p", &door.port().to_string(), "-c", sql])
            .current_dir("/");
        tokio::task::spawn_blocking(move || command.status().expect("psql is on the PATH").success())
    };
    wait_for("postgresql", async || {
        psql("select 1").await.unwrap().then_some(())
    })
    .await;
    assert!(
        psql("create table t as select * from generate_series(1, 5000) n")
            .await
            .unwrap()
    );
    assert!(psql("begin; update t set n = 0; commit").await.unwrap());
    assert!(!psql("select * from nowhere").await.unwrap());
    for command in ["SELECT", "BEGIN", "UPDATE", "COMMIT", "ERROR"] {
        wait_for(command, async || timed(&world, "postgresql", command).await).await;
    }
}
