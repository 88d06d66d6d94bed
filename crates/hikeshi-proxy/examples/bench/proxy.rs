//! A data plane with one host listener.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hikeshi_proxy::faults::Fault;
use hikeshi_proxy::{AppProtocol, Backend, DataplaneClient, HostListener, Service, Snapshot};

/// How long a data plane may take to start.
const START: Duration = Duration::from_secs(10);

/// `upstream` behind a Service, entered from the host.
pub fn snapshot(upstream: SocketAddrV4, app_protocol: AppProtocol, faults: Vec<Fault>) -> Snapshot {
    Snapshot {
        services: vec![Service {
            namespace: "bench".into(),
            name: "upstream".into(),
            cluster_ip: None,
            port: 80,
            app_protocol,
            backends: vec![Backend {
                addr: *upstream.ip(),
                port: upstream.port(),
            }],
        }],
        host_listeners: vec![HostListener {
            name: "bench".into(),
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            namespace: "bench".into(),
            service: "upstream".into(),
            port: 80,
            rules: Vec::new(),
        }],
        faults,
        ..Default::default()
    }
}

/// A data plane of its own; ends with this value.
pub struct Dataplane {
    child: Child,
    dir: PathBuf,
}

impl Dataplane {
    /// Pinned to the first core, if `taskset` is there.
    pub fn start(pinned: bool) -> Result<Self, Box<dyn Error>> {
        let dir = std::env::temp_dir().join(format!("hikeshi-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let program = std::env::current_exe()?;
        let mut command = if pinned {
            let mut command = Command::new("taskset");
            command.args(["-c", "0"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let child = command
            .arg("dataplane")
            .arg(&dir)
            .env("HIKESHI_LIFELINE", "0")
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Self { child, dir })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It may have ended already, and its folder with it.
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub async fn connect(dir: &Path) -> Result<DataplaneClient, Box<dyn Error>> {
    let deadline = tokio::time::Instant::now() + START;
    loop {
        match DataplaneClient::connect(dir).await {
            Ok(client) => return Ok(client),
            Err(error) if tokio::time::Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Prints `PID ADDRESS` and serves until the standard input ends.
pub fn serve(upstream: &str, protocol: AppProtocol, faults: &str) -> Result<(), Box<dyn Error>> {
    let faults: Vec<Fault> = serde_json::from_slice(&std::fs::read(faults)?)?;
    let dataplane = Dataplane::start(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = connect(dataplane.dir()).await?;
        let applied = client
            .apply(snapshot(upstream.parse()?, protocol, faults))
            .await?;
        if !applied.problems.is_empty() {
            return Err(format!("{:?}", applied.problems).into());
        }
        let address: SocketAddr = applied.bound["bench"];
        println!("{} {address}", dataplane.pid());
        std::io::stdout().flush()?;
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        let lease = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                client.heartbeat().await?;
            }
        };
        tokio::select! {
            _ = ended => Ok(()),
            failed = lease => failed,
        }
    })
}
