//! Starting a pod's containers, in order, and again after they have ended.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::backoff::Backoff;
use super::status::{Ended, Run, State};
use super::step::one_step;
use super::turn::{self, Restart, Turn};
use super::worker::{IDLE, RETRY, Worker};
use super::{env, exec, pods, probes, quantity, sandbox, status};
use crate::shim::InitError;
use crate::shim::privileges::capabilities;
use crate::shim::protocol::{Limits, Request, StartRequest, Started, Stdin};

impl Worker {
    /// Starts what should run and does not; returns when to look again.
    pub(super) async fn run_containers(&mut self) -> Duration {
        let pod = self.pod.clone();
        let mut wait = IDLE;
        let ran = |run: &Run| run.is_running() || run.exit_code().is_some() || run.last.is_some();
        let initialised = pods::containers(&pod)
            .iter()
            .any(|container| self.runs.get(&container.name).is_some_and(ran));
        for container in pods::init_containers(&pod) {
            let sidecar = pods::is_sidecar(container);
            if sidecar && !status::is_done(&pod, &self.runs) {
                wait = wait.min(self.run_container(container, true).await);
            }
            let run = self.runs.get(&container.name);
            let passed = if sidecar {
                // One that ends later starts again by itself: the containers do not wait for it a second time.
                initialised || run.is_some_and(|run| run.is_running() && run.started)
            } else {
                run.and_then(Run::exit_code) == Some(0)
            };
            if !passed {
                for later in pods::containers(&pod) {
                    self.runs
                        .entry(later.name.clone())
                        .or_insert_with(|| Run::new("PodInitializing"));
                }
                return if sidecar {
                    wait
                } else {
                    wait.min(self.run_container(container, true).await)
                };
            }
        }
        for container in pods::containers(&pod) {
            wait = wait.min(self.run_container(container, false).await);
        }
        if status::is_done(&pod, &self.runs) {
            self.end_sidecars().await;
        }
        wait
    }

    async fn run_container(&mut self, container: &Container, init: bool) -> Duration {
        let sidecar = init && pods::is_sidecar(container);
        let restart = Restart::of(self.policy(), init, sidecar);
        let pod = format!(
            "{}_{}({})",
            self.pod.metadata.name.as_deref().unwrap_or_default(),
            self.pod.metadata.namespace.as_deref().unwrap_or_default(),
            self.uid
        );
        let name = &container.name;
        let run = self
            .runs
            .entry(name.clone())
            .or_insert_with(|| Run::new("ContainerCreating"));
        let events = &self.kubelet.events;
        match run.turn(name, &pod, restart, Instant::now()) {
            Turn::Leave => return IDLE,
            Turn::Wait(left) => return left,
            Turn::BackOff(delay) => {
                let message = format!("Back-off restarting failed container {name} in pod {pod}");
                events.warning(&self.pod, Some(name), "BackOff", message);
                return delay;
            }
            Turn::PullLater(delay) => {
                events.normal(&self.pod, Some(name), "BackOff", run.pull_words());
                let message = format!("Error: {}", turn::PULL_BACKOFF);
                events.warning(&self.pod, Some(name), "Failed", message);
                return delay;
            }
            Turn::Start => {}
        }
        self.start_container(container).await
    }

