//! The log as text: one JSON object a line, appended, never changed. Pure: the caller reads and writes the file.

use jiff::Timestamp;

use crate::event::{Event, LOG_VERSION};

/// What a log's text holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    pub events: Vec<Event>,
    /// Bytes of the whole lines. Shorter than the text when its last line was torn by a crash: cut the file here before appending.
    pub whole_bytes: usize,
}

/// Why a log cannot be read. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "line {line}: written by a newer version of this program (log version {found}, this program reads {LOG_VERSION})"
    )]
    Newer { line: usize, found: u32 },
    #[error("line {line}: event {found} follows event {expected_after}: {} event(s) are missing or repeated", expected_after.abs_diff(*found))]
    Gap {
        line: usize,
        expected_after: u64,
        found: u64,
    },
    #[error("line {line}: the time {at} is before the line above it")]
    TimeWentBack { line: usize, at: Timestamp },
    #[error("line {line}: not an event")]
    Broken {
        line: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("an event could not be written as JSON")]
    Encode(#[from] serde_json::Error),
}

/// One line with its newline.
///
/// # Errors
/// When a value has no JSON form; `decide` makes no such events.
pub fn encode(event: &Event) -> Result<String, LogError> {
    let mut line = serde_json::to_string(event)?;
    line.push('\n');
    Ok(line)
}

/// Reads a whole log. A last line without its newline was never acknowledged to anybody: it is left out.
///
/// # Errors
/// A newer version, a gap, a time going back, or a line that is no event, each with its line number.
pub fn decode(text: &[u8]) -> Result<Decoded, LogError> {
    #[derive(serde::Deserialize)]
    struct Head {
        v: u32,
    }
    let whole_bytes = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let mut events: Vec<Event> = Vec::new();
    for (line, bytes) in (1..).zip(text[..whole_bytes].split_inclusive(|b| *b == b'\n')) {
        // The version first: a newer log may hold kinds that this program cannot name.
        let head: Head = serde_json::from_slice(bytes).map_err(|source| LogError::Broken { line, source })?;
        if head.v > LOG_VERSION {
            return Err(LogError::Newer { line, found: head.v });
        }
        let event: Event =
            serde_json::from_slice(bytes).map_err(|source| LogError::Broken { line, source })?;
        let (last_seq, last_at) = events.last().map_or((0, Timestamp::MIN), |e| (e.seq, e.at));
        if event.seq != last_seq + 1 {
            return Err(LogError::Gap {
                line,
                expected_after: last_seq,
                found: event.seq,
            });
        }
        if event.at < last_at {
            return Err(LogError::TimeWentBack { line, at: event.at });
        }
        events.push(event);
    }
    Ok(Decoded { events, whole_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;

    fn event(seq: u64, second: i64) -> Event {
        let at = Timestamp::from_second(second).expect("in range");
        Event {
            v: LOG_VERSION,
            seq,
            at,
            kind: EventKind::FaultEnded {
                name: "障害.yaml".into(),
            },
        }
    }

    fn log(events: &[Event]) -> Vec<u8> {
        events
            .iter()
            .map(|e| encode(e).expect("encodes"))
            .collect::<String>()
            .into_bytes()
    }

    #[test]
    fn a_line_torn_at_any_byte_is_left_out() {
        let whole = log(&[event(1, 10)]);
        let both = log(&[event(1, 10), event(2, 11)]);
        for cut in whole.len()..both.len() {
            let read = decode(&both[..cut]).expect("torn tails are tolerated");
            assert_eq!(
                (read.events.len(), read.whole_bytes),
                (1, whole.len()),
                "cut at {cut}"
            );
        }
        assert_eq!(decode(&both).expect("whole").events, [event(1, 10), event(2, 11)]);
    }

    #[test]
    fn gaps_time_and_versions_are_named() {
        let message = |events: &[Event]| decode(&log(events)).expect_err("must be refused").to_string();
        assert!(message(&[event(1, 10), event(3, 11)]).contains("line 2: event 3 follows event 1"));
        assert!(message(&[event(1, 10), event(2, 9)]).contains("before the line above"));
        assert!(
            message(&[Event {
                v: LOG_VERSION + 1,
                ..event(1, 1)
            }])
            .contains("newer version")
        );
        assert!(
            decode(b"{}\n")
                .expect_err("no event")
                .to_string()
                .starts_with("line 1")
        );
    }
}
