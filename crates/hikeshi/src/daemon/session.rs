//! Control, drill host and (for people) war room together: what the daemon serves and what a rehearsal runs in its
//! own process.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use hikeshi_host::{AuditRecord, Creator, Host, HostConfig, Library, Shell};
use hikeshi_server::web::{Invites, TlsConfig, WebConfig, WebHandle};
use hikeshi_slo::Cujs;
use tokio::sync::mpsc;

use super::{certificate, secrets};
use crate::control::record::{Record, Secrets};
use crate::control::{
    Control, ControlOptions, SYSTEM_NAMESPACE, host_service, manifests, ports, process::ProcessId, seats,
};
use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// Where the war room listens when the port is free.
const WEB_PORT: u16 = 7700;
/// How many times faster than written the SLO windows run in a drill: an hour is a minute.
pub const SLO_CLOCK: f64 = 60.0;

/// How to start one.
pub struct SessionOptions {
    pub paths: Paths,
    pub share: PathBuf,
    /// Where drills are written; a rehearsal keeps them beside everybody else's.
    pub drills: PathBuf,
    pub lifeline: Option<OwnedFd>,
    /// Reachable by others, over TLS. Without it, where the control before this one was reachable.
    pub listen: Option<SocketAddr>,
    pub system: String,
}

/// Everything that runs in control's process.
pub struct Running {
    pub control: Control,
    pub host: Arc<Host>,
    /// The loopback war room (Alertmanager's webhook comes here, too).
    pub web: WebHandle,
    /// The war room for others, if asked for.
    pub public: Option<WebHandle>,
    pub secrets: Secrets,
    pub system: String,
}

impl Running {
    pub async fn start(options: SessionOptions) -> Result<Self, Failure> {
        let SessionOptions {
            paths,
            share,
            drills,
            lifeline,
            listen,
            system,
        } = options;
        let before = Record::read(&paths);
        let secrets = match &before {
            Some(record) => record.secrets.clone(),
            None => secrets::make()?,
        };
        let mut control = Control::start(ControlOptions {
            paths: paths.clone(),
            share: share.clone(),
            lifeline,
        })
        .await?;
        let (alerts_tx, alerts) = mpsc::unbounded_channel();
        let (creators_tx, creators) = mpsc::unbounded_channel();
        let audit = translated(
            std::mem::replace(&mut control.audit, mpsc::unbounded_channel().1),
            creators_tx,
        );
        let host = Host::start(
            HostConfig {
                client: control.client.clone(),
                drills,
                experiments: paths.experiments(),
                slo: paths.slo(),
                creators,
                library: Library::new(share.clone()),
                cujs: cujs(&share, &system)?,
                shell: Shell {
                    kubectl: crate::tools::kubectl()?.program,
                    kubeconfig_of: kubeconfig_of(&control),
                },
                upstream: upstream(&control),
                slo_clock: SLO_CLOCK,
                namespace: SYSTEM_NAMESPACE.to_owned(),
                lab: super::lab::config(&paths, &share, &system)?,
            },
            alerts,
            audit,
            &control.shutdown,
        )
        .component("starting the drill host")?;
        let cookie_key = secrets::cookie_key(&secrets)?;
        let serve = |listen: SocketAddr, tls: Option<TlsConfig>| {
            let config = WebConfig {
                listen,
                tls,
                invites: Invites {
                    participant: secrets.invite_token.clone(),
                    host: secrets.host_token.clone(),
                },
                cookie_key,
                alert_token: secrets.alert_token.clone(),
                alerts: alerts_tx.clone(),
                lang_default: hikeshi_server::api::Lang::En,
            };
            hikeshi_server::web::serve(config, host.clone(), control.shutdown.clone())
        };
        // Pages that people have open look for the war room where it was before control died.
        let kept = before.as_ref().and_then(|record| record.listen);
        // First the address that was asked for: it may be the one that the loopback war room usually takes.
        let public = match listen.or(kept) {
            None => None,
            Some(address) => {
                let tls = if address.ip().is_loopback() {
                    None
                } else {
                    Some(certificate::for_address(&paths.pki(), address.ip())?)
                };
                let served = serve(address, tls).await.component("starting the war room");
                Some(served.map_err(|failure| {
                    failure.hint("name another address with --listen, or forget this one with `hikeshi down`")
                })?)
            }
        };
        let usual = before
            .as_ref()
            .and_then(|record| record.web_address)
            .map_or(WEB_PORT, |address| address.port());
        let web = serve(ports::usual_or_free(Ipv4Addr::LOCALHOST, usual), None)
            .await
            .component("starting the war room")?;
        let running = Self {
            control,
            host,
            web,
            public,
            secrets,
            system,
        };
        running.record(before.and_then(|record| record.system))?;
        Ok(running)
    }

