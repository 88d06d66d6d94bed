//! Native images: which program of this machine stands for a container image, and how it is started.

mod check;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use check::{ImageCheck, check_images};

/// Where pods see Hikeshi's own programs.
pub const BIN_DIR: &str = "/opt/hikeshi/bin";
/// Where pods see the files beside the image descriptions.
pub const FILES_DIR: &str = "/opt/hikeshi/images";
const STANDARD_PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// One `images/*.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NativeImage {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    pub name: String,
    /// Globs (`*`) on the image reference without `docker.io/` and `library/`.
    #[serde(rename = "match")]
    pub matches: Vec<String>,
    /// The program that must be there: a path, or a name looked up in `search`, then in the standard folders.
    pub program: String,
    /// Folders put before the standard `PATH`. A part `*` stands for a version: of the folders there are, the newest
    /// first, and none older than `version.at_least`.
    #[serde(default)]
    pub search: Vec<PathBuf>,
    pub package: Package,
    #[serde(default)]
    pub version: Option<VersionCheck>,
    #[serde(default)]
    pub entrypoint: Vec<String>,
    #[serde(default)]
    pub cmd: Vec<String>,
    pub user: ImageUser,
    #[serde(default = "root_folder")]
    pub workdir: PathBuf,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Its programs take the time from the C library, so that a TimeChaos can move it (Go's and static ones do not).
    #[serde(default, rename = "timeChaos")]
    pub time_chaos: bool,
}

fn root_folder() -> PathBuf {
    "/".into()
}

/// Where the program comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum Package {
    /// A package of Debian and its relatives.
    Apt(String),
    /// Comes with Hikeshi.
    Own(String),
    /// Fetched by a task of that name, `cargo xtask NAME`, for those who want it.
    Setup(String),
}

impl Package {
    pub fn name(&self) -> &str {
        match self {
            Self::Apt(name) | Self::Own(name) | Self::Setup(name) => name,
        }
    }

    /// What to do when the program is missing.
    pub fn remedy(&self) -> String {
        match self {
            Self::Apt(name) => format!("install the package {name} (apt-get install {name})"),
            Self::Own(name) => format!("{name} comes with Hikeshi: build it and start Hikeshi again"),
            Self::Setup(name) => {
                format!("fetch it with `cargo xtask {name}`, then `hikeshi down` and start Hikeshi again")
            }
        }
    }
}

/// How to learn the program's version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionCheck {
    pub args: Vec<String>,
    /// A regular expression whose first group is the version.
    pub pattern: String,
    /// Least major version.
    pub at_least: u32,
}

/// The user that the image's programs run as.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageUser {
    pub uid: u32,
    pub gid: u32,
    pub name: String,
}

/// A description that cannot be used; `place` is `file:line:column` where known.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ImageError {
    pub place: String,
    pub message: String,
}

/// All descriptions of a folder.
#[derive(Debug, Clone, Default)]
pub struct Images {
    list: Vec<NativeImage>,
}

/// Why a container's image cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MissingImage {
    #[error("no native image stands for {image:?}; known: {known}")]
    Unknown { image: String, known: String },
    #[error("image {image:?} needs the program {program}: {remedy}")]
    Program {
        image: String,
        program: String,
        remedy: String,
    },
}

impl Images {
    /// Reads every `*.yaml` of `folder`, in the order of their names.
    ///
    /// # Errors
    /// The first file that cannot be read or is not a NativeImage.
    pub fn load(folder: &Path) -> Result<Self, ImageError> {
        let failed = |path: &Path, message: String| ImageError {
            place: path.display().to_string(),
            message,
        };
        let entries = fs::read_dir(folder).map_err(|error| failed(folder, error.to_string()))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        files.sort();
        let mut list = Vec::new();
        for path in files {
            let text = fs::read_to_string(&path).map_err(|error| failed(&path, error.to_string()))?;
            list.push(parse(&path.display().to_string(), &text)?);
        }
        Ok(Self { list })
    }

    /// The image that a reference of a manifest means.
    pub fn find(&self, reference: &str) -> Option<&NativeImage> {
        let plain = plain_reference(reference);
        self.list
            .iter()
            .find(|image| image.matches.iter().any(|glob| glob_matches(glob, plain)))
    }

