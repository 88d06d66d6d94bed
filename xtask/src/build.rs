//! The programs, with the page inside.

use std::fs;

use anyhow::{Context as _, Result};

use crate::ui;
use crate::workspace::{self, Workspace};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
    /// Chirpy and its load generator with link-time optimisation, beside hikeshi as in `Release`: slow to build, fast to run.
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
    let mut args = vec!["build", "--workspace"];
    args.extend(match profile {
        Profile::Dev => &["--bins"][..],
        Profile::Release => &["--bins", "--release"],
        Profile::Dist => &["--profile", "dist", "--bin", "chirpy", "--bin", "hikeshi-load"],
    });
    args
}

/// The page first: hikeshi-server embeds it.
pub fn run(workspace: &Workspace, profile: Profile) -> Result<()> {
    ui::build(workspace)?;
    let build = |profile| workspace::run("cargo build", workspace.cargo().args(cargo_args(profile)));
    if profile != Profile::Dist {
        return build(profile);
    }
    build(Profile::Release)?;
    build(Profile::Dist)?;
    beside(workspace)
}

/// hikeshi takes the other programs from the folder that it is in.
fn beside(workspace: &Workspace) -> Result<()> {
    let hikeshi = |profile: Profile| workspace.built(profile.dir(), "hikeshi");
    let (from, to) = (hikeshi(Profile::Release), hikeshi(Profile::Dist));
    fs::copy(&from, &to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}
