//! The part of a volume that a mount shows.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};

use super::super::env;
use super::{Sources, VolumeError, io_error};
use crate::shim::beneath;
use crate::shim::launch::give_place_to_pods;

/// What of its volume a mount shows: `subPath` as it stands, or `subPathExpr` with the container's variables.
pub(super) fn sub_path(
    pod: &Pod,
    container: &Container,
    mount: &VolumeMount,
    sources: &Sources<'_>,
) -> Result<Option<String>, VolumeError> {
    let Some(expression) = mount.sub_path_expr.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(mount.sub_path.clone().filter(|path| !path.is_empty()));
    };
    let not_ready = |reason: String| VolumeError::NotReady {
        volume: mount.name.clone(),
        reason,
    };
    let env = env::environment(pod, container, BTreeMap::new(), sources.config)
        .map_err(|error| not_ready(error.to_string()))?;
    let path = env::expand(expression, &env);
    if path.contains("$(") {
        return Err(not_ready(format!(
            "subPathExpr {expression:?} names a variable that container {:?} does not have",
            container.name
        )));
    }
    Ok(Some(path))
}

/// Makes sure of a folder or file inside a volume; a missing one becomes a folder. Neither `..` nor a link may lead out
/// of it: links are what a pod that has written there may have left. The init looks again when it mounts it.
pub(super) fn sub_folder(volume: &str, folder: &Path, sub_path: &str) -> Result<(), VolumeError> {
    let failed = |source: io::Error| {
        if source.raw_os_error() == Some(libc::EXDEV) {
            leaves(volume, sub_path)
        } else {
            io_error(volume, source)
        }
    };
    let climbs = |part| !matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(sub_path).components().any(climbs) {
        return Err(leaves(volume, sub_path));
    }
    let root = beneath::root(folder).map_err(failed)?;
    beneath::below(&root, Path::new(sub_path), give_place_to_pods).map_err(failed)?;
    Ok(())
}

fn leaves(volume: &str, sub_path: &str) -> VolumeError {
    VolumeError::NotReady {
        volume: volume.to_owned(),
        reason: format!("subPath {sub_path:?} must not leave the volume"),
    }
}
