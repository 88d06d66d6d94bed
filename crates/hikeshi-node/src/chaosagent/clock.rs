//! Another time of day for containers: a small file that the preloaded `libhikeshi_clock.so` reads.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use nix::time::{ClockId, clock_gettime};

use super::wanted::Target;
use crate::kubelet::Kubelet;

/// The library, in the state folder's `bin` and so in every pod.
pub(crate) const LIBRARY: &str = "libhikeshi_clock.so";
/// Where a pod sees its containers' files.
pub(crate) const FOLDER: &str = "/opt/hikeshi/clock";
/// Names the file to the library.
pub(crate) const VARIABLE: &str = "HIKESHI_CLOCK";
/// An offset that is not renewed for this long is over, in nanoseconds.
const LEASE: i64 = 5_000_000_000;

/// The folder of a pod's files on the host.
pub(crate) fn folder(pod_dir: &Path) -> PathBuf {
    pod_dir.join("clock")
}

/// Makes sure that a container's file is there before the container starts.
pub(crate) fn prepare(pod_dir: &Path, container: &str) -> io::Result<()> {
    let folder = folder(pod_dir);
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    let path = folder.join(container);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)?;
    file.set_len(SIZE)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
}

/// Two numbers in the machine's byte order: the offset in nanoseconds, and until when (CLOCK_MONOTONIC, nanoseconds) it
/// holds.
const SIZE: u64 = 16;

/// The offsets in force.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    set: BTreeMap<(String, String), i64>,
}

impl Clocks {
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    pub fn contains(&self, target: &Target) -> bool {
        self.set
            .contains_key(&(target.pod.clone(), target.container.clone()))
    }

    /// Makes these offsets the ones in force, and renews their leases.
    pub fn set(&mut self, kubelet: &Kubelet, wanted: BTreeMap<(String, String), i64>) {
        for key in self.set.keys().filter(|key| !wanted.contains_key(key)) {
            let _ = write(kubelet, key, 0);
        }
        self.set = wanted
            .into_iter()
            .filter(|(key, offset)| match write(kubelet, key, *offset) {
                Ok(()) => true,
                Err(error) => {
                    tracing::debug!(%error, ?key, "no other time yet");
                    false
                }
            })
            .collect();
    }
}

fn write(kubelet: &Kubelet, (pod, container): &(String, String), offset: i64) -> io::Result<()> {
    let path = folder(&kubelet.pod_dir(pod)).join(container);
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(io::Error::from)?;
    let until = now.tv_sec() * 1_000_000_000 + now.tv_nsec() + LEASE;
    let file = File::options().read(true).write(true).open(path)?;
    put(&file, offset, until)
}

/// An offset must never be seen with the lease of another: a new one is written while there is no lease. The same one
/// keeps its lease while that is renewed, without a moment in between.
fn put(file: &impl FileExt, offset: i64, until: i64) -> io::Result<()> {
    let mut known = [0; 8];
    file.read_exact_at(&mut known, 0)?;
    if i64::from_ne_bytes(known) != offset {
        file.write_all_at(&0_i64.to_ne_bytes(), 8)?;
        file.write_all_at(&offset.to_ne_bytes(), 0)?;
    }
    file.write_all_at(&until.to_ne_bytes(), 8)
}

/// Why this container's time of day cannot be moved.
pub(super) fn refusal(kubelet: &Kubelet, pod: &Pod, container: &str) -> Option<String> {
    if !kubelet.has_clock_library() {
        return Some(format!(
            "spec.timeOffset: {LIBRARY} is not beside hikeshi; build it (cargo build)"
        ));
    }
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let one = containers.into_iter().find(|one| one.name == container)?;
    let image = one.image.clone().unwrap_or_default();
    if kubelet.moves_time(&image) {
        return None;
    }
    Some(format!(
        "spec.containerNames: image {image} of {container} asks the kernel itself for the time; it cannot be moved"
    ))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Keeps how the file looked after every write.
    struct Watched {
        now: RefCell<[i64; 2]>,
        seen: RefCell<Vec<[i64; 2]>>,
    }

    impl FileExt for Watched {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let number = self.now.borrow()[usize::try_from(offset / 8).unwrap()];
            buffer.copy_from_slice(&number.to_ne_bytes());
            Ok(8)
        }

        fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
            let number = i64::from_ne_bytes(buffer.try_into().unwrap());
            self.now.borrow_mut()[usize::try_from(offset / 8).unwrap()] = number;
            self.seen.borrow_mut().push(*self.now.borrow());
            Ok(8)
        }
    }

    #[test]
    fn no_offset_is_ever_seen_with_the_lease_of_another() {
        let file = Watched {
            now: RefCell::new([-7, 100]),
            seen: RefCell::default(),
        };
        put(&file, 3, 200).unwrap();
        assert_eq!(file.seen.take(), [[-7, 0], [3, 0], [3, 200]]);
        put(&file, 3, 300).unwrap();
        assert_eq!(file.seen.take(), [[3, 300]], "renewed without a gap");
    }
}
