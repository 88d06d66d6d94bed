//! The cluster's own certificate authority, client certificates and service account tokens.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use crate::token::{Bearer, Binding};

/// Names and addresses the server's certificate is valid for.
const SERVER_NAMES: [&str; 7] = [
    "localhost",
    "127.0.0.1",
    "127.96.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Why keys or certificates could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("{}: {message}", path.display())]
    Broken { path: PathBuf, message: String },
    #[error("{0:?} cannot name a client certificate (letters, digits, and -_.:@ only)")]
    Name(String),
}

/// A client certificate with its key.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    pub common_name: String,
    pub cert_pem: String,
    pub key_pem: String,
}

/// The authority: everything in `dir`, readable by its owner only.
pub struct Pki {
    dir: PathBuf,
    ca_pem: String,
    ca_key_pem: String,
    server_cert_pem: String,
    server_key_pem: String,
    token_key: Vec<u8>,
    /// Held while a client's certificate and key are made: two askers must not write one each.
    issuing: Mutex<()>,
}

impl Pki {
    /// Loads the authority from `dir`, or makes one. Files: `ca.crt`, `ca.key`, `server.crt`, `server.key`, `sa.key`.
    pub fn load_or_create(dir: &Path) -> Result<Pki, PkiError> {
        fs::create_dir_all(dir).map_err(|source| PkiError::Io {
            path: dir.to_owned(),
            source,
        })?;
        // The key is written first: a certificate on disk means that its key is there, too.
        let (ca_key_path, ca_path) = (dir.join("ca.key"), dir.join("ca.crt"));
        if !ca_path.exists() {
            let key = KeyPair::generate()?;
            let cert = ca_params()?.self_signed(&key)?;
            write_private(&ca_key_path, key.serialize_pem().as_bytes())?;
            write_private(&ca_path, cert.pem().as_bytes())?;
        }
        let (ca_pem, ca_key_pem) = (read(&ca_path)?, read(&ca_key_path)?);
        let mut pki = Pki {
            dir: dir.to_owned(),
            ca_pem,
            ca_key_pem,
            server_cert_pem: String::new(),
            server_key_pem: String::new(),
            token_key: Vec::new(),
            issuing: Mutex::default(),
        };
        let (server_key_path, server_path) = (dir.join("server.key"), dir.join("server.crt"));
        if !server_path.exists() {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(SERVER_NAMES.map(String::from).to_vec())?;
            params
                .distinguished_name
                .push(DnType::CommonName, "hikeshi-apiserver");
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            let pem = pki.sign(params, &key)?;
            write_private(&server_key_path, key.serialize_pem().as_bytes())?;
            write_private(&server_path, pem.as_bytes())?;
        }
        pki.server_cert_pem = read(&server_path)?;
        pki.server_key_pem = read(&server_key_path)?;
        let token_path = dir.join("sa.key");
        if !token_path.exists() {
            let secret = format!(
                "{}{}",
                uuid::Uuid::new_v4().simple(),
                uuid::Uuid::new_v4().simple()
            );
            write_private(&token_path, secret.as_bytes())?;
        }
        pki.token_key = read(&token_path)?.trim().as_bytes().to_vec();
        Ok(pki)
    }

