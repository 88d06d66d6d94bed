//! The JSON API.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hikeshi_drill::event::Event;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::App;
use super::error::refuse;
use super::session::{InviteRole, MaybeSession, Session, goodbye};
use crate::api::{ApiError, DrillSummary, DrillView, JourneySeries, Lang, ServiceMap, UiCommand, Viewer};

/// Longest text a person may send, in characters: a chat message, not a document.
const TEXT_LIMIT: usize = 4000;

/// Seats a person may ask for when the scenario does not say, and always.
const OPEN_SEATS: &[&str] = &["operator", "observer"];

#[derive(Serialize)]
pub(super) struct SessionView {
    viewer: Option<Viewer>,
    lang_default: Lang,
    now: Timestamp,
}

pub(super) async fn session(
    State(app): State<Arc<App>>,
    MaybeSession(viewer): MaybeSession,
) -> Json<SessionView> {
    Json(SessionView {
        viewer,
        lang_default: app.lang_default,
        now: Timestamp::now(),
    })
}

#[derive(Serialize)]
pub(super) struct InviteView {
    role: InviteRole,
    /// Enough to choose a seat by.
    drill: Option<DrillView>,
    seats: Vec<String>,
}

pub(super) async fn invite(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
) -> Result<Json<InviteView>, ApiError> {
    let role = app.invites.role(&token).ok_or_else(bad_invite)?;
    let drill = app.host.current().await;
    let seats = seats(drill.as_ref(), role);
    Ok(Json(InviteView { role, drill, seats }))
}

fn bad_invite() -> ApiError {
    ApiError::Forbidden("this invitation is not valid (any more): ask for a new link".to_owned())
}

fn seats(drill: Option<&DrillView>, role: InviteRole) -> Vec<String> {
    let mut seats: Vec<String> = drill
        .map(|d| d.seats.iter().map(|s| s.seat.clone()).collect())
        .unwrap_or_default();
    for open in OPEN_SEATS {
        if !seats.iter().any(|s| s == open) {
            seats.push((*open).to_owned());
        }
    }
    if role == InviteRole::Host {
        seats.push("facilitator".to_owned());
    }
    seats
}

/// The links' secrets, for handing on: everyone may invite to a seat, only a host to hosting.
pub(super) async fn invites(State(app): State<Arc<App>>, Session(viewer): Session) -> Response {
    Json(serde_json::json!({
        "participant": app.invites.participant,
        "host": viewer.host.then_some(&app.invites.host),
    }))
    .into_response()
}

#[derive(Deserialize)]
pub(super) struct Join {
    token: String,
    name: String,
    seat: String,
}

pub(super) async fn join(
    State(app): State<Arc<App>>,
    MaybeSession(before): MaybeSession,
    Json(join): Json<Join>,
) -> Result<Response, ApiError> {
    let role = app.invites.role(&join.token).ok_or_else(bad_invite)?;
    if !hikeshi_scenario::scenario::is_handle(&join.name) {
        return Err(ApiError::Invalid(
            "a name is 2 to 16 small letters (a-z) and digits".to_owned(),
        ));
    }
    let open = seats(app.host.current().await.as_ref(), role);
    if !open.contains(&join.seat) {
        return Err(ApiError::Invalid(format!(
            "there is no seat {:?}; there are {}",
            join.seat,
            open.join(", ")
        )));
    }
    let viewer = Viewer {
        name: join.name,
        seat: join.seat,
        host: role == InviteRole::Host,
    };
    let cookie = app
        .sessions
        .cookie(&viewer, app.tls)
        .map_err(|e| ApiError::Unavailable(format!("the session cannot be written: {e}")))?;
    // The new seat first: who is refused keeps the old one.
    app.host.take_seat(&viewer).await?;
    if let Some(before) = before
        && before.name != viewer.name
    {
        app.host.leave_seat(&before).await;
    }
    Ok(([(header::SET_COOKIE, cookie)], Json(viewer)).into_response())
}

pub(super) async fn leave(State(app): State<Arc<App>>, Session(viewer): Session) -> Response {
    app.host.leave_seat(&viewer).await;
    ([(header::SET_COOKIE, goodbye(app.tls))], StatusCode::NO_CONTENT).into_response()
}

