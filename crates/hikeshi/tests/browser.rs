//! The pages in a real Chromium, on the real system: `ui/e2e/war-room.mjs` walks a whole drill as a person does,
//! `experiments.mjs` an experiment from its manifest to its verdict.
//! A binary of its own, since it takes minutes and the system's pace is part of what it sees: nothing runs beside it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

/// Where a browser is looked for, by the names that setup knows.
const BROWSERS: [&str; 3] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
];
const SCENARIO: &str = "timelines-stop-updating";

/// A state folder with nothing in it, which the pods' user can reach; everything that runs in it ends with this.
struct Home {
    folder: PathBuf,
    /// Closed when this process ends, however it ends: then control, data plane and pods end, too.
    lifeline: OwnedFd,
    _held: OwnedFd,
}

impl Home {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("hikeshi-browser-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o755)
            .create(&folder)
            .expect("a folder for the test's system");
        let (lifeline, held) = nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        fcntl(&lifeline, FcntlArg::F_SETFD(FdFlag::empty())).expect("a lifeline that children inherit");
        Self {
            folder,
            lifeline,
            _held: held,
        }
    }

    fn hikeshi(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_hikeshi"))
            .args(args)
            .env("HIKESHI_HOME", &self.folder)
            .env("HIKESHI_LIFELINE", self.lifeline.as_raw_fd().to_string())
            .output()
            .expect("hikeshi runs")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let down = self.hikeshi(&["down"]);
        let log = std::fs::read_to_string(self.folder.join("control.log")).unwrap_or_default();
        let _ = std::fs::remove_dir_all(&self.folder);
        if !down.status.success() && !std::thread::panicking() {
            panic!("hikeshi down: {}\ncontrol's log:\n{log}", told(&down));
        }
    }
}

fn told(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The first there is; without any, the one to install.
fn installed_browser() -> PathBuf {
    let there = BROWSERS.into_iter().find(|path| Path::new(path).exists());
    there.unwrap_or(BROWSERS[0]).into()
}

/// What must be there before minutes are spent, each with what puts it there.
fn prerequisites(root: &Path, chromium: &Path) {
    let beside = Path::new(env!("CARGO_BIN_EXE_hikeshi"))
        .parent()
        .expect("a program lies in a folder");
    for (path, remedy) in [
        (
            chromium.to_path_buf(),
            "`cargo xtask setup --tests` installs it; or set HIKESHI_CHROMIUM to a Chromium or Chrome",
        ),
        (root.join("ui/node_modules/playwright-core"), "npm --prefix ui ci"),
        (
            root.join("ui/dist/index.html"),
            "npm --prefix ui ci && npm --prefix ui run build",
        ),
        (beside.join("chirpy"), "cargo build --workspace"),
        (beside.join("hikeshi-load"), "cargo build --workspace"),
    ] {
        assert!(
            path.exists(),
            "the browser test needs {}: {remedy}",
            path.display()
        );
    }
}

#[test]
#[ignore = "minutes that need the machine to themselves: cargo test --workspace --test browser -- --ignored"]
fn a_person_goes_through_a_whole_drill_in_the_war_room() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let chromium = std::env::var_os("HIKESHI_CHROMIUM").map_or_else(installed_browser, PathBuf::from);
    prerequisites(&root, &chromium);
    let home = Home::new();
    let started = home.hikeshi(&["drill", "start", SCENARIO, "--json"]);
    assert!(
        started.status.success(),
        "hikeshi drill start: {}",
        told(&started)
    );
    walk(&root, &chromium, "war-room.mjs", &host_link(&started));

    // The same score for those who read it in a terminal.
    let shown = home.hikeshi(&["drill", "show", "last", "--json"]);
    assert!(shown.status.success(), "hikeshi drill show: {}", told(&shown));
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert!(
        shown["score"]["points"].as_u64().is_some_and(|points| points > 0),
        "{}",
        shown["score"]
    );

    // A fresh drill, for the pages beside it.
    let started = home.hikeshi(&["drill", "start", SCENARIO, "--json"]);
    assert!(
        started.status.success(),
        "hikeshi drill start, again: {}",
        told(&started)
    );
    for args in [
        &["apply", "-f", "ui/e2e/nginx-app.yaml"][..],
        &[
            "rollout",
            "status",
            "deployment/nginx-app",
            "-n",
            "default",
            "--timeout=90s",
        ],
    ] {
        let kubectl = Command::new("kubectl")
            .args(args)
            .current_dir(&root)
            .env("KUBECONFIG", home.folder.join("kubeconfig"))
            .output()
            .expect("kubectl runs");
        assert!(kubectl.status.success(), "kubectl {args:?}: {}", told(&kubectl));
    }
    walk(&root, &chromium, "experiments.mjs", &host_link(&started));
    walk(&root, &chromium, "lab.mjs", &host_link(&started));
    drop(home);
}

fn host_link(started: &Output) -> String {
    let answer: serde_json::Value = serde_json::from_slice(&started.stdout).expect("JSON");
    answer["url"].as_str().expect("the host's link").to_owned()
}

/// Runs a walk of `ui/e2e` to its end.
fn walk(root: &Path, chromium: &Path, script: &str, url: &str) {
    let mut walk = Command::new("node");
    walk.arg(root.join("ui/e2e").join(script))
        .arg(url)
        .arg("--chromium")
        .arg(chromium);
    // Where to leave pictures of every page; the README's come from here.
    if let Some(shots) = std::env::var_os("HIKESHI_SHOTS") {
        walk.arg("--shots").arg(shots);
    }
    let walk = walk
        .output()
        .expect("the browser test needs node: install nodejs");
    assert!(walk.status.success(), "{script} failed: {}", told(&walk));
}