    /// As [`Self::find`], with the words for a person who has to mend it. `bin_dir` is Hikeshi's own `bin` on the host.
    pub fn resolve(&self, reference: &str, bin_dir: &Path) -> Result<&NativeImage, MissingImage> {
        let image = self.find(reference).ok_or_else(|| MissingImage::Unknown {
            image: reference.to_owned(),
            known: self
                .list
                .iter()
                .map(|image| image.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        if image.program_on_host(Some(bin_dir)).is_none() {
            return Err(MissingImage::Program {
                image: reference.to_owned(),
                program: image.program.clone(),
                remedy: image.package.remedy(),
            });
        }
        Ok(image)
    }

    /// The descriptions in the order of their files.
    pub fn iter(&self) -> impl Iterator<Item = &NativeImage> {
        self.list.iter()
    }
}

fn parse(file: &str, text: &str) -> Result<NativeImage, ImageError> {
    let image: NativeImage = serde_saphyr::from_str(text).map_err(|error| {
        let place = match error.location() {
            Some(location) => format!("{file}:{}:{}", location.line(), location.column()),
            None => file.to_owned(),
        };
        ImageError {
            place,
            message: error.without_snippet().to_string(),
        }
    })?;
    let wrong = |message: String| {
        Err(ImageError {
            place: file.to_owned(),
            message,
        })
    };
    if image.api_version != "hikeshi.dev/v1" || image.kind != "NativeImage" {
        return wrong(format!(
            "{} {} is not hikeshi.dev/v1 NativeImage",
            image.api_version, image.kind
        ));
    }
    if image.entrypoint.is_empty() && image.cmd.is_empty() {
        return wrong("entrypoint and cmd are both empty: nothing would run".to_owned());
    }
    if let Some(version) = &image.version
        && let Err(error) = regex::Regex::new(&version.pattern)
    {
        return wrong(format!("version.pattern: {error}"));
    }
    Ok(image)
}

/// A reference without the registry and library that Docker would add, and without a digest.
fn plain_reference(reference: &str) -> &str {
    let mut plain = reference.split_once('@').map_or(reference, |(plain, _)| plain);
    for prefix in ["docker.io/", "index.docker.io/", "library/"] {
        plain = plain.strip_prefix(prefix).unwrap_or(plain);
    }
    plain
}

/// `*` stands for any text.
fn glob_matches(glob: &str, text: &str) -> bool {
    match glob.split_once('*') {
        None => glob == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            tail.char_indices()
                .map(|(at, _)| at)
                .chain([tail.len()])
                .any(|at| glob_matches(rest, &tail[at..]))
        }),
    }
}

impl NativeImage {
    /// The argv of a container: `command` replaces the entrypoint (and drops cmd), `args` replace cmd.
    pub fn argv(&self, command: &[String], args: &[String]) -> Vec<String> {
        let mut argv: Vec<String> = if command.is_empty() {
            &self.entrypoint
        } else {
            command
        }
        .to_vec();
        if !args.is_empty() {
            argv.extend_from_slice(args);
        } else if command.is_empty() {
            argv.extend_from_slice(&self.cmd);
        }
        argv
    }

    /// `PATH` inside the pod.
    pub fn path(&self) -> String {
        let search = self
            .search_folders()
            .into_iter()
            .map(|folder| folder.display().to_string());
        let standard = STANDARD_PATH.iter().map(|folder| (*folder).to_owned());
        search
            .chain(standard)
            .chain([BIN_DIR.to_owned()])
            .collect::<Vec<_>>()
            .join(":")
    }

    /// The program on the host. Hikeshi's own programs are looked up in `bin_dir`; without one they count as there.
    pub fn program_on_host(&self, bin_dir: Option<&Path>) -> Option<PathBuf> {
        if let Ok(own) = Path::new(&self.program).strip_prefix(BIN_DIR) {
            return match bin_dir {
                Some(folder) => Some(folder.join(own)).filter(|path| path.is_file()),
                None => Some(PathBuf::from(&self.program)),
            };
        }
        if self.program.starts_with('/') {
            return Some(PathBuf::from(&self.program)).filter(|path| path.is_file());
        }
        let standard = STANDARD_PATH.iter().map(PathBuf::from);
        self.search_folders()
            .into_iter()
            .chain(standard)
            .map(|folder| folder.join(&self.program))
            .find(|path| path.is_file())
    }