    /// The authority's certificate, which clients trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A certificate for `common_name` in `organizations` (groups); cached on disk by both.
    pub fn issue_client(
        &self,
        common_name: &str,
        organizations: &[&str],
    ) -> Result<ClientIdentity, PkiError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
        if common_name.is_empty() || common_name.starts_with('.') || !common_name.chars().all(fits) {
            return Err(PkiError::Name(common_name.to_owned()));
        }
        let dir = self.dir.join("clients");
        fs::create_dir_all(&dir).map_err(|source| PkiError::Io {
            path: dir.clone(),
            source,
        })?;
        let _turn = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        // A person's own kubectl and their console have the same name in different groups.
        let name = format!("{common_name},{}", organizations.join(",").replace('/', "_"));
        let (cert_path, key_path) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        if cert_path.exists() {
            let cert_pem = read(&cert_path)?;
            let subject = cert_pem_subject(&cert_pem).ok_or_else(|| PkiError::Broken {
                path: cert_path.clone(),
                message: "not a certificate".into(),
            })?;
            if subject.1 == organizations {
                return Ok(ClientIdentity {
                    common_name: common_name.into(),
                    cert_pem,
                    key_pem: read(&key_path)?,
                });
            }
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        // rcgen keeps one value per attribute type, so several groups travel in one value, split by a comma
        // (no group name of ours holds one).
        params
            .distinguished_name
            .push(DnType::OrganizationName, organizations.join(","));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let cert_pem = self.sign(params, &key)?;
        let key_pem = key.serialize_pem();
        write_private(&key_path, key_pem.as_bytes())?;
        write_private(&cert_path, cert_pem.as_bytes())?;
        Ok(ClientIdentity {
            common_name: common_name.into(),
            cert_pem,
            key_pem,
        })
    }

    /// A token for a service account; the same at every call and after every restart. Good while the account is there.
    pub fn service_account_token(&self, namespace: &str, name: &str) -> String {
        self.sign_token(&Bearer::of(namespace, name), None)
    }

    /// A token of a pod for its service account; the same at every call. Good while the account and this very pod are there.
    pub fn pod_token(&self, namespace: &str, account: &str, pod: &str, pod_uid: &str) -> String {
        let bearer = Bearer::of(namespace, account).bound_to(Binding::Pod, pod, pod_uid);
        self.sign_token(&bearer, None)
    }

