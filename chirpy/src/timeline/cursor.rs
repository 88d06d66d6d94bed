//! Pages of a home timeline by cursor: the last id a reader has. A new post comes before every cursor, so it shifts nothing.

use redis::Cmd;

/// The newest `limit` ids, or the newest older than `before`.
pub fn page(key: &str, before: Option<i64>, limit: i64) -> Cmd {
    let mut command = redis::cmd("ZREVRANGEBYSCORE");
    match before {
        Some(id) => command.arg(key).arg(format!("({id}")),
        None => command.arg(key).arg("+inf"),
    };
    command.arg("-inf").arg("LIMIT").arg(0).arg(limit);
    command
}

/// The newest `limit` ids above `after`, newest first.
pub fn since(key: &str, after: i64, limit: i64) -> Cmd {
    let mut command = redis::cmd("ZREVRANGEBYSCORE");
    command.arg(key).arg("+inf").arg(format!("({after}"));
    command.arg("LIMIT").arg(0).arg(limit);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(command: &Cmd) -> String {
        String::from_utf8(command.get_packed_command()).expect("text")
    }

    #[test]
    fn cursors_exclude_themselves() {
        assert!(text(&page("t", Some(7), 20)).contains("\r\n(7\r\n"));
        assert!(text(&page("t", None, 20)).contains("\r\n+inf\r\n"));
        assert!(text(&since("t", 7, 20)).contains("\r\n(7\r\n"));
    }
}
