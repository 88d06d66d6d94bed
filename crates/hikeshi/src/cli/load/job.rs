//! Load from the pods of an Indexed Job: each takes its part of the schedule, all begin at the same time, and their
//! histograms are merged here.

use std::time::{Duration, Instant};

use hikeshi_load::measured::Measured;
use hikeshi_load::share::{Part, Stage};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

use super::super::output::Progress;
use super::{EVERY, Interrupt, Language, Outcome, Ticker, Work, not_running};
use crate::control;
use crate::control::record::Record;
use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// Where pods send unless told otherwise.
pub const TARGET: &str = "http://gateway.chirpy.svc.cluster.local";
const NAMESPACE: &str = "hikeshi-load";
const PORT: u16 = 8080;
/// How long pods may take to start and to log everyone in.
const READY: Duration = Duration::from_secs(180);
/// Between the word to begin and the beginning: every pod must have heard it.
const AHEAD: Duration = Duration::from_millis(1500);
/// Beyond a run's length and its requests' timeout, a pod that has not ended has failed.
const SLACK: Duration = Duration::from_secs(30);
/// Stretches that progress is told from.
const RECENT: usize = 8;
/// While pods start.
const LOOK: Duration = Duration::from_millis(300);

/// A Job that goes when it is ended, and its pods with it.
struct Crew {
    client: kube::Client,
    name: String,
    size: u32,
    language: Language,
}

pub async fn run(work: &Work, size: u32, progress: &mut Progress) -> Result<Outcome, Failure> {
    let paths = Paths::from_environment()?;
    Record::running(&paths).ok_or_else(not_running)?;
    let kubeconfig = std::fs::read_to_string(paths.kubeconfig()).component("reading our own kubeconfig")?;
    let mut interrupt = Interrupt::listen()?;
    let crew = Crew {
        client: control::client_of(&kubeconfig).await?,
        name: format!("load-{}-{:08x}", work.profile_slug(), std::process::id()),
        size,
        language: work.language,
    };
    let jobs: Api<Job> = Api::namespaced(crew.client.clone(), NAMESPACE);
    jobs.create(&PostParams::default(), &crew.job(work)?)
        .await
        .component("creating the Job")?;
    // However it ends, the Job goes.
    let outcome = crew.work(work, &mut interrupt, progress).await;
    let gone = jobs
        .delete(&crew.name, &DeleteParams::background())
        .await
        .component("deleting the Job");
    let outcome = outcome?;
    gone?;
    Ok(outcome)
}

impl Work {
    /// The profile's name as part of an object's.
    fn profile_slug(&self) -> String {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        };
        let name: String = self.profile.name.chars().map(plain).take(24).collect();
        let name = name.trim_matches('-');
        if name.is_empty() {
            "profile".into()
        } else {
            name.to_owned()
        }
    }
}

