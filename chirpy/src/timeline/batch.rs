//! Several timeline reads in one request: a line per read, and an answer whose first line says how long each body is.
//!
//! An answer waits for its slowest read, so whoever asks puts reads of one shard together: a slow shard then holds back its
//! own users only. A read that failed has a `-` and its status for a length.

use std::fmt::Write as _;

use axum::http::StatusCode;
use bytes::Bytes;

use crate::cluster::slots;

/// Reads in one request, at most.
pub const MOST: usize = 256;

/// What became of a read: its page, or why there is none.
pub type Page<B> = Result<B, StatusCode>;

/// One page of one timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    pub user: i64,
    /// Entries wanted.
    pub limit: Option<i64>,
    /// Only posts older than this one.
    pub before: Option<i64>,
}

impl Read {
    /// What a plain read asks for; anything else is the router's to judge.
    pub fn asked(user: &str, query: &str) -> Option<Self> {
        let mut read = Self {
            user: user.parse().ok()?,
            limit: None,
            before: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=')? {
                ("limit", text) => read.limit = Some(text.parse().ok()?),
                ("before", text) => read.before = Some(text.parse().ok()?),
                _ => return None,
            }
        }
        Some(read)
    }

    /// The shard that the user's timeline lies in.
    pub fn shard(&self) -> usize {
        let slot = slots::slot(super::key(self.user).as_bytes());
        usize::try_from(slots::shard(slot)).unwrap_or_default()
    }

    /// The user with what is asked for, as [`Read::asked`] takes them apart.
    pub fn path(&self) -> String {
        let mut path = self.user.to_string();
        let mut sign = '?';
        for (name, value) in [("limit", self.limit), ("before", self.before)] {
            if let Some(value) = value {
                // Writing to a String does not fail.
                let _ = write!(path, "{sign}{name}={value}");
                sign = '&';
            }
        }
        path
    }
}

/// The body of a request for these reads.
pub fn ask(reads: &[Read]) -> String {
    let mut body = String::with_capacity(reads.len() * 16);
    for read in reads {
        body.push_str(&read.path());
        body.push('\n');
    }
    body
}

/// The reads that a body asks for; none when it is no such body.
pub fn asked(body: &str) -> Option<Vec<Read>> {
    let reads: Option<Vec<Read>> = body
        .lines()
        .map(|line| {
            let (user, query) = line.split_once('?').unwrap_or((line, ""));
            Read::asked(user, query)
        })
        .collect();
    reads.filter(|reads| reads.len() <= MOST)
}

/// The answer: lengths, then bodies.
pub fn join(pages: &[Page<Vec<u8>>]) -> Vec<u8> {
    let bodies: usize = pages.iter().flatten().map(Vec::len).sum();
    let mut lengths = String::with_capacity(pages.len() * 6);
    for page in pages {
        if !lengths.is_empty() {
            lengths.push(',');
        }
        // Writing to a String does not fail.
        let _ = match page {
            Ok(body) => write!(lengths, "{}", body.len()),
            Err(status) => write!(lengths, "-{}", status.as_u16()),
        };
    }
    lengths.push('\n');
    let mut answer = lengths.into_bytes();
    answer.reserve_exact(bodies);
    for body in pages.iter().flatten() {
        answer.extend_from_slice(body);
    }
    answer
}

/// The pages of an answer, without copying them; none when it is no such answer.
pub fn split(mut answer: Bytes) -> Option<Vec<Page<Bytes>>> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    let line = answer.split_to(end + 1);
    let mut pages = vec![];
    for length in std::str::from_utf8(&line[..end]).ok()?.split(',') {
        if let Some(status) = length.strip_prefix('-') {
            pages.push(Err(StatusCode::from_u16(status.parse().ok()?).ok()?));
            continue;
        }
        let length: usize = length.parse().ok()?;
        if length > answer.len() {
            return None;
        }
        pages.push(Ok(answer.split_to(length)));
    }
    answer.is_empty().then_some(pages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_plain_reads_are_understood() {
        let read = |limit, before| Read {
            user: 7,
            limit,
            before,
        };
        assert_eq!(Read::asked("7", ""), Some(read(None, None)));
        assert_eq!(
            Read::asked("7", "limit=5&before=90"),
            Some(read(Some(5), Some(90)))
        );
        for (user, query) in [
            ("x", ""),
            ("7/authors/8", ""),
            ("7", "limit=x"),
            ("7", "q=1"),
            ("7", "limit"),
        ] {
            assert_eq!(Read::asked(user, query), None, "{user}?{query}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_short_is_none() {
        for wrong in ["", "3", "3\nab", "3\nabcd", "x\nabc", "-\n", "-7\n"] {
            assert_eq!(split(Bytes::copy_from_slice(wrong.as_bytes())), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_asked_and_answered_arrives(
            reads in prop::collection::vec((any::<i64>(), any::<Option<i64>>(), any::<Option<i64>>()), 1..20),
            pages in prop::collection::vec(any::<Result<Vec<u8>, bool>>(), 1..20),
        ) {
            let reads: Vec<Read> = reads.into_iter().map(|(user, limit, before)| Read { user, limit, before }).collect();
            prop_assert_eq!(asked(&ask(&reads)), Some(reads));
            let status = |late| if late { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::SERVICE_UNAVAILABLE };
            let pages: Vec<Page<Vec<u8>>> = pages.into_iter().map(|page| page.map_err(status)).collect();
            let expected: Vec<Page<Bytes>> = pages.iter().cloned().map(|page| page.map(Bytes::from)).collect();
            prop_assert_eq!(split(join(&pages).into()), Some(expected));
        }
    }
}
