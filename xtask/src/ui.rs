//! The war room's page: npm, only when something it is made from has changed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result, bail};

use crate::steps::{self, tail};
use crate::workspace::Workspace;

/// Folders of ui/ that are made, not written.
const MADE: [&str; 3] = ["node_modules", "dist", ".test"];

/// Makes ui/dist when ui/'s sources are not those of the last build. Says so only when it builds.
pub fn build(workspace: &Workspace) -> Result<()> {
    let sources = hash_folder(&workspace.root.join("ui"))?;
    let stamp = workspace.state()?.join("ui.stamp");
    if workspace.root.join("ui/dist/index.html").is_file() && stamp_is(&stamp, &sources) {
        return Ok(());
    }
    install(workspace)?;
    println!("ui: building the war room's page");
    quiet(workspace, "npm run build", npm(workspace).args(["run", "build"]))?;
    // npm may have written the lockfile, itself a source.
    write_stamp(&stamp, &hash_folder(&workspace.root.join("ui"))?)
}

/// npm in ui/, saying nothing it need not say.
pub fn npm(workspace: &Workspace) -> Command {
    let mut npm = workspace.command("npm");
    npm.current_dir(workspace.root.join("ui"))
        .env("npm_config_loglevel", "error")
        .env("NO_UPDATE_NOTIFIER", "1");
    npm
}

/// Installs the page's dependencies when they are not those of package.json and its lockfile.
pub fn install(workspace: &Workspace) -> Result<()> {
    let ui = workspace.root.join("ui");
    let stamp = workspace.state()?.join("npm.stamp");
    if ui.join("node_modules").is_dir() && stamp_is(&stamp, &hash_dependencies(&ui)?) {
        return Ok(());
    }
    let verb = if ui.join("package-lock.json").is_file() {
        "ci"
    } else {
        "install"
    };
    println!("ui: npm {verb} (what the page is built with)");
    quiet(workspace, &format!("npm {verb}"), npm(workspace).arg(verb))?;
    write_stamp(&stamp, &hash_dependencies(&ui)?)
}

fn quiet(workspace: &Workspace, what: &str, command: &mut Command) -> Result<()> {
    let log = workspace.state()?.join("npm.log");
    let status = steps::logged(command, &log, &mut |_| {})?;
    if !status.success() {
        bail!(
            "{what} failed ({status}); the end of {}:\n{}",
            log.display(),
            tail(&log, 30)
        );
    }
    Ok(())
}

fn hash_dependencies(ui: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for name in ["package.json", "package-lock.json"] {
        match fs::read(ui.join(name)) {
            Ok(text) => text.hash(&mut hasher),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0.hash(&mut hasher),
            Err(error) => return Err(error).with_context(|| format!("cannot read ui/{name}")),
        }
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// A hash of every written file's path and content. The hasher may differ between Rust releases: that costs one build.
fn hash_folder(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    written_files(folder, &mut files).with_context(|| format!("cannot list {}", folder.display()))?;
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in &files {
        file.strip_prefix(folder).unwrap_or(file).hash(&mut hasher);
        fs::read(file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn written_files(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if !MADE.iter().any(|made| entry.file_name() == *made) {
                written_files(&entry.path(), files)?;
            }
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn stamp_is(stamp: &Path, hash: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|text| text.trim() == hash)
}

fn write_stamp(stamp: &Path, hash: &str) -> Result<()> {
    fs::write(stamp, hash).with_context(|| format!("cannot write {}", stamp.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::scratch;

    #[test]
    fn a_changed_renamed_or_new_source_changes_the_hash_and_a_made_file_does_not() {
        let dir = scratch::dir("ui-hash");
        fs::create_dir_all(dir.join("src")).unwrap();
        fs::create_dir_all(dir.join("dist")).unwrap();
        fs::write(dir.join("src/a.ts"), "1").unwrap();
        let first = hash_folder(&dir).unwrap();

        fs::write(dir.join("dist/index.html"), "made").unwrap();
        assert_eq!(hash_folder(&dir).unwrap(), first);
        fs::write(dir.join("src/a.ts"), "2").unwrap();
        let changed = hash_folder(&dir).unwrap();
        assert_ne!(changed, first);
        fs::rename(dir.join("src/a.ts"), dir.join("src/b.ts")).unwrap();
        assert_ne!(hash_folder(&dir).unwrap(), changed);
    }
}
