//! Outputs of commands: cut to what is kept, and what they say of their end.

/// The last whole lines that fit into `most` bytes.
pub fn tail(output: &str, most: usize) -> String {
    if output.len() <= most {
        return output.to_owned();
    }
    let mut start = output.len() - most;
    while !output.is_char_boundary(start) {
        start += 1;
    }
    let cut = &output[start..];
    match cut.find('\n') {
        Some(end) if end + 1 < cut.len() => cut[end + 1..].to_owned(),
        _ => cut.to_owned(),
    }
}

/// Whether a command was turned away and did nothing: it failed, and all it printed is errors. One that did a part of its
/// work says so between them.
pub fn refused(exit_code: Option<i32>, output: &str) -> bool {
    let mut lines = output.lines().filter(|line| !line.trim().is_empty()).peekable();
    exit_code.is_some_and(|code| code != 0)
        && lines.peek().is_some()
        && lines.all(|line| line.to_lowercase().starts_with("error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_printed_errors_and_nothing_else_was_refused() {
        let forbidden = "Error from server (Forbidden): nodes \"node-a\" is forbidden\n";
        assert!(refused(Some(1), forbidden));
        assert!(refused(Some(1), "error: no objects passed to apply\n\n"));
        assert!(!refused(Some(0), forbidden));
        assert!(!refused(None, forbidden));
        let partly = "pod \"a\" deleted\nError from server (NotFound): pods \"b\" not found\n";
        assert!(!refused(Some(1), partly));
        // A program in a pod may have come halfway, and so may one that was cut off.
        assert!(!refused(
            Some(7),
            "ERROR: 3\ncommand terminated with exit code 7\n"
        ));
        assert!(!refused(Some(124), ""));
    }
}
