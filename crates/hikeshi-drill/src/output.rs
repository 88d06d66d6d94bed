//! Outputs of commands, cut to what is kept.

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
