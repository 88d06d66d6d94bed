//! The pod's file system: a memory root with the host's programs read-only, its own `/etc`, `/dev`, `/proc`,
//! and the pod's volumes.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;
use nix::unistd::{chdir, pivot_root};

use super::beneath;
use super::protocol::{Bind, PodSpecFile};

/// A step of building the root that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step} {path}: {source}")]
pub struct RootError {
    step: &'static str,
    path: String,
    source: io::Error,
}

trait Step<T> {
    fn step(self, step: &'static str, path: &Path) -> Result<T, RootError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str, path: &Path) -> Result<T, RootError> {
        self.map_err(|error| RootError {
            step,
            path: path.display().to_string(),
            source: error.into(),
        })
    }
}

/// Where the host's `/etc` is seen inside the pod; `/etc` itself is made of links into it.
const HOST_ETC: &str = ".host-etc";
/// Files of `/etc` that are the pod's own.
const OWN_ETC: [&str; 8] = [
    "hosts",
    "hostname",
    "resolv.conf",
    "passwd",
    "group",
    "shadow",
    "gshadow",
    "mtab",
];

/// Builds the root below `pod_dir/root` and makes it `/`. Runs as pid 1 of the new namespaces.
pub fn build(pod_dir: &Path, spec: &PodSpecFile) -> Result<(), RootError> {
    let none = None::<&str>;
    // Slave, not shared: nothing mounted here may show on the host.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .step("detaching mounts of", Path::new("/"))?;
    let root = pod_dir.join("root");
    fs::create_dir_all(&root).step("creating", &root)?;
    mount(
        Some("pod"),
        &root,
        Some("tmpfs"),
        MsFlags::MS_NOSUID,
        Some("mode=755"),
    )
    .step("mounting a tmpfs at", &root)?;

    programs(&root)?;
    etc(&root, pod_dir, spec)?;
    devices(&root)?;
    for folder in [
        "tmp",
        "var/tmp",
        "run",
        "run/lock",
        "var/lib",
        "var/log",
        "var/cache",
        "home",
        "root",
        "opt",
        "sys",
        "srv",
        "mnt",
    ] {
        fs::create_dir_all(root.join(folder)).step("creating", &root.join(folder))?;
    }
    for folder in ["tmp", "var/tmp", "run"] {
        fs::set_permissions(root.join(folder), fs::Permissions::from_mode(0o1777))
            .step("opening", &root.join(folder))?;
    }
    // Relative: until pivot_root an absolute link would lead to the host's folder.
    symlink("../run", root.join("var/run")).step("linking", &root.join("var/run"))?;
    let proc = root.join("proc");
    fs::create_dir_all(&proc).step("creating", &proc)?;
    mount(
        Some("proc"),
        &proc,
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        none,
    )
    .step(
        "mounting a proc (a container runtime that masks parts of /proc forbids this) at",
        &proc,
    )?;
    if let Some(bin) = &spec.bin_dir {
        bind(
            &root,
            &Bind {
                source: bin.clone(),
                target: "/opt/hikeshi/bin".into(),
                read_only: true,
                sub_path: None,
            },
        )?;
    }
    for tmpfs in &spec.tmpfs {
        let target = inside(&root, &tmpfs.target);
        fs::create_dir_all(&target).step("creating", &target)?;
        let options = match tmpfs.size_bytes {
            Some(size) => format!("mode=1777,size={size}"),
            None => "mode=1777".to_owned(),
        };
        mount(
            Some("tmpfs"),
            &target,
            Some("tmpfs"),
            MsFlags::MS_NOSUID,
            Some(options.as_str()),
        )
        .step("mounting a tmpfs at", &target)?;
    }
    for entry in &spec.binds {
        bind(&root, entry)?;
    }
    enter(&root)?;
    if spec.read_only_root {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
        mount(none, "/", none, flags, none).step("making read-only", Path::new("/"))?;
    }
    Ok(())
}

/// Bytes in the root, which is memory: what has been written to it. Other mounts do not count.
pub fn written() -> u64 {
    // A root that cannot be asked is none that anybody could write to.
    statvfs("/").map_or(0, |root| {
        (root.blocks() - root.blocks_free()) * root.fragment_size()
    })
}

/// `/usr` and what points into it. Systems without merged /usr have real folders: those are bound.
fn programs(root: &Path) -> Result<(), RootError> {
    for name in ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let host = Path::new("/").join(name);
        let here = root.join(name);
        let Ok(kind) = fs::symlink_metadata(&host) else {
            continue;
        };
        if kind.file_type().is_symlink() {
            let target = fs::read_link(&host).step("reading", &host)?;
            symlink(target, &here).step("linking", &here)?;
        } else {
            bind(
                root,
                &Bind {
                    source: host.clone(),
                    target: host,
                    read_only: true,
                    sub_path: None,
                },
            )?;
        }
    }
    Ok(())
}

