//! Starting pods for tests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hikeshi_node::shim::launch::{LaunchError, give_to_pods, is_alive, launch};
use hikeshi_node::shim::protocol::*;
use hikeshi_node::shim::{InitClient, InitError};
use tokio::net::unix::pipe;

pub const DEADLINE: Duration = Duration::from_secs(30);

/// A folder that the pods' user can reach, and the lifeline of all pods in it.
pub struct World {
    folder: tempfile::TempDir,
    lifeline: Option<(io::PipeReader, io::PipeWriter)>,
    pub program: PathBuf,
}

pub struct Pod {
    pub dir: PathBuf,
    pub init: InitClient,
    pub record: InitRecord,
}

pub fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(|word| (*word).to_owned()).collect()
}

pub fn environment() -> BTreeMap<String, String> {
    BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())])
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // A copy: the build folder may be closed to the pods' user.
        let program = folder.path().join("pod-init");
        let built = Path::new(env!("CARGO_BIN_EXE_pod-init-harness"));
        // The build folder may be closed to a user who is not root; whoever starts us as such leaves a copy.
        let beside = std::env::current_exe().unwrap().with_file_name("pod-init");
        // By another process: a test that forks just now would inherit our descriptor and keep the file "busy".
        let source = if beside.exists() { &beside } else { built };
        assert!(
            std::process::Command::new("cp")
                .arg(source)
                .arg(&program)
                .status()
                .unwrap()
                .success()
        );
        Self {
            folder,
            lifeline: Some(io::pipe().unwrap()),
            program,
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A folder that pods may write to.
    pub fn volume(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).unwrap();
        give_to_pods(&path).unwrap();
        path
    }

    /// Closes the lifeline of every pod.
    pub fn let_go(&mut self) {
        self.lifeline = None;
    }

    pub fn spec(&self, name: &str) -> PodSpecFile {
        PodSpecFile {
            namespace: "chirpy".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            hostname: name.into(),
            user: PodUser {
                uid: 999,
                gid: 998,
                name: "redis".into(),
                home: "/data".into(),
            },
            bin_dir: None,
            binds: Vec::new(),
            tmpfs: Vec::new(),
            read_only_root: false,
            lifeline: None,
            nice: 0,
        }
    }

    pub async fn pod(&self, name: &str) -> Pod {
        self.pod_with(&self.spec(name), "127.0.0.1 localhost\n").await
    }

    pub async fn pod_with(&self, spec: &PodSpecFile, hosts: &str) -> Pod {
        let record = self.launched(spec, hosts).await.unwrap();
        assert!(is_alive(&record));
        let dir = self.path().join(&spec.name);
        let init = InitClient::connect(&dir).unwrap();
        Pod { dir, init, record }
    }

    /// Starts a pod that may be refused.
    pub async fn launched(&self, spec: &PodSpecFile, hosts: &str) -> Result<InitRecord, LaunchError> {
        let dir = self.path().join(&spec.name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("hosts"), hosts).unwrap();
        let lifeline = &self.lifeline.as_ref().unwrap().0;
        launch(&self.program, &dir, spec, Some(lifeline.as_fd())).await
    }
}

fn request(container: &str, argv: &[&str], restart: u32, limits: Limits) -> StartRequest {
    StartRequest {
        container: container.into(),
        argv: words(argv),
        env: environment(),
        cwd: "/".into(),
        restart,
        limits,
        stdin: Stdin::Closed,
        dropped_capabilities: 0,
        tty: false,
    }
}

impl Pod {
    pub async fn start(&mut self, container: &str, argv: &[&str]) -> Started {
        self.start_with(container, argv, 0, Limits::default())
            .await
            .unwrap()
    }

    pub async fn start_with(
        &mut self,
        container: &str,
        argv: &[&str],
        restart: u32,
        limits: Limits,
    ) -> Result<Started, InitError> {
        let request = request(container, argv, restart, limits);
        self.init.call(&Request::Start(request)).await
    }

    /// A container that reads what is written to its standard input.
    pub async fn start_reading(&mut self, container: &str, argv: &[&str], stdin: Stdin) {
        let mut request = request(container, argv, 0, Limits::default());
        request.stdin = stdin;
        let _: Started = self.init.call(&Request::Start(request)).await.unwrap();
    }

    /// Where a container's standard input is written.
    pub async fn stdin(&mut self, container: &str) -> Result<File, InitError> {
        let request = Request::Stdin {
            container: container.into(),
        };
        let mut passed = self.init.command(&request).await?;
        Ok(File::from(passed.pop().unwrap()))
    }

    /// A container whose streams are a terminal.
    pub async fn start_on_terminal(&mut self, container: &str, argv: &[&str]) {
        let mut request = request(container, argv, 0, Limits::default());
        request.tty = true;
        let _: Started = self.init.call(&Request::Start(request)).await.unwrap();
    }

    /// A container's terminal: where one types, and what it shows.
    pub async fn terminal(&mut self, container: &str) -> Result<(File, pipe::Receiver), InitError> {
        let request = Request::Terminal {
            container: container.into(),
        };
        let [keys, shown] = <[OwnedFd; 2]>::try_from(self.init.command(&request).await?).unwrap();
        Ok((File::from(keys), pipe::Receiver::from_owned_fd(shown).unwrap()))
    }

    /// Waits until the container has ended.
    pub async fn ended(&mut self, container: &str) -> ContainerExit {
        let mut seen = 0;
        within(async {
            loop {
                let status: StatusReply = self.init.call(&Request::Watch { seen }).await.unwrap();
                seen = status.generation;
                let found = status
                    .containers
                    .into_iter()
                    .find(|one| one.name == container)
                    .unwrap();
                if let Some(exit) = found.exit {
                    return exit;
                }
            }
        })
        .await
    }

    /// The messages in a container's log, without time, stream and mark.
    pub fn log(&self, container: &str, restart: u32) -> Vec<String> {
        let path = self.dir.join(format!("logs/{container}/{restart}.log"));
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned())
            .collect()
    }

    /// Runs a program beside the containers: exit code, stdout, stderr.
    pub async fn run(&self, argv: &[&str]) -> (i32, String, String) {
        let mut init = InitClient::connect(&self.dir).unwrap();
        let request = ExecRequest {
            container: None,
            argv: words(argv),
            env: environment(),
            cwd: "/".into(),
            dropped_capabilities: 0,
            tty: false,
        };
        let null = fs::File::open("/dev/null").unwrap();
        let (out, out_write) = io::pipe().unwrap();
        let (err, err_write) = io::pipe().unwrap();
        use std::os::fd::AsRawFd;
        let fds = [null.as_raw_fd(), out_write.as_raw_fd(), err_write.as_raw_fd()];
        let (started, _): (Started, _) = init.call_with(&Request::Exec(request), &fds).await.unwrap();
        drop((out_write, err_write));
        let read =
            |pipe: io::PipeReader| tokio::task::spawn_blocking(move || io::read_to_string(pipe).unwrap());
        let (out, err) = (read(out), read(err));
        let exit: ExecExit = within(init.call(&Request::ExecWait { id: started.id }))
            .await
            .unwrap();
        (exit.exit_code, out.await.unwrap(), err.await.unwrap())
    }
}

/// Fails the test rather than hang.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

/// Waits for a condition that nothing announces.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
