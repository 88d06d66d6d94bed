use std::sync::Arc;

use hikeshi_server::web::{TlsConfig, WebError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::world::start;

#[tokio::test]
async fn an_address_others_can_reach_needs_tls() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        assert!(
            matches!(start(listen, None).await, Err(WebError::TlsNeeded(_))),
            "{listen}"
        );
    }
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    match start(&addr, None).await {
        Err(e @ WebError::Bind { .. }) => assert!(e.to_string().contains(&addr), "{e}"),
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[tokio::test]
async fn with_tls_everyone_is_served_and_a_silent_peer_delays_nobody() {
    let tls = TlsConfig::self_signed(vec!["localhost".into()]).unwrap();
    let (_world, handle) = start("0.0.0.0:0", Some(tls.clone())).await.unwrap();
    let port = handle.addr.port();
    let _silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(tls.certificates.as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut stream = connector
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
        .unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
}
