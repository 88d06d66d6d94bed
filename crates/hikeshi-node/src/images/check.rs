//! What `hikeshi doctor` wants to know about the native images.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{ImageError, Images, NativeImage};

/// One image's state on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageCheck {
    pub image: String,
    pub program: String,
    pub found: Option<PathBuf>,
    pub version: Option<String>,
    /// The package that brings the program.
    pub package: String,
    /// What is wrong and what to do, in one sentence.
    pub problem: Option<String>,
}

/// Looks for every image's program and asks it for its version.
///
/// # Errors
/// A description that cannot be read.
pub fn check_images(folder: &Path) -> Result<Vec<ImageCheck>, ImageError> {
    Ok(Images::load(folder)?.iter().map(check).collect())
}

fn check(image: &NativeImage) -> ImageCheck {
    let found = image.program_on_host(None);
    let own = image.program.starts_with(super::BIN_DIR);
    let mut result = ImageCheck {
        image: image.name.clone(),
        program: image.program.clone(),
        found: found.clone(),
        version: None,
        package: image.package.name().to_owned(),
        problem: None,
    };
    let Some(path) = found else {
        result.problem = Some(format!(
            "{} is missing: {}",
            image.program,
            image.package.remedy()
        ));
        return result;
    };
    if own {
        return result;
    }
    let Some(wanted) = &image.version else {
        return result;
    };
    let output = Command::new(&path)
        .args(&wanted.args)
        .stdin(Stdio::null())
        .output();
    let text = output.map(|output| {
        format!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    let version = regex::Regex::new(&wanted.pattern).ok().and_then(|pattern| {
        let captures = pattern.captures(text.as_deref().unwrap_or_default())?;
        Some(captures.get(1)?.as_str().to_owned())
    });
    let major = version
        .as_ref()
        .and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    result.problem = match major {
        None => Some(format!(
            "{} does not tell its version ({})",
            path.display(),
            wanted.args.join(" ")
        )),
        Some(major) if major < wanted.at_least => Some(format!(
            "{} is version {major}, at least {} is needed: {}",
            path.display(),
            wanted.at_least,
            image.package.remedy()
        )),
        Some(_) => None,
    };
    result.version = version;
    result
}
