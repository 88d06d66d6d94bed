//! What a namespace's LimitRanges and ResourceQuotas say about new objects. Runs inside the store's write, so that what is
//! counted and what is stored are one.

pub(crate) mod limits;
pub(crate) mod priority;
pub(crate) mod quantity;
pub(crate) mod quota;
mod usage;

use serde_json::Value;

use crate::registry::Resource;
use crate::status::{ApiError, ApiResult};

/// Kubernetes' 403 of an admission plugin.
fn forbidden(resource: &Resource, object: &Value, message: &str) -> ApiError {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    ApiError::forbidden(format!("{} \"{name}\" is forbidden: {message}", resource.key()))
}

/// One problem as it stands, several in brackets.
fn all_problems(resource: &Resource, object: &Value, problems: &[String]) -> ApiResult<()> {
    match problems {
        [] => Ok(()),
        [one] => Err(forbidden(resource, object, one)),
        many => Err(forbidden(resource, object, &format!("[{}]", many.join(", ")))),
    }
}
