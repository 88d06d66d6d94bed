//! Experiments, asked for on `control.sock` by the machine's owner.

use hikeshi_server::api::{ApiError, ExperimentHost, NotStarted, Wanted};
use serde_json::{Value, json};

use super::protocol::AboutExperiment;
use crate::failure::{Context, Failure};

/// Answers a request about experiments.
pub async fn answer(host: &dyn ExperimentHost, asked: AboutExperiment) -> Result<Value, Failure> {
    match asked {
        AboutExperiment::Preview { manifest, namespace } => {
            let preview = host.preview(&manifest, Some(&namespace)).await;
            serde_json::to_value(preview).component("telling a preview")
        }
        AboutExperiment::Start {
            manifest,
            namespace,
            by,
            seconds,
        } => {
            let wanted = Wanted {
                manifest: &manifest,
                by: &by,
                seconds,
                namespace: Some(&namespace),
            };
            match host.start(wanted).await {
                Ok(id) => Ok(json!({"id": id})),
                Err(NotStarted::Problems(problems)) => Ok(json!({"problems": problems})),
                Err(NotStarted::Api(error)) => Err(failure(error)),
            }
        }
        AboutExperiment::List => serde_json::to_value(host.list().await).component("telling experiments"),
        AboutExperiment::Show { id } => match host.show(&id).await {
            Some(detail) => serde_json::to_value(detail).component("telling an experiment"),
            None => Err(failure(ApiError::NotFound(format!(
                "no experiment is called {id:?}"
            )))),
        },
        AboutExperiment::Stop { id, by } => host
            .stop(&id, &by)
            .await
            .map(|()| json!({"id": id}))
            .map_err(failure),
    }
}

fn failure(error: ApiError) -> Failure {
    let words = error.to_string();
    match error {
        ApiError::NotFound(_) => Failure::usage(words).hint("`hikeshi experiment list` names them all"),
        ApiError::Invalid(_) => Failure::usage(words),
        ApiError::Conflict(_) | ApiError::Refused { .. } | ApiError::Forbidden(_) => Failure::not_so(words),
        ApiError::Unavailable(_) => Failure::component(words),
    }
}
