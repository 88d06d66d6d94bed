//! Figures of a release build. The measuring is the program's own (`hikeshi bench`), where the clocks are.

use anyhow::Result;
use clap::ValueEnum;

use crate::build::{self, Profile};
use crate::setup;
use crate::workspace::{self, Workspace};

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Bench {
    /// From `up` to the first request served
    Up,
    /// From the fault's injection to the page fired
    Page,
}

/// Measures `what`, or one figure after the other. `args` are passed on to each.
pub fn run(workspace: &Workspace, what: Option<Bench>, args: &[String]) -> Result<()> {
    setup::run(workspace, false)?;
    build::run(workspace, Profile::Release)?;
    let program = workspace.built(Profile::Release.dir(), "hikeshi");
    for figure in what.map_or_else(|| vec![Bench::Up, Bench::Page], |one| vec![one]) {
        let name = match figure {
            Bench::Up => "up",
            Bench::Page => "page",
        };
        workspace::run(
            &format!("hikeshi bench {name}"),
            workspace.command(&program).args(["bench", name]).args(args),
        )?;
    }
    Ok(())
}
