//! What must be so before a system can start, looked at before anything is started: said at once, not after minutes.

use std::collections::BTreeSet;
use std::path::Path;

use hikeshi_node::images::Images;
use serde_json::Value;

use crate::control::{manifests, namespaces};
use crate::failure::{Context, Failure};

/// Fails with the first thing that is missing for `system`, and how to get it.
pub fn check(share: &Path, system: &str) -> Result<(), Failure> {
    namespaces::check().map_err(|problem| Failure::component(format!("user namespaces are {problem}")))?;
    crate::tools::kubectl()?;
    let folder = share.join("systems").join(system);
    if !folder.is_dir() {
        return Err(Failure::usage(format!(
            "no system is called {system:?} (looked in {})",
            folder.display()
        )));
    }
    let mut references = BTreeSet::new();
    for object in &manifests::read(&folder)? {
        collect_images(object, &mut references);
    }
    let images = Images::load(&share.join("images")).component("reading the images")?;
    for image in references.iter().filter_map(|reference| images.find(reference)) {
        // Our own programs are put in place by control. An image that nobody describes is said by its pod.
        if image.program_on_host(None).is_none() {
            return Err(Failure::component(format!(
                "{} is missing: {}",
                image.program,
                image.package.remedy()
            ))
            .hint("`hikeshi doctor` lists everything that is missing"));
        }
    }
    Ok(())
}

/// Every `image: REFERENCE` of an object, however deep.
fn collect_images(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(reference) if name == "image" => {
                        into.insert(reference.to_owned());
                    }
                    _ => collect_images(value, into),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_images(value, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_however_deep() {
        let pod = serde_json::json!({"spec": {"template": {"spec": {
            "initContainers": [{"image": "debian"}],
            "containers": [{"image": "redis:7"}, {"image": "redis:7"}],
        }}}});
        let mut found = BTreeSet::new();
        collect_images(&pod, &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["debian", "redis:7"]);
    }
}
