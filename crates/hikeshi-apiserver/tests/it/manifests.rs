//! The shipped systems' manifests against Kubernetes' own schemas.

use std::path::{Path, PathBuf};

use crate::support::Cluster;

/// Every manifest of the systems, those that people and scenarios apply too; what is not Kubernetes' is Hikeshi's own.
fn manifests(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).expect("a system's folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(manifests(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).expect("a manifest");
            let first = text.lines().find(|line| line.starts_with("apiVersion:"));
            if first.is_some_and(|line| !line.contains("hikeshi.dev/")) {
                found.push(path);
            }
        }
    }
    // The optional ones come after what they stand on.
    found.sort_by_key(|path| {
        (
            path.components().any(|part| part.as_os_str() == "optional"),
            path.clone(),
        )
    });
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
