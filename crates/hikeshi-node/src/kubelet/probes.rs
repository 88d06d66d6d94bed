//! Probes: is the container started, ready, alive?

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::exec;
use crate::shim::InitClient;
use crate::shim::protocol::Request;

/// Which question a probe answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Startup,
    Readiness,
    Liveness,
    /// No probe, but told like one: the hook that follows the start.
    PostStart,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
            Self::PostStart => "PostStart",
        }
    }

    /// How long a container that fails this probe may take to end, where the probe itself says so.
    pub fn grace(self, container: &Container) -> Option<Duration> {
        let probe = match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness | Self::PostStart => None,
        };
        let seconds = probe?.termination_grace_period_seconds?;
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }
}

/// What a probe found. Sent when the verdict changes, and (with no verdict) at every single failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub container: String,
    /// The run that was probed: findings about an earlier one are void.
    pub restart: u32,
    pub kind: Kind,
    /// `None`: one failure, below the threshold.
    pub verdict: Option<bool>,
    /// Why the last try failed.
    pub failure: Option<String>,
}

/// What all probes of one run share.
#[derive(Clone)]
pub struct Target {
    pub pod_dir: PathBuf,
    pub ip: Ipv4Addr,
    pub container: Container,
    pub restart: u32,
}

/// Counts tries against the thresholds.
#[derive(Debug)]
struct Counter {
    success_threshold: u32,
    failure_threshold: u32,
    successes: u32,
    failures: u32,
}

impl Counter {
    fn new(probe: &Probe) -> Self {
        let threshold = |value: Option<i32>, default| {
            value
                .and_then(|value| u32::try_from(value).ok())
                .unwrap_or(default)
                .max(1)
        };
        Self {
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            successes: 0,
            failures: 0,
        }
    }

    fn count(&mut self, success: bool) -> Option<bool> {
        if success {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            (self.successes >= self.success_threshold).then_some(true)
        } else {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            (self.failures >= self.failure_threshold).then_some(false)
        }
    }
}

/// Starts the probes of a run; they end when the set is dropped. With a startup probe, the others wait for it.
/// `started`: an adopted container that has passed its startup probe already.
pub fn start(target: &Target, started: bool, findings: &mpsc::Sender<Finding>) -> JoinSet<()> {
    let mut set = JoinSet::new();
    let container = &target.container;
    let startup = container.startup_probe.clone().filter(|_| !started);
    let (passed_tx, passed) = tokio::sync::watch::channel(startup.is_none());
    if let Some(probe) = startup {
        set.spawn(watch(
            target.clone(),
            Kind::Startup,
            probe,
            findings.clone(),
            Some(passed_tx),
        ));
    }
    for (kind, probe) in [
        (Kind::Readiness, &container.readiness_probe),
        (Kind::Liveness, &container.liveness_probe),
    ] {
        if let Some(probe) = probe.clone() {
            let (target, findings, mut passed) = (target.clone(), findings.clone(), passed.clone());
            set.spawn(async move {
                // An error means the startup probe's task is gone, and this one will be soon.
                if passed.wait_for(|passed| *passed).await.is_ok() {
                    watch(target, kind, probe, findings, None).await;
                }
            });
        }
    }
    set
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(
        value
            .and_then(|value| u64::try_from(value).ok())
            .filter(|value| *value > 0)
            .unwrap_or(default),
    )
}

async fn watch(
    target: Target,
    kind: Kind,
    probe: Probe,
    findings: mpsc::Sender<Finding>,
    passed: Option<tokio::sync::watch::Sender<bool>>,
) {
    let mut counter = Counter::new(&probe);
    let mut last = None;
    let initial = probe
        .initial_delay_seconds
        .and_then(|value| u64::try_from(value).ok())
        .unwrap_or(0);
    tokio::time::sleep(Duration::from_secs(initial)).await;
    let mut period = tokio::time::interval(seconds(probe.period_seconds, 10));
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Until the first success a container is looked at more often: it shortens starting, and asks no more later.
    let eager = Duration::from_millis(250).min(seconds(probe.period_seconds, 10));
    loop {
        let outcome = try_once(&target, &probe).await;
        let failure = outcome.as_ref().err().cloned();
        let warming = kind != Kind::Liveness && failure.is_some() && last.is_none();
        // Extra looks while warming do not count as failures: the thresholds are in periods.
        let counted = !(warming && period_pending(&mut period).await);
        let verdict = if counted {
            counter.count(outcome.is_ok())
        } else {
            None
        };
        let changed = verdict.is_some() && verdict != last;
        if changed || (failure.is_some() && counted) {
            let finding = Finding {
                container: target.container.name.clone(),
                restart: target.restart,
                kind,
                verdict: verdict.filter(|_| changed),
                failure,
            };
            if findings.send(finding).await.is_err() {
                return;
            }
        }
        if verdict.is_some() {
            last = verdict;
        }
        if kind == Kind::Startup && last == Some(true) {
            if let Some(passed) = &passed {
                let _ = passed.send(true);
            }
            // The sender must outlive the other probes' waiting; nothing else is left to do.
            std::future::pending::<()>().await;
        }
        if warming {
            tokio::time::sleep(eager).await;
        } else {
            period.tick().await;
        }
    }
}

