//! PostgreSQL's protocol, version 3: simple queries, and the extended protocol's executions. What a command is called, the
//! server says when it completes it, so no SQL is read.

use std::collections::VecDeque;
use std::time::Instant;

use super::commands::{Beginning, Command, Lost, MOST_WAITING, name_of};

/// Commands (a completion's first word) with a name of their own in metrics.
const KNOWN: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "START",
    "SAVEPOINT",
    "RELEASE",
    "FETCH",
    "MOVE",
    "COPY",
    "CREATE",
    "ALTER",
    "DROP",
    "TRUNCATE",
    "SET",
    "RESET",
    "SHOW",
    "DISCARD",
    "PREPARE",
    "EXECUTE",
    "DEALLOCATE",
    "DECLARE",
    "CLOSE",
    "LISTEN",
    "UNLISTEN",
    "NOTIFY",
    "LOCK",
    "EXPLAIN",
    "ANALYZE",
    "VACUUM",
    "CALL",
    "DO",
    "GRANT",
    "REVOKE",
    "REFRESH",
];
/// A command that ended in an error, whichever it was.
const FAILED: &str = "ERROR";

/// The codes in a startup message's place.
const VERSION_3: u32 = 3 << 16;
const TLS: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const LONGEST_STARTUP: u32 = 10_000;

/// What the server still has to answer.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    /// A simple query: any number of completions until the server is ready again.
    Query(Instant),
    Execute(Instant),
    /// The end of a batch.
    Sync,
}

/// A connection to PostgreSQL.
#[derive(Debug, Default)]
pub(super) struct Postgres {
    client: Stage,
    asking: Message,
    answering: Message,
    waiting: VecDeque<Waiting>,
}

/// Where the client is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// In its startup message, of which these bytes have come.
    #[default]
    Startup,
    /// It has asked for encryption; the server answers with one byte.
    Encryption,
    Started,
}

/// One message as it comes: perhaps a type, a length that counts itself, and the rest.
#[derive(Debug, Default)]
struct Message {
    header: [u8; 5],
    have: usize,
    left: u64,
    beginning: Beginning,
}

impl Message {
    /// Reads a header of 5 bytes (of a startup message: 4), then the rest. The type and the rest's beginning when whole.
    fn read(&mut self, bytes: &mut &[u8], typed: bool) -> Result<Option<(u8, Beginning)>, Lost> {
        let from = usize::from(!typed);
        if self.have == 0 {
            self.have = from;
        }
        if self.have < 5 {
            let count = bytes.len().min(5 - self.have);
            self.header[self.have..self.have + count].copy_from_slice(&bytes[..count]);
            self.have += count;
            *bytes = &bytes[count..];
            if self.have < 5 {
                return Ok(None);
            }
            let [_, length @ ..] = self.header;
            let length = u32::from_be_bytes(length);
            // The highest bit would be a negative length.
            if !(4..1 << 31).contains(&length) || (!typed && length > LONGEST_STARTUP) {
                return Err(Lost);
            }
            self.left = u64::from(length - 4);
        }
        let here = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.beginning.add(&bytes[..here]);
        *bytes = &bytes[here..];
        self.left -= here as u64;
        if self.left > 0 {
            return Ok(None);
        }
        self.have = 0;
        Ok(Some((self.header[0], std::mem::take(&mut self.beginning))))
    }
}

