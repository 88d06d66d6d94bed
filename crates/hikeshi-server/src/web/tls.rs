//! TLS for when others on the network may join.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::WebError;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// A certificate chain and its key, both PEM.
#[derive(Clone)]
pub struct TlsConfig {
    pub certificates: String,
    pub key: String,
}

impl TlsConfig {
    /// A certificate nobody vouches for: browsers ask once. Keep it over restarts, or they ask again.
    ///
    /// # Errors
    /// When a name is not a DNS name or IP address.
    pub fn self_signed(names: Vec<String>) -> Result<Self, WebError> {
        let made = rcgen::generate_simple_self_signed(names).map_err(|e| WebError::Tls(e.to_string()))?;
        Ok(Self {
            certificates: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        })
    }

    /// Whether a server can use it: for a pair that was kept in files.
    ///
    /// # Errors
    /// When a part is missing or no PEM, or the key is not the certificate's.
    pub fn check(&self) -> Result<(), WebError> {
        self.acceptor().map(|_| ())
    }

    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, WebError> {
        let tls = |e: &dyn std::fmt::Display| WebError::Tls(e.to_string());
        let chain = CertificateDer::pem_slice_iter(self.certificates.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| tls(&e))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|e| tls(&e))?;
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|e| tls(&e))?
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .map_err(|e| tls(&e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Hands out connections whose handshake is done. Handshakes run beside one another, so a silent peer delays nobody.
pub(super) struct TlsListener {
    addr: std::io::Result<SocketAddr>,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    pub(super) fn new(mut listener: TcpListener, acceptor: TlsAcceptor, shutdown: CancellationToken) -> Self {
        let addr = listener.local_addr();
        let (sender, ready) = mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                let (stream, peer) = tokio::select! {
                    () = shutdown.cancelled() => return,
                    accepted = Listener::accept(&mut listener) => accepted,
                };
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
                        // The receiver is gone only when the server has stopped.
                        Ok(Ok(stream)) => drop(sender.send((stream, peer)).await),
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                    }
                });
            }
        });
        Self { addr, ready }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // Shutting down: the server's own signal ends this wait.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.addr
            .as_ref()
            .copied()
            .map_err(|e| std::io::Error::new(e.kind(), e.to_string()))
    }
}
