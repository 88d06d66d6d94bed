//! The certificate of the war room that others reach: one per address, made once and kept, or browsers would ask their
//! people again whenever control starts.

use std::net::IpAddr;
use std::path::Path;

use hikeshi_server::web::TlsConfig;

use crate::control::seats::write_private;
use crate::failure::{Context, Failure};

/// The certificate for `address` and its key, from the folder `pki` or made there now.
pub fn for_address(pki: &Path, address: IpAddr) -> Result<TlsConfig, Failure> {
    let file = |kind: &str| pki.join(format!("war-room-{address}.{kind}"));
    let (certificates, key) = (file("crt"), file("key"));
    let read = |file: &Path| std::fs::read_to_string(file).unwrap_or_default();
    let kept = TlsConfig {
        certificates: read(&certificates),
        key: read(&key),
    };
    // Missing, cut short or edited by hand: made anew. Browsers ask once more, nothing else.
    if kept.check().is_ok() {
        return Ok(kept);
    }
    let made = TlsConfig::self_signed(vec![address.to_string(), "localhost".into()])
        .component("making the war room's certificate")?;
    write_private(&key, &made.key)?;
    write_private(&certificates, &made.certificates)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_address_keeps_its_certificate_and_a_broken_one_is_made_anew() {
        let pki = tempfile::tempdir().unwrap();
        let [address, other] = [10u8, 11].map(|host| IpAddr::from([192, 0, 2, host]));
        let first = for_address(pki.path(), address).unwrap();
        let again = for_address(pki.path(), address).unwrap();
        assert_eq!(
            (&again.certificates, &again.key),
            (&first.certificates, &first.key)
        );
        assert_ne!(for_address(pki.path(), other).unwrap().key, first.key);

        let key = pki.path().join("war-room-192.0.2.10.key");
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Another address's key: a good one, but not this certificate's.
        std::fs::copy(pki.path().join("war-room-192.0.2.11.key"), &key).unwrap();
        let mended = for_address(pki.path(), address).unwrap();
        assert_ne!(mended.certificates, first.certificates);
        assert!(mended.check().is_ok());
    }
}
