//! `hikeshi down`: ends every pod of a state folder, whether or not a kubelet is running.

use std::fs;
use std::io;
use std::path::Path;

use futures::future::join_all;

use super::sandbox;

/// Ends every init below `state_dir/pods` and removes their folders. Volumes of claims stay.
///
/// # Errors
/// A folder that cannot be read or removed.
pub async fn destroy_all(state_dir: &Path) -> io::Result<()> {
    let pods = state_dir.join("pods");
    let entries = match fs::read_dir(&pods) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let folders: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    join_all(folders.iter().map(|folder| sandbox::end(folder))).await;
    fs::remove_dir_all(&pods)
}
