//! A data plane, fake pods, servers and clients.
//!
//! A fake init makes its sockets in the test's own network namespace. A "listener inside the pod" gets a free port there,
//! and [`FakePod::door`] says which, so pods of one test (and of other tests) do not meet.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hikeshi_proxy::faults::{Fault, FaultKind, Flow, NetworkEffect, NetworkFault, PodSet};
use hikeshi_proxy::podlink::{self, LinkReply, LinkRequest};
use hikeshi_proxy::{AppProtocol, Applied, Backend, DataplaneClient, PodLink, PodPort, Service, Snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const DIR: &str = "HIKESHI_PROXY_TEST_DIR";
/// Long enough for any machine; no test that passes waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Dataplane {
    child: Child,
    dir: PathBuf,
}

impl Dataplane {
    pub fn start(dir: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "dataplane_process", "--nocapture"])
            .env(DIR, dir)
            // Its standard input is its lifeline: it ends when this test does, however it ends.
            .env("HIKESHI_LIFELINE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            dir: dir.to_path_buf(),
        }
    }

    pub async fn client(&self) -> DataplaneClient {
        wait_for("the data plane", async || {
            DataplaneClient::connect(&self.dir).await.ok()
        })
        .await
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn ends_when_its_lifeline_closes(mut self) -> bool {
        drop(self.child.stdin.take());
        wait_for("its end", async || self.child.try_wait().unwrap())
            .await
            .success()
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again until there is an answer.
pub async fn wait_for<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

type Doors = Arc<Mutex<HashMap<SocketAddrV4, SocketAddr>>>;

pub struct FakePod {
    pub link: PodLink,
    doors: Doors,
}

impl FakePod {
    pub fn start(dir: &Path, name: &str) -> Self {
        let (uid, doors) = (format!("{name}-{}", fastrand::u64(..)), Doors::default());
        let init_sock = dir.join(format!("{uid}.sock"));
        let listener = podlink::listen_at(&init_sock).unwrap();
        let answering = doors.clone();
        std::thread::spawn(move || accept(&listener, &answering));
        let link = PodLink {
            uid,
            namespace: "chirpy".into(),
            name: name.into(),
            workload: name.into(),
            node: "node-1".into(),
            ip: Ipv4Addr::new(127, 64, fastrand::u8(1..), fastrand::u8(1..)),
            init_sock,
            ports: Vec::new(),
        };
        Self { link, doors }
    }

    /// Where `address` is listened for inside this pod.
    pub fn door(&self, address: SocketAddrV4) -> SocketAddr {
        *self
            .doors
            .lock()
            .unwrap()
            .get(&address)
            .expect("nothing listens there")
    }

    pub async fn dial(&self, address: SocketAddrV4) -> TcpStream {
        let stream = TcpStream::connect(self.door(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A server's listening socket on the pod's address, declared as a port.
    pub async fn serve(&mut self, protocol_hint: AppProtocol) -> TcpListener {
        let listener = TcpListener::bind((self.link.ip, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        self.link.ports.push(PodPort {
            name: None,
            port,
            protocol_hint,
        });
        listener
    }

    pub fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.link.ip, self.link.ports[0].port)
    }
}

fn accept(listener: &OwnedFd, doors: &Doors) {
    while let Ok(raw) = nix::sys::socket::accept(listener.as_raw_fd()) {
        // SAFETY: accept returned a new descriptor that only we hold.
        let connection = unsafe { OwnedFd::from_raw_fd(raw) };
        let doors = doors.clone();
        std::thread::spawn(move || while answer(&connection, &doors).is_some() {});
    }
}

fn answer(connection: &OwnedFd, doors: &Doors) -> Option<()> {
    let (bytes, _) = podlink::receive_packet(connection.as_raw_fd()).ok()?;
    let sockets: Vec<OwnedFd> = match serde_json::from_slice(&bytes).ok()? {
        LinkRequest::Listen { addr, port } => {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            doors
                .lock()
                .unwrap()
                .insert(SocketAddrV4::new(addr, port), listener.local_addr().unwrap());
            vec![listener.into()]
        }
        LinkRequest::Sockets { count } => {
            let new = || {
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
                    .unwrap()
                    .into()
            };
            (0..count).map(|_| new()).collect()
        }
    };
    let raw: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    let reply = serde_json::to_vec(&LinkReply {
        ok: true,
        error: None,
    })
    .unwrap();
    podlink::send_packet(connection.as_raw_fd(), &reply, &raw).ok()
}

/// Echoes every connection until the listener's task ends.
pub fn echo(listener: TcpListener) {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
}

pub async fn round_trip(stream: &mut TcpStream, text: &[u8]) -> Duration {
    let begun = std::time::Instant::now();
    stream.write_all(text).await.unwrap();
    let mut answer = vec![0; text.len()];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer))
        .await
        .expect("no echo")
        .unwrap();
    assert_eq!(answer, text);
    begun.elapsed()
}

pub fn service(name: &str, app_protocol: AppProtocol, backends: &[SocketAddrV4]) -> Service {
    Service {
        namespace: "chirpy".into(),
        name: name.into(),
        cluster_ip: Some(Ipv4Addr::new(127, 96, 0, 10)),
        port: 80,
        app_protocol,
        backends: backends
            .iter()
            .map(|a| Backend {
                addr: *a.ip(),
                port: a.port(),
            })
            .collect(),
    }
}

pub const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 96, 0, 10), 80);

pub fn network(id: &str, from: &FakePod, to: PodSet, effect: NetworkEffect) -> Fault {
    let flows = vec![Flow {
        from: PodSet::Pods([from.link.uid.clone()].into()),
        to,
    }];
    Fault {
        id: id.into(),
        until: None,
        kind: FaultKind::Network(NetworkFault { flows, effect }),
    }
}

/// Two pods, `app` and `db`, and a data plane between them.
pub struct World {
    pub dir: tempfile::TempDir,
    pub dataplane: Dataplane,
    pub client: DataplaneClient,
    pub app: FakePod,
    pub db: FakePod,
    pub server: Option<TcpListener>,
    pub snapshot: Snapshot,
}

impl World {
    /// `db` serves on one port, behind the service [`SERVICE`].
    pub async fn new(protocol: AppProtocol) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (app, mut db) = (
            FakePod::start(dir.path(), "app"),
            FakePod::start(dir.path(), "db"),
        );
        let server = db.serve(protocol).await;
        let dataplane = Dataplane::start(&dir.path().join("dataplane"));
        let client = dataplane.client().await;
        let snapshot = Snapshot {
            version: 1,
            pods: vec![app.link.clone(), db.link.clone()],
            services: vec![service("db", protocol, &[db.address()])],
            ..Default::default()
        };
        Self {
            dir,
            dataplane,
            client,
            app,
            db,
            server: Some(server),
            snapshot,
        }
    }

    /// Applies the snapshot, and expects no problem.
    pub async fn apply(&mut self) -> Applied {
        self.snapshot.version += 1;
        let applied = self.client.apply(self.snapshot.clone()).await.unwrap();
        assert_eq!(applied.problems, []);
        assert_eq!(applied.version, self.snapshot.version);
        applied
    }

    pub async fn with_faults(&mut self, faults: Vec<Fault>) {
        self.snapshot.faults = faults;
        self.apply().await;
    }

    pub fn take_server(&mut self) -> TcpListener {
        self.server.take().unwrap()
    }
}
