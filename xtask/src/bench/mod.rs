//! Figures of a release build. What needs a running system is measured by the program itself (`hikeshi bench`), where the
//! clocks are; the data plane's figures are measured here, beside its peers, and the API server's beside kubectl's own.

mod chirpy;
mod get;
mod load;
mod peers;
mod proxy;
mod table;

use anyhow::Result;
use clap::ValueEnum;

use crate::build::{self, Profile};
use crate::setup;
use crate::workspace::{self, Workspace};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Bench {
    /// From `up` to the first request served
    Up,
    /// From the fault's injection to the page fired
    Page,
    /// The data plane's HTTP/1.1 beside nginx, haproxy and envoy (installed when missing)
    Proxy,
    /// kubectl get against 1,000 pods, as a ratio to kubectl's own start
    Get,
    /// The load generator at 20,000 requests a second, beside wrk (installed when missing)
    Load,
    /// A backtest of 100 SLOs over 30 days in steps of 15 seconds
    Slo,
    /// Chirpy under 1,000 posts and 10,000 timeline reads a second: latency, errors, lost posts, CPU by process
    Chirpy,
    /// Chirpy under a fifth of that while services are rolled out anew and pods of each kind are killed: errors, time to recover, lost posts
    ChirpyFaults,
    /// How exact delays and shares are, and how fast faults come and go
    Faults,
}

/// Measures `what`, or the program's own figures one after the other. `args` are passed on to `hikeshi bench`; for the
/// figures of the data plane and of the API server the first one is the number of rounds.
pub fn run(workspace: &Workspace, what: Option<Bench>, args: &[String]) -> Result<()> {
    match what {
        Some(Bench::Proxy) => return proxy::run(workspace, args),
        Some(Bench::Faults) => return proxy::faults(workspace),
        Some(Bench::Load) => return load::run(workspace, args),
        Some(Bench::Chirpy) => return chirpy::run(workspace, args),
        Some(Bench::ChirpyFaults) => return chirpy::faults(workspace, args),
        Some(Bench::Get) => return get::run(workspace, args),
        Some(Bench::Slo) => {
            let harness = [
                "run",
                "--release",
                "-p",
                "hikeshi-slo",
                "--example",
                "bench_slo",
                "--",
            ];
            return workspace::run("cargo run", workspace.cargo().args(harness).args(args));
        }
        Some(Bench::Up | Bench::Page) | None => {}
    }
    setup::run(workspace, false)?;
    build::run(workspace, Profile::Release)?;
    let program = workspace.built(Profile::Release.dir(), "hikeshi");
    for figure in what.map_or_else(|| vec![Bench::Up, Bench::Page], |one| vec![one]) {
        let name = if figure == Bench::Page { "page" } else { "up" };
        workspace::run(
            &format!("hikeshi bench {name}"),
            workspace.command(&program).args(["bench", name]).args(args),
        )?;
    }
    Ok(())
}
