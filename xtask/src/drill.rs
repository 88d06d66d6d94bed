//! One command from a fresh clone to a running incident in the browser.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::build::{self, Profile};
use crate::setup;
use crate::workspace::{self, Workspace};

#[derive(clap::Args)]
pub struct Args {
    /// The scenario to start
    #[arg(default_value = "timelines-stop-updating")]
    scenario: String,
    /// A quick, unoptimised build; its latencies are not the real ones
    #[arg(long)]
    dev: bool,
    /// Open the war room in this desktop's browser
    #[arg(long)]
    open: bool,
    /// Passed on to `hikeshi drill start`
    #[arg(last = true)]
    args: Vec<String>,
}

pub fn run(workspace: &Workspace, args: Args) -> Result<()> {
    setup::run(workspace, false)?;
    let profile = Profile::release_if(!args.dev);
    build::run(workspace, profile)?;
    let mut start = workspace.command(workspace.built(profile.dir(), "hikeshi"));
    start
        .args(["drill", "start"])
        .arg(&args.scenario)
        .args(&args.args);
    // Where people's own terminal finds no kubectl, hikeshi must see that too: it finds the fetched one by itself, and
    // then says how their terminal does.
    let own_path = workspace::own_path();
    if workspace::which_on(&own_path, "kubectl").is_none() {
        start.env("PATH", own_path);
    }
    if args.open {
        return start_and_open(workspace, &mut start);
    }
    // Nothing is left to do here: become it, so that its terminal, signals and exit code are the caller's.
    Err(start.exec()).context("cannot start hikeshi")
}

/// Passes the output on and opens the first URL in it.
fn start_and_open(workspace: &Workspace, start: &mut Command) -> Result<()> {
    let mut child = start
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start hikeshi")?;
    let output = child.stdout.take().context("hikeshi has no output")?;
    let mut opened = false;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read hikeshi's output")?;
        println!("{line}");
        if let Some(url) = first_url(&line).filter(|_| !opened) {
            opened = true;
            let mut open = workspace.command("xdg-open");
            if open
                .arg(url)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .is_err()
            {
                eprintln!("xtask: no xdg-open here; open the URL above by hand");
            }
        }
    }
    let status = child.wait().context("cannot wait for hikeshi")?;
    if !status.success() {
        bail!("hikeshi drill start failed ({status})");
    }
    Ok(())
}

fn first_url(line: &str) -> Option<&str> {
    line.split_whitespace()
        .find(|word| word.starts_with("http://") || word.starts_with("https://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_url_in_a_sentence() {
        assert_eq!(
            first_url("War room: https://127.0.0.1:8443/join#t=x  (ctrl-click)"),
            Some("https://127.0.0.1:8443/join#t=x")
        );
        assert_eq!(first_url("starting redis-cluster"), None);
    }
}