impl Postgres {
    pub fn asked(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Lost> {
        while !bytes.is_empty() {
            match self.client {
                Stage::Startup => {
                    let Some((_, rest)) = self.asking.read(&mut bytes, false)? else {
                        continue;
                    };
                    let code = rest.bytes().first_chunk().ok_or(Lost)?;
                    self.client = match u32::from_be_bytes(*code) {
                        TLS | GSS => Stage::Encryption,
                        code if code >> 16 == VERSION_3 >> 16 => Stage::Started,
                        // An order to cancel, or something new.
                        _ => return Err(Lost),
                    };
                }
                // Whoever does not wait for the answer does not care for it.
                Stage::Encryption => return Err(Lost),
                Stage::Started => {
                    let Some((kind, _)) = self.asking.read(&mut bytes, true)? else {
                        continue;
                    };
                    let waits = match kind {
                        b'Q' => Waiting::Query(now),
                        b'E' => Waiting::Execute(now),
                        // A function's call ends as a batch does.
                        b'S' | b'F' => Waiting::Sync,
                        _ => continue,
                    };
                    if self.waiting.len() == MOST_WAITING {
                        return Err(Lost);
                    }
                    self.waiting.push_back(waits);
                }
            }
        }
        Ok(())
    }

    pub fn answered(
        &mut self,
        mut bytes: &[u8],
        now: Instant,
        done: &mut impl FnMut(Command),
    ) -> Result<(), Lost> {
        while let Some((first, rest)) = bytes.split_first() {
            match self.client {
                Stage::Startup => return Err(Lost),
                Stage::Encryption if *first == b'N' => {
                    bytes = rest;
                    self.client = Stage::Startup;
                }
                // From here on it is encrypted, or refused.
                Stage::Encryption => return Err(Lost),
                Stage::Started => {
                    if let Some((kind, beginning)) = self.answering.read(&mut bytes, true)? {
                        self.message(kind, beginning.bytes(), now, done)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// One of the server's messages.
    fn message(
        &mut self,
        kind: u8,
        beginning: &[u8],
        now: Instant,
        done: &mut impl FnMut(Command),
    ) -> Result<(), Lost> {
        let name = match kind {
            b'C' => {
                let word = beginning.split(|byte| matches!(byte, b' ' | 0)).next();
                name_of(word.unwrap_or_default(), KNOWN)
            }
            // As many rows as were asked for, and there are more.
            b's' => "FETCH",
            // An empty query.
            b'I' => "other",
            b'E' => FAILED,
            b'Z' => {
                while let Some(over) = self.waiting.pop_front() {
                    if !matches!(over, Waiting::Execute(_)) {
                        break;
                    }
                }
                return Ok(());
            }
            // Replication: both speak when they like.
            b'W' => return Err(Lost),
            _ => return Ok(()),
        };
        let asked = match self.waiting.front() {
            Some(Waiting::Query(asked)) => *asked,
            Some(Waiting::Execute(asked)) => {
                let asked = *asked;
                self.waiting.pop_front();
                asked
            }
            // Of an earlier step (a statement that cannot be parsed), or of nothing that was asked.
            Some(Waiting::Sync) | None => return Ok(()),
        };
        let took = now.saturating_duration_since(asked);
        done(Command { name, took });
        if kind == b'E' {
            // The rest of the batch is passed over.
            while matches!(self.waiting.front(), Some(Waiting::Execute(_))) {
                self.waiting.pop_front();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message(kind: u8, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(rest.len() + 4).unwrap().to_be_bytes();
        [&[kind], &length[..], rest].concat()
    }

    fn startup(code: u32, rest: &[u8]) -> Vec<u8> {
        message(0, &[&code.to_be_bytes(), rest].concat())[1..].to_vec()
    }

    /// A connection whose server is ready.
    fn started() -> Postgres {
        let (mut postgres, now) = (Postgres::default(), Instant::now());
        postgres.asked(&startup(VERSION_3, b"user\0me\0\0"), now).unwrap();
        let ready = [
            message(b'R', &[0; 4]),
            message(b'S', b"a\0b\0"),
            message(b'Z', b"I"),
        ]
        .concat();
        assert!(hear(&mut postgres, &ready, now).is_empty());
        postgres
    }

    fn hear(postgres: &mut Postgres, bytes: &[u8], now: Instant) -> Vec<(&'static str, u128)> {
        let mut all = Vec::new();
        postgres
            .answered(bytes, now, &mut |command| {
                all.push((command.name, command.took.as_millis()))
            })
            .unwrap();
        all
    }

    #[test]
    fn a_query_of_several_statements_is_several_commands() {
        let (mut postgres, begun) = (started(), Instant::now());
        postgres
            .asked(&message(b'Q', b"begin; select 1; nonsense\0"), begun)
            .unwrap();
        let answers = [
            message(b'C', b"BEGIN\0"),
            message(b'T', b"..."),
            message(b'D', &[7; 300]),
            message(b'C', b"SELECT 1\0"),
            message(b'E', b"SERROR\0\0"),
            message(b'Z', b"E"),
        ];
        let heard = hear(&mut postgres, &answers.concat(), begun + Duration::from_millis(4));
        assert_eq!(heard, [("BEGIN", 4), ("SELECT", 4), ("ERROR", 4)]);
        assert!(postgres.waiting.is_empty());
    }

    #[test]
    fn executions_are_timed_each_and_an_error_passes_over_the_rest_of_its_batch() {
        let (mut postgres, begun) = (started(), Instant::now());
        let execute = || message(b'E', b"\0\0\0\0\0");
        let batch = [
            message(b'P', b"s\0select 1\0\0\0"),
            message(b'B', b"\0s\0"),
            execute(),
            message(b'S', b""),
        ];
        postgres.asked(&batch.concat(), begun).unwrap();
        let bad = [
            execute(),
            execute(),
            message(b'S', b""),
            execute(),
            message(b'S', b""),
        ];
        postgres
            .asked(&bad.concat(), begun + Duration::from_millis(1))
            .unwrap();
        let answers = [
            message(b'1', b""),
            message(b'2', b""),
            message(b'C', b"INSERT 0 1\0"),
            message(b'Z', b"I"),
            message(b'E', b"SERROR\0\0"),
            message(b'Z', b"I"),
            message(b's', b""),
            message(b'Z', b"I"),
        ];
        let heard = hear(&mut postgres, &answers.concat(), begun + Duration::from_millis(5));
        assert_eq!(heard, [("INSERT", 5), ("ERROR", 4), ("FETCH", 4)]);
        assert!(postgres.waiting.is_empty());
    }

    #[test]
    fn encryption_that_is_refused_goes_on_in_the_clear_and_otherwise_nothing_is_read() {
        let now = Instant::now();
        let mut clear = Postgres::default();
        clear.asked(&startup(GSS, b""), now).unwrap();
        assert!(hear(&mut clear, b"N", now).is_empty());
        clear.asked(&startup(TLS, b""), now).unwrap();
        assert!(hear(&mut clear, b"N", now).is_empty());
        clear.asked(&startup(VERSION_3, b"user\0me\0\0"), now).unwrap();
        let mut tls = Postgres::default();
        tls.asked(&startup(TLS, b""), now).unwrap();
        assert_eq!(tls.answered(b"S", now, &mut |_| {}), Err(Lost));
        let cancel = startup(80_877_102, &[0; 8]);
        assert_eq!(Postgres::default().asked(&cancel, now), Err(Lost));
        assert_eq!(Postgres::default().asked(&[0, 0, 0, 3], now), Err(Lost));
        assert_eq!(started().asked(b"Q\xff\xff\xff\xff", now), Err(Lost));
    }
}
