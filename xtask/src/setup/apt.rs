//! Debian packages, installed without starting, stopping or restarting any service.

use std::io::{self, IsTerminal};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::steps::{logged, tail};
use crate::workspace::Workspace;

/// Run as root with the packages as arguments.
///
/// Debian starts a service when its package is installed. We want the programs only: pods run them. So for the time of
/// the installation policy-rc.d forbids it (a machine's own policy is left as it is), and units that this installation
/// brings are disabled, lest they take Redis's, PostgreSQL's or a web server's ports at the next boot. needrestart is told to stay
/// out: it would restart services that have nothing to do with us.
const SCRIPT: &str = r#"
set -eu
policy=$1; units=$2; shift 2
mark='# hikeshi setup: no service starts while packages are installed'
new=
for unit in redis-server postgresql pgbouncer prometheus prometheus-alertmanager prometheus-redis-exporter nginx haproxy; do
    [ -e "$units/$unit.service" ] || new="$new $unit"
done
# A policy with our mark was left by a setup that was killed.
if [ ! -e "$policy" ] || grep -qF "$mark" "$policy"; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" > "$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
apt-get -o DPkg::Lock::Timeout=120 update || echo 'apt-get update failed; trying with the lists there are'
apt-get -o DPkg::Lock::Timeout=120 install --yes --no-install-recommends "$@"
if [ -d /run/systemd/system ]; then
    for unit in $new; do
        [ ! -e "$units/$unit.service" ] || systemctl disable --quiet "$unit.service"
    done
fi
"#;

const POLICY: &str = "/usr/sbin/policy-rc.d";
const UNITS: &str = "/lib/systemd/system";

/// How this user becomes root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    /// Is root.
    Already,
    /// sudo, without a question.
    Sudo,
    /// sudo, which will ask for a password on this terminal.
    SudoAsks,
}

/// Installs packages as root, or says which command to run when this user cannot become root.
pub fn install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if workspace.which("apt-get").is_none() {
        bail!(
            "no apt-get here (not Debian or Ubuntu?). Install what these packages hold and run this again:\n  {by_hand}"
        );
    }
    let Some(root) = root(workspace) else {
        bail!(
            "this user may not install packages (not root, no sudo). Ask someone who may to run\n  {by_hand}\n\
             and run this again"
        );
    };
    let log = workspace.state()?.join("apt.log");
    println!("setup: {by_hand} (log: {}; no service is started)", log.display());
    let mut command = match root {
        Root::Already => workspace.command("sh"),
        Root::Sudo => sudo(workspace, &["-n", "sh"]),
        Root::SudoAsks => sudo(workspace, &["--prompt=setup: sudo password: ", "sh"]),
    };
    command
        .args(["-c", SCRIPT, "setup", POLICY, UNITS])
        .args(packages);
    let status = logged(&mut command, &log, &mut |_| {})?;
    if !status.success() {
        bail!(
            "apt-get install failed ({status}); the end of {}:\n{}\nBy hand, as root:\n  {by_hand}",
            log.display(),
            tail(&log, 30)
        );
    }
    Ok(())
}

fn sudo(workspace: &Workspace, args: &[&str]) -> Command {
    let mut sudo = workspace.command("sudo");
    sudo.args(args);
    sudo
}

fn root(workspace: &Workspace) -> Option<Root> {
    let says = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    if says(workspace.command("id").arg("-u")).as_deref() == Some("0") {
        return Some(Root::Already);
    }
    workspace.which("sudo")?;
    if says(&mut sudo(workspace, &["-n", "true"])).is_some() {
        return Some(Root::Sudo);
    }
    io::stdin().is_terminal().then_some(Root::SudoAsks)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::steps::scratch;

    /// Runs the script with an apt-get that records its arguments and the policy in force; gives exit code and record.
    fn run(dir: &Path, apt_exit: u8) -> (Option<i32>, String) {
        let apt = dir.join("apt-get");
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {0}/record\ncat {0}/policy >> {0}/record\ncase \"$*\" in *install*) exit {apt_exit};; esac\n",
            dir.display()
        );
        fs::write(&apt, script).unwrap();
        fs::set_permissions(&apt, fs::Permissions::from_mode(0o755)).unwrap();
        let status = Command::new("sh")
            .args(["-c", SCRIPT, "setup"])
            .args([dir.join("policy"), dir.to_path_buf()])
            .args(["redis-server", "postgresql"])
            .env("PATH", format!("{}:/usr/bin:/bin", dir.display()))
            .status()
            .unwrap();
        (status.code(), fs::read_to_string(dir.join("record")).unwrap())
    }

    #[test]
    fn services_are_forbidden_during_the_installation_and_the_policy_goes_afterwards() {
        for exit in [0, 100] {
            let dir = scratch::dir(&format!("apt-{exit}"));
            let (code, record) = run(&dir, exit);
            assert_eq!(code, Some(i32::from(exit)));
            assert!(
                record.contains("install --yes --no-install-recommends redis-server postgresql"),
                "{record}"
            );
            assert_eq!(record.matches("exit 101").count(), 2, "{record}");
            assert!(!dir.join("policy").exists());
        }
    }

    #[test]
    fn a_machines_own_policy_stays() {
        let dir = scratch::dir("apt-own");
        fs::write(dir.join("policy"), "#!/bin/sh\nexit 104\n").unwrap();
        assert_eq!(run(&dir, 0).0, Some(0));
        assert_eq!(
            fs::read_to_string(dir.join("policy")).unwrap(),
            "#!/bin/sh\nexit 104\n"
        );
    }

    #[test]
    fn a_policy_left_by_a_killed_setup_is_removed() {
        let dir = scratch::dir("apt-left");
        let left = "#!/bin/sh\n# hikeshi setup: no service starts while packages are installed\nexit 101\n";
        fs::write(dir.join("policy"), left).unwrap();
        assert_eq!(run(&dir, 0).0, Some(0));
        assert!(!dir.join("policy").exists());
    }
}
