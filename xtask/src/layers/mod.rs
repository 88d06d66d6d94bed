//! The invariants of ARCHITECTURE.md that a machine can check: who may depend on whom, and what code may not say.

mod source;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::workspace::Workspace;

/// Crates of the workspace and those of it they may depend on. Upwards never; sideways only where ARCHITECTURE.md says.
const LAYERS: &[(&str, &[&str])] = &[
    // pure
    ("hikeshi-chaos", &[]),
    ("hikeshi-scenario", &[]),
    ("hikeshi-slo", &["hikeshi-scenario"]),
    ("hikeshi-drill", &["hikeshi-scenario"]),
    (
        "hikeshi-experiment",
        &["hikeshi-chaos", "hikeshi-scenario", "hikeshi-slo"],
    ),
    (
        "hikeshi-lab",
        &["hikeshi-chaos", "hikeshi-scenario", "hikeshi-slo"],
    ),
    // below the engines: what both servers that people reach are made with
    ("hikeshi-door", &[]),
    // engines
    (
        "hikeshi-apiserver",
        &[
            "hikeshi-door",
            "hikeshi-chaos",
            "hikeshi-scenario",
            "hikeshi-slo",
            "hikeshi-drill",
            "hikeshi-experiment",
        ],
    ),
    ("hikeshi-controllers", PURE),
    ("hikeshi-proxy", PURE),
    (
        "hikeshi-node",
        &[
            "hikeshi-proxy",
            "hikeshi-chaos",
            "hikeshi-scenario",
            "hikeshi-slo",
            "hikeshi-drill",
        ],
    ),
    ("hikeshi-load", PURE),
    // wiring
    (
        "hikeshi-server",
        &[
            "hikeshi-lab",
            "hikeshi-door",
            "hikeshi-chaos",
            "hikeshi-scenario",
            "hikeshi-slo",
            "hikeshi-drill",
            "hikeshi-experiment",
        ],
    ),
    (
        "hikeshi-host",
        &[
            "hikeshi-lab",
            "hikeshi-server",
            "hikeshi-chaos",
            "hikeshi-scenario",
            "hikeshi-slo",
            "hikeshi-drill",
            "hikeshi-experiment",
        ],
    ),
    (
        "hikeshi",
        &[
            "hikeshi-lab",
            "hikeshi-host",
            "hikeshi-server",
            "hikeshi-apiserver",
            "hikeshi-controllers",
            "hikeshi-node",
            "hikeshi-proxy",
            "hikeshi-load",
            "hikeshi-chaos",
            "hikeshi-scenario",
            "hikeshi-slo",
            "hikeshi-drill",
            "hikeshi-experiment",
        ],
    ),
    // apart: the system under drill knows nothing of Hikeshi, and the tasks must build in seconds
    ("chirpy", &[]),
    ("hikeshi-clock", &[]),
    ("xtask", &[]),
];

/// No IO, no clock, no randomness.
const PURE: &[&str] = &[
    "hikeshi-chaos",
    "hikeshi-scenario",
    "hikeshi-slo",
    "hikeshi-drill",
    "hikeshi-experiment",
    "hikeshi-lab",
];

/// What would give a pure crate the outside world.
const IMPURE: &[&str] = &[
    "tokio",
    "reqwest",
    "hyper",
    "axum",
    "kube",
    "nix",
    "libc",
    "socket2",
    "fastrand",
    "rand",
    "getrandom",
];

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `None`: a normal dependency.
    kind: Option<String>,
}

/// Checks everything; the error lists every finding.
pub fn run(workspace: &Workspace) -> Result<()> {
    let output = workspace
        .cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot start cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cannot read cargo metadata's output")?;
    let mut findings = check_dependencies(&metadata);
    findings.extend(check_sources(&workspace.root)?);
    if !findings.is_empty() {
        bail!("{} findings:\n  {}", findings.len(), findings.join("\n  "));
    }
    Ok(())
}

fn check_dependencies(metadata: &Metadata) -> Vec<String> {
    let layers: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some(allowed) = layers.get(name) else {
            findings.push(format!(
                "{name}: not in the table of layers (xtask/src/layers): say what it may depend on"
            ));
            continue;
        };
        // A test may use an upper layer to set its scene; what ships may not.
        for dependency in package
            .dependencies
            .iter()
            .filter(|found| found.kind.as_deref() != Some("dev"))
        {
            let on = dependency.name.as_str();
            if layers.contains_key(on) && !allowed.contains(&on) {
                findings.push(format!("{name}: depends on {on}, which is not below it"));
            }
            if PURE.contains(&name) && IMPURE.contains(&on) {
                findings.push(format!("{name}: pure, yet depends on {on}"));
            }
        }
    }
    findings
}

fn check_sources(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in source::files(root)? {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .to_string_lossy()
            .into_owned();
        findings.extend(source::check(&name, &text));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(name: &str, dependencies: &[(&str, Option<&str>)]) -> Metadata {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency {
                name: (*name).to_owned(),
                kind: kind.map(str::to_owned),
            })
            .collect();
        Metadata {
            packages: vec![Package {
                name: name.to_owned(),
                dependencies,
            }],
        }
    }

    #[test]
    fn the_table_itself_points_downwards() {
        let position = |name: &str| LAYERS.iter().position(|(layer, _)| *layer == name);
        for (name, allowed) in LAYERS {
            for below in *allowed {
                assert!(position(below) < position(name), "{name} -> {below}");
            }
        }
    }

    #[test]
    fn engines_stand_side_by_side_and_node_on_proxy() {
        assert_eq!(
            check_dependencies(&metadata("hikeshi-node", &[("hikeshi-proxy", None)])),
            [""; 0]
        );
        for (name, on) in [
            ("hikeshi-proxy", "hikeshi-node"),
            ("hikeshi-controllers", "hikeshi-apiserver"),
            ("hikeshi-drill", "hikeshi-server"),
            ("chirpy", "hikeshi-slo"),
            ("hikeshi-server", "hikeshi-node"),
        ] {
            assert_eq!(
                check_dependencies(&metadata(name, &[(on, None)])).len(),
                1,
                "{name} -> {on}"
            );
            assert_eq!(
                check_dependencies(&metadata(name, &[(on, Some("build"))])).len(),
                1,
                "{name} -> {on}"
            );
            assert_eq!(
                check_dependencies(&metadata(name, &[(on, Some("dev"))])).len(),
                0,
                "{name} -> {on} in tests"
            );
        }
    }

    #[test]
    fn a_pure_crate_reaches_for_nothing_outside() {
        let found = check_dependencies(&metadata("hikeshi-drill", &[("tokio", None), ("jiff", None)]));
        assert_eq!(found, ["hikeshi-drill: pure, yet depends on tokio"]);
        assert!(check_dependencies(&metadata("hikeshi-load", &[("tokio", None)])).is_empty());
    }

    #[test]
    fn an_unknown_crate_must_be_placed() {
        assert_eq!(check_dependencies(&metadata("hikeshi-common", &[])).len(), 1);
    }
}
