//! A state folder of a test's own, and everything that a test does with it from outside.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The shipped scenario injects two minutes after the start; a slow machine must not reach that within this test.
const INJECT: &str = "{at: 2m,";
const INJECT_LATER: &str = "{at: 3h,";

/// Held by whoever has a home: systems that run beside one another take each other's pace, and some tests look at it.
static ALONE: Mutex<()> = Mutex::new(());

/// A state folder and a copy of the shipped files; both are gone when this is dropped, and all that runs in them.
/// A test has one at a time, and no other test has one then.
pub struct Home {
    folder: tempfile::TempDir,
    /// Only this test holds it: when it closes, however that comes, what was started ends.
    lifeline: (OwnedFd, OwnedFd),
    _alone: MutexGuard<'static, ()>,
}

impl Home {
    pub fn new() -> Self {
        // A test that failed has left nothing half done here.
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::Builder::new()
            .prefix("hikeshi-it-")
            .tempdir()
            .expect("a temporary folder");
        // Pods run as another user.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))
            .expect("opening the folder");
        let home = Self {
            folder,
            lifeline: nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe"),
            _alone: alone,
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for name in ["systems", "images", "scenarios"] {
            copy(&source.join(name), &home.share().join(name));
        }
        home
    }

    /// What no other process's command line, folder or mount contains.
    pub fn mark(&self) -> &str {
        self.folder
            .path()
            .file_name()
            .and_then(OsStr::to_str)
            .expect("a plain name")
    }

    /// `HIKESHI_HOME`.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// `HIKESHI_SHARE`.
    pub fn share(&self) -> PathBuf {
        self.folder.path().join("share")
    }

    /// Puts the scenario's fault off, so that what a test sees is what the test did.
    pub fn inject_much_later(&self) {
        let file = self
            .share()
            .join("scenarios/timelines-stop-updating/scenario.yaml");
        let text = std::fs::read_to_string(&file).expect("the shipped scenario");
        assert!(
            text.contains(INJECT),
            "the scenario injects at another time now: mend this test"
        );
        std::fs::write(file, text.replace(INJECT, INJECT_LATER)).expect("writing the scenario");
    }

    /// `hikeshi ARGS`, to be run in this home.
    pub fn hikeshi(&self, args: &[&str]) -> Command {
        let mut command = self.program(hikeshi());
        command.args(args);
        command
    }

    /// `WRAPPER... hikeshi ARGS`: run in this home by another program.
    pub fn hikeshi_within(&self, wrapper: &[&str], args: &[&str]) -> Output {
        let (program, rest) = wrapper.split_first().expect("a program");
        self.program(Path::new(program))
            .args(rest)
            .arg(hikeshi())
            .args(args)
            .output()
            .expect("the wrapper starts")
    }

    fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("HIKESHI_HOME", self.path())
            .env("HIKESHI_SHARE", self.share())
            .stdin(Stdio::null());
        // Nothing of the person who runs the tests.
        command
            .env_remove("KUBECONFIG")
            .env_remove("HIKESHI_LOG")
            .env("LC_ALL", "C.UTF-8");
        let line = self.lifeline.0.as_raw_fd();
        command.env("HIKESHI_LIFELINE", line.to_string());
        // SAFETY: fcntl is async-signal-safe; nothing is allocated between fork and exec.
        unsafe {
            command.pre_exec(move || {
                libc::fcntl(line, libc::F_SETFD, 0);
                Ok(())
            });
        }
        command
    }

    /// Runs `hikeshi ARGS` to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.hikeshi(args).output().expect("hikeshi starts")
    }

    /// As `run`, for what must succeed; answers standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "hikeshi {args:?}: {}\n{}",
            output.status,
            self.what_was_said(&output)
        );
        text(&output.stdout)
    }

    /// As `ok`, for `--json`.
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).expect("JSON on standard output")
    }

    fn what_was_said(&self, output: &Output) -> String {
        let log = std::fs::read_to_string(self.path().join("control.log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(30).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        format!(
            "{}{}\n--- control.log\n{}",
            text(&output.stdout),
            text(&output.stderr),
            tail.join("\n")
        )
    }

    /// `control.json`.
    pub fn record(&self) -> Value {
        let bytes = std::fs::read(self.path().join("control.json")).expect("control.json");
        serde_json::from_slice(&bytes).expect("control.json is JSON")
    }

    pub fn dataplane_pid(&self) -> i32 {
        let bytes = std::fs::read(self.path().join("dataplane/dataplane.json")).expect("dataplane.json");
        let record: Value = serde_json::from_slice(&bytes).expect("dataplane.json is JSON");
        i32::try_from(record["pid"].as_i64().expect("a pid")).expect("a pid")
    }

    pub fn control_pid(&self) -> i32 {
        i32::try_from(self.record()["process"]["pid"].as_i64().expect("a pid")).expect("a pid")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A failed test leaves nothing behind either; what this cannot end, the lifeline does.
        let _ = self
            .hikeshi(&["down"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// The program under test. The programs that pods run must lie beside it: building them is not a test's business.
fn hikeshi() -> &'static Path {
    let program = Path::new(env!("CARGO_BIN_EXE_hikeshi"));
    for name in ["chirpy", "hikeshi-load"] {
        let beside = program.with_file_name(name);
        assert!(
            beside.is_file(),
            "{} is missing: run `cargo build` first, then the tests",
            beside.display()
        );
    }
    program
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("making a folder");
    for entry in std::fs::read_dir(from)
        .expect("reading a folder")
        .map(|entry| entry.expect("an entry").path())
    {
        let target = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).expect("copying a file");
        }
    }
}

/// An address for `--listen`: the loopback war room's usual one where it is free, for who asks for it must get it.
pub fn listen_address() -> String {
    let probe = TcpListener::bind("127.0.0.1:7700").or_else(|_| TcpListener::bind("127.0.0.1:0"));
    let address = probe.and_then(|probe| probe.local_addr());
    address.expect("a free port").to_string()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks again until the answer is `Some`, and fails with what is waited for when `limit` has passed.
pub async fn eventually<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            started.elapsed() < limit,
            "{what}: not within {} s",
            limit.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Kills without warning and waits until the process is gone.
pub async fn kill_9(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .expect("a process to kill");
    eventually(
        "the killed process is gone",
        Duration::from_secs(10),
        async || gone(pid).then_some(()),
    )
    .await;
}

/// A zombie is gone: whoever should reap it is no part of Hikeshi.
pub fn gone(pid: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}
