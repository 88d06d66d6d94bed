//! Every test, cheapest first; the first step that fails ends the run.

use anyhow::Result;

use crate::build::{self, Profile};
use crate::reasons::Reasons;
use crate::steps::Steps;
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{layers, setup, ui};

/// An end-to-end suite: the built `hikeshi` on a state folder of its own.
struct Suite {
    name: &'static str,
    /// Arguments of `hikeshi` as the tests built it: one build is enough for a test run.
    args: &'static [&'static str],
    /// Where its `--report` goes, among the logs.
    report: &'static str,
    /// After this it has hung.
    minutes: u32,
}

const SUITES: &[Suite] = &[Suite {
    name: "rehearsal matrix",
    args: &["rehearse", "timelines-stop-updating", "--pace", "10", "--matrix"],
    report: "rehearsal.json",
    minutes: 40,
}];

/// Runs a suite ($2...) for at most $1 minutes and, whatever happens, leaves nothing of it: no process, no folder.
/// The folder is made where the pods' user can reach it, which the target folder need not be.
const SUITE_SCRIPT: &str = r#"
limit=$1; shift
HIKESHI_HOME=$(mktemp -d "${TMPDIR:-/tmp}/hikeshi-test.XXXXXX") || exit 3
export HIKESHI_HOME
chmod 755 "$HIKESHI_HOME"
trap 'timeout 60 "$1" down >/dev/null 2>&1; rm -rf "$HIKESHI_HOME"' EXIT
trap 'exit 130' INT TERM HUP
timeout --foreground --kill-after=30 "${limit}m" "$@"
"#;

/// Says whether everything passed. The last line printed is `N passed, M failed`, for those who read only that.
///
/// With `quick`, nothing that needs a whole system running for minutes.
pub fn run(workspace: &Workspace, quick: bool) -> Result<bool> {
    let mut steps = Steps::new(workspace.state()?);
    let mut tally = Tally::default();
    let result = run_steps(workspace, quick, &mut steps, &mut tally);
    steps.print_times();
    if let Err(error) = &result {
        println!("\n{error:#}\n");
        // Something other than a test failed: formatting, a lint, a build.
        tally.failed = tally.failed.max(1);
    }
    println!("{tally}");
    Ok(result.is_ok())
}

fn run_steps(workspace: &Workspace, quick: bool, steps: &mut Steps, tally: &mut Tally) -> Result<()> {
    let silent = &mut |_: &str| {};
    steps.step("setup", || setup::run(workspace, true))?;
    steps.step("OpenSearch", || {
        // Its test says again that it is skipped.
        if let Err(error) = setup::opensearch(workspace) {
            println!("SKIPPED: Chirpy with a real OpenSearch, which cannot be fetched here: {error:#}");
        }
        Ok(())
    })?;
    let kubectls = std::env::join_paths(setup::test_kubectls(workspace))?;
    let cargo = |args: &[&str]| {
        let mut cargo = workspace.cargo();
        cargo
            .args(args)
            .env("HIKESHI_TEST", "1")
            .env("HIKESHI_KUBECTLS", &kubectls)
            .env("CARGO_TERM_COLOR", "never");
        cargo
    };
    steps.command(
        "cargo fmt",
        &mut cargo(&["fmt", "--all", "--check", "--", "--color=never"]),
        silent,
    )?;
    steps.step("layers", || layers::run(workspace))?;
    // Before anything compiles: hikeshi-server embeds the page.
    steps.step("ui build", || ui::build(workspace))?;
    steps.step("ui dependencies", || ui::install(workspace))?;
    steps.command("ui check", ui::npm(workspace).args(["run", "check"]), silent)?;
    steps.command("ui test", ui::npm(workspace).args(["run", "test"]), silent)?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    steps.command("cargo clippy", &mut cargo(&clippy), silent)?;
    // Every test binary, not only those up to the first failure: the tally then tells the whole.
    let mut reasons = Reasons::default();
    let mut on_line = |line: &str| {
        let running = line.trim_start();
        let head = running.starts_with("Running ") || running.ends_with("... FAILED");
        if tally.read(line) || head || reasons.shows(line) {
            println!("    {running}");
        }
    };
    steps.command(
        "cargo test",
        &mut cargo(&["test", "--workspace", "--no-fail-fast"]),
        &mut on_line,
    )?;
    if quick {
        return Ok(());
    }
    // `cargo test` has built them already, unless a test binary was all that it needed.
    steps.command("build", &mut cargo(&build::cargo_args(Profile::Dev)), silent)?;
    // One system at a time, and nothing beside it: its pace is part of what these prove.
    let walk = ["test", "--workspace", "--test", "browser", "--", "--ignored"];
    steps.command("war room in Chromium", &mut cargo(&walk), &mut |line| {
        tally.read(line);
    })?;
    for suite in SUITES {
        let mut command = workspace.command("bash");
        command
            .args(["-c", SUITE_SCRIPT, suite.name, &suite.minutes.to_string()])
            .arg(workspace.built(Profile::Dev.dir(), "hikeshi"))
            .args(suite.args)
            .arg("--report")
            .arg(workspace.state()?.join(suite.report))
            .env("HIKESHI_TEST", "1");
        let echo = &mut |line: &str| println!("    {line}");
        if let Err(error) = steps.command(suite.name, &mut command, echo) {
            tally.failed += 1;
            return Err(error);
        }
        tally.passed += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;
    use crate::steps::scratch;

    #[test]
    fn a_suite_is_taken_down_and_its_folder_removed_whatever_its_exit() {
        let dir = scratch::dir("suite");
        let program = dir.join("program");
        let script = "#!/bin/sh\necho \"$1 $HIKESHI_HOME\" >> \"$RECORD\"\n[ \"$1\" = down ] || exit 7\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let status = Command::new("bash")
            .args(["-c", SUITE_SCRIPT, "name", "1"])
            .arg(&program)
            .arg("rehearse")
            .env("RECORD", dir.join("record"))
            .env("TMPDIR", dir.as_path())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(7));
        let record = fs::read_to_string(dir.join("record")).unwrap();
        let calls: Vec<_> = record.lines().filter_map(|line| line.split_once(' ')).collect();
        assert_eq!(
            calls.iter().map(|(verb, _)| *verb).collect::<Vec<_>>(),
            ["rehearse", "down"]
        );
        assert_eq!(calls[0].1, calls[1].1);
        assert!(!fs::exists(calls[0].1).unwrap());
    }
}