    /// Applies the system, and if asked to what was left behind beside it, and waits until it is ready. Answers the number
    /// of pods.
    pub async fn bring_up(&self, left_behind: bool, progress: impl FnMut(String)) -> Result<u32, Failure> {
        let share = &self.control.share;
        let rules = hikeshi_slo::generate_rules(&cujs(share, &self.system)?, SLO_CLOCK);
        let mut extra = host_service::objects(
            SocketAddr::from((Ipv4Addr::LOCALHOST, self.web.addr.port())),
            &self.secrets.alert_token,
        );
        extra.push(host_service::rules(&rules));
        if left_behind {
            extra.extend(manifests::left_behind(share, &self.system)?);
        }
        let pods = self.control.bring_up(&self.system, &extra, progress).await?;
        self.control.entrances_are_open().await;
        self.record(Some(self.system.clone()))?;
        Ok(pods)
    }

    /// The war room's link for whoever runs the drill.
    pub fn host_url(&self) -> String {
        self.public
            .as_ref()
            .unwrap_or(&self.web)
            .join_url(&self.secrets.host_token)
    }

    /// The war room's link for everybody else.
    pub fn invite_url(&self) -> String {
        self.public
            .as_ref()
            .unwrap_or(&self.web)
            .join_url(&self.secrets.invite_token)
    }

    /// Writes down where everything is.
    pub fn record(&self, system: Option<String>) -> Result<(), Failure> {
        let process = ProcessId::current().ok_or_else(|| Failure::component("/proc is not readable"))?;
        Record {
            process,
            api: self.control.api_address,
            web: Some(self.host_url()),
            web_address: Some(self.web.addr),
            listen: self.public.as_ref().map(|public| public.addr),
            hosts: self.control.host_addresses.borrow().clone(),
            system,
            secrets: self.secrets.clone(),
        }
        .write(&self.control.paths)
    }
}

/// The system's journeys.
pub fn cujs(share: &std::path::Path, system: &str) -> Result<Cujs, Failure> {
    let path = share.join("systems").join(system).join("cujs.yaml");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::usage(format!(
            "system {system:?} has no readable {}: {error}",
            path.display()
        ))
    })?;
    hikeshi_slo::parse(&path.display().to_string(), &text).map_err(|problems| {
        Failure::usage(
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        )
    })
}

fn kubeconfig_of(control: &Control) -> hikeshi_host::KubeconfigOf {
    let (paths, pki, api) = (control.paths.clone(), control.pki.clone(), control.api_address);
    Arc::new(move |name, seat| {
        seats::console_kubeconfig(&paths, &pki, api, name, seat).map_err(|failure| failure.to_string())
    })
}

fn upstream(control: &Control) -> hikeshi_host::UpstreamOf {
    let addresses = control.host_addresses.clone();
    Arc::new(move |name| {
        addresses
            .borrow()
            .get(name)
            .map(|address| format!("http://{address}"))
    })
}

/// Who created a chaos object, if that is what the request did. A server-side apply is a patch.
fn creator(event: &hikeshi_apiserver::AuditEvent) -> Option<Creator> {
    let made = event.code == 201 && matches!(event.verb.as_str(), "create" | "patch" | "update");
    if !made || event.group != "chaos-mesh.org" || event.subresource.is_some() {
        return None;
    }
    let body = event.request_body.as_ref();
    let named = || Some(body?["metadata"]["name"].as_str()?.to_owned());
    Some(Creator {
        user: event.user.clone(),
        resource: event.resource.clone(),
        namespace: event.namespace.clone(),
        name: event.name.clone().or_else(named)?,
    })
}

/// The API server's audit in the drill engine's words. What the console runs is left out: the console itself writes
/// that down, with its output.
fn translated(
    mut from: mpsc::UnboundedReceiver<hikeshi_apiserver::AuditEvent>,
    creators: mpsc::UnboundedSender<Creator>,
) -> mpsc::UnboundedReceiver<AuditRecord> {
    let (to, records) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(event) = from.recv().await {
            if let Some(creator) = creator(&event) {
                // Nobody to hear it is no error: the host may be ending.
                let _ = creators.send(creator);
            }
            let by_console = event.groups.iter().any(|group| group == seats::CONSOLE_GROUP);
            let by_person = event
                .groups
                .iter()
                .any(|group| group.starts_with("hikeshi:") && group != "hikeshi:component");
            // A token that somebody made for an account of the system acts for a person: no program of the system has one.
            let account = format!("system:serviceaccounts:{}", crate::control::SYSTEM_NAMESPACE);
            let by_account = event.groups.contains(&account);
            // Discovery and OpenAPI are how a client finds its way, not what a person did.
            if by_console || !(by_person || by_account) || event.resource.starts_with('/') {
                continue;
            }
            let record = AuditRecord {
                at: event.at,
                user: event.user,
                groups: event.groups,
                verb: event.verb,
                group: event.group,
                resource: event.resource,
                subresource: event.subresource,
                namespace: event.namespace,
                name: event.name,
                kubectl_command: event.kubectl_command,
                kubectl_session: event.kubectl_session,
                user_agent: event.user_agent,
                code: event.code,
                request_body: event.request_body,
                query: event.query,
            };
            if to.send(record).is_err() {
                return;
            }
        }
    });
    records
}
