//! The Dockerfiles: what their `.dockerignore` lets in must be a whole workspace, or every build of an image fails.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{copy, text};

#[test]
fn what_an_image_is_built_from_is_a_whole_workspace() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (folder, package) in [("chirpy", "chirpy"), ("crates/hikeshi-load", "hikeshi-load")] {
        let read = |name: &str| std::fs::read_to_string(root.join(folder).join(name)).expect("a file");
        let context = tempfile::tempdir().expect("a folder");
        let ignored = read("Dockerfile.dockerignore");
        for name in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
            let (from, to) = (root.join(name), context.path().join(name));
            if from.is_dir() {
                copy(&from, &to);
            } else {
                std::fs::copy(&from, &to).expect("copying a file");
            }
        }
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--offline"])
            // Of other platforms' packages nothing may ever have been fetched.
            .arg("--filter-platform")
            .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
            .current_dir(&context)
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{folder}: {}", text(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let packages = told["packages"].as_array().expect("packages");
        let program = packages
            .iter()
            .filter(|one| one["name"] == package)
            .flat_map(|one| one["targets"].as_array().into_iter().flatten())
            .any(|target| target["name"] == package && target["kind"][0] == "bin");
        assert!(program, "{folder}: no program {package}");
        assert!(
            read("Dockerfile").contains(&format!("cargo build --release --locked -p {package}\n")),
            "{folder}: the image is of another program"
        );
    }
}
