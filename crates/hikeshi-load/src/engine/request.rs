//! A request under way, and its bytes.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::journey::Journey;
use crate::people::People;
use crate::schedule::Arrival;
use crate::text;

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    pub arrival: Arrival,
    /// When it should have been sent: its latency counts from here.
    pub due: Instant,
    pub person: u32,
    /// The person's lines that it was sent with.
    pub head: Option<Arc<[u8]>>,
    /// It was written once.
    pub sent: bool,
    /// It had a second chance: after a login, or on a fresh connection.
    pub again: bool,
}

impl Request {
    pub fn journey(&self) -> Journey {
        self.arrival.journey
    }

    /// Since the start of the run.
    pub fn at(&self) -> Duration {
        self.arrival.at
    }

    /// The name of the account whose profile it reads.
    pub fn whose<'a>(&self, people: &'a People) -> &'a str {
        people.name(if self.arrival.hot {
            people.hot()
        } else {
            people.pick(self.arrival.dice.rotate_left(32))
        })
    }

    /// Its bytes. `key` makes a post's idempotency key; `text` is room for what people write.
    pub fn write(&self, people: &People, page: u32, key: u64, text: &mut String, out: &mut Vec<u8>) {
        let head = self.head.as_deref().unwrap_or_default();
        let dice = self.arrival.dice;
        // Writing to memory cannot fail.
        let _ = match self.arrival.journey {
            Journey::ReadTimeline => write!(out, "GET /api/timeline?limit={page} HTTP/1.1\r\n"),
            Journey::ReadProfile => {
                let name = self.whose(people);
                write!(out, "GET /api/users/{name}/posts?limit={page} HTTP/1.1\r\n")
            }
            Journey::Search => {
                let word = text::sought(dice).encoded;
                write!(out, "GET /api/search?q={word}&limit={page} HTTP/1.1\r\n")
            }
            Journey::PostMessage => {
                out.extend_from_slice(b"POST /api/posts HTTP/1.1\r\n");
                out.extend_from_slice(head);
                text::write(dice, self.arrival.hot, text);
                let length = text.len() + r#"{"text":""}"#.len();
                let number = self.arrival.number;
                // A post that comes twice, whoever repeats it, is posted once.
                let _ = write!(
                    out,
                    "Content-Type: application/json\r\nContent-Length: {length}\r\n\
                     Idempotency-Key: {key:016x}-{number}\r\n\r\n{{\"text\":\"{text}\"}}"
                );
                return;
            }
        };
        out.extend_from_slice(head);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Login;

    fn written(journey: Journey, hot: bool) -> String {
        let (people, _wanted) = People::new("person", 3, "tenki");
        people.logged_in(
            0,
            "chirpy:80",
            Some(Login {
                token: "t".into(),
                expires_in: None,
            }),
        );
        let arrival = Arrival {
            number: 7,
            at: Duration::ZERO,
            journey,
            dice: 0,
            hot,
        };
        let request = Request {
            arrival,
            due: Instant::now(),
            person: 0,
            head: people.head(0),
            sent: false,
            again: false,
        };
        let mut out = vec![];
        request.write(&people, 20, 0xab, &mut String::new(), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn requests_are_what_chirpy_expects() {
        let lines = "Host: chirpy:80\r\nUser-Agent: hikeshi-load\r\nAuthorization: Bearer t\r\n";
        assert_eq!(
            written(Journey::ReadTimeline, false),
            format!("GET /api/timeline?limit=20 HTTP/1.1\r\n{lines}\r\n")
        );
        assert!(
            written(Journey::ReadProfile, true)
                .starts_with("GET /api/users/tenki/posts?limit=20 HTTP/1.1\r\n")
        );
        let post = written(Journey::PostMessage, false);
        let (head, body) = post.split_once("\r\n\r\n").expect("a body");
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{head}"
        );
        assert!(head.ends_with("Idempotency-Key: 00000000000000ab-7"), "{head}");
        assert_eq!(body, "{\"text\":\"お昼は蕎麦にした #000000\"}");
    }
}
