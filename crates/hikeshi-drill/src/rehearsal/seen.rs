//! What people saw: taken from outputs, put into words.

use std::collections::BTreeMap;

use regex::Regex;

/// Puts what was seen in place of `{name}`. Braces around anything else stay.
///
/// # Errors
/// The name of a placeholder that nothing has filled: a script must not say what nobody saw.
pub fn fill(text: &str, seen: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let inside = &rest[open + 1..];
        let end = inside.find('}');
        let name = end.map(|e| &inside[..e]).filter(|n| {
            !n.is_empty()
                && n.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        });
        match (name, end) {
            (Some(name), Some(end)) => {
                let value = seen
                    .get(name)
                    .ok_or_else(|| format!("nobody has seen `{{{name}}}` yet"))?;
                out.push_str(value);
                rest = &inside[end + 1..];
            }
            _ => {
                out.push('{');
                rest = inside;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Named groups of the last line that matches, or of the whole output.
pub(super) fn capture(regex: &Regex, output: &str) -> Option<BTreeMap<String, String>> {
    let by_line = output.lines().rev().find_map(|line| regex.captures(line));
    let captures = by_line.or_else(|| regex.captures(output))?;
    let named = regex.capture_names().flatten();
    Some(
        named
            .filter_map(|name| Some((name.to_owned(), captures.name(name)?.as_str().trim().to_owned())))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_seen_can_be_said() {
        let seen = BTreeMap::from([("cpu".to_owned(), "480m".to_owned())]);
        assert_eq!(
            fill("CPU {cpu}, {\"a\": {}} {", &seen),
            Ok("CPU 480m, {\"a\": {}} {".to_owned())
        );
        assert!(fill("{p99}", &seen).expect_err("unknown").contains("p99"));
    }

    #[test]
    fn the_last_matching_line_speaks() {
        let regex = Regex::new(r"rejected_connections:(?<rejected>\d+)").expect("valid");
        let found =
            capture(&regex, "a\nrejected_connections:1\nrejected_connections:22\r\nb").expect("found");
        assert_eq!(found["rejected"], "22");
        assert_eq!(capture(&regex, "nothing"), None);
    }
}