impl Crew {
    fn job(&self, work: &Work) -> Result<Job, Failure> {
        let mut env = vec![
            json!({"name": "LOAD_SHARED", "value": "true"}),
            json!({"name": "LOAD_PROFILE", "value": work.text}),
            json!({"name": "LOAD_PARTS", "value": self.size.to_string()}),
            json!({"name": "LOAD_TARGET", "value": work.target}),
            json!({"name": "LOAD_SEED", "value": work.asked.seed.to_string()}),
            json!({"name": "LOAD_CONNECTIONS", "value": work.connections.to_string()}),
            json!({"name": "LOAD_TIMEOUT_S", "value": work.timeout.as_secs_f64().to_string()}),
        ];
        if let Some(rate) = work.asked.rate {
            env.push(json!({"name": "LOAD_RATE", "value": rate.to_string()}));
        }
        if let Some(length) = work.asked.length {
            env.push(json!({"name": "LOAD_DURATION_S", "value": length.as_secs_f64().to_string()}));
        }
        let labels = json!({"app": "load-run", "hikeshi.dev/load-run": self.name});
        serde_json::from_value(json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": self.name, "namespace": NAMESPACE, "labels": labels},
            "spec": {
                "completions": self.size,
                "parallelism": self.size,
                "completionMode": "Indexed",
                "backoffLimit": 0,
                "ttlSecondsAfterFinished": 600,
                // Who asked for it may be killed before it can delete it.
                "activeDeadlineSeconds": (work.length() + READY + SLACK * 4).as_secs(),
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "restartPolicy": "Never",
                        "terminationGracePeriodSeconds": 10,
                        "containers": [{
                            "name": "load",
                            "image": "hikeshi-load",
                            "env": env,
                            "ports": [{"name": "http", "containerPort": PORT}],
                            "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1},
                            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
                        }],
                    },
                },
            },
        }))
        .component("writing the Job")
    }

    async fn work(
        &self,
        work: &Work,
        interrupt: &mut Interrupt,
        progress: &mut Progress,
    ) -> Result<Outcome, Failure> {
        let pods = tokio::select! {
            pods = self.ready(progress) => pods?,
            () = interrupt.came() => {
                return Err(Failure::not_so(self.language.pick(
                    "開始前に中断しました",
                    "interrupted before it began",
                )));
            }
        };
        let started = jiff::Timestamp::now() + AHEAD;
        let start = Instant::now() + AHEAD;
        for pod in &pods {
            let begin = format!("begin?at={}", started.as_millisecond());
            self.ask(pod, "POST", &begin).await?;
        }
        let mut ticker = Ticker::new();
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::from_std(start) + EVERY, EVERY);
        let mut since = 0;
        let limit = start + work.length() + work.timeout + SLACK;
        let (measured, interrupted) = loop {
            let interrupted = tokio::select! {
                _ = ticks.tick() => false,
                () = interrupt.came() => true,
            };
            let (recent, ended) = self.together(&pods, since).await?;
            let at = start.elapsed().as_secs_f64();
            progress.say(&ticker.line(&recent, at, work));
            since = recent_stretch(at, recent.stretch);
            if ended || interrupted {
                break (self.together(&pods, 0).await?.0, interrupted && !ended);
            }
            if Instant::now() > limit {
                return Err(Failure::component(self.language.pick(
                    "負荷生成 Pod が時間内に終わりませんでした",
                    "the load pods did not end in time",
                )));
            }
        };
        Ok(Outcome {
            measured,
            seconds: Instant::now()
                .saturating_duration_since(start)
                .min(work.length())
                .as_secs_f64(),
            started: started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            interrupted,
        })
    }

    /// The names of all pods, once everyone is logged in in each.
    async fn ready(&self, progress: &mut Progress) -> Result<Vec<String>, Failure> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mine = ListParams::default().labels(&format!("hikeshi.dev/load-run={}", self.name));
        let limit = Instant::now() + READY;
        let mut said = usize::MAX;
        loop {
            let pods = api.list(&mine).await.component("listing the load pods")?;
            let mut ready = vec![];
            for pod in pods.items {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                let Some(name) = pod.metadata.name else { continue };
                match phase {
                    Some("Running") => {}
                    Some("Failed" | "Succeeded") => return Err(self.failed(&name)),
                    _ => continue,
                }
                // It may not listen yet.
                if self
                    .part(&name, 0)
                    .await
                    .is_ok_and(|part| part.stage == Stage::Ready)
                {
                    ready.push(name);
                }
            }
            if ready.len() != said {
                said = ready.len();
                let size = self.size;
                progress.say(&match self.language {
                    Language::Ja => format!("負荷生成 Pod の準備: {said}/{size}"),
                    Language::En => format!("load pods ready: {said}/{size}"),
                });
            }
            if ready.len() == self.size as usize {
                return Ok(ready);
            }
            if Instant::now() > limit {
                let said = match self.language {
                    Language::Ja => format!(
                        "負荷生成 Pod {} 個のうち {said} 個しか {} 秒以内に準備できませんでした",
                        self.size,
                        READY.as_secs()
                    ),
                    Language::En => format!(
                        "only {said} of {} load pods were ready within {} s",
                        self.size,
                        READY.as_secs()
                    ),
                };
                return Err(Failure::component(said).hint(format!("kubectl -n {NAMESPACE} get pods,events")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn failed(&self, pod: &str) -> Failure {
        Failure::component(match self.language {
            Language::Ja => format!("負荷生成 Pod {pod} が途中で終了しました"),
            Language::En => format!("the load pod {pod} has ended before its time"),
        })
        .hint("hikeshi status; kubectl get events -A")
    }

    /// What all pods have measured, the course from a stretch on, and whether all have ended.
    async fn together(&self, pods: &[String], since: usize) -> Result<(Measured, bool), Failure> {
        let mut all = Measured::default();
        let mut ended = true;
        for pod in pods {
            let part = self.part(pod, since).await?;
            ended &= part.stage == Stage::Ended;
            all.add(&part.measured);
        }
        Ok((all, ended))
    }

    async fn part(&self, pod: &str, since: usize) -> Result<Part, Failure> {
        let text = self.ask(pod, "GET", &format!("part?since={since}")).await?;
        serde_json::from_str(&text).component(format!("reading what {pod} has measured"))
    }

    /// Asks a pod's own server, by way of the API server.
    async fn ask(&self, pod: &str, method: &str, path: &str) -> Result<String, Failure> {
        let uri = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:{PORT}/proxy/{path}");
        let request = http_request(method, uri)?;
        self.client
            .request_text(request)
            .await
            .component(format!("asking the load pod {pod}"))
    }
}

/// From which stretch on progress is told: the last ones have no answers yet while the system stalls.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place among a few hundred"
)]
fn recent_stretch(at: f64, stretch: f64) -> usize {
    ((at / stretch.max(1.0)) as usize).saturating_sub(RECENT)
}

fn http_request(method: &str, uri: String) -> Result<http::Request<Vec<u8>>, Failure> {
    http::Request::builder()
        .method(method)
        .uri(uri)
        .body(vec![])
        .component("asking a load pod")
}
