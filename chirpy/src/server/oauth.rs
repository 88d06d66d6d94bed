//! The token endpoint of OAuth 2.0 (RFC 6749): the password and refresh_token grants of a public client.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{Services, Shared};
use crate::auth::{Credentials, Refresh, Session};
use crate::service::ApiError;

/// RFC 6749, section 5.1.
#[derive(Serialize)]
struct Issued {
    access_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    refresh_token: String,
}

/// RFC 6749, section 5.2.
#[derive(Debug, Serialize)]
struct Refused {
    #[serde(skip)]
    status: StatusCode,
    error: &'static str,
    error_description: String,
}

impl Refused {
    fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            error_description: description.into(),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, NOT_KEPT, Json(self)).into_response()
    }
}

/// An answer with tokens is in nobody's cache.
const NOT_KEPT: [(header::HeaderName, &str); 2] =
    [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];

/// What a grant stands on.
#[derive(Debug, PartialEq, Eq)]
enum Grant {
    Password { name: String, password: String },
    Refresh { token: String },
}

fn form(headers: &HeaderMap, body: &[u8]) -> Result<Vec<(String, String)>, Refused> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or("");
    let is_form = kind.split(';').next().is_some_and(|kind| {
        kind.trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    });
    if !is_form {
        return Err(Refused::new(
            "invalid_request",
            "the parameters are sent as application/x-www-form-urlencoded",
        ));
    }
    let decoded = std::str::from_utf8(body)
        .ok()
        .map(|text| form_urlencoded::parse(text.as_bytes()).into_owned().collect());
    decoded.ok_or_else(|| Refused::new("invalid_request", "the body is not UTF-8"))
}

/// Reads a grant. An empty parameter counts as left out, and none may be there twice (section 3.2).
fn grant(form: &[(String, String)]) -> Result<Grant, Refused> {
    let parameter = |name: &'static str| {
        let mut given = form
            .iter()
            .filter(|(key, value)| key == name && !value.is_empty());
        match (given.next(), given.next()) {
            (Some(_), Some(_)) => Err(Refused::new("invalid_request", format!("{name} is there twice"))),
            (value, _) => Ok(value.map(|(_, value)| value.clone())),
        }
    };
    let required = |name: &'static str| {
        parameter(name)?.ok_or_else(|| Refused::new("invalid_request", format!("{name} is missing")))
    };
    if parameter("scope")?.is_some() {
        return Err(Refused::new(
            "invalid_scope",
            "Chirpy has no scopes: leave scope out",
        ));
    }
    match required("grant_type")?.as_str() {
        "password" => Ok(Grant::Password {
            name: required("username")?,
            password: required("password")?,
        }),
        "refresh_token" => Ok(Grant::Refresh {
            token: required("refresh_token")?,
        }),
        other => Err(Refused::new(
            "unsupported_grant_type",
            format!("{other:?} is neither password nor refresh_token"),
        )),
    }
}

async fn open(services: &Services, grant: Grant) -> Result<Session, Refused> {
    let outcome = match grant {
        Grant::Password { name, password } => {
            services
                .auth
                .post("/login", &Credentials { name, password })
                .await
        }
        Grant::Refresh { token } => {
            let refresh = Refresh { refresh_token: token };
            services.auth.post("/refresh", &refresh).await
        }
    };
    outcome.map_err(|error: ApiError| {
        if error.status.is_client_error() {
            return Refused::new("invalid_grant", error.message);
        }
        // The token endpoint has no error of its own for this; the authorization endpoint's name is the customary one.
        let mut refused = Refused::new("temporarily_unavailable", error.message);
        refused.status = StatusCode::SERVICE_UNAVAILABLE;
        refused
    })
}

/// `POST /api/oauth/token`.
pub async fn token(State(services): Shared, headers: HeaderMap, body: Bytes) -> Response {
    match issue(&services, &headers, &body).await {
        Ok(issued) => (NOT_KEPT, Json(issued)).into_response(),
        Err(refused) => refused.into_response(),
    }
}

async fn issue(services: &Arc<Services>, headers: &HeaderMap, body: &[u8]) -> Result<Issued, Refused> {
    let session = open(services, grant(&form(headers, body)?)?).await?;
    Ok(Issued {
        access_token: session.token,
        token_type: "Bearer",
        expires_in: session.expires_in,
        refresh_token: session.refresh_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Result<Grant, &'static str> {
        let mut headers = HeaderMap::new();
        let kind = "application/x-www-form-urlencoded; charset=UTF-8";
        headers.insert(header::CONTENT_TYPE, kind.parse().expect("a header"));
        form(&headers, body.as_bytes())
            .and_then(|form| grant(&form))
            .map_err(|refused| refused.error)
    }

    #[test]
    fn grants_are_read_from_forms() {
        let password = Grant::Password {
            name: "ai".into(),
            password: "火消し & co".into(),
        };
        let body = "grant_type=password&username=ai&password=%E7%81%AB%E6%B6%88%E3%81%97+%26+co";
        assert_eq!(of(body), Ok(password));
        assert_eq!(
            of("grant_type=refresh_token&refresh_token=t"),
            Ok(Grant::Refresh { token: "t".into() })
        );
    }

    #[test]
    fn what_is_wrong_has_the_specifications_name() {
        for (body, error) in [
            ("", "invalid_request"),
            ("grant_type=password&username=ai", "invalid_request"),
            (
                "grant_type=password&username=ai&username=b&password=c",
                "invalid_request",
            ),
            ("grant_type=refresh_token&refresh_token=", "invalid_request"),
            ("grant_type=client_credentials", "unsupported_grant_type"),
            (
                "grant_type=refresh_token&refresh_token=t&scope=admin",
                "invalid_scope",
            ),
        ] {
            assert_eq!(of(body), Err(error), "{body}");
        }
        let refused = form(&HeaderMap::new(), b"grant_type=password").expect_err("no form");
        assert_eq!(refused.error, "invalid_request");
    }
}