pub(super) async fn drill(State(app): State<Arc<App>>, Session(_): Session) -> Json<Option<DrillView>> {
    Json(app.host.current().await)
}

pub(super) async fn drills(State(app): State<Arc<App>>, Session(_): Session) -> Json<Vec<DrillSummary>> {
    Json(app.host.drills().await)
}

#[derive(Deserialize)]
pub(super) struct After {
    #[serde(default)]
    after: u64,
}

pub(super) async fn events(
    State(app): State<Arc<App>>,
    Session(viewer): Session,
    Path(drill): Path<String>,
    Query(After { after }): Query<After>,
) -> Result<Json<Vec<Event>>, ApiError> {
    app.host.events(&drill, after, &viewer).await.map(Json)
}

pub(super) async fn command(
    State(app): State<Arc<App>>,
    Session(viewer): Session,
    Json(command): Json<UiCommand>,
) -> Result<Response, ApiError> {
    check(&command)?;
    if matches!(command, UiCommand::Begin | UiCommand::End) && !viewer.host {
        return Err(ApiError::Forbidden(
            "only the host begins and ends the drill".to_owned(),
        ));
    }
    app.host.command(&viewer, command).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn check(command: &UiCommand) -> Result<(), ApiError> {
    use UiCommand as C;
    let text = match command {
        C::Say { text }
        | C::Impact { text }
        | C::AssignTask { text, .. }
        | C::Status { text, .. }
        | C::Hypothesis { text }
        | C::Mitigated { text }
        | C::Resolved { text } => text,
        C::Acknowledge { .. } | C::AssignCommander { .. } | C::AskHint | C::Begin | C::End => return Ok(()),
    };
    let count = text.chars().count();
    if text.trim().is_empty() {
        Err(ApiError::Invalid("write a few words first".to_owned()))
    } else if count > TEXT_LIMIT {
        Err(ApiError::Invalid(format!(
            "{count} characters are too many: {TEXT_LIMIT} at most"
        )))
    } else {
        Ok(())
    }
}

#[derive(Deserialize)]
pub(super) struct Since {
    since: Option<Timestamp>,
}

pub(super) async fn journeys(
    State(app): State<Arc<App>>,
    Session(_): Session,
    Query(Since { since }): Query<Since>,
) -> Json<JourneySeries> {
    Json(app.host.journeys(since).await)
}

/// The same for every seat: what a service mesh's dashboard would show them.
pub(super) async fn map(State(app): State<Arc<App>>, Session(_): Session) -> Json<Option<ServiceMap>> {
    Json(app.host.service_map().await)
}

pub(super) async fn score(
    State(app): State<Arc<App>>,
    Session(_): Session,
    Path(drill): Path<String>,
) -> Response {
    document(app.host.score(&drill).await.map(Json), "the score")
}

pub(super) async fn timeline(
    State(app): State<Arc<App>>,
    Session(viewer): Session,
    Path(drill): Path<String>,
) -> Response {
    document(app.host.timeline(&drill, &viewer).await.map(Json), "the timeline")
}

#[derive(Deserialize)]
pub(super) struct In {
    lang: Option<Lang>,
}

pub(super) async fn story(
    State(app): State<Arc<App>>,
    Session(_): Session,
    Path(drill): Path<String>,
    Query(In { lang }): Query<In>,
) -> Response {
    let text = app.host.story(&drill, lang.unwrap_or(app.lang_default)).await;
    document(text.map(markdown), "the story")
}

pub(super) async fn postmortem(
    State(app): State<Arc<App>>,
    Session(_): Session,
    Path(drill): Path<String>,
    Query(In { lang }): Query<In>,
) -> Response {
    let text = app
        .host
        .postmortem(&drill, lang.unwrap_or(app.lang_default))
        .await;
    document(text.map(markdown), "the postmortem draft")
}

fn markdown(text: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], text)
}

fn document(found: Option<impl IntoResponse>, what: &str) -> Response {
    match found {
        Some(found) => found.into_response(),
        None => refuse(
            StatusCode::NOT_FOUND,
            &format!("{what} is not there: no such drill, or it has not ended"),
        ),
    }
}
