//! A kubeconfig for each seat, with a certificate of its own: that is how the audit knows who did what.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hikeshi_apiserver::Pki;

use super::SYSTEM_NAMESPACE;
use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// The kubeconfig of the person `name` in `seat`, written once. CN = name, O = `hikeshi:SEAT`.
pub fn kubeconfig(
    paths: &Paths,
    pki: &Pki,
    api: SocketAddr,
    name: &str,
    seat: &str,
) -> Result<PathBuf, Failure> {
    write_kubeconfig(
        paths,
        pki,
        api,
        name,
        &[&format!("hikeshi:{seat}")],
        &format!("{name}.{seat}"),
    )
}

/// Writes a file that only its owner may read, in one step (a reader sees the old or the new, never half).
pub fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let fresh = path.with_extension("new");
    let doing = || format!("writing {}", path.display());
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&fresh)
        .component(doing())?;
    file.write_all(text.as_bytes()).component(doing())?;
    std::fs::rename(&fresh, path).component(doing())
}

/// Marks what the war room's console runs: the console writes it down itself, so the audit need not.
pub const CONSOLE_GROUP: &str = "hikeshi:console";

/// The kubeconfig with which the console acts for a person: the same name and rights, another certificate.
pub fn console_kubeconfig(
    paths: &Paths,
    pki: &Pki,
    api: SocketAddr,
    name: &str,
    seat: &str,
) -> Result<PathBuf, Failure> {
    write_kubeconfig(
        paths,
        pki,
        api,
        name,
        &[&format!("hikeshi:{seat}"), CONSOLE_GROUP],
        &format!("{name}.{seat}.console"),
    )
}

fn write_kubeconfig(
    paths: &Paths,
    pki: &Pki,
    api: SocketAddr,
    name: &str,
    groups: &[&str],
    file: &str,
) -> Result<PathBuf, Failure> {
    let identity = pki
        .issue_client(name, groups)
        .component(format!("issuing a certificate for {name}"))?;
    let path = paths.seat_kubeconfigs().join(file);
    let text = pki.kubeconfig(&format!("https://{api}"), &identity, SYSTEM_NAMESPACE);
    if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(path);
    }
    write_private(&path, &text)?;
    Ok(path)
}
