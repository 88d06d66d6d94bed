//! Reads a system's manifests: every YAML document under its folder, in the order in which they can be applied. A folder
//! `optional` is left to people and scenarios.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::Failure;

/// Kinds that others need first; everything else keeps the order of its file.
const FIRST: [&str; 8] = [
    "Namespace",
    "CustomResourceDefinition",
    "StorageClass",
    "ServiceAccount",
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "Service",
];

/// All objects of the system in `folder`; files that are not manifests (no apiVersion/kind of Kubernetes) are skipped.
pub fn read(folder: &Path) -> Result<Vec<Value>, Failure> {
    let mut files = Vec::new();
    collect(folder, &mut files)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", folder.display())))?;
    files.sort();
    let mut objects = Vec::new();
    for file in files {
        objects.extend(documents(&file)?.into_iter().filter(is_kubernetes));
    }
    objects.sort_by_key(rank);
    Ok(objects)
}

/// What runs beside `system` and is in none of its manifests; a folder of its own holds it, so that `read` never finds it.
pub fn left_behind(share: &Path, system: &str) -> Result<Vec<Value>, Failure> {
    let file = share
        .join("systems")
        .join("left-behind")
        .join(format!("{system}.yaml"));
    if !file.is_file() {
        return Err(Failure::usage(format!(
            "nothing was left behind beside {system} (looked for {})",
            file.display()
        )));
    }
    documents(&file)
}

fn documents(file: &Path) -> Result<Vec<Value>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
    serde_saphyr::from_multiple(&text).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "optional") {
                collect(&path, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
        {
            files.push(path);
        }
    }
    Ok(())
}

fn is_kubernetes(document: &Value) -> bool {
    let version = document["apiVersion"].as_str().unwrap_or_default();
    document["kind"].is_string() && !version.is_empty() && !version.starts_with("hikeshi.dev/")
}

fn rank(object: &Value) -> usize {
    FIRST
        .iter()
        .position(|kind| object["kind"] == **kind)
        .unwrap_or(FIRST.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_behind_is_found_by_its_systems_name() {
        let share = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let objects = left_behind(&share, "chirpy").unwrap();
        let kinds: Vec<_> = objects.iter().map(|object| object["kind"].clone()).collect();
        assert_eq!(kinds, ["Service", "Pod"]);
        let failure = left_behind(&share, "nothing").unwrap_err();
        assert_eq!(failure.kind.exit_code(), 2);
        assert!(failure.message.contains("left-behind/nothing.yaml"), "{failure}");
    }

    #[test]
    fn needed_kinds_come_first_and_our_own_files_are_left_out() {
        let folder = std::env::temp_dir().join(format!("manifests-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("a.yaml"),
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n",
        )
        .unwrap();
        std::fs::create_dir_all(folder.join("optional")).unwrap();
        std::fs::write(
            folder.join("optional/c.yaml"),
            "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\n",
        )
        .unwrap();
        std::fs::write(folder.join("b.yaml"), "apiVersion: hikeshi.dev/v1\nkind: Cujs\n").unwrap();
        let kinds: Vec<_> = read(&folder)
            .unwrap()
            .iter()
            .map(|object| object["kind"].clone())
            .collect();
        assert_eq!(kinds, ["Namespace", "Deployment"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
