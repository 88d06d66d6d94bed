//! What a CustomResourceDefinition's `openAPIV3Schema` asks of its objects: unknown fields are taken out, defaults filled
//! in, values checked.

pub(crate) mod definition;
mod format;
mod shaping;
mod values;

pub(crate) use shaping::{fill, prune};
pub(crate) use values::causes;

use serde_json::Value;

/// Fields every object and embedded resource has, whether or not its schema names them.
const IMPLIED: [&str; 3] = ["apiVersion", "kind", "metadata"];

fn flag(schema: &Value, name: &str) -> bool {
    schema[name] == true
}

#[cfg(test)]
mod tests;
