//! A system of the bench's own: started, tuned, loaded, asked, ended.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, process};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::build::Profile;
use crate::workspace::{self, Workspace};

pub const SERVICES: [&str; 7] = [
    "gateway",
    "chirpy-server",
    "auth-service",
    "post-service",
    "follower-service",
    "timeline-service",
    "search-service",
];

/// The pods of the Redis Cluster.
pub const REDIS: [&str; 6] = [
    "redis-cluster-0",
    "redis-cluster-1",
    "redis-cluster-2",
    "redis-cluster-3",
    "redis-cluster-4",
    "redis-cluster-5",
];

/// A running system, ended when this value is.
pub struct System<'a> {
    workspace: &'a Workspace,
    /// Of the programs that it runs.
    profile: Profile,
    home: PathBuf,
    ended: bool,
}

impl<'a> System<'a> {
    pub fn up(workspace: &'a Workspace, profile: Profile) -> Result<Self> {
        // Pods' users must reach it, so it cannot be below a home folder that is closed to them.
        let home = env::temp_dir().join(format!("hikeshi-bench-chirpy-{}", process::id()));
        fs::create_dir_all(&home)?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o755))?;
        // Whoever interrupts this ends the system with `hikeshi down`, and needs to know which.
        println!("bench: starting Chirpy, HIKESHI_HOME={}", home.display());
        let system = Self {
            workspace,
            profile,
            home,
            ended: false,
        };
        workspace::run("hikeshi up", system.hikeshi().arg("up").stdout(Stdio::null()))?;
        Ok(system)
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The script of a runbook, as its reader would run it.
    pub fn runbook(&self, name: &str) -> Result<()> {
        let mut script = self.workspace.command("sh");
        script
            .arg(self.workspace.root.join("systems/chirpy/runbooks").join(name))
            .env("KUBECONFIG", self.home.join("kubeconfig"))
            .stdout(Stdio::null());
        workspace::run(name, &mut script)
    }

    fn hikeshi(&self) -> Command {
        let program = self.workspace.built(self.profile.dir(), "hikeshi");
        let mut command = self.workspace.command(program);
        command.env("HIKESHI_HOME", &self.home);
        command
    }

    pub fn kubectl(&self, args: &[&str], input: Option<&str>) -> Result<String> {
        let mut command = self.workspace.command("kubectl");
        let mut child = command
            .arg("--kubeconfig")
            .arg(self.home.join("kubeconfig"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start kubectl")?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "kubectl {}: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn patch(&self, namespace: &str, object: &str, patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        self.kubectl(
            &["-n", namespace, "patch", object, "--type=merge", "-p", &patch],
            None,
        )?;
        Ok(())
    }

    /// Chirpy as a team would run it that has had its incidents: the switches are documented with the habits they replace.
    pub fn tune(&self) -> Result<()> {
        let config = json!({ "data": {
            // The hot account posts 200 times a second; the generator's users share one limit each.
            "RATE_LIMIT_PER_SECOND": "0",
            "GATEWAY_READS_TIMELINES": "true",
            "TIMELINE_BATCHES": "1",
            "TIMELINE_BATCH_LINGER_MS": "8",
            "POST_BATCHES": "4",
            "POST_COMMIT_LINGER_MS": "5",
            "FANOUT_MAX_LEASED": "512",
            "FANOUT_MAX_WAITING": "20000",
            "DATABASE_FAILOVER_AWARE": "true",
            "TRENDS_SINGLE_FLIGHT": "true",
            "POST_FEED_INTERVAL_MS": "100",
        }});
        self.patch("chirpy", "configmap/chirpy-config", &config)?;
        let config = json!({ "data": {
            "REDIS_READ_POOL_PER_NODE": "0",
            "FANOUT_MULTIPLEXED": "true",
            "FANOUT_CHUNK": "200",
            "FANOUT_LARGE_FOLLOWERS": "200",
            "FANOUT_LARGE_REFRESH_S": "15",
            "FANOUT_MAX_INFLIGHT": "256",
            "FANOUT_MERGE_JOBS": "true",
            "FANOUT_POLL_INTERVAL_MS": "300",
            "FANOUT_FOLLOWERS_CACHE_S": "30",
            "FANOUT_RETRY_PAUSE_MS": "100",
            "FANOUT_RETRY_MAX_PAUSE_MS": "5000",
            "REDIS_DIAL_MAX_PAUSE_MS": "2000",
        }});
        self.patch("chirpy", "configmap/timeline-service-config", &config)?;
        self.tune_postgres()?;
        self.tune_redis()?;
        self.tune_prometheus()?;
        for service in SERVICES {
            // No limit of CPU: what is measured is the machine's.
            let limits =
                json!([{ "op": "remove", "path": "/spec/template/spec/containers/0/resources/limits/cpu" }]);
            let deployment = format!("deployment/{service}");
            let patch = limits.to_string();
            self.kubectl(
                &["-n", "chirpy", "patch", &deployment, "--type=json", "-p", &patch],
                None,
            )?;
        }
        self.roll_out("chirpy", &SERVICES)
    }

    /// One pod of each service: with two cores for everything, a second one is only more processes to change between, and
    /// smaller groups of reads and posts in each. What follows waits for it.
    pub fn shrink(&self) -> Result<()> {
        let one = json!({ "spec": { "minReplicas": 1, "maxReplicas": 1 } });
        self.patch("chirpy", "hpa/chirpy-server", &one)?;
        for service in ["chirpy-server", "timeline-service"] {
            let deployment = format!("deployment/{service}");
            self.kubectl(&["-n", "chirpy", "scale", &deployment, "--replicas=1"], None)?;
        }
        Ok(())
    }

    /// Room for the log and the pages, so that no checkpoint falls into the measurement by its size, and no query is compiled
    /// because of an estimate. Everything is looked up by its key, so statistics are made of 3,000 rows of a table rather than
    /// 30,000: tables that double in a minute are looked at once a minute. What makes a commit durable stays as it is.
    fn tune_postgres(&self) -> Result<()> {
        let settings = [
            "shared_buffers=256MB",
            "max_wal_size=4GB",
            "checkpoint_timeout=15min",
            "jit=off",
            "default_statistics_target=10",
        ];
        // Of a setting that is there twice PostgreSQL takes the last.
        let add = |value: &str| json!({ "op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": value });
        let patch: Vec<Value> = settings
            .iter()
            .flat_map(|setting| [add("-c"), add(setting)])
            .collect();
        let (patch, postgres) = (Value::from(patch).to_string(), "statefulset/postgres");
        self.kubectl(
            &["-n", "chirpy", "patch", postgres, "--type=json", "-p", &patch],
            None,
        )?;
        self.kubectl(
            &["-n", "chirpy", "rollout", "status", postgres, "--timeout=120s"],
            None,
        )?;
        Ok(())
    }

    /// As with PostgreSQL's log: no node writes its file anew within the measurement because of its size. All six reach the
    /// size at the same time, and write it with a copy of the process each.
    fn tune_redis(&self) -> Result<()> {
        for pod in REDIS {
            self.redis_cli(pod, &["config", "set", "auto-aof-rewrite-min-size", "1gb"])?;
        }
        Ok(())
    }

    /// What a Redis node answers.
    pub fn redis_cli(&self, pod: &str, command: &[&str]) -> Result<String> {
        let exec = ["-n", "chirpy", "exec", pod, "--", "redis-cli"];
        self.kubectl(&[&exec[..], command].concat(), None)
    }

    /// Looks every 15 seconds, as most do: every second, as in a drill whose clock runs fast, is a load of its own.
    fn tune_prometheus(&self) -> Result<()> {
        let (namespace, key) = ("monitoring", "prometheus.yml");
        let config = "configmap/prometheus-config";
        let read: Value =
            serde_json::from_str(&self.kubectl(&["-n", namespace, "get", config, "-o", "json"], None)?)?;
        let text = read["data"][key]
            .as_str()
            .context("Prometheus has no configuration")?;
        let slower: Vec<String> = text
            .lines()
            .map(|line| match line.split_once(':') {
                Some((name, _)) if ["scrape_interval", "evaluation_interval"].contains(&name.trim()) => {
                    format!("{name}: 15s")
                }
                _ => line.to_owned(),
            })
            .collect();
        self.patch(namespace, config, &json!({ "data": { key: slower.join("\n") } }))?;
        let prometheus = "deployment/prometheus";
        self.kubectl(&["-n", namespace, "rollout", "restart", prometheus], None)?;
        self.roll_out(namespace, &["prometheus"])
    }

    pub fn roll_out(&self, namespace: &str, deployments: &[&str]) -> Result<()> {
        for name in deployments {
            self.rolled_out(namespace, &format!("deployment/{name}"), 120)?;
        }
        Ok(())
    }

    /// Waits until a workload (`kind/name`) is rolled out, for so many seconds.
    pub fn rolled_out(&self, namespace: &str, workload: &str, seconds: u32) -> Result<()> {
        let timeout = format!("--timeout={seconds}s");
        self.kubectl(&["-n", namespace, "rollout", "status", workload, &timeout], None)?;
        Ok(())
    }

    /// The generator at `rate` requests a second.
    pub fn load(&self, rate: f64, users: u32, connections: u32) -> Result<()> {
        let environment = [
            ("LOAD_RATE", rate.to_string()),
            ("LOAD_USERS", users.to_string()),
            ("LOAD_CONNECTIONS", connections.to_string()),
        ];
        let environment: Vec<Value> = environment
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        let container = json!({ "name": "chirpy-load", "env": environment });
        // What measures is not to wait for what it measures: elsewhere it would have a machine of its own.
        let pod = json!({ "priorityClassName": "system-cluster-critical", "containers": [container] });
        let patch = json!({ "spec": { "template": { "spec": pod } } }).to_string();
        let namespace = "hikeshi-load";
        self.kubectl(
            &["-n", namespace, "patch", "deployment/chirpy-load", "-p", &patch],
            None,
        )?;
        self.roll_out(namespace, &["chirpy-load"])
    }

    /// What the generator has measured so far.
    pub fn summary(&self) -> Result<Value> {
        let path = "/api/v1/namespaces/hikeshi-load/services/chirpy-load/proxy/summary";
        Ok(serde_json::from_str(
            &self.kubectl(&["get", "--raw", path], None)?,
        )?)
    }

    /// The data plane's metrics: every edge between pods.
    pub fn edges(&self) -> Result<String> {
        let path = "/api/v1/namespaces/hikeshi-system/services/edges/proxy/metrics";
        self.kubectl(&["get", "--raw", path], None)
    }

    /// Every acknowledged post against the database, timelines and search; search may be a minute behind what was posted here.
    pub fn check(&self) -> Result<Value> {
        let config = |name: &str| json!({ "configMapRef": { "name": name } });
        let source = "http://chirpy-load.hikeshi-load.svc.cluster.local/acknowledged";
        let container = json!({
            "name": "check",
            "image": "chirpy",
            "args": ["check", "--acknowledged", source, "--newest", "200", "--fan-out-s", "5", "--within-s", "60"],
            "envFrom": [config("chirpy-config"), config("timeline-service-config"), { "secretRef": { "name": "chirpy-secrets" } }],
        });
        let job = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": { "name": "chirpy-check", "namespace": "chirpy" },
            "spec": {
                "backoffLimit": 0,
                // By this label the network policies let it reach the stores.
                "template": {
                    "metadata": { "labels": { "app": "chirpy-check" } },
                    "spec": { "restartPolicy": "Never", "containers": [container] },
                },
            },
        });
        // One of an earlier look would be taken for the answer.
        let earlier = [
            "-n",
            "chirpy",
            "delete",
            "job",
            "chirpy-check",
            "--ignore-not-found",
        ];
        self.kubectl(&earlier, None)?;
        self.kubectl(&["apply", "-f", "-"], Some(&job.to_string()))?;
        let job = "job/chirpy-check";
        // It fails when posts are lost, which is an answer too.
        let over = |condition: &str, limit: &str| {
            let condition = format!("--for=condition={condition}");
            self.kubectl(&["-n", "chirpy", "wait", &condition, job, limit], None)
        };
        over("Complete", "--timeout=600s").or_else(|_| over("Failed", "--timeout=1s"))?;
        let log = self.kubectl(&["-n", "chirpy", "logs", job], None)?;
        let line = log.lines().rfind(|line| line.starts_with('{'));
        let line = line.with_context(|| format!("the check said: {log}"))?;
        Ok(serde_json::from_str(line)?)
    }

    pub fn down(mut self) -> Result<()> {
        self.ended = true;
        workspace::run("hikeshi down", self.hikeshi().arg("down").stdout(Stdio::null()))?;
        fs::remove_dir_all(&self.home)?;
        Ok(())
    }
}

impl Drop for System<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // Something failed already, and that is what is told.
            let _ = self.hikeshi().arg("down").stdout(Stdio::null()).status();
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}
