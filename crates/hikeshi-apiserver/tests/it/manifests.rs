//! The shipped systems' manifests against Kubernetes' own schemas.

use std::path::{Path, PathBuf};

use crate::support::Cluster;

/// Manifests begin with their order; what else lies there is Hikeshi's own.
fn manifests(system: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(system)
        .expect("a system's folder")
        .map(|entry| entry.expect("an entry").path());
    let numbered = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.starts_with(|first: char| first.is_ascii_digit()) && name.ends_with(".yaml")
    };
    let mut found: Vec<PathBuf> = files.filter(numbered).collect();
    found.sort();
    found
}

#[test]
fn every_system_is_ordinary_kubernetes() {
    let systems = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systems");
    for system in std::fs::read_dir(systems)
        .expect("the systems")
        .map(|entry| entry.expect("an entry").path())
    {
        let cluster = Cluster::start();
        let k = cluster.admin();
        let files = manifests(&system);
        assert!(!files.is_empty(), "no manifest in {}", system.display());
        for file in files {
            let said = k.ok(&[
                "apply",
                "--validate=strict",
                "-f",
                file.to_str().expect("a plain path"),
            ]);
            assert!(said.contains("created"), "{}: {said}", file.display());
        }
    }
}
