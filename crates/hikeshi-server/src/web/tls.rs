//! TLS for when others on the network may join.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::WebError;

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
