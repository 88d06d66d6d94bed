//! From what a machine has to what must be installed. No IO: every decision of setup is here and tested.

use crate::version::Version;

/// As images/redis.yaml demands.
pub const REDIS: Version = Version::new(7, 0);
/// As images/postgres.yaml demands.
pub const POSTGRESQL: Version = Version::new(14, 0);
pub const KUBECTL: Version = Version::new(1, 30);
/// What Vite, the page's bundler, asks for.
pub const NODE: Version = Version::new(20, 19);

/// What a machine has. A version is `None` when the program is missing or does not say its version.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    pub redis: Option<Version>,
    pub postgresql: Option<Version>,
    pub pgbouncer: bool,
    pub prometheus: bool,
    pub alertmanager: bool,
    pub redis_exporter: bool,
    pub kubectl: Option<Version>,
    /// The two kubectls of the compatibility tests are fetched.
    pub test_kubectls: bool,
    pub node: Option<Version>,
    pub npm: bool,
    pub c_compiler: bool,
    /// Python can make a virtual environment with pip in it.
    pub python_venv: bool,
    pub chromium: bool,
    pub nginx: bool,
    pub japanese_font: bool,
    pub rustfmt: bool,
    pub clippy: bool,
}

/// Something missing, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Need {
    pub what: String,
    pub why: &'static str,
}

/// What comes from the Python package index, because the distribution's is missing or too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PythonTool {
    Kubectl,
    /// Two versions side by side, whatever this machine's own is.
    TestKubectls,
    Node,
    /// For `cargo xtask bench proxy` only.
    Envoy,
}

/// What to install, and the reasons.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub needs: Vec<Need>,
    /// Debian package names.
    pub apt: Vec<&'static str>,
    pub python: Vec<PythonTool>,
    pub rust_components: Vec<&'static str>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.needs.is_empty()
    }

    fn need(&mut self, what: impl Into<String>, why: &'static str) {
        self.needs.push(Need {
            what: what.into(),
            why,
        });
    }

    fn apt(&mut self, packages: &[&'static str], why: &'static str) {
        self.need(packages.join(" "), why);
        self.apt.extend(packages);
    }

    /// A package whose program is missing or, as `found`, too old: the distribution may have a newer one by now.
    fn apt_newer(&mut self, package: &'static str, found: Option<Version>, why: &'static str) {
        self.need(format!("{package}{}", too_old(found)), why);
        self.apt.push(package);
    }
}

/// What `machine` lacks for drills and, with `tests`, for the tests.
pub fn plan(machine: &Machine, tests: bool) -> Plan {
    let mut plan = Plan::default();
    if !machine.c_compiler {
        plan.apt(
            &["gcc", "libc6-dev", "pkg-config"],
            "builds the cryptography that TLS uses",
        );
    }
    if machine.redis.is_none_or(|version| version < REDIS) {
        plan.apt_newer(
            "redis-server",
            machine.redis,
            "Chirpy's timelines live in a six-node Redis Cluster (7 or newer)",
        );
    }
    if machine.postgresql.is_none_or(|version| version < POSTGRESQL) {
        plan.apt_newer(
            "postgresql",
            machine.postgresql,
            "Chirpy's people and posts live in PostgreSQL (14 or newer)",
        );
    }
    if !machine.pgbouncer {
        plan.apt(
            &["pgbouncer"],
            "bounds the connections that Chirpy's services have to PostgreSQL",
        );
    }
    if !machine.prometheus {
        plan.apt(
            &["prometheus"],
            "measures the system under drill; promtool checks its rules",
        );
    }
    if !machine.alertmanager {
        plan.apt(
            &["prometheus-alertmanager"],
            "turns firing rules into the alerts people get",
        );
    }
    if !machine.redis_exporter {
        plan.apt(
            &["prometheus-redis-exporter"],
            "shows Redis's own figures to Prometheus",
        );
    }
    if tests && !machine.chromium {
        plan.apt(&["chromium"], "the war room is tested in a real browser");
    }
    if tests && !machine.nginx {
        plan.apt(
            &["nginx-light"],
            "the kubectl commands, the experiments and the talk's system are tested on pods of it",
        );
    }
    if tests && !machine.japanese_font {
        plan.apt(
            &["fonts-noto-cjk"],
            "the war room's Japanese must be drawn to be tested",
        );
    }
    if machine.kubectl.is_none_or(|version| version < KUBECTL) {
        let what = format!("kubectl{}", too_old(machine.kubectl));
        plan.need(
            what,
            "the drill's people work with the real kubectl (1.30 or newer)",
        );
        plan.python.push(PythonTool::Kubectl);
    }
    if tests && !machine.test_kubectls {
        plan.need(
            "two versions of kubectl",
            "the embedded cluster is tested with the newest and the oldest supported one",
        );
        plan.python.push(PythonTool::TestKubectls);
    }
    if !machine.npm || machine.node.is_none_or(|version| version < NODE) {
        let what = format!("Node.js and npm{}", too_old(machine.node));
        plan.need(what, "build the war room's page (Node.js 20.19 or newer)");
        plan.python.push(PythonTool::Node);
    }
    if !plan.python.is_empty() && !machine.python_venv {
        plan.apt(
            &["python3-venv"],
            "fetches the tools that the distribution lacks, into target/tools only",
        );
    }
    for (present, component, why) in [
        (machine.rustfmt, "rustfmt", "the tests check the formatting"),
        (machine.clippy, "clippy", "the tests check the lints"),
    ] {
        if tests && !present {
            plan.need(component, why);
            plan.rust_components.push(component);
        }
    }
    plan
}

