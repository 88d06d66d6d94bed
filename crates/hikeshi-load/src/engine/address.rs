//! Where the target is. Names are looked up apart from the engine's thread: a lookup may take seconds.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A target that refuses connections is looked up again, at most so often.
const EVERY: Duration = Duration::from_secs(1);

/// A base URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As the Host header names it.
    pub host: String,
    name: String,
    port: u16,
}

/// Why a URL cannot be a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("{0:?} is not a URL: {1}")]
    Unreadable(String, #[source] http::uri::InvalidUri),
    #[error("{0:?}: only http:// can be sent to; write http://HOST:PORT")]
    Scheme(String),
    #[error("{0:?} has a path; the journeys' paths are known, so write http://HOST:PORT")]
    Path(String),
}

impl Target {
    /// # Errors
    /// Unless it is `http://HOST[:PORT]`.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let uri: http::Uri = url
            .parse()
            .map_err(|error| TargetError::Unreadable(url.to_owned(), error))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(TargetError::Scheme(url.to_owned()));
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(TargetError::Path(url.to_owned()));
        }
        let port = authority.port_u16();
        let name = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Self {
            host: match port {
                Some(port) => format!("{}:{port}", authority.host()),
                None => authority.host().to_owned(),
            },
            name,
            port: port.unwrap_or(80),
        })
    }

    fn lookup(&self) -> Option<SocketAddr> {
        (self.name.as_str(), self.port).to_socket_addrs().ok()?.next()
    }
}

/// The target's address, kept.
pub struct Address {
    target: Target,
    known: Arc<Mutex<Option<SocketAddr>>>,
    looking: Arc<AtomicBool>,
    looked: Option<Instant>,
}

impl Address {
    /// Not looked up yet.
    pub fn of(target: Target) -> Self {
        Self {
            target,
            known: Arc::default(),
            looking: Arc::default(),
            looked: None,
        }
    }

    /// The address, once it is known.
    pub fn get(&mut self) -> Option<SocketAddr> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            self.look_again();
        }
        known
    }

    /// Looks it up, unless that is under way or was done just now.
    pub fn look_again(&mut self) {
        if self.looked.is_some_and(|at| at.elapsed() < EVERY) || self.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        self.looked = Some(Instant::now());
        let (target, known, looking) = (self.target.clone(), self.known.clone(), self.looking.clone());
        let lookup = move || {
            if let Some(found) = target.lookup() {
                *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
            }
            looking.store(false, Ordering::Release);
        };
        if std::thread::Builder::new()
            .name("lookup".into())
            .spawn(lookup)
            .is_err()
        {
            self.looking.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_and_a_port() {
        let target = |url| Target::parse(url).map(|target| (target.host, target.name, target.port));
        let ok = |host: &str, name: &str, port| Some((host.to_owned(), name.to_owned(), port));
        assert_eq!(target("http://a.b").ok(), ok("a.b", "a.b", 80));
        assert_eq!(
            target("http://127.0.0.1:81/").ok(),
            ok("127.0.0.1:81", "127.0.0.1", 81)
        );
        assert_eq!(target("http://[::1]:81").ok(), ok("[::1]:81", "::1", 81));
        for wrong in ["https://a", "a:80", "http://a/b", "http://a/?q", "", "http://"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }
}
