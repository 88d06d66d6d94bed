//! Where things are, and how a program is started so that it finds them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

pub struct Workspace {
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
}

impl Workspace {
    pub fn find() -> Self {
        // Absolute and known at compile time; the folder above xtask/ is the workspace.
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap_or(Path::new("/"))
            .to_path_buf();
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        Self { root, target }
    }

    /// Programs that setup fetched because the machine has none, or too old a one.
    pub fn tools_bin(&self) -> PathBuf {
        self.target.join("tools/bin")
    }

    /// The Python environment behind `tools_bin`.
    pub fn tools_venv(&self) -> PathBuf {
        self.target.join("tools/venv")
    }

    /// The folder of a tool that is kept apart, by its requirement (`NAME==VERSION`).
    pub fn tool_folder(&self, requirement: &str) -> PathBuf {
        self.target.join("tools").join(requirement.replace("==", "-"))
    }

    /// OpenSearch's home, when setup has made it.
    pub fn opensearch(&self) -> PathBuf {
        self.target.join("tools/opensearch")
    }

    /// Logs and stamps of these tasks. Made when first asked for.
    pub fn state(&self) -> Result<PathBuf> {
        let dir = self.target.join("xtask");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir)
    }

    /// PATH with the fetched tools in front.
    pub fn path(&self) -> OsString {
        let inherited = own_path();
        let dirs = std::iter::once(self.tools_bin()).chain(env::split_paths(&inherited));
        // Joining fails only for a folder with a colon in its name; such a PATH could not have been split either.
        env::join_paths(dirs).unwrap_or(inherited)
    }

    /// The first executable of this name on `path()`.
    pub fn which(&self, program: &str) -> Option<PathBuf> {
        which_on(&self.path(), program)
    }

    /// A command that runs at the root, with `path()`, free of what `cargo run` told this process about itself.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        let found = program
            .to_str()
            .filter(|name| !name.contains('/'))
            .and_then(|name| self.which(name));
        let mut command = Command::new(found.as_deref().unwrap_or(program));
        command.current_dir(&self.root).env("PATH", self.path());
        for (name, _) in env::vars_os() {
            // Build scripts watch these: left in, every nested cargo would rebuild what a plain `cargo test` had built.
            let name_text = name.to_string_lossy();
            let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
            if ours.iter().any(|prefix| name_text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command
    }

    /// The cargo that runs this task.
    pub fn cargo(&self) -> Command {
        self.command(env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from))
    }

    /// A program built by cargo.
    pub fn built(&self, profile_dir: &str, program: &str) -> PathBuf {
        self.target.join(profile_dir).join(program)
    }
}

/// PATH as this terminal has it.
pub fn own_path() -> OsString {
    env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
}

/// The first executable of this name on `path`.
pub fn which_on(path: &OsStr, program: &str) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|dir| dir.join(program))
        .find(|file| is_executable(file))
}

/// Runs a command with this terminal as its own; an unsuccessful exit is an error naming `what`.
pub fn run(what: &str, command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {what}"))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
