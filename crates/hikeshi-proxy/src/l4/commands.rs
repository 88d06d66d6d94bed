//! One connection's commands, as far as its bytes say what they are. Pure: the time is the caller's.

use std::time::{Duration, Instant};

use super::postgres::Postgres;
use super::resp::Redis;

/// Most commands of one connection that wait for their answer and are timed. Whoever sends more ahead is not timed on.
pub(super) const MOST_WAITING: usize = 1024;

/// The bytes mean something else than was thought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost;

/// A command whose answer is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Command {
    /// Of a fixed set: what is not in it is `other`.
    pub name: &'static str,
    /// From the command's last byte to its answer's last byte, to the pieces in which they came.
    pub took: Duration,
}

/// A connection that may speak a protocol whose commands can be told apart.
#[derive(Debug, Default)]
pub(super) enum Commands {
    /// Nothing has been said yet.
    #[default]
    New,
    Redis(Box<Redis>),
    Postgres(Box<Postgres>),
    /// Something else (TLS, say), or no longer understood.
    Unknown,
}

impl Commands {
    /// As metrics name it.
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::Postgres(_) => "postgresql",
            Self::New | Self::Unknown => "",
        }
    }

    /// Whether it still looks at bytes.
    pub fn is_watching(&self) -> bool {
        !matches!(self, Self::Unknown)
    }

    /// The client has sent `bytes`.
    pub fn asked(&mut self, bytes: &[u8], now: Instant) {
        if let (Self::New, Some(first)) = (&self, bytes.first()) {
            *self = match first {
                b'*' => Self::Redis(Box::default()),
                // A startup message begins with its length, which is below 2^24.
                0 => Self::Postgres(Box::default()),
                _ => Self::Unknown,
            };
        }
        let read = match self {
            Self::Redis(redis) => redis.asked(bytes, now),
            Self::Postgres(postgres) => postgres.asked(bytes, now),
            Self::New | Self::Unknown => Ok(()),
        };
        self.settle(read);
    }

    /// The server has sent `bytes`; `done` hears of each command that is over with them.
    pub fn answered(&mut self, bytes: &[u8], now: Instant, mut done: impl FnMut(Command)) {
        let read = match self {
            Self::Redis(redis) => redis.answered(bytes, now, &mut done),
            Self::Postgres(postgres) => postgres.answered(bytes, now, &mut done),
            // In both protocols the client speaks first.
            Self::New if !bytes.is_empty() => Err(Lost),
            Self::New | Self::Unknown => Ok(()),
        };
        self.settle(read);
    }

    fn settle(&mut self, read: Result<(), Lost>) {
        if read.is_err() {
            *self = Self::Unknown;
        }
    }
}

/// The member of `known` that `word` is, whatever its case.
pub(super) fn name_of(word: &[u8], known: &[&'static str]) -> &'static str {
    known
        .iter()
        .find(|name| name.as_bytes().eq_ignore_ascii_case(word))
        .copied()
        .unwrap_or("other")
}

/// The first bytes of something longer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Beginning {
    bytes: [u8; 16],
    len: u8,
}

impl Beginning {
    pub fn add(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        let count = bytes.len().min(self.bytes.len() - at);
        self.bytes[at..at + count].copy_from_slice(&bytes[..count]);
        // At most 16.
        self.len += count as u8;
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is heard of a conversation that comes in pieces of `size` bytes.
    fn heard(turns: &[(bool, Vec<u8>)], size: usize) -> (Vec<&'static str>, &'static str) {
        let (mut commands, mut names) = (Commands::default(), Vec::new());
        let now = Instant::now();
        for (asked, bytes) in turns {
            for piece in bytes.chunks(size) {
                if *asked {
                    commands.asked(piece, now);
                } else {
                    commands.answered(piece, now, |command| names.push(command.name));
                }
            }
        }
        (names, commands.protocol())
    }

    /// Bytes that are likely to mean something in either protocol.
    fn likely() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            Just(b"*1\r\n$4\r\nPING\r\n".to_vec()),
            Just(b"+OK\r\n".to_vec()),
            Just(b"*2\r\n:1\r\n$-1\r\n".to_vec()),
            Just(b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec()),
            Just(b"\0\0\0\x08\0\x03\0\0".to_vec()),
            Just(b"Z\0\0\0\x05I".to_vec()),
            Just(b"Q\0\0\0\x06;\0".to_vec()),
            Just(b"C\0\0\0\x0aBEGIN\0".to_vec()),
            prop::collection::vec(any::<u8>(), 0..20),
        ];
        prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much_and_the_pieces_do_not_matter(
            turns in prop::collection::vec((any::<bool>(), likely()), 0..8),
            size in 1usize..12,
        ) {
            prop_assert_eq!(heard(&turns, size), heard(&turns, usize::MAX));
        }
    }

    #[test]
    fn what_is_neither_is_left_alone() {
        let (mut tls, now) = (Commands::default(), Instant::now());
        tls.asked(&[0x16, 3, 1, 2, 0], now);
        assert!(!tls.is_watching());
        let mut greeted = Commands::default();
        greeted.answered(b"220 mail\r\n", now, |_| panic!("no command"));
        assert!(!greeted.is_watching());
    }
}
