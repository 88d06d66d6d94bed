//! The lab over HTTP: anybody with a seat may sit in it, whoever runs the drill prepares it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::App;
use super::session::Session;
use crate::api::lab::{Act, LabHost, Person};
use crate::api::{ApiError, Viewer};

/// What the ingress knows the person by.
pub(super) const COOKIE: &str = hikeshi_lab::compile::COOKIE;

fn lab(app: &App) -> Result<&dyn LabHost, ApiError> {
    let none = || ApiError::Unavailable("this system has no lab: it has no lab.yaml".to_owned());
    app.host.lab().ok_or_else(none)
}

fn person(viewer: &Viewer) -> Person<'_> {
    Person {
        name: &viewer.name,
        host: viewer.host || viewer.seat == "facilitator",
    }
}

pub(super) async fn state(
    State(app): State<Arc<App>>,
    Session(viewer): Session,
) -> Result<Response, ApiError> {
    Ok(Json(lab(&app)?.state(person(&viewer)).await).into_response())
}

pub(super) async fn act(
    State(app): State<Arc<App>>,
    Session(viewer): Session,
    Json(act): Json<Act>,
) -> Result<Response, ApiError> {
    let (lab, person) = (lab(&app)?, person(&viewer));
    if act.is_for_hosts() && !person.host {
        return Err(ApiError::Forbidden(
            "labs are prepared by whoever runs the drill: join by the host's link".to_owned(),
        ));
    }
    let state = lab.act(act, person).await?;
    let mut response = Json(state).into_response();
    // Never in the page's own sight: a script could not tell A from B by it, but need not have it either.
    let attributes = if app.tls { "; Secure" } else { "" };
    let cookie = match lab.token(person.name).await {
        Some(token) => format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax{attributes}"),
        None => format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0{attributes}"),
    };
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

pub(super) async fn outcome(
    State(app): State<Arc<App>>,
    Session(_): Session,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    match lab(&app)?.outcome(&id).await {
        Some(outcome) => Ok(Json(outcome).into_response()),
        None => Err(ApiError::NotFound(format!(
            "no lab is called {id}, or it is not over: what was asked for is told at the end"
        ))),
    }
}