fn too_old(version: Option<Version>) -> String {
    version.map_or_else(String::new, |version| format!(" (this machine's: {version})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Machine {
        Machine {
            redis: Some(Version::new(7, 0)),
            postgresql: Some(Version::new(15, 18)),
            pgbouncer: true,
            prometheus: true,
            alertmanager: true,
            redis_exporter: true,
            kubectl: Some(Version::new(1, 32)),
            test_kubectls: true,
            node: Some(Version::new(20, 20)),
            npm: true,
            c_compiler: true,
            python_venv: true,
            chromium: true,
            nginx: true,
            japanese_font: true,
            rustfmt: true,
            clippy: true,
        }
    }

    #[test]
    fn nothing_missing_means_nothing_to_do() {
        assert_eq!(plan(&complete(), true), Plan::default());
    }

    #[test]
    fn a_fresh_debian_gets_everything_and_a_reason_for_each() {
        let fresh = Machine {
            c_compiler: true,
            ..Machine::default()
        };
        let drill = plan(&fresh, false);
        assert_eq!(
            drill.apt,
            [
                "redis-server",
                "postgresql",
                "pgbouncer",
                "prometheus",
                "prometheus-alertmanager",
                "prometheus-redis-exporter",
                "python3-venv"
            ]
        );
        assert_eq!(drill.python, [PythonTool::Kubectl, PythonTool::Node]);
        assert!(drill.rust_components.is_empty());
        assert!(drill.needs.iter().all(|need| !need.why.is_empty()));

        let test = plan(&fresh, true);
        for package in ["chromium", "fonts-noto-cjk", "nginx-light"] {
            assert!(test.apt.contains(&package), "{package}");
        }
        assert_eq!(test.rust_components, ["rustfmt", "clippy"]);
    }

    #[test]
    fn debian_12s_node_and_kubernetes_client_are_too_old() {
        let debian_12 = Machine {
            node: Some(Version::new(18, 19)),
            kubectl: Some(Version::new(1, 20)),
            test_kubectls: true,
            ..complete()
        };
        let plan = plan(&debian_12, false);
        assert_eq!(plan.python, [PythonTool::Kubectl, PythonTool::Node]);
        assert!(plan.apt.is_empty());
        assert_eq!(plan.needs[0].what, "kubectl (this machine's: 1.20)");
    }

    #[test]
    fn what_only_tests_need_is_left_alone_without_them() {
        let bare = Machine {
            chromium: false,
            nginx: false,
            japanese_font: false,
            rustfmt: false,
            clippy: false,
            python_venv: false,
            ..complete()
        };
        assert!(plan(&bare, false).is_empty());
    }

    #[test]
    fn setup_demands_what_the_images_demand() {
        for (image, version) in [("redis", REDIS), ("postgres", POSTGRESQL)] {
            let file = format!("{}/../images/{image}.yaml", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&file).unwrap();
            let demand = format!("at_least: {}}}", version.major);
            assert!(text.contains(&demand), "{demand} is not in {file}");
        }
    }

    #[test]
    fn an_old_redis_is_named_with_its_version() {
        let old = Machine {
            redis: Some(Version::new(6, 0)),
            ..complete()
        };
        let plan = plan(&old, false);
        assert_eq!(plan.apt, ["redis-server"]);
        assert_eq!(plan.needs[0].what, "redis-server (this machine's: 6.0)");
    }

    #[test]
    fn an_old_postgresql_counts_as_none_and_node_without_npm_as_no_node() {
        let old = Machine {
            postgresql: Some(Version::new(13, 9)),
            ..complete()
        };
        assert_eq!(plan(&old, false).apt, ["postgresql"]);
        let no_npm = Machine {
            npm: false,
            ..complete()
        };
        assert_eq!(plan(&no_npm, false).python, [PythonTool::Node]);
    }
}
