//! The programs, with the page inside.

use anyhow::Result;

use crate::ui;
use crate::workspace::{self, Workspace};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
    /// As what is handed out: the slowest to build, the fastest to run.
    Dist,
}

impl Profile {
    pub fn release_if(release: bool) -> Self {
        if release { Self::Release } else { Self::Dev }
    }

    /// Its folder under cargo's target.
    pub fn dir(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
            Self::Dist => "dist",
        }
    }
}

/// What `cargo build` is told. The whole workspace, as for the tests: with a part of it other features would be
/// chosen, and half of the dependencies built a second time.
pub fn cargo_args(profile: Profile) -> Vec<&'static str> {
    let mut args = vec!["build", "--workspace", "--bins"];
    match profile {
        Profile::Dev => {}
        Profile::Release => args.push("--release"),
        Profile::Dist => args.extend(["--profile", "dist"]),
    }
    args
}

/// The page first: hikeshi-server embeds it.
pub fn run(workspace: &Workspace, profile: Profile) -> Result<()> {
    ui::build(workspace)?;
    workspace::run("cargo build", workspace.cargo().args(cargo_args(profile)))
}
