//! Who a request comes from: invite tokens, signed cookies, and the check that a page of ours sent it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::App;
use super::error::refuse;
use crate::api::Viewer;

pub(super) const COOKIE: &str = "hikeshi_session";
const SESSION_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The secrets in the links people join by.
#[derive(Debug, Clone)]
pub struct Invites {
    /// For everyone who takes a seat.
    pub participant: String,
    /// For whoever runs the drill: may begin and end it.
    pub host: String,
}

/// What a token lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum InviteRole {
    Participant,
    Host,
}

impl Invites {
    pub(super) fn role(&self, token: &str) -> Option<InviteRole> {
        // Both are compared always, so that time tells nothing.
        let (host, participant) = (same(token, &self.host), same(token, &self.participant));
        if host {
            Some(InviteRole::Host)
        } else {
            participant.then_some(InviteRole::Participant)
        }
    }
}

/// Compares secrets in a time that does not depend on where they differ. An empty secret matches nothing.
pub(super) fn same(given: &str, secret: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"compare");
    !secret.is_empty()
        && hmac::verify(
            &key,
            given.as_bytes(),
            hmac::sign(&key, secret.as_bytes()).as_ref(),
        )
        .is_ok()
}

#[derive(Serialize, Deserialize)]
struct Ticket {
    viewer: Viewer,
    /// Unix seconds.
    expires: i64,
}

/// Makes and reads session cookies. Nothing is kept on the server: a cookie is its own proof.
pub(crate) struct Sessions {
    key: hmac::Key,
}

impl Sessions {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// The value of a `Set-Cookie` header.
    pub(super) fn cookie(&self, viewer: &Viewer, tls: bool) -> Result<String, serde_json::Error> {
        let expires = Timestamp::now().as_second() + SESSION_LIFE.as_secs() as i64;
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&Ticket {
            viewer: viewer.clone(),
            expires,
        })?);
        let mark = URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, payload.as_bytes()));
        let age = SESSION_LIFE.as_secs();
        Ok(format!(
            "{COOKIE}={payload}.{mark}; {}; Max-Age={age}",
            attributes(tls)
        ))
    }

    fn read(&self, headers: &HeaderMap) -> Option<Viewer> {
        let value = cookies(headers).find_map(|(name, value)| (name == COOKIE).then_some(value))?;
        let (payload, mark) = value.split_once('.')?;
        let mark = URL_SAFE_NO_PAD.decode(mark).ok()?;
        hmac::verify(&self.key, payload.as_bytes(), &mark).ok()?;
        let ticket: Ticket = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        (ticket.expires > Timestamp::now().as_second()).then_some(ticket.viewer)
    }
}

/// The `Set-Cookie` header that ends a session.
pub(super) fn goodbye(tls: bool) -> String {
    format!("{COOKIE}=; {}; Max-Age=0", attributes(tls))
}

fn attributes(tls: bool) -> &'static str {
    if tls {
        "Path=/; HttpOnly; SameSite=Lax; Secure"
    } else {
        "Path=/; HttpOnly; SameSite=Lax"
    }
}

/// Name and value of every cookie sent.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

/// A valid session. Handlers that take one cannot be reached without.
pub(super) struct Session(pub Viewer);

impl FromRequestParts<Arc<App>> for Session {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        match app.sessions.read(&parts.headers) {
            Some(viewer) => Ok(Self(viewer)),
            None => Err(refuse(
                StatusCode::UNAUTHORIZED,
                "join first, by the link you were given",
            )),
        }
    }
}

/// A session if there is one.
pub(super) struct MaybeSession(pub Option<Viewer>);

impl FromRequestParts<Arc<App>> for MaybeSession {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        Ok(Self(app.sessions.read(&parts.headers)))
    }
}

/// Refuses what another site's page made a browser send: everything that may change something must come from an
/// origin equal to the host it is sent to.
pub(super) async fn same_origin(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if safe || from_here(&request, app.tls) {
        next.run(request).await
    } else {
        refuse(
            StatusCode::FORBIDDEN,
            "this request did not come from the war room's own page",
        )
    }
}

/// The host and port that a request was sent to. HTTP/2 has no Host header; its authority is in the URI.
pub(super) fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| uri.authority().map(http::uri::Authority::as_str))
}

fn from_here(request: &Request, tls: bool) -> bool {
    let host = host(request.headers(), request.uri());
    let origin = request
        .headers()
        .get(header::ORIGIN)
        .and_then(|o| o.to_str().ok());
    let scheme = if tls { "https://" } else { "http://" };
    match (host, origin.and_then(|o| o.strip_prefix(scheme))) {
        (Some(host), Some(origin)) => host.eq_ignore_ascii_case(origin),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn viewer() -> Viewer {
        Viewer {
            name: "pika7".into(),
            seat: "operator".into(),
            host: false,
        }
    }

    fn sent(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = format!("other=1; {}", cookie.split(';').next().unwrap());
        headers.insert(header::COOKIE, HeaderValue::from_str(&value).unwrap());
        headers
    }

    #[test]
    fn a_cookie_is_read_back_only_whole_and_with_its_own_key() {
        let sessions = Sessions::new(&[7; 32]);
        let cookie = sessions.cookie(&viewer(), true).unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Secure"));
        assert_eq!(sessions.read(&sent(&cookie)), Some(viewer()));
        assert_eq!(Sessions::new(&[8; 32]).read(&sent(&cookie)), None);
        let value = cookie.split(';').next().unwrap();
        for i in COOKIE.len() + 1..value.len() {
            let mut forged = value.as_bytes().to_vec();
            forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(sessions.read(&sent(&forged)), None, "byte {i}");
        }
        assert_eq!(sessions.read(&sent(&goodbye(true))), None);
    }

    #[test]
    fn tokens_match_only_themselves() {
        let invites = Invites {
            participant: "p".repeat(32),
            host: String::new(),
        };
        assert_eq!(invites.role(&"p".repeat(32)), Some(InviteRole::Participant));
        assert_eq!(invites.role(""), None);
        assert_eq!(invites.role("ppp"), None);
    }
}
