//! What this machine has. Every probe is a file or a program's own word, and all run at once: setup is asked often.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use serde::Deserialize;

use super::plan::Machine;
use crate::version::Version;
use crate::workspace::Workspace;

/// Looks at the machine. What only the tests need is looked for only with `tests`.
pub fn machine(workspace: &Workspace, tests: bool) -> Machine {
    let has = |program: &str| workspace.which(program).is_some();
    let says = |program: &str, args: &[&str]| words(workspace.command(program).args(args));
    thread::scope(|scope| {
        let kubectl = scope.spawn(|| kubectl(workspace));
        let node = scope.spawn(|| says("node", &["--version"]).as_deref().and_then(Version::parse));
        let redis = scope.spawn(|| redis(workspace));
        let venv = scope.spawn(|| says("python3", &["-c", "import venv, ensurepip"]).is_some());
        let font = scope.spawn(|| tests && has_japanese_font(workspace));
        let clippy = scope.spawn(|| tests && says("cargo-clippy", &["--version"]).is_some());
        let rustfmt = scope.spawn(|| tests && says("rustfmt", &["--version"]).is_some());
        Machine {
            redis: redis.join().unwrap_or(None),
            postgresql: postgresql(workspace),
            pgbouncer: has("pgbouncer"),
            prometheus: has("prometheus") && has("promtool"),
            alertmanager: has("prometheus-alertmanager") || has("alertmanager"),
            redis_exporter: has("prometheus-redis-exporter") || has("redis_exporter"),
            kubectl: kubectl.join().unwrap_or(None),
            test_kubectls: tests
                && super::python::test_kubectls(workspace)
                    .iter()
                    .all(|program| program.is_file()),
            node: node.join().unwrap_or(None),
            npm: has("npm"),
            c_compiler: has("cc"),
            python_venv: venv.join().unwrap_or(false),
            chromium: has("chromium") || has("chromium-browser") || has("google-chrome"),
            nginx: has("nginx"),
            japanese_font: font.join().unwrap_or(false),
            rustfmt: rustfmt.join().unwrap_or(false),
            clippy: clippy.join().unwrap_or(false),
        }
    })
}

/// The version of the kubectl that `hikeshi` would start.
pub fn kubectl(workspace: &Workspace) -> Option<Version> {
    let mut asked = workspace.command("kubectl");
    words(asked.args(["version", "--client", "--output=json"]))
        .as_deref()
        .and_then(kubectl_version)
}

/// What a program prints; `None` when it is missing or fails.
fn words(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn redis(workspace: &Workspace) -> Option<Version> {
    workspace.which("redis-cli")?;
    redis_version(&words(workspace.command("redis-server").arg("--version"))?)
}

/// `Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0`
fn redis_version(text: &str) -> Option<Version> {
    Version::parse(text.split_once("v=")?.1)
}

/// The newest server: on PATH, or where Debian keeps its versions side by side, off PATH.
fn postgresql(workspace: &Workspace) -> Option<Version> {
    let side_by_side = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let debian = side_by_side.filter(|entry| {
        let bin = entry.path().join("bin");
        bin.join("postgres").is_file() && bin.join("initdb").is_file()
    });
    let newest = debian
        .filter_map(|entry| Version::parse(&entry.file_name().to_string_lossy()))
        .max();
    newest.or_else(|| {
        workspace.which("initdb")?;
        Version::parse(&words(workspace.command("postgres").arg("--version"))?)
    })
}

fn has_japanese_font(workspace: &Workspace) -> bool {
    match words(workspace.command("fc-list").args([":lang=ja", "family"])) {
        Some(families) => !families.trim().is_empty(),
        // fontconfig comes with the browser, after the font.
        None => PathBuf::from("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc").is_file(),
    }
}

fn kubectl_version(json: &str) -> Option<Version> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Report {
        client_version: ClientVersion,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ClientVersion {
        git_version: String,
    }
    let report: Report = serde_json::from_str(json).ok()?;
    Version::parse(&report.client_version.git_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_redis_says() {
        let said =
            "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0\n";
        assert_eq!(redis_version(said), Some(Version::new(7, 0)));
        assert_eq!(redis_version("redis-server: unknown option"), None);
    }

    #[test]
    fn reads_kubectls_report() {
        let json = r#"{"clientVersion": {"major": "1", "minor": "32+", "gitVersion": "v1.32.4-dispatcher"}}"#;
        assert_eq!(kubectl_version(json), Some(Version::new(1, 32)));
        assert_eq!(kubectl_version("error: unknown flag"), None);
    }
}