fn etc(root: &Path, pod_dir: &Path, spec: &PodSpecFile) -> Result<(), RootError> {
    let etc = root.join("etc");
    fs::create_dir_all(&etc).step("creating", &etc)?;
    let host = Path::new("/etc");
    bind(
        root,
        &Bind {
            source: host.into(),
            target: Path::new("/").join(HOST_ETC),
            read_only: true,
            sub_path: None,
        },
    )?;
    for entry in fs::read_dir(host).step("reading", host)? {
        let name = entry.step("reading", host)?.file_name();
        if !OWN_ETC.iter().any(|own| name == *own) {
            let link = etc.join(&name);
            symlink(Path::new("..").join(HOST_ETC).join(&name), &link).step("linking", &link)?;
        }
    }
    let user = &spec.user;
    let mut passwd = format!(
        "{}:x:{}:{}::{}:/bin/sh\n",
        user.name, user.uid, user.gid, user.home
    );
    let mut group = format!("{}:x:{}:\n", user.name, user.gid);
    for (name, id, home) in [("root", 0, "/root"), ("nobody", 65534, "/nonexistent")] {
        if id != user.uid && name != user.name {
            passwd.push_str(&format!("{name}:x:{id}:{id}::{home}:/bin/sh\n"));
        }
        if id != user.gid && name != user.name {
            group.push_str(&format!("{name}:x:{id}:\n"));
        }
    }
    for (name, text) in [
        ("passwd", passwd),
        ("group", group),
        ("hostname", format!("{}\n", spec.hostname)),
        // Names come from /etc/hosts alone: there is no resolver to wait for.
        ("resolv.conf", String::new()),
        ("hosts", String::new()),
    ] {
        fs::write(etc.join(name), text).step("writing", &etc.join(name))?;
    }
    symlink("/proc/self/mounts", etc.join("mtab")).step("linking", &etc.join("mtab"))?;
    bind(
        root,
        &Bind {
            source: pod_dir.join("hosts"),
            target: "/etc/hosts".into(),
            read_only: true,
            sub_path: None,
        },
    )
}

fn devices(root: &Path) -> Result<(), RootError> {
    let dev = root.join("dev");
    for folder in ["shm", "pts", "mqueue"] {
        fs::create_dir_all(dev.join(folder)).step("creating", &dev.join(folder))?;
    }
    fs::set_permissions(dev.join("shm"), fs::Permissions::from_mode(0o1777))
        .step("opening", &dev.join("shm"))?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let node = Path::new("/dev").join(name);
        if node.exists() {
            bind(
                root,
                &Bind {
                    source: node.clone(),
                    target: node,
                    read_only: false,
                    sub_path: None,
                },
            )?;
        }
    }
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(link)).step("linking", &dev.join(link))?;
    }
    // Without it only `kubectl exec -t` is lost, and that request then says so.
    let _ = mount(
        Some("devpts"),
        &dev.join("pts"),
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some("newinstance,ptmxmode=0666,mode=620"),
    );
    Ok(())
}

/// `target` below `root`, with any `..` taken out so that a manifest cannot climb out.
fn inside(root: &Path, target: &Path) -> PathBuf {
    let mut path = root.to_owned();
    for part in target.components() {
        if let std::path::Component::Normal(name) = part {
            path.push(name);
        }
    }
    path
}

/// A mount below a link into the host's `/etc` gets real folders instead: the image would have had them to itself.
fn own_folders(root: &Path, target: &Path) -> Result<(), RootError> {
    let Some(parent) = target.parent() else {
        return Ok(());
    };
    let mut path = root.to_owned();
    for part in parent.strip_prefix(root).unwrap_or(Path::new("")).components() {
        path.push(part);
        let link = fs::symlink_metadata(&path).is_ok_and(|kind| kind.is_symlink());
        if link && path.starts_with(root.join("etc")) {
            fs::remove_file(&path).step("unlinking", &path)?;
        }
    }
    Ok(())
}

fn bind(root: &Path, bind: &Bind) -> Result<(), RootError> {
    let place = inside(root, &bind.target);
    own_folders(root, &place)?;
    let mut source = beneath::root(&bind.source).step("looking at", &bind.source)?;
    if let Some(sub_path) = &bind.sub_path {
        let named = bind.source.join(sub_path);
        source = beneath::below(&source, sub_path, |_| Ok(())).step("looking at", &named)?;
    }
    let here = beneath::root(root).step("looking at", root)?;
    let target = if beneath::is_folder(&source).step("looking at", &bind.source)? {
        beneath::inside(&here, &bind.target)
    } else {
        beneath::file_inside(&here, &bind.target)
    }
    .step("creating", &place)?;
    beneath::mount(&source, &target, bind.read_only).step("binding", &bind.source)
}

fn enter(root: &Path) -> Result<(), RootError> {
    let old = root.join(".old");
    fs::create_dir(&old).step("creating", &old)?;
    pivot_root(root, &old).step("pivoting to", root)?;
    chdir("/").step("changing to", Path::new("/"))?;
    umount2("/.old", MntFlags::MNT_DETACH).step("letting go of", Path::new("/.old"))?;
    fs::remove_dir("/.old").step("removing", Path::new("/.old"))?;
    Ok(())
}
