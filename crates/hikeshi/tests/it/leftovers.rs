//! What a system has left on the machine, looked for where the kernel keeps it.

use std::path::Path;

/// Processes (zombies aside) that have anything to do with `mark`, except this one: `pid: where`.
pub fn processes(mark: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid == own
            || !pid.bytes().all(|byte| byte.is_ascii_digit())
            || crate::harness::gone(pid.parse().expect("a pid"))
        {
            continue;
        }
        // What is not readable has just ended, or belongs to another user and so not to this test.
        for file in ["cmdline", "environ", "mountinfo"] {
            let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
            if contains(&bytes, mark) {
                found.push(format!("{pid}: {file}: {}", words(&entry.path())));
            }
        }
        for link in ["cwd", "exe", "root"] {
            let to = std::fs::read_link(entry.path().join(link)).unwrap_or_default();
            if contains(to.as_os_str().as_encoded_bytes(), mark) {
                found.push(format!("{pid}: {link}: {}", words(&entry.path())));
            }
        }
    }
    found
}

fn words(process: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(process.join("cmdline")).unwrap_or_default()).replace('\0', " ")
}

fn contains(bytes: &[u8], mark: &str) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark.as_bytes())
}

/// Mounts under `mark` in this process's own view.
pub fn mounts(mark: &str) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo");
    text.lines()
        .filter(|line| line.contains(mark))
        .map(str::to_owned)
        .collect()
}

/// Sockets under `folder`, and files there that somebody holds a lock on.
pub fn sockets_and_locks(folder: &Path) -> Vec<String> {
    use std::os::unix::fs::FileTypeExt;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            found.extend(sockets_and_locks(&path));
        } else if kind.is_socket() {
            found.push(format!("socket {}", path.display()));
        } else if kind.is_file() && locked(&path) {
            found.push(format!("lock on {}", path.display()));
        }
    }
    found
}

fn locked(path: &Path) -> bool {
    let Ok(file) = std::fs::File::open(path) else {
        return false;
    };
    matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock))
}