    async fn start_container(&mut self, container: &Container) -> Duration {
        let kubelet = self.kubelet.clone();
        let name = container.name.clone();
        if let Err(error) = one_step(&name) {
            return self.misconfigured(&name, &error.to_string());
        }
        let reference = container.image.clone().unwrap_or_default();
        let images = kubelet.images();
        let image = match images.resolve(&reference, &kubelet.config.state_dir.join("bin")) {
            Ok(image) => image,
            Err(error) => return self.image_missing(&name, &reference, &error.to_string()),
        };
        if must_not_be_root(&self.pod, container) {
            let first = pods::containers(&self.pod).first();
            let first = first.and_then(|first| images.find(first.image.as_deref()?));
            if sandbox::user(&self.pod, first).uid == 0 {
                let why = "container has runAsNonRoot and image will run as root";
                return self.misconfigured(&name, why);
            }
        }
        if let Some(run) = self.runs.get_mut(&name) {
            run.pull_backoff = Backoff::default();
        }
        let Some(ip) = self.sandbox.as_ref().map(|sandbox| sandbox.record.ip) else {
            return RETRY;
        };
        let mut pod = (*self.pod).clone();
        pod.status.get_or_insert_default().pod_ip = Some(ip.to_string());
        let mut base = image.env.clone();
        base.insert("PATH".to_owned(), image.path());
        base.insert("HOSTNAME".to_owned(), pods::hostname(&pod));
        base.insert("HOME".to_owned(), image.workdir.display().to_string());
        base.insert("KUBERNETES_SERVICE_HOST".to_owned(), "127.96.0.1".to_owned());
        base.insert("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned());
        base.extend(kubelet.clock(&self.dir, &reference, &name));
        if container.tty == Some(true) {
            base.insert("TERM".to_owned(), "xterm".to_owned());
        }
        let env = match env::environment(&pod, container, base, &kubelet.caches) {
            Ok(env) => env,
            Err(error) => return self.misconfigured(&name, &error.to_string()),
        };
        let expanded = |words: Option<&Vec<String>>| -> Vec<String> {
            words
                .into_iter()
                .flatten()
                .map(|word| env::expand(word, &env))
                .collect()
        };
        let tty = container.tty == Some(true);
        let argv = image.argv(
            &expanded(container.command.as_ref()),
            &expanded(container.args.as_ref()),
        );
        let cwd = container
            .working_dir
            .clone()
            .map_or_else(|| image.workdir.clone(), PathBuf::from);
        let restart = self.runs.get(&name).map_or(0, Run::next_number);
        let request = StartRequest {
            container: name.clone(),
            argv,
            env,
            cwd,
            restart,
            limits: limits(container),
            stdin: match (container.stdin, container.stdin_once) {
                (Some(true), Some(true)) => Stdin::Once,
                (Some(true), _) => Stdin::Open,
                _ => Stdin::Closed,
            },
            dropped_capabilities: dropped_capabilities(container),
            tty,
        };
        if let Err(error) = exec::remember(&self.dir, &request) {
            tracing::warn!(pod = self.name(), %error, "exec will not know this container's environment");
        }
        let present = format!("Container image \"{reference}\" already present on machine");
        kubelet.events.normal(&self.pod, Some(&name), "Pulled", present);
        let Some(sandbox) = &mut self.sandbox else {
            return RETRY;
        };
        let outcome = sandbox.init.call::<Started>(&Request::Start(request)).await;
        let Some(run) = self.runs.get_mut(&name) else {
            return RETRY;
        };
        run.restart = restart;
        match outcome {
            Ok(_) => {
                kubelet.events.normal(
                    &self.pod,
                    Some(&name),
                    "Created",
                    format!("Created container: {name}"),
                );
                kubelet.events.normal(
                    &self.pod,
                    Some(&name),
                    "Started",
                    format!("Started container {name}"),
                );
                run.state = State::Running {
                    started_at: Timestamp::now(),
                };
                self.after_start(container);
                IDLE
            }
            Err(error) => {
                kubelet
                    .events
                    .warning(&self.pod, Some(&name), "Failed", format!("Error: {error}"));
                run.state = State::Ended(Ended {
                    code: 128,
                    signal: None,
                    reason: "StartError".to_owned(),
                    message: Some(error.to_string()),
                    started_at: None,
                    finished_at: Timestamp::now(),
                    restart,
                });
                if matches!(&error, InitError::Gone(gone) if gone.kind() == ErrorKind::TimedOut) {
                    // It may start the container yet, and nobody would know of it.
                    self.sandbox_lost().await;
                }
                Duration::ZERO
            }
        }
    }

    fn misconfigured(&mut self, name: &str, why: &str) -> Duration {
        let events = &self.kubelet.events;
        events.warning(&self.pod, Some(name), "Failed", format!("Error: {why}"));
        self.wait(name, "CreateContainerConfigError", Some(why.to_owned()), RETRY);
        RETRY
    }

    fn image_missing(&mut self, name: &str, reference: &str, why: &str) -> Duration {
        let Some(run) = self.runs.get_mut(name) else {
            return RETRY;
        };
        let wait = run.pull_failed(reference, why, Instant::now());
        let events = &self.kubelet.events;
        let pulling = format!("Pulling image \"{reference}\"");
        events.normal(&self.pod, Some(name), "Pulling", pulling);
        let failed = format!("Failed to pull image \"{reference}\": {why}");
        events.warning(&self.pod, Some(name), "Failed", failed);
        let error = format!("Error: {}", turn::PULL_FAILED);
        events.warning(&self.pod, Some(name), "Failed", error);
        wait
    }

    fn wait(&mut self, name: &str, reason: &str, message: Option<String>, delay: Duration) {
        if let Some(run) = self.runs.get_mut(name) {
            run.state = State::Waiting {
                reason: reason.to_owned(),
                message,
                until: Some(Instant::now() + delay),
            };
        }
    }

    pub(super) fn start_probes(&mut self, name: &str, started: bool) {
        let container = pods::probed(&self.pod).find(|container| container.name == name);
        let (Some(container), Some(sandbox), Some(run)) = (container, &self.sandbox, self.runs.get(name))
        else {
            return;
        };
        let target = probes::Target {
            pod_dir: self.dir.clone(),
            ip: sandbox.record.ip,
            container: container.clone(),
            restart: run.restart,
        };
        self.probes
            .insert(name.to_owned(), probes::start(&target, started, &self.findings.0));
    }
}

fn must_not_be_root(pod: &Pod, container: &Container) -> bool {
    let own = container.security_context.as_ref();
    let pods = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = own.and_then(|context| context.run_as_non_root);
    own.or(pods.and_then(|context| context.run_as_non_root)) == Some(true)
}

/// What a container does without: what it drops and does not add again.
fn dropped_capabilities(container: &Container) -> u64 {
    let context = container.security_context.as_ref();
    let said = context.and_then(|context| context.capabilities.as_ref());
    let bits = |names: Option<&Vec<String>>| capabilities(names.into_iter().flatten().map(String::as_str));
    let dropped = bits(said.and_then(|said| said.drop.as_ref()));
    dropped & !bits(said.and_then(|said| said.add.as_ref()))
}

pub(super) fn limits(container: &Container) -> Limits {
    let limits = container
        .resources
        .as_ref()
        .and_then(|resources| resources.limits.as_ref());
    let of = |name: &str| {
        limits
            .and_then(|limits| limits.get(name))
            .map(|quantity| quantity.0.as_str())
    };
    Limits {
        cpu_millis: of("cpu").and_then(quantity::millis),
        memory_bytes: of("memory").and_then(quantity::units),
    }
}
