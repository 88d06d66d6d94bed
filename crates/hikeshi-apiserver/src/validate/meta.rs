//! What every object has: a name, labels and annotations, each in Kubernetes' syntax.

use serde_json::Value;

use super::Causes;
use crate::registry::Resource;

/// The most that an object's annotations may be, keys and values together, in bytes.
const MOST_ANNOTATIONS: usize = 256 << 10;

/// Checks the name, labels and annotations of an object of any kind.
pub(super) fn object(resource: &Resource, metadata: &Value, causes: &mut Causes) {
    let name = metadata["name"].as_str().unwrap_or_default();
    let problem = if name.is_empty() {
        Some("Required value: name or generateName is required".to_owned())
    } else {
        bad_name(resource, name).map(|problem| format!("Invalid value: {name:?}: {problem}"))
    };
    causes.extend(problem.map(|problem| ("metadata.name".to_owned(), problem)));
    marks("metadata", metadata, causes);
}

/// Checks labels and annotations; `at` is what has them, as Kubernetes names it (`spec.template`).
pub(super) fn marks(at: &str, metadata: &Value, causes: &mut Causes) {
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let field = || format!("{at}.labels");
        if let Some(problem) = bad_qualified(key) {
            causes.push((field(), format!("Invalid value: {key:?}: {problem}")));
        }
        if value.len() > 63 {
            let problem = "must be no more than 63 characters";
            causes.push((field(), format!("Invalid value: \"{key}={value}\": {problem}")));
        } else if !value.is_empty() && !is_name_part(value) {
            let problem = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
                 and must start and end with an alphanumeric character";
            causes.push((field(), format!("Invalid value: \"{key}={value}\": {problem}")));
        }
    }
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        if let Some(problem) = bad_qualified(&key.to_ascii_lowercase()) {
            causes.push((
                format!("{at}.annotations"),
                format!("Invalid value: {key:?}: {problem}"),
            ));
        }
    }
    if size > MOST_ANNOTATIONS {
        causes.push((
            format!("{at}.annotations"),
            format!("Too long: may not be more than {MOST_ANNOTATIONS} bytes"),
        ));
    }
}

fn bad_name(resource: &Resource, name: &str) -> Option<&'static str> {
    match (&*resource.group, &*resource.kind) {
        // RBAC names may hold colons.
        ("rbac.authorization.k8s.io", _) => {
            if name.contains(['/', '%']) {
                Some("may not contain '/' or '%'")
            } else {
                matches!(name, "." | "..").then_some("may not be '.' or '..'")
            }
        }
        // Both become parts of names that pods look up.
        ("", "Service") => bad_service_name(name),
        ("", "Namespace") => bad_label(name),
        _ => bad_subdomain(name),
    }
}

/// What is wrong with a text as an RFC 1123 subdomain.
pub(super) fn bad_subdomain(name: &str) -> Option<&'static str> {
    let wrong = name.len() > 253 || !name.split('.').all(is_dns_part);
    wrong.then_some(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
         and must start and end with an alphanumeric character",
    )
}

/// What is wrong with a text as an RFC 1123 label.
pub(super) fn bad_label(name: &str) -> Option<&'static str> {
    if name.len() > 63 {
        return Some("must be no more than 63 characters");
    }
    (!is_dns_part(name)).then_some(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
         and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', \
         regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
    )
}

fn bad_service_name(name: &str) -> Option<&'static str> {
    if name.len() > 63 {
        return Some("must be no more than 63 characters");
    }
    let wrong = !is_dns_part(name) || !name.starts_with(|c: char| c.is_ascii_lowercase());
    wrong.then_some(
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
         character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', \
         regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
    )
}

/// What is wrong with the key of a label: a name, or a DNS subdomain, `/` and a name.
fn bad_qualified(key: &str) -> Option<&'static str> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    match prefix {
        Some("") => return Some("prefix part must be non-empty"),
        Some(prefix) if bad_subdomain(prefix).is_some() => {
            return Some(
                "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
                 '-' or '.', and must start and end with an alphanumeric character",
            );
        }
        _ => {}
    }
    if name.is_empty() {
        Some("name part must be non-empty")
    } else if name.len() > 63 {
        Some("name part must be no more than 63 characters")
    } else if !is_name_part(name) {
        Some(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
             alphanumeric character",
        )
    } else {
        None
    }
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
fn is_dns_part(text: &str) -> bool {
    let alnum = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(alnum)
        && bytes.last().is_some_and(alnum)
        && bytes.iter().all(|c| alnum(c) || *c == b'-')
}

/// `[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?`
fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::find;

    fn found(group: &str, version: &str, plural: &str, metadata: Value) -> Vec<String> {
        let mut causes = Vec::new();
        object(&find(group, version, plural).unwrap(), &metadata, &mut causes);
        causes
            .into_iter()
            .map(|(field, problem)| format!("{field}: {problem}"))
            .collect()
    }

    #[test]
    fn names_have_the_syntax_of_their_kind() {
        for (group, plural, good, bad) in [
            ("", "services", "web-1", ["web.example.com", "1-web"]),
            ("", "namespaces", "1-shop", ["shop.eu", "Shop"]),
            ("", "pods", "web.1", ["web..1", "web_1"]),
            (
                "rbac.authorization.k8s.io",
                "roles",
                "system:Node",
                ["a/b", "a%2fb"],
            ),
        ] {
            let of = |name: &str| found(group, "v1", plural, json!({"name": name}));
            assert_eq!(of(good), [""; 0], "{plural}");
            for bad in bad {
                let said = of(bad);
                let start = format!("metadata.name: Invalid value: {bad:?}: ");
                assert!(
                    said.len() == 1 && said[0].starts_with(&start),
                    "{plural}: {said:?}"
                );
            }
            assert_eq!(
                of(""),
                ["metadata.name: Required value: name or generateName is required"]
            );
        }
    }

    #[test]
    fn labels_and_annotations_of_every_kind_are_checked() {
        let chaos = |metadata| found("chaos-mesh.org", "v1alpha1", "podchaos", metadata);
        let good = json!({"name": "x", "labels": {"app": "", "example.com/Tier_1": "a.b-C"},
            "annotations": {"Example.com/Note": "any text\nat all"}});
        assert_eq!(chaos(good), [""; 0]);
        for (marks, wanted) in [
            (
                json!({"labels": {"a b": "c"}}),
                "metadata.labels: Invalid value: \"a b\": name part must consist of",
            ),
            (
                json!({"labels": {"/a": "c"}}),
                "metadata.labels: Invalid value: \"/a\": prefix part must be non-empty",
            ),
            (
                json!({"labels": {"A/a": "c"}}),
                "metadata.labels: Invalid value: \"A/a\": prefix part a lowercase",
            ),
            (
                json!({"labels": {"a": "-c"}}),
                "metadata.labels: Invalid value: \"a=-c\": a valid label",
            ),
            (
                json!({"annotations": {"a\nb": "c"}}),
                "metadata.annotations: Invalid value: \"a\\nb\": name part must consist of",
            ),
            (
                json!({"annotations": {"a": "x".repeat(MOST_ANNOTATIONS)}}),
                "metadata.annotations: Too long",
            ),
        ] {
            let mut metadata = marks;
            metadata["name"] = json!("x");
            let said = chaos(metadata);
            assert!(said.len() == 1 && said[0].starts_with(wanted), "{said:?}");
        }
    }
}
