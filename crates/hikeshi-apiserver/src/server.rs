//! The listening side: TLS, HTTP/1.1 and HTTP/2, and the store's housekeeping.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use hikeshi_door::{Door, Limits, converse, handshake};
use jiff::{SignedDuration, Timestamp};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::User;
use crate::bootstrap;
use crate::kubelet::Kubelet;
use crate::metric_source::MetricSource;
use crate::pki::{Pki, PkiError, cert_subject};
use crate::store::{Store, StoreError};
use crate::tables::Rows;

/// An informer per kind and namespace may watch over one connection.
const STREAMS: u32 = 1000;
/// Events older than this are deleted.
const EVENT_TTL: SignedDuration = SignedDuration::from_hours(1);
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// Where the server keeps its objects and whom it serves.
pub struct ApiServerConfig {
    /// Folder of the store's log; made when missing. One server at a time.
    pub store_dir: PathBuf,
    pub pki: Arc<Pki>,
    /// Port 0 picks a free one.
    pub listen: SocketAddr,
    /// The namespace seats work in.
    pub default_namespace: String,
}

/// A running server.
pub struct ApiServerHandle {
    /// The address listened on.
    pub addr: SocketAddr,
    /// Ends after the shutdown token is cancelled and connections are closed.
    pub task: JoinHandle<()>,
    metrics: Arc<OnceLock<Arc<dyn MetricSource>>>,
}

impl ApiServerHandle {
    /// From now on `custom.metrics.k8s.io` and `external.metrics.k8s.io` answer from this source (503 before). The source
    /// of a server is given once: later ones are ignored.
    pub fn serve_metrics_from(&self, source: Arc<dyn MetricSource>) {
        let _ = self.metrics.set(source);
    }
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the object store could not be opened: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("cannot listen on {addr}: {source}")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error("the first objects could not be written: {0}")]
    Bootstrap(String),
}

/// Starts the server; it is listening when this returns.
pub async fn serve(
    config: ApiServerConfig,
    kubelet: Arc<dyn Kubelet>,
    audit: mpsc::UnboundedSender<AuditEvent>,
    shutdown: CancellationToken,
) -> Result<ApiServerHandle, ServeError> {
    let store = Arc::new(Store::open(&config.store_dir)?);
    let tls = config.pki.server_config()?;
    let failed = |source| ServeError::Listen {
        addr: config.listen,
        source,
    };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    bootstrap::run(&store, addr.port(), &config.default_namespace)
        .map_err(|e| ServeError::Bootstrap(e.message))?;
    let metrics = Arc::new(OnceLock::new());
    let app = Arc::new(App {
        metrics: Arc::clone(&metrics),
        // No revision is 0, so the first question reads them.
        policy: Mutex::default(),
        kinds: Mutex::default(),
        rows: Rows::default(),
        store,
        pki: config.pki,
        kubelet,
        audit,
        home: config.default_namespace,
        shutdown,
    });
    let limits = Limits {
        streams: STREAMS,
        ..Limits::default()
    };
    let door = Door::new(listener, limits);
    let task = tokio::spawn(run(app, door, TlsAcceptor::from(Arc::new(tls)), limits));
    Ok(ApiServerHandle { addr, task, metrics })
}

async fn run(app: Arc<App>, door: Door, tls: TlsAcceptor, limits: Limits) {
    let connections = TaskTracker::new();
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => break,
            (stream, _, place) = door.next() => {
                let (app, tls) = (Arc::clone(&app), tls.clone());
                connections.spawn(async move {
                    let _place = place;
                    connection(app, stream, tls, limits).await;
                });
            }
            _ = housekeeping.tick() => expire_events(&app),
        }
    }
    connections.close();
    connections.wait().await;
}

fn expire_events(app: &App) {
    let cutoff = Timestamp::now()
        .saturating_sub(EVENT_TTL)
        .unwrap_or(Timestamp::MIN);
    let cutoff = cutoff.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    if let Err(error) = app.store.expire_events(&cutoff) {
        tracing::warn!(%error, "old events could not be deleted");
    }
}

async fn connection(app: Arc<App>, stream: TcpStream, tls: TlsAcceptor, limits: Limits) {
    // Watches send small lines; they must not wait for a full segment.
    let _ = stream.set_nodelay(true);
    let stream = match handshake(&tls, stream).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "TLS handshake failed"),
    };
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    let user = certificate
        .and_then(|der| cert_subject(der))
        .map(|(name, groups)| User::with_certificate(name, groups));
    let shutdown = app.shutdown.clone();
    let answer = move |request| {
        let (app, user) = (Arc::clone(&app), user.clone());
        async move { app.answer(request, user).await }
    };
    converse(stream, answer, limits, &shutdown).await;
}