    /// `search` as this machine fills it in.
    fn search_folders(&self) -> Vec<PathBuf> {
        let at_least = self.version.as_ref().map_or(0, |version| version.at_least);
        self.search
            .iter()
            .flat_map(|folder| versions(folder, at_least))
            .collect()
    }
}

/// `/usr/lib/postgresql/*/bin`: those there are, the newest version first. A folder without `*` is itself.
fn versions(folder: &Path, at_least: u32) -> Vec<PathBuf> {
    let Some((above, below)) = folder.to_str().and_then(|text| text.split_once("/*/")) else {
        return vec![folder.to_path_buf()];
    };
    let mut found: Vec<u32> = fs::read_dir(above)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| *version >= at_least)
        .collect();
    found.sort_unstable();
    found
        .iter()
        .rev()
        .map(|version| Path::new(above).join(version.to_string()).join(below))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS: &str = "apiVersion: hikeshi.dev/v1\nkind: NativeImage\nname: redis\nmatch: ['redis:7', 'redis:7.*']\n\
        program: no-such-redis\npackage: {apt: redis-server}\nentrypoint: [redis-server]\ncmd: [--save, '']\n\
        user: {uid: 999, gid: 999, name: redis}\n";

    fn images() -> Images {
        Images {
            list: vec![parse("redis.yaml", REDIS).unwrap()],
        }
    }

    #[test]
    fn a_reference_matches_with_and_without_its_registry() {
        for reference in [
            "redis:7",
            "docker.io/library/redis:7",
            "library/redis:7.2-alpine",
            "redis:7@sha256:00",
        ] {
            assert!(images().find(reference).is_some(), "{reference}");
        }
        for reference in ["redis", "redis:6", "bitnami/redis:7", "redis:70"] {
            assert!(images().find(reference).is_none(), "{reference}");
        }
    }

    #[test]
    fn command_and_args_replace_as_in_a_container() {
        let image = parse("redis.yaml", REDIS).unwrap();
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(image.argv(&[], &[]), ["redis-server", "--save", ""]);
        assert_eq!(image.argv(&[], &words("a b")), ["redis-server", "a", "b"]);
        assert_eq!(image.argv(&words("sh -c"), &[]), ["sh", "-c"]);
        assert_eq!(image.argv(&words("sh"), &words("x")), ["sh", "x"]);
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = images().resolve("redis:7", Path::new("/nowhere")).unwrap_err();
        assert!(
            error.to_string().contains("apt-get install redis-server"),
            "{error}"
        );
        let error = images().resolve("mysql:8", Path::new("/nowhere")).unwrap_err();
        assert!(error.to_string().contains("known: redis"), "{error}");
    }

    #[test]
    fn a_misspelt_key_is_placed() {
        let error = parse(
            "redis.yaml",
            &REDIS.replace("workdir", "x").replace("cmd:", "cmds:"),
        )
        .unwrap_err();
        assert_eq!(error.place, "redis.yaml:8:1");
        assert!(error.message.contains("cmds"), "{error}");
    }

    #[test]
    fn the_newest_version_is_found_and_none_that_is_too_old() {
        let root = tempfile::tempdir().unwrap();
        let bin = |version: &str| {
            let folder = root.path().join(version).join("bin");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("no-such-redis"), "").unwrap();
            folder
        };
        let search = format!("search: ['{}/*/bin']\n", root.path().display());
        let version = "version: {args: [], pattern: '(.*)', at_least: 14}\n";
        let image = parse("redis.yaml", &format!("{REDIS}{search}{version}")).unwrap();
        bin("9.6");
        bin("13");
        assert_eq!(image.program_on_host(None), None);
        let old = bin("14");
        assert_eq!(image.program_on_host(None), Some(old.join("no-such-redis")));
        let new = bin("100");
        assert_eq!(image.program_on_host(None), Some(new.join("no-such-redis")));
        let path = format!("{}:{}:/usr/local/sbin:", new.display(), old.display());
        assert!(image.path().starts_with(&path), "{}", image.path());
        // A client's folder has no server in it.
        fs::remove_file(new.join("no-such-redis")).unwrap();
        assert_eq!(image.program_on_host(None), Some(old.join("no-such-redis")));
    }

    #[test]
    fn shipped_images_load() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
        let images = Images::load(&folder).unwrap();
        for reference in [
            "redis:7",
            "postgres:15",
            "prom/prometheus:v2.42.0",
            "prom/alertmanager:v0.25.0",
            "chirpy:v1",
        ] {
            assert!(images.find(reference).is_some(), "{reference}");
        }
    }
}
