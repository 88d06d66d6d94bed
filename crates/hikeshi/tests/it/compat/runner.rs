//! Runs the cases of a group with one kubectl, as a person in a terminal would.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hikeshi_scenario::argv::CommandLine;
use regex::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::case::{Case, Fetch, Group};
use crate::harness::text;

/// Longest wait for anything; a busy machine needs some of it.
const DEADLINE: Duration = Duration::from_secs(120);
/// Longest wait once something in the group has gone wrong: what follows may hang on it, and is looked at all the same.
const NO_PATIENCE: Duration = Duration::from_secs(5);

/// One kubectl on one cluster.
#[derive(Clone)]
pub struct Runner {
    pub kubectl: PathBuf,
    /// The administrator's kubeconfig; each group gets a copy with its own namespace.
    pub kubeconfig: PathBuf,
    pub folder: PathBuf,
}

/// A finished command.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A group under way: its namespace, its folder, its kubeconfig.
struct Stage {
    runner: Runner,
    namespace: String,
    folder: PathBuf,
    kubeconfig: PathBuf,
}

impl Runner {
    /// Plays a group from its setup to its last case in `namespace`, and answers what went wrong.
    pub async fn play(&self, group: &Group, namespace: &str) -> Vec<String> {
        let folder = self.folder.join(namespace);
        std::fs::create_dir_all(&folder).expect("a folder");
        let kubeconfig = folder.join("kubeconfig");
        std::fs::copy(&self.kubeconfig, &kubeconfig).expect("a copy of the kubeconfig");
        key_pair(&kubeconfig, &folder);
        let stage = Stage {
            runner: self.clone(),
            namespace: namespace.to_owned(),
            folder,
            kubeconfig,
        };
        let mut wrong = Vec::new();
        let prepare = [
            ("kubectl create namespace {ns}", ""),
            ("kubectl config set-context --current --namespace={ns}", ""),
        ];
        let apply = (!group.setup.is_empty()).then_some(("kubectl apply -f -", group.setup.as_str()));
        for (line, input) in prepare.into_iter().chain(apply) {
            let ended = stage.run(line, input, &[]).await;
            if ended.code != Some(0) {
                return vec![format!("{line}: {}", ended.err)];
            }
        }
        for case in &group.cases {
            let limit = if wrong.is_empty() { DEADLINE } else { NO_PATIENCE };
            if let Err(problem) = stage.case(case, limit).await {
                wrong.push(format!("{} · {}: {problem}", group.name, case.run));
            }
        }
        let ended = stage
            .run("kubectl delete namespace {ns} --wait=false", "", &[])
            .await;
        if ended.code != Some(0) {
            wrong.push(format!("{} · deleting the namespace: {}", group.name, ended.err));
        }
        wrong
    }
}

impl Stage {
    fn filled(&self, line: &str) -> String {
        let tmp = self.folder.to_str().expect("a plain folder name");
        line.replace("{ns}", &self.namespace).replace("{tmp}", tmp)
    }

