//! Where things are: the state folder and the shipped files.

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The state folder, `$HIKESHI_HOME`; see ARCHITECTURE.md for what lies in it.
#[derive(Debug, Clone)]
pub struct Paths {
    pub home: PathBuf,
}

impl Paths {
    /// `$HIKESHI_HOME`, else `/var/lib/hikeshi` for root (root's home is closed to the pods' user), else
    /// `$XDG_DATA_HOME/hikeshi` or `~/.local/share/hikeshi`.
    pub fn from_environment() -> Result<Self, Failure> {
        if let Some(home) = std::env::var_os("HIKESHI_HOME").filter(|home| !home.is_empty()) {
            let home = std::path::absolute(PathBuf::from(home))
                .map_err(|error| Failure::usage(format!("HIKESHI_HOME is not a usable path: {error}")))?;
            return Ok(Self { home });
        }
        if nix::unistd::geteuid().is_root() {
            return Ok(Self {
                home: PathBuf::from("/var/lib/hikeshi"),
            });
        }
        let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
        match data.or(home) {
            Some(base) => Ok(Self {
                home: base.join("hikeshi"),
            }),
            None => Err(Failure::usage(
                "neither HIKESHI_HOME nor HOME is set; set HIKESHI_HOME to a folder for Hikeshi's data",
            )),
        }
    }

    pub fn at(home: PathBuf) -> Self {
        Self { home }
    }

    pub fn bin(&self) -> PathBuf {
        self.home.join("bin")
    }
    pub fn control_socket(&self) -> PathBuf {
        self.home.join("control.sock")
    }
    pub fn control_record(&self) -> PathBuf {
        self.home.join("control.json")
    }
    pub fn control_log(&self) -> PathBuf {
        self.home.join("control.log")
    }
    pub fn lock(&self) -> PathBuf {
        self.home.join("lock")
    }
    pub fn pki(&self) -> PathBuf {
        self.home.join("pki")
    }
    pub fn kubeconfig(&self) -> PathBuf {
        self.home.join("kubeconfig")
    }
    pub fn seat_kubeconfigs(&self) -> PathBuf {
        self.home.join("kubeconfigs")
    }
    /// The id of the drill that was last run on the system that is up.
    pub fn drilled(&self) -> PathBuf {
        self.home.join("drilled")
    }
    pub fn volumes(&self) -> PathBuf {
        self.home.join("volumes")
    }
    pub fn store(&self) -> PathBuf {
        self.home.join("store")
    }
    pub fn dataplane(&self) -> PathBuf {
        self.home.join("dataplane")
    }
    pub fn drills(&self) -> PathBuf {
        self.home.join("drills")
    }

    /// The folder of the experiments' history.
    pub fn experiments(&self) -> PathBuf {
        self.home.join("experiments")
    }

    /// Who changed which objective and why, and what people marked as incidents.
    pub fn slo(&self) -> PathBuf {
        self.home.join("slo")
    }

    /// The labs, a file for each.
    pub fn labs(&self) -> PathBuf {
        self.home.join("labs")
    }

    /// Creates the folders; says which one could not be made and why (full disk, permissions).
    pub fn create(&self) -> Result<(), Failure> {
        use std::os::unix::fs::PermissionsExt;
        for (folder, mode) in [
            (self.home.clone(), 0o755),
            (self.bin(), 0o755),
            (self.pki(), 0o700),
            (self.seat_kubeconfigs(), 0o700),
            (self.store(), 0o700),
            (self.dataplane(), 0o700),
            (self.drills(), 0o700),
            (self.experiments(), 0o700),
            (self.labs(), 0o700),
            (self.home.join("pods"), 0o755),
            (self.volumes(), 0o755),
        ] {
            std::fs::create_dir_all(&folder)
                .and_then(|()| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)))
                .map_err(|error| {
                    Failure::component(format!("cannot make {}: {error}", folder.display()))
                        .hint("free some space there or point HIKESHI_HOME at a folder you can write to")
                })?;
        }
        Ok(())
    }
}

/// The folder with `systems/`, `images/` and `scenarios/`: `$HIKESHI_SHARE`, else the nearest ancestor of this
/// program (or, for a development build, of its sources) that has them.
pub fn share() -> Result<PathBuf, Failure> {
    if let Some(share) = std::env::var_os("HIKESHI_SHARE").map(PathBuf::from) {
        return if holds_share(&share) {
            Ok(share)
        } else {
            Err(Failure::usage(format!(
                "HIKESHI_SHARE={} has no systems/, images/ and scenarios/ in it",
                share.display()
            )))
        };
    }
    let program = std::env::current_exe().ok();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    program
        .iter()
        .flat_map(|program| program.ancestors())
        .chain(sources.ancestors())
        .find(|folder| holds_share(folder))
        .map(Path::to_path_buf)
        .ok_or_else(|| {
            Failure::component(
                "the shipped systems/, images/ and scenarios/ were not found beside this program",
            )
            .hint("set HIKESHI_SHARE to the folder that has them")
        })
}

fn holds_share(folder: &Path) -> bool {
    ["systems", "images", "scenarios"]
        .iter()
        .all(|name| folder.join(name).is_dir())
}