    /// A token that is good until a moment; without one, as long as what it names is there.
    pub(crate) fn sign_token(&self, bearer: &Bearer, until: Option<jiff::Timestamp>) -> String {
        let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
        let mut claims = bearer.claims();
        if let Some(until) = until {
            claims["exp"] = until.as_second().into();
        }
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(hmac_sha256(&self.token_key, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// Whose a token is, if it is ours and not over. Whether all it names is still there, the store knows.
    pub(crate) fn verify_token(&self, token: &str) -> Option<Bearer> {
        let (signed, signature) = token.rsplit_once('.')?;
        let given = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let right = hmac_sha256(&self.token_key, signed.as_bytes());
        let difference = given
            .iter()
            .zip(&right)
            .fold(given.len() ^ right.len(), |d, (a, b)| d | (a ^ b) as usize);
        if difference != 0 {
            return None;
        }
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
        let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
        let over = claims["exp"]
            .as_i64()
            .is_some_and(|end| jiff::Timestamp::now().as_second() >= end);
        Bearer::read(&claims).filter(|_| !over)
    }

    /// A kubeconfig (JSON, which is YAML) with everything embedded.
    pub fn kubeconfig(&self, server_url: &str, identity: &ClientIdentity, namespace: &str) -> String {
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "preferences": {},
            "clusters": [{"name": "hikeshi", "cluster": {
                "server": server_url, "certificate-authority-data": STANDARD.encode(&self.ca_pem)}}],
            "users": [{"name": identity.common_name, "user": {
                "client-certificate-data": STANDARD.encode(&identity.cert_pem),
                "client-key-data": STANDARD.encode(&identity.key_pem)}}],
            "contexts": [{"name": "hikeshi", "context": {
                "cluster": "hikeshi", "user": identity.common_name, "namespace": namespace}}],
            "current-context": "hikeshi",
        });
        format!("{config:#}\n")
    }

    /// The TLS side of the server: our certificate; a client's certificate is optional, but must be ours.
    pub(crate) fn server_config(&self) -> Result<rustls::ServerConfig, PkiError> {
        let broken = |name: &str, message: String| PkiError::Broken {
            path: self.dir.join(name),
            message,
        };
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let ca = CertificateDer::from_pem_slice(self.ca_pem.as_bytes())
            .map_err(|e| broken("ca.crt", e.to_string()))?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca).map_err(|e| broken("ca.crt", e.to_string()))?;
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            roots.into(),
            std::sync::Arc::clone(&provider),
        )
        .allow_unauthenticated()
        .build()
        .map_err(|e| broken("ca.crt", e.to_string()))?;
        let cert = CertificateDer::from_pem_slice(self.server_cert_pem.as_bytes())
            .map_err(|e| broken("server.crt", e.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(self.server_key_pem.as_bytes())
            .map_err(|e| broken("server.key", e.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|b| {
                b.with_client_cert_verifier(verifier)
                    .with_single_cert(vec![cert], key)
            })
            .map_err(|e| broken("server.crt", e.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    fn sign(&self, mut params: CertificateParams, key: &KeyPair) -> Result<String, PkiError> {
        let issuer = Issuer::from_ca_cert_pem(&self.ca_pem, KeyPair::from_pem(&self.ca_key_pem)?)?;
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2120, 1, 1);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Ok(params.signed_by(key, &issuer)?.pem())
    }
}

/// Common name and groups of a client certificate in DER form.
pub(crate) fn cert_subject(der: &[u8]) -> Option<(String, Vec<String>)> {
    let (_, cert) = x509_parser::parse_x509_certificate(der).ok()?;
    let subject = cert.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject
        .iter_organization()
        .filter_map(|o| o.as_str().ok())
        .flat_map(|o| o.split(','))
        .filter(|o| !o.is_empty())
        .map(str::to_owned)
        .collect();
    Some((name, groups))
}

fn cert_pem_subject(pem: &str) -> Option<(String, Vec<String>)> {
    cert_subject(&CertificateDer::from_pem_slice(pem.as_bytes()).ok()?)
}

fn ca_params() -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "hikeshi-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    Ok(params)
}

/// HMAC (RFC 2104) with SHA-256.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new()
        .chain_update(block.map(|b| b ^ 0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|b| b ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

fn read(path: &Path) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(|source| PkiError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Replaces the file in one step, so that a killed process never leaves half a key.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    let new = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|source| PkiError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_matches_rfc_4231() {
        let mac = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(mac[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    }

    #[test]
    fn tokens_survive_a_restart_and_cannot_be_forged() {
        let dir = tempfile::tempdir().unwrap();
        let token = Pki::load_or_create(dir.path())
            .unwrap()
            .service_account_token("chirpy", "prometheus");
        let again = Pki::load_or_create(dir.path()).unwrap();
        assert_eq!(again.service_account_token("chirpy", "prometheus"), token);
        assert_eq!(
            again.verify_token(&token).unwrap().user(),
            "system:serviceaccount:chirpy:prometheus"
        );
        let (head, signature) = token.rsplit_once('.').unwrap();
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"system:serviceaccount:chirpy:admin"}"#);
        let forged = format!("{}.{claims}.{signature}", head.split_once('.').unwrap().0);
        assert_eq!(again.verify_token(&forged), None);
        assert_eq!(again.verify_token(""), None);
        let (now, hour) = (jiff::Timestamp::now(), jiff::SignedDuration::from_hours(1));
        assert!(
            again
                .verify_token(&again.sign_token(&Bearer::of("a", "b"), Some(now + hour)))
                .is_some()
        );
        assert_eq!(
            again.verify_token(&again.sign_token(&Bearer::of("a", "b"), Some(now - hour))),
            None
        );
    }

    #[test]
    fn a_client_keeps_its_certificate_until_its_groups_change() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::load_or_create(dir.path()).unwrap();
        let first = pki.issue_client("pika7", &["hikeshi:operator", "extra"]).unwrap();
        assert_eq!(
            pki.issue_client("pika7", &["hikeshi:operator", "extra"])
                .unwrap()
                .cert_pem,
            first.cert_pem
        );
        let (name, groups) = cert_pem_subject(&first.cert_pem).unwrap();
        assert_eq!(
            (name.as_str(), groups),
            ("pika7", vec!["hikeshi:operator".to_owned(), "extra".to_owned()])
        );
        assert_ne!(
            pki.issue_client("pika7", &["hikeshi:scribe"]).unwrap().cert_pem,
            first.cert_pem
        );
        assert!(matches!(pki.issue_client("../x", &[]), Err(PkiError::Name(_))));
    }
}