    fn command(&self, line: &str, env: &[(String, String)]) -> Command {
        let line = self.filled(line);
        let argv = CommandLine::parse(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let (program, words) = argv.argv().split_first().expect("a program");
        assert_eq!(program, "kubectl", "{line}: a case is a kubectl command");
        let mut command = Command::new(&self.runner.kubectl);
        command
            .args(words)
            .current_dir(&self.folder)
            .env("KUBECONFIG", &self.kubeconfig)
            // Caches of discovery go with the test, and one kubectl's are not another's.
            .env("HOME", &self.folder)
            .envs(env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, line: &str, input: &str, env: &[(String, String)]) -> Ended {
        self.run_for(line, input, env, DEADLINE).await
    }

    async fn run_for(&self, line: &str, input: &str, env: &[(String, String)], limit: Duration) -> Ended {
        let mut child = self.command(line, env).spawn().expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("its input");
        let input = self.filled(input);
        let ended = tokio::time::timeout(limit, async {
            // A command that reads nothing may be gone before all is written.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
            child.wait_with_output().await.expect("kubectl ends")
        })
        .await;
        match ended {
            Ok(output) => Ended {
                code: output.status.code(),
                out: squeezed(&text(&output.stdout)),
                err: text(&output.stderr),
            },
            Err(_) => Ended {
                code: None,
                out: String::new(),
                err: format!("it did not end within {} s", limit.as_secs()),
            },
        }
    }

    async fn case(&self, case: &Case, limit: Duration) -> Result<(), String> {
        let env: Vec<(String, String)> = case
            .env
            .iter()
            .map(|(name, value)| (name.clone(), self.filled(value)))
            .collect();
        if case.follows {
            return self.follow(case, &env, limit).await;
        }
        let started = Instant::now();
        loop {
            let ended = self.run_for(&case.run, &case.input, &env, limit).await;
            let Err(problem) = self.judge(case, &ended) else {
                return Ok(());
            };
            if !case.until || started.elapsed() > limit {
                return Err(problem);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn judge(&self, case: &Case, ended: &Ended) -> Result<(), String> {
        let all = || format!("exit code {:?}\n{}{}", ended.code, ended.out, ended.err);
        let code_fits = match (case.code, &case.refused) {
            (Some(code), _) => ended.code == Some(code),
            (None, Some(_)) => ended.code.is_some_and(|code| code != 0),
            (None, None) => ended.code == Some(0),
        };
        if !code_fits {
            return Err(format!("ended otherwise: {}", all()));
        }
        for said in [&case.refused, &case.warns].into_iter().flatten() {
            if !self.pattern(said).is_match(&squeezed(&ended.err)) {
                return Err(format!("standard error does not say {said:?}: {}", all()));
            }
        }
        self.prints(case, &ended.out)
            .map_err(|problem| format!("{problem}: {}", all()))
    }

    fn prints(&self, case: &Case, out: &str) -> Result<(), String> {
        if let Some(missing) = case
            .prints
            .iter()
            .find(|wanted| !self.pattern(wanted).is_match(out))
        {
            return Err(format!("{missing:?} is not printed"));
        }
        match case
            .lacks
            .iter()
            .find(|unwanted| self.pattern(unwanted).is_match(out))
        {
            Some(unwanted) => Err(format!("{unwanted:?} is printed")),
            None => Ok(()),
        }
    }

    fn pattern(&self, pattern: &str) -> Regex {
        let filled = self.filled(pattern);
        Regex::new(&format!("(?m){filled}")).unwrap_or_else(|error| panic!("{pattern}: {error}"))
    }

    /// Reads what a command prints until it is all that is expected, then ends it.
    async fn follow(&self, case: &Case, env: &[(String, String)], limit: Duration) -> Result<(), String> {
        let mut child = self.command(&case.run, env).spawn().expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("its input");
        let input = self.filled(&case.input);
        stdin
            .write_all(input.as_bytes())
            .await
            .map_err(|error| error.to_string())?;
        let mut stdout = child.stdout.take().expect("its output");
        let mut stderr = child.stderr.take().expect("its errors");
        let errors = tokio::spawn(async move {
            let mut said = String::new();
            // A killed command's last words are cut; what came before is what a message needs.
            let _ = stderr.read_to_string(&mut said).await;
            said
        });
        let mut out = Vec::new();
        let mut meanwhile = case.meanwhile.as_deref();
        let mut fetches = case.fetches.as_ref();
        let watched = tokio::time::timeout(limit, async {
            loop {
                let printed = squeezed(&text(&out));
                if let Some(fetch) = fetches.filter(|_| printed.contains("Forwarding from")) {
                    self.fetch(fetch, &printed).await?;
                    fetches = None;
                }
                if let Some(line) = meanwhile.filter(|_| !printed.is_empty()) {
                    let ended = self.run(line, "", &[]).await;
                    if ended.code != Some(0) {
                        return Err(format!("{line}: {}", ended.err));
                    }
                    meanwhile = None;
                }
                if fetches.is_none() && meanwhile.is_none() && self.prints(case, &printed).is_ok() {
                    return Ok(());
                }
                let mut piece = [0; 4096];
                let read = stdout.read(&mut piece).await.map_err(|error| error.to_string())?;
                if read == 0 {
                    return Err("it ended before it had shown all".to_owned());
                }
                out.extend_from_slice(piece.get(..read).unwrap_or_default());
            }
        })
        .await;
        child.kill().await.map_err(|error| error.to_string())?;
        let said = errors.await.unwrap_or_default();
        let result = watched.unwrap_or_else(|_| Err(format!("not within {} s", limit.as_secs())));
        result.map_err(|problem| format!("{problem}\n{}{said}", text(&out)))
    }

    /// A GET at the address port-forward printed.
    async fn fetch(&self, fetch: &Fetch, printed: &str) -> Result<(), String> {
        let address = Regex::new(r"Forwarding from (127\.0\.0\.1:\d+)")
            .expect("a pattern")
            .captures(printed)
            .and_then(|found| found.get(1))
            .ok_or("no address is printed")?;
        let url = format!("http://{}{}", address.as_str(), fetch.path);
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .map_err(|error| error.to_string())?;
        // Twice, each on a connection of its own: forwarding one is not forwarding many.
        for _ in 0..2 {
            let answer = client
                .get(&url)
                .header("connection", "close")
                .timeout(Duration::from_secs(30))
                .send()
                .await
                .map_err(|error| format!("GET {url}: {error}"))?;
            let body = answer
                .text()
                .await
                .map_err(|error| format!("GET {url}: {error}"))?;
            if !self.pattern(&fetch.prints).is_match(&body) {
                return Err(format!("GET {url} answered {body:?}"));
            }
        }
        Ok(())
    }
}

/// Writes the certificate and the key of the kubeconfig's user as files: a pair that fits, for cases that need one.
fn key_pair(kubeconfig: &Path, folder: &Path) {
    let text = std::fs::read_to_string(kubeconfig).expect("the kubeconfig");
    let config: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
    let user = &config["users"][0]["user"];
    for (field, file) in [
        ("client-certificate-data", "tls.crt"),
        ("client-key-data", "tls.key"),
    ] {
        let data = user[field].as_str().expect("the user's pair");
        let pem = BASE64.decode(data).expect("base64");
        std::fs::write(folder.join(file), pem).expect("a file");
    }
}

/// Runs of blanks as one, so that a column's width is not what is tested.
fn squeezed(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.map(|line| line + "\n").collect()
}

/// The version a kubectl says it has, e.g. `1.37`.
pub fn version(kubectl: &Path) -> String {
    let output = std::process::Command::new(kubectl)
        .args(["version", "--client", "--output=json"])
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", kubectl.display()));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("kubectl's report");
    let version = report["clientVersion"]["gitVersion"].as_str().expect("a version");
    version
        .trim_start_matches('v')
        .split('.')
        .take(2)
        .collect::<Vec<_>>()
        .join(".")
}
