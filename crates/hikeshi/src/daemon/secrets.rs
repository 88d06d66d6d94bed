//! The web server's secrets: made once per state folder, kept in control's record.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::control::record::Secrets;
use crate::failure::{Context, Failure};

pub fn make() -> Result<Secrets, Failure> {
    Ok(Secrets {
        cookie_key: random::<32>()?,
        alert_token: random::<24>()?,
        host_token: random::<18>()?,
        invite_token: random::<18>()?,
    })
}

/// The cookie key's bytes; a record that was edited by hand gets a fresh key (sessions end, nothing else).
pub fn cookie_key(secrets: &Secrets) -> Result<[u8; 32], Failure> {
    match BASE64_URL_SAFE_NO_PAD
        .decode(&secrets.cookie_key)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
    {
        Some(key) => Ok(key),
        None => {
            let mut key = [0; 32];
            fill(&mut key)?;
            Ok(key)
        }
    }
}

fn random<const BYTES: usize>() -> Result<String, Failure> {
    let mut bytes = [0; BYTES];
    fill(&mut bytes)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

fn fill(bytes: &mut [u8]) -> Result<(), Failure> {
    use std::io::Read;
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(bytes))
        .component("reading /dev/urandom")
}
