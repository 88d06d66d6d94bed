//! Whether this machine lets pods have namespaces of their own, asked of the kernel by trying.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The namespaces a pod has.
const FLAGS: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC;

/// Makes them in a child that ends at once.
///
/// # Errors
/// What forbids them and what to do.
pub fn check() -> Result<(), String> {
    let mut probe = Command::new("/bin/true");
    probe
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: unshare is a system call; nothing is allocated between fork and exec.
    unsafe {
        probe.pre_exec(|| {
            if libc::unshare(FLAGS) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
    match probe.status() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("not allowed here ({error}). {}", remedy())),
    }
}

fn remedy() -> String {
    let setting = |path: &str| {
        std::fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .ok()
    };
    if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return "AppArmor restricts them: run hikeshi as root, or `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`".into();
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return "Run hikeshi as root, or `sudo sysctl kernel.unprivileged_userns_clone=1`".into();
    }
    if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return "`sudo sysctl user.max_user_namespaces=10000` allows them".into();
    }
    "In a container, start it with --privileged or a seccomp profile that allows unshare; or run hikeshi as root".into()
}
