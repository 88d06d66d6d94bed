//! The listening side: TLS, HTTP/1.1 and HTTP/2, and the store's housekeeping.

mod door;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::door::{Door, Limits, silence};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::User;
use crate::bootstrap;
use crate::kubelet::Kubelet;
use crate::metric_source::MetricSource;
use crate::pki::{Pki, PkiError, cert_subject};
use crate::store::{Store, StoreError};

/// A client has this long to finish its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
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
        store,
        pki: config.pki,
        kubelet,
        audit,
        home: config.default_namespace,
        shutdown,
    });
    let limits = Limits::default();
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
    let stream = match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => return tracing::debug!("TLS handshake timed out"),
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

/// Answers a client's requests until it leaves, is silent for too long, or the server ends.
async fn converse<S, A, F>(stream: S, answer: A, limits: Limits, shutdown: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(http::Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let asked = Arc::new(Notify::new());
    let first = Arc::clone(&asked);
    let service = service_fn(move |request: http::Request<Incoming>| {
        first.notify_one();
        let answered = answer(request);
        async move { Ok::<Response, Infallible>(answered.await) }
    });
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(1000);
    let serving = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = silence(&asked, limits.first) => return tracing::debug!("no request came"),
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            // Streams end with the same token; what is still open after a moment is an idle client.
            match tokio::time::timeout(Duration::from_secs(2), serving.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// What a client hears that sends this and then nothing more, until the server hangs up.
    async fn heard(sent: &[u8]) -> String {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let limits = Limits {
            first: Duration::from_millis(50),
            idle: Duration::from_millis(50),
            ..Limits::default()
        };
        let shutdown = CancellationToken::new();
        let answer = |_| std::future::ready("ok".into_response());
        client.write_all(sent).await.unwrap();
        let served = async {
            converse(server, answer, limits, &shutdown).await;
        };
        let mut text = Vec::new();
        let both = async { tokio::join!(served, client.read_to_end(&mut text)) };
        let (_, read) = tokio::time::timeout(PATIENCE, both)
            .await
            .expect("the server hangs up");
        read.unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn a_silent_client_is_not_waited_for() {
        let head = "GET / HTTP/1.1\r\nhost: a\r\n";
        for silent in ["", "GET / HT", head, "PRI * HTTP/2.0\r\n\r\n"] {
            assert_eq!(heard(silent.as_bytes()).await, "", "{silent:?}");
        }
        let said = heard(format!("{head}\r\nGET /").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("ok"), "{said}");
    }
}
