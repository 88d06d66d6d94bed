//! The lab, asked for on `control.sock` by the machine's owner; and what the host needs for it.

use std::path::Path;
use std::sync::Arc;

use hikeshi_host::{Host, LabConfig};
use hikeshi_lab::LabFile;
use hikeshi_server::api::lab::{Act, LabHost, Person};
use hikeshi_server::api::{ApiError, DrillHost};
use serde_json::Value;

use crate::cli::keep_objectives;
use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// The system's lab; none where it has no `lab.yaml`.
pub fn config(paths: &Paths, share: &Path, system: &str) -> Result<Option<LabConfig>, Failure> {
    let Some(file) = file(share, system)? else {
        return Ok(None);
    };
    let cujs = share.join("systems").join(system).join("cujs.yaml");
    let path = cujs.clone();
    Ok(Some(LabConfig {
        file,
        cujs,
        folder: paths.labs(),
        keep: Arc::new(move |text, who, why| {
            keep_objectives(&path, text, who, why).map_err(|failure| failure.to_string())
        }),
    }))
}

/// `lab.yaml` of a system.
pub fn file(share: &Path, system: &str) -> Result<Option<LabFile>, Failure> {
    let path = share.join("systems").join(system).join("lab.yaml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::usage(format!("{}: {error}", path.display()))),
    };
    let cujs = super::session::cujs(share, system)?;
    let read = LabFile::parse(&path.display().to_string(), &text, &cujs);
    read.map(Some).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::usage(lines.join("\n"))
    })
}

/// Answers a request about the lab; without an act, what there is.
pub async fn answer(host: &Host, by: &str, act: Option<Act>) -> Result<Value, Failure> {
    let lab = of(host)?;
    let person = Person { name: by, host: true };
    let state = match act {
        Some(act) => lab.act(act, person).await.map_err(failure)?,
        None => lab.state(person).await,
    };
    serde_json::to_value(state).component("telling a lab")
}

pub async fn outcome(host: &Host, id: &str) -> Result<Value, Failure> {
    match of(host)?.outcome(id).await {
        Some(outcome) => serde_json::to_value(outcome).component("telling a lab"),
        None => Err(
            Failure::usage(format!("no lab is called {id:?}, or it is not over"))
                .hint("`hikeshi lab status` names those that are over"),
        ),
    }
}

fn of(host: &Host) -> Result<&dyn LabHost, Failure> {
    host.lab()
        .ok_or_else(|| Failure::usage("the system that is up has no lab.yaml, so it has no lab"))
}

fn failure(error: ApiError) -> Failure {
    let words = error.to_string();
    match error {
        ApiError::NotFound(_) | ApiError::Invalid(_) => Failure::usage(words),
        // What somebody typed and cannot be read is wrong input; what cannot be done now is not.
        ApiError::Refused { ref code, .. } if ["level", "normal", "journey"].contains(&code.as_str()) => {
            Failure::usage(words)
        }
        ApiError::Conflict(_) | ApiError::Refused { .. } | ApiError::Forbidden(_) => Failure::not_so(words),
        ApiError::Unavailable(_) => Failure::component(words),
    }
}
