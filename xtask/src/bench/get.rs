//! `cargo xtask bench get`: the real kubectl against the API server alone, beside kubectl's own start.

use anyhow::{Context, Result, bail};

use crate::workspace::{self, Workspace};

/// Rounds unless told otherwise: an odd number has a median.
const ROUNDS: &str = "21";

pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let rounds = match args {
        [] => ROUNDS,
        [rounds] if rounds.parse::<usize>().is_ok() => rounds,
        [rounds] => bail!("{rounds} is no number of rounds"),
        _ => bail!("bench get takes one argument: the number of rounds"),
    };
    let kubectl = workspace
        .which("kubectl")
        .context("no kubectl here; cargo xtask setup installs one")?;
    let build = [
        "build",
        "--release",
        "-p",
        "hikeshi-apiserver",
        "--example",
        "bench_get",
    ];
    workspace::run("cargo build", workspace.cargo().args(build))?;
    let bench = workspace.built("release/examples", "bench_get");
    workspace::run(
        "bench get",
        workspace.command(&bench).arg("get").arg(&kubectl).arg(rounds),
    )
}
