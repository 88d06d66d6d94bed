//! OpenSearch, made of the project's own artifacts on Maven Central, in the layout of its distribution: no registry of this
//! kind holds the distribution itself. Into target/tools/opensearch only; the machine stays as it is but for Java and Maven.

use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result, bail};

use super::apt;
use crate::steps::{logged, tail};
use crate::workspace::Workspace;

/// The newest that runs on Java 17. Pinned, so that everybody gets the same program.
const VERSION: &str = "2.19.6";

/// What a module needs beside its own jars.
struct Module {
    name: &'static str,
    class: &'static str,
    /// Jars of the module: their names begin so. All others are the server's.
    jars: &'static [&'static str],
    /// What its code may do, under Java's security manager.
    policy: &'static str,
}

const MODULES: [Module; 2] = [
    Module {
        name: "transport-netty4",
        class: "org.opensearch.transport.Netty4Plugin",
        jars: &["transport-netty4-client-", "netty-"],
        policy: r#"grant codeBase "${codebase.netty-common}" {
  permission java.lang.RuntimePermission "accessDeclaredMembers";
  permission java.lang.RuntimePermission "setContextClassLoader";
  permission java.io.FilePermission "/proc/sys/net/core/somaxconn", "read";
  // Its SocketUtils accepts and connects in its own name.
  permission java.net.SocketPermission "*", "accept,connect,resolve";
};
"#,
    },
    Module {
        name: "analysis-common",
        class: "org.opensearch.analysis.common.CommonAnalysisPlugin",
        jars: &["analysis-common-"],
        policy: "",
    },
];

/// Jars that only compilers read.
const LEFT_OUT: [&str; 2] = ["error_prone_annotations-", "jspecify-"];

fn pom() -> String {
    let dependency = |(group, artifact): (&str, &str)| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{VERSION}</version></dependency>"
        )
    };
    let ours = [
        ("org.opensearch", "opensearch"),
        ("org.opensearch", "opensearch-plugin-classloader"),
        ("org.opensearch.plugin", "transport-netty4-client"),
        ("org.opensearch.plugin", "analysis-common"),
    ];
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>
<groupId>dev.hikeshi</groupId><artifactId>opensearch</artifactId><version>{VERSION}</version><packaging>pom</packaging>
<dependencies>
{}
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.25.4</version></dependency>
</dependencies></project>
",
        ours.map(dependency).join("\n")
    )
}

/// Whether it is there, in this version.
fn is_there(workspace: &Workspace) -> bool {
    let version = fs::read_to_string(workspace.opensearch().join("VERSION"));
    version.is_ok_and(|version| version.trim() == stamp())
}

/// Of the artifacts and of how they are laid out.
fn stamp() -> String {
    format!("{VERSION} 2")
}

/// Fetches it, and Java and Maven where they are missing.
pub fn install(workspace: &Workspace) -> Result<()> {
    if is_there(workspace) {
        return Ok(());
    }
    println!("setup: OpenSearch {VERSION}: the real search engine, for systems/chirpy/optional/opensearch");
    let missing: Vec<&str> = [("java", "default-jre-headless"), ("mvn", "maven")]
        .into_iter()
        .filter(|(program, _)| workspace.which(program).is_none())
        .map(|(_, package)| package)
        .collect();
    if !missing.is_empty() {
        apt::install(workspace, &missing)?;
    }
    let home = workspace.opensearch();
    let made = home.with_extension("new");
    remove(&made)?;
    fs::create_dir_all(&made).with_context(|| format!("cannot make {}", made.display()))?;
    fs::write(made.join("pom.xml"), pom())?;
    println!(
        "setup: mvn dependency:copy-dependencies (OpenSearch {VERSION}, 43 MB from Maven Central, into {})",
        home.display()
    );
    let log = workspace.state()?.join("mvn.log");
    let mut maven = workspace.command("mvn");
    maven.current_dir(&made).args([
        "-B",
        "-q",
        "dependency:copy-dependencies",
        "-DoutputDirectory=lib",
    ]);
    let status = logged(&mut maven, &log, &mut |_| {})?;
    if !status.success() {
        bail!(
            "mvn failed ({status}); the end of {}:\n{}",
            log.display(),
            tail(&log, 15)
        );
    }
    lay_out(&made, &workspace.root.join("images/opensearch"))?;
    remove(&home)?;
    fs::rename(&made, &home).with_context(|| format!("cannot make {}", home.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// From `lib` full of jars to what OpenSearch calls its home; `own` holds the start script and the configuration.
fn lay_out(home: &Path, own: &Path) -> Result<()> {
    for folder in ["bin", "config", "plugins", "extensions"] {
        fs::create_dir_all(home.join(folder))?;
    }
    for module in &MODULES {
        let folder = home.join("modules").join(module.name);
        fs::create_dir_all(&folder)?;
        let Module { name, class, .. } = module;
        let descriptor = format!(
            "name={name}\ndescription={name}\nversion={VERSION}\nopensearch.version={VERSION}\njava.version=11\n\
             classname={class}\nextended.plugins=\nhas.native.controller=false\n"
        );
        fs::write(folder.join("plugin-descriptor.properties"), descriptor)?;
        if !module.policy.is_empty() {
            fs::write(folder.join("plugin-security.policy"), module.policy)?;
        }
    }
    for entry in fs::read_dir(home.join("lib"))? {
        let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let name = name.to_string_lossy();
        let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        if begins(&LEFT_OUT) {
            fs::remove_file(path)?;
        } else if let Some(module) = MODULES.iter().find(|module| begins(module.jars)) {
            fs::rename(path, home.join("modules").join(module.name).join(&*name))?;
        }
    }
    for (from, to) in [
        ("opensearch.sh", "bin/opensearch"),
        ("log4j2.properties", "config/log4j2.properties"),
        ("opensearch.yml", "config/opensearch.yml"),
    ] {
        fs::copy(own.join(from), home.join(to)).with_context(|| format!("cannot copy {from}"))?;
    }
    fs::write(home.join("VERSION"), stamp())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::scratch;

    #[test]
    fn jars_go_where_a_distribution_has_them() {
        let home = scratch::dir("opensearch");
        fs::create_dir_all(home.join("lib")).unwrap();
        for jar in [
            "opensearch-2.19.6.jar",
            "netty-common-4.1.jar",
            "transport-netty4-client-2.19.6.jar",
            "analysis-common-2.19.6.jar",
            "lucene-analysis-common-9.12.3.jar",
            "jspecify-1.0.0.jar",
        ] {
            fs::write(home.join("lib").join(jar), "").unwrap();
        }
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/opensearch");
        lay_out(&home, &own).unwrap();
        let names = |folder: &str| {
            let entries = fs::read_dir(home.join(folder)).unwrap();
            let mut names: Vec<String> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(
            names("lib"),
            ["lucene-analysis-common-9.12.3.jar", "opensearch-2.19.6.jar"]
        );
        assert_eq!(
            names("modules/transport-netty4"),
            [
                "netty-common-4.1.jar",
                "plugin-descriptor.properties",
                "plugin-security.policy",
                "transport-netty4-client-2.19.6.jar"
            ]
        );
        assert_eq!(
            names("modules/analysis-common"),
            ["analysis-common-2.19.6.jar", "plugin-descriptor.properties"]
        );
        assert_eq!(names("bin"), ["opensearch"]);
        assert_eq!(fs::read_to_string(home.join("VERSION")).unwrap(), "2.19.6 2");
    }

    #[test]
    fn every_artifact_is_asked_for_in_one_version() {
        assert_eq!(pom().matches(VERSION).count(), 5);
    }
}
