//! What only those need who build or test Hikeshi: looked for as `cargo xtask setup` does (xtask/src/setup/probe.rs).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Finding, Need};
use crate::tools;

/// What Vite, the page's bundler, asks for.
const NODE: (u32, u32) = (20, 19);
/// Where Debian's package puts a Japanese font, for a machine without fontconfig.
const NOTO: &str = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc";

pub(super) fn findings() -> Vec<Finding> {
    vec![node(), c_compiler(), chromium(), japanese_font()]
}

fn node() -> Finding {
    let node = find("node");
    let version = node
        .as_deref()
        .and_then(|node| node_version(&says(node, &["--version"])?));
    let said = |(major, minor): (u32, u32)| format!("{major}.{minor}");
    let wrong = match (&node, version) {
        (None, _) => Some("node is missing".to_owned()),
        (Some(node), None) => Some(format!("{} does not tell its version", node.display())),
        (Some(node), Some(version)) if version < NODE => Some(format!(
            "{} is version {}, at least {} is needed",
            node.display(),
            said(version),
            said(NODE)
        )),
        _ if find("npm").is_none() => Some("npm is missing".to_owned()),
        _ => None,
    };
    Finding {
        what: "Node.js and npm".into(),
        need: Need::Build,
        found: node
            .zip(version)
            .map(|(node, version)| format!("{} ({})", node.display(), said(version))),
        problem: wrong.map(|wrong| format!("{wrong}: `cargo xtask setup` installs it")),
    }
}

fn c_compiler() -> Finding {
    present(
        "C compiler",
        Need::Build,
        find("cc").map(|program| program.display().to_string()),
        "cc is missing: install the packages gcc, libc6-dev and pkg-config",
    )
}

fn chromium() -> Finding {
    let browser = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find_map(find);
    present(
        "Chromium",
        Need::Test,
        browser.map(|program| program.display().to_string()),
        "chromium is missing: `cargo xtask setup --tests` installs it",
    )
}

fn japanese_font() -> Finding {
    let listed = find("fc-list").and_then(|program| says(&program, &[":lang=ja", "family"]));
    let font = match listed {
        Some(families) => families
            .lines()
            .map(str::trim)
            .find(|family| !family.is_empty())
            .map(str::to_owned),
        None => Path::new(NOTO).is_file().then(|| NOTO.to_owned()),
    };
    present(
        "Japanese font",
        Need::Test,
        font,
        "no font has Japanese: `cargo xtask setup --tests` installs one",
    )
}

fn present(what: &str, need: Need, found: Option<String>, problem: &str) -> Finding {
    Finding {
        what: what.to_owned(),
        need,
        problem: found.is_none().then(|| problem.to_owned()),
        found,
    }
}

fn find(name: &str) -> Option<PathBuf> {
    tools::find(name).map(|tool| tool.program)
}

/// What a program prints; `None` when it fails.
fn says(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `v20.20.2`
fn node_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_node_prints() {
        assert_eq!(node_version("v20.20.2\n"), Some((20, 20)));
        for text in ["", "20.20.2", "v20", "v20.x"] {
            assert_eq!(node_version(text), None, "{text:?}");
        }
    }
}
