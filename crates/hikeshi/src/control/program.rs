//! Puts the programs that pods run where the pods' user can reach them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// Copies `hikeshi`, `chirpy` and `hikeshi-load` from beside this program into the state folder (renamed into place,
/// so a running copy is never written to). Answers the path of `hikeshi` there.
pub fn install(paths: &Paths) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().component("finding this program")?;
    let beside = own.parent().unwrap_or(Path::new("/"));
    let target = paths.bin();
    let installed = target.join("hikeshi");
    if own != installed {
        copy(&own, &installed)?;
    }
    for name in ["chirpy", "hikeshi-load"] {
        let source = beside.join(name);
        if !source.exists() && !target.join(name).exists() {
            return Err(
                Failure::component(format!("{name} is not beside hikeshi ({})", source.display()))
                    .hint("build it: `cargo build --bins`"),
            );
        }
        if source.exists() && source != target.join(name) {
            copy(&source, &target.join(name))?;
        }
    }
    // Without it only a TimeChaos is refused, and that says so.
    let clock = beside.join("libhikeshi_clock.so");
    if clock.exists() && beside != target {
        copy(&clock, &target.join("libhikeshi_clock.so"))?;
    }
    // Only a system that was switched to it needs it. `cargo xtask opensearch` puts it beside cargo's profiles.
    let opensearch = beside.join("../tools/opensearch");
    if opensearch.join("VERSION").exists() && beside != target {
        copy_folder(&opensearch, &target.join("opensearch"))?;
    }
    Ok(installed)
}

/// Copies what is not there yet; files of another version that are no longer part of it go.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Failure> {
    let version = |folder: &Path| std::fs::read(folder.join("VERSION")).ok();
    if version(from) == version(to) {
        return Ok(());
    }
    if to.exists() {
        std::fs::remove_dir_all(to).component(format!("removing {}", to.display()))?;
    }
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let doing = || format!("copying {}", from.join(&folder).display());
        std::fs::create_dir_all(to.join(&folder)).component(doing())?;
        for entry in std::fs::read_dir(from.join(&folder)).component(doing())? {
            let name = folder.join(entry.component(doing())?.file_name());
            if from.join(&name).is_dir() {
                folders.push(name);
            } else if name != Path::new("VERSION") {
                copy(&from.join(&name), &to.join(&name))?;
            }
        }
    }
    // Last: a copy that was cut short is made again.
    copy(&from.join("VERSION"), &to.join("VERSION"))
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    if same(from, to) {
        return Ok(());
    }
    let doing = || format!("copying {} to {}", from.display(), to.display());
    let fresh = to.with_extension("new");
    if let Err(error) = std::fs::copy(from, &fresh) {
        // Half a program is of no use, and on a full disk it is what fills it.
        let _ = std::fs::remove_file(&fresh);
        let failure = Failure::component(format!("{}: {error}", doing()));
        return Err(match error.kind() {
            std::io::ErrorKind::StorageFull => failure.hint(
                "free some space there or point HIKESHI_HOME at a folder with a few hundred megabytes free",
            ),
            _ => failure,
        });
    }
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).component(doing())?;
    if let Ok(times) = std::fs::metadata(from).and_then(|metadata| metadata.modified()) {
        let file = std::fs::File::options()
            .write(true)
            .open(&fresh)
            .component(doing())?;
        file.set_modified(times).component(doing())?;
    }
    std::fs::rename(&fresh, to).component(doing())
}

fn same(from: &Path, to: &Path) -> bool {
    let (Ok(from), Ok(to)) = (std::fs::metadata(from), std::fs::metadata(to)) else {
        return false;
    };
    from.len() == to.len() && from.modified().ok() == to.modified().ok()
}
