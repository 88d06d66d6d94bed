//! `hikeshi down`: ends every pod of a state folder, whether or not a kubelet is running.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::sandbox;

/// A kubelet that was told to stop may still be in the middle of something: so long it may put files where we remove them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends every init below `state_dir/pods` and removes their folders. Volumes of claims stay.
///
/// # Errors
/// A folder that cannot be read or removed.
pub async fn destroy_all(state_dir: &Path) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match destroy(&state_dir.join("pods")).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && Instant::now() < until => {}
            done => return done,
        }
        // What was written meanwhile may be a pod that was started meanwhile: it is ended like the others.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn destroy(pods: &Path) -> io::Result<()> {
    let folders: Vec<_> = fs::read_dir(pods)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    join_all(folders.iter().map(|folder| sandbox::end(folder))).await;
    fs::remove_dir_all(pods)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_while_pods_are_removed_is_removed_too() {
        let state = tempfile::tempdir().unwrap();
        let pod = state.path().join("pods/a");
        fs::create_dir_all(&pod).unwrap();
        let writer = std::thread::spawn(move || {
            // As long as its folder is there, but no longer than anybody's patience.
            (0..50_000)
                .take_while(|n| fs::write(pod.join(n.to_string()), "").is_ok())
                .count()
        });
        destroy_all(state.path()).await.unwrap();
        assert!(!state.path().join("pods").exists());
        writer.join().unwrap();
        destroy_all(state.path()).await.unwrap();
    }
}