/// Whether the current period has not passed yet; takes its tick when it has.
async fn period_pending(period: &mut tokio::time::Interval) -> bool {
    tokio::time::timeout(Duration::ZERO, period.tick()).await.is_err()
}

/// One try; `Err` says why not.
async fn try_once(target: &Target, probe: &Probe) -> Result<(), String> {
    let limit = seconds(probe.timeout_seconds, 1);
    let work = async {
        if let Some(action) = &probe.http_get {
            let port = port_of(&action.port, &target.container)?;
            let path = action.path.as_deref().unwrap_or("/");
            let headers = header_lines(action);
            http_get(&target.pod_dir, target.ip, port, path, &headers).await
        } else if let Some(action) = &probe.tcp_socket {
            let port = port_of(&action.port, &target.container)?;
            connect(&target.pod_dir, target.ip, port)
                .await
                .map(drop)
                .map_err(|error| tcp_words(target.ip, port, &error))
        } else if let Some(action) = &probe.exec {
            let command = action.command.clone().unwrap_or_default();
            let (code, output) = exec::collect(&target.pod_dir, &target.container.name, command, limit)
                .await
                .map_err(|error| error.to_string())?;
            if code == 0 { Ok(()) } else { Err(output) }
        } else {
            Err("the probe has no httpGet, tcpSocket or exec".to_owned())
        }
    };
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) if probe.exec.is_some() => Err(format!("command timed out after {limit:?}")),
        Err(_) => {
            Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned())
        }
    }
}

/// The request's own headers, as lines.
pub fn header_lines(action: &HTTPGetAction) -> String {
    let headers = action.http_headers.iter().flatten();
    headers
        .map(|header| format!("{}: {}\r\n", header.name, header.value))
        .collect()
}

pub fn port_of(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => match name.parse() {
            Ok(number) => Some(number),
            Err(_) => container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_ref() == Some(name))
                .map(|port| port.container_port),
        },
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .ok_or_else(|| format!("unknown port {port:?}"))
}

/// A connection to a pod on a socket of the pod's own namespace.
pub async fn connect(pod_dir: &Path, ip: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let mut init = InitClient::connect(pod_dir).map_err(io::Error::other)?;
    let socket = init
        .command(&Request::Sockets { count: 1 })
        .await
        .map_err(io::Error::other)?
        .into_iter()
        .next();
    let socket = socket.ok_or_else(|| io::Error::other("the pod's init passed no socket"))?;
    TcpSocket::from_std_stream(socket.into())
        .connect(SocketAddr::from((ip, port)))
        .await
}

fn tcp_words(ip: Ipv4Addr, port: u16, error: &io::Error) -> String {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {ip}:{port}: connect: {reason}")
}

pub async fn http_get(
    pod_dir: &Path,
    ip: Ipv4Addr,
    port: u16,
    path: &str,
    headers: &str,
) -> Result<(), String> {
    let words =
        |error: &io::Error| format!("Get \"http://{ip}:{port}{path}\": {}", tcp_words(ip, port, error));
    let mut stream = connect(pod_dir, ip, port).await.map_err(|error| words(&error))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {ip}:{port}\r\nUser-Agent: kube-probe/1.33\r\nAccept: */*\r\n{headers}Connection: close\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| words(&error))?;
    let mut answer = Vec::with_capacity(1024);
    // The body is read to its end (up to 10 KiB), so that the program does not see a reset.
    let _ = stream.take(10 * 1024).read_to_end(&mut answer).await;
    let line = String::from_utf8_lossy(&answer);
    match line.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok()) {
        Some(200..400) => Ok(()),
        Some(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
        None => Err(format!(
            "Get \"http://{ip}:{port}{path}\": malformed HTTP response"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_s_own_grace_is_its_failure_s() {
        let container: Container = serde_json::from_value(serde_json::json!({"name": "a",
            "livenessProbe": {"terminationGracePeriodSeconds": 2}, "startupProbe": {},
            "readinessProbe": {"terminationGracePeriodSeconds": 3}}))
        .unwrap();
        assert_eq!(Kind::Liveness.grace(&container), Some(Duration::from_secs(2)));
        assert_eq!(Kind::Startup.grace(&container), None);
        assert_eq!(Kind::Readiness.grace(&container), None);
    }

    #[test]
    fn verdicts_come_at_the_thresholds() {
        let probe = Probe {
            failure_threshold: Some(2),
            success_threshold: Some(2),
            ..Probe::default()
        };
        let mut counter = Counter::new(&probe);
        let verdicts: Vec<_> = [true, true, false, true, false, false, false]
            .map(|ok| counter.count(ok))
            .into();
        assert_eq!(
            verdicts,
            [None, Some(true), None, None, None, Some(false), Some(false)]
        );
    }
}
