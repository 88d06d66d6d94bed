//! Finding and making places below a folder that somebody else may be changing: links in it never lead out of it, and
//! what was checked is what is mounted, for both are the same descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, fstatat, mkdirat};

/// From linux/mount.h; the libc crate has them for Android only.
const OPEN_TREE_CLONE: i32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: i32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: i32 = 0x40;

/// A descriptor of `path` itself, which only its owner may change.
pub fn root(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Whether a descriptor is a folder.
pub fn is_folder(place: &OwnedFd) -> io::Result<bool> {
    let kind = fstatat(place, "", AtFlags::AT_EMPTY_PATH)?.st_mode & libc::S_IFMT;
    Ok(kind == libc::S_IFDIR)
}

fn find(root: BorrowedFd<'_>, path: &Path, links: ResolveFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(links | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    loop {
        match openat2(root, path, how) {
            // The kernel gives up when something is renamed meanwhile.
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
            done => return Ok(done?),
        }
    }
}

/// Finds `path` below `root`; a link that leads out of `root`, or is absolute, is an error (EXDEV). Missing folders are
/// made, and `made` is called with each.
pub fn below(
    root: &OwnedFd,
    path: &Path,
    made: impl FnMut(&OwnedFd) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    walk(root, path, ResolveFlag::RESOLVE_BENEATH, made)
}

/// Finds `path` as a process would whose root is `root`: links are followed, and end there. Missing folders are made.
pub fn inside(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    walk(root, path, ResolveFlag::RESOLVE_IN_ROOT, |_| Ok(()))
}

/// As [`inside`], for a file: a missing one is made, empty.
pub fn file_inside(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    match find(root.as_fd(), &relative(path), ResolveFlag::RESOLVE_IN_ROOT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let name = path.file_name().ok_or(nix::Error::EINVAL)?;
    let folder = inside(root, path.parent().unwrap_or(Path::new("")))?;
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    drop(openat(&folder, name, flags, Mode::from_bits_truncate(0o644))?);
    find(folder.as_fd(), Path::new(name), ResolveFlag::RESOLVE_NO_SYMLINKS)
}

fn relative(path: &Path) -> PathBuf {
    let normal = |part: Component<'_>| matches!(part, Component::Normal(_));
    let path: PathBuf = path.components().filter(|part| normal(*part)).collect();
    if path.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        path
    }
}

fn walk(
    root: &OwnedFd,
    path: &Path,
    links: ResolveFlag,
    mut made: impl FnMut(&OwnedFd) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let mut here = find(root.as_fd(), Path::new("."), links)?;
    let mut so_far = PathBuf::new();
    for part in relative(path).components() {
        let Component::Normal(name) = part else { continue };
        so_far.push(name);
        // From the root each time: only so does a link mean what it means to whoever lives below it.
        here = match find(root.as_fd(), &so_far, links) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A link that leads nowhere is in the way, and stays so: EEXIST.
                mkdirat(&here, name, Mode::from_bits_truncate(0o755))?;
                let folder = find(here.as_fd(), Path::new(name), ResolveFlag::RESOLVE_NO_SYMLINKS)?;
                made(&folder)?;
                folder
            }
            found => found?,
        };
    }
    Ok(here)
}

/// Mounts `source`, with what is mounted below it, over `target`.
///
/// Recursive, because mounts below a mount that we inherited are locked to it.
pub fn mount(source: &OwnedFd, target: &OwnedFd, read_only: bool) -> io::Result<()> {
    let empty = c"".as_ptr();
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | libc::AT_RECURSIVE | libc::AT_EMPTY_PATH;
    // SAFETY: open_tree takes a descriptor, a NUL-terminated path and flags; what it returns is ours.
    let tree = unsafe {
        let raw = nix::errno::Errno::result(libc::syscall(
            libc::SYS_open_tree,
            source.as_raw_fd(),
            empty,
            flags,
        ))?;
        OwnedFd::from_raw_fd(i32::try_from(raw).map_err(io::Error::other)?)
    };
    if read_only {
        // A classic remount would have to repeat the flags that are locked; mount_setattr only adds one.
        let attributes = libc::mount_attr {
            attr_set: libc::MOUNT_ATTR_RDONLY,
            attr_clr: 0,
            propagation: 0,
            userns_fd: 0,
        };
        // SAFETY: the path is NUL-terminated and the struct has the size that is passed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                tree.as_raw_fd(),
                empty,
                libc::AT_RECURSIVE | libc::AT_EMPTY_PATH,
                &raw const attributes,
                size_of::<libc::mount_attr>(),
            )
        };
        nix::errno::Errno::result(result)?;
    }
    // SAFETY: two descriptors with empty paths, and flags that say so.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            empty,
            target.as_raw_fd(),
            empty,
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    nix::errno::Errno::result(result)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn kind(result: io::Result<OwnedFd>) -> Option<i32> {
        result.err().and_then(|error| error.raw_os_error())
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let host = tempfile::tempdir().unwrap();
        let folder = host.path().join("claim");
        fs::create_dir_all(folder.join("real/deep")).unwrap();
        fs::create_dir(host.path().join("secret")).unwrap();
        symlink(host.path().join("secret"), folder.join("absolute")).unwrap();
        symlink("../secret", folder.join("up")).unwrap();
        symlink("real", folder.join("fine")).unwrap();
        let root = root(&folder).unwrap();
        let nothing = |_: &OwnedFd| Ok(());
        for path in ["absolute", "up", "absolute/new", "up/new"] {
            assert_eq!(
                kind(below(&root, Path::new(path), nothing)),
                Some(libc::EXDEV),
                "{path}"
            );
        }
        assert!(below(&root, Path::new("fine/deep"), nothing).is_ok());
        assert_eq!(fs::read_dir(host.path().join("secret")).unwrap().count(), 0);

        // As seen from inside, an absolute link begins at the root, where this one leads nowhere.
        assert_eq!(
            kind(inside(&root, Path::new("/absolute/new"))),
            Some(libc::EEXIST)
        );
        // `..` of the root is the root.
        assert_eq!(kind(inside(&root, Path::new("/up/new"))), Some(libc::EEXIST));
        assert_eq!(fs::read_dir(host.path().join("secret")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_missing_is_made_and_named() {
        let host = tempfile::tempdir().unwrap();
        let root = root(host.path()).unwrap();
        let mut made = 0;
        let count = |_: &OwnedFd| {
            made += 1;
            Ok(())
        };
        let place = below(&root, Path::new("a/./b"), count).unwrap();
        assert!(is_folder(&place).unwrap());
        assert_eq!(made, 2);
        assert!(host.path().join("a/b").is_dir());
        let place = file_inside(&root, Path::new("/c/d.conf")).unwrap();
        assert!(!is_folder(&place).unwrap());
        assert!(host.path().join("c/d.conf").is_file());
        // A folder that is there is a place for a file too: the kernel then refuses the mount, with its own words.
        assert!(file_inside(&root, Path::new("/a")).is_ok());
    }
}
