//! Redis' protocol (RESP2 and RESP3): commands as arrays of bulk strings, one answer to each, in their order.

use std::collections::VecDeque;
use std::time::Instant;

use super::commands::{Beginning, Command, Lost, MOST_WAITING, name_of};

/// Commands with a name of their own in metrics.
const KNOWN: &[&str] = &[
    "APPEND",
    "AUTH",
    "BLMOVE",
    "BLPOP",
    "BRPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "CLIENT",
    "COMMAND",
    "CONFIG",
    "DBSIZE",
    "DECR",
    "DECRBY",
    "DEL",
    "DISCARD",
    "ECHO",
    "EVAL",
    "EVALSHA",
    "EXEC",
    "EXISTS",
    "EXPIRE",
    "FCALL",
    "FLUSHALL",
    "FLUSHDB",
    "GET",
    "GETDEL",
    "GETEX",
    "GETRANGE",
    "HDEL",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HINCRBY",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HMSET",
    "HSCAN",
    "HSET",
    "HSETNX",
    "HVALS",
    "INCR",
    "INCRBY",
    "INFO",
    "KEYS",
    "LINDEX",
    "LLEN",
    "LMOVE",
    "LPOP",
    "LPUSH",
    "LRANGE",
    "LREM",
    "LTRIM",
    "MGET",
    "MSET",
    "MULTI",
    "PERSIST",
    "PEXPIRE",
    "PFADD",
    "PFCOUNT",
    "PING",
    "PTTL",
    "PUBLISH",
    "RPOP",
    "RPUSH",
    "SADD",
    "SCAN",
    "SCARD",
    "SCRIPT",
    "SDIFF",
    "SELECT",
    "SET",
    "SETEX",
    "SETNX",
    "SINTER",
    "SISMEMBER",
    "SMEMBERS",
    "SMISMEMBER",
    "SPOP",
    "SRANDMEMBER",
    "SREM",
    "SSCAN",
    "STRLEN",
    "SUNION",
    "TTL",
    "TYPE",
    "UNLINK",
    "UNWATCH",
    "WAIT",
    "WATCH",
    "XACK",
    "XADD",
    "XAUTOCLAIM",
    "XDEL",
    "XGROUP",
    "XLEN",
    "XPENDING",
    "XRANGE",
    "XREAD",
    "XREADGROUP",
    "XREVRANGE",
    "XTRIM",
    "ZADD",
    "ZCARD",
    "ZCOUNT",
    "ZINCRBY",
    "ZPOPMAX",
    "ZPOPMIN",
    "ZRANGE",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZREM",
    "ZREMRANGEBYRANK",
    "ZREMRANGEBYSCORE",
    "ZREVRANGE",
    "ZREVRANGEBYSCORE",
    "ZREVRANK",
    "ZSCORE",
    "HELLO",
];
/// After these the server speaks when it likes.
const ENDLESS: &[&str] = &[
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "SSUBSCRIBE",
    "MONITOR",
    "SYNC",
    "PSYNC",
    "REPLCONF",
];

/// Redis' own limits: arguments of a command, bytes of a string.
const MOST_ARGUMENTS: u64 = 1024 * 1024;
const MOST_BYTES: u64 = 512 * 1024 * 1024;
/// Deepest answer that is followed.
const DEEPEST: usize = 8;

/// A connection to Redis.
#[derive(Debug, Default)]
pub(super) struct Redis {
    asking: Asking,
    answering: Answering,
    /// Commands without their answer, with the time of their last byte.
    waiting: VecDeque<(&'static str, Instant)>,
}

impl Redis {
    pub fn asked(&mut self, bytes: &[u8], now: Instant) -> Result<(), Lost> {
        let waiting = &mut self.waiting;
        self.asking.read(bytes, |words| {
            let [name, second] = words;
            let silent = name.eq_ignore_ascii_case(b"CLIENT") && second.eq_ignore_ascii_case(b"REPLY");
            if silent || name_of(name, ENDLESS) != "other" || waiting.len() == MOST_WAITING {
                return Err(Lost);
            }
            waiting.push_back((name_of(name, KNOWN), now));
            Ok(())
        })
    }

    pub fn answered(
        &mut self,
        bytes: &[u8],
        now: Instant,
        done: &mut impl FnMut(Command),
    ) -> Result<(), Lost> {
        let waiting = &mut self.waiting;
        self.answering.read(bytes, || {
            let (name, asked) = waiting.pop_front().ok_or(Lost)?;
            let took = now.saturating_duration_since(asked);
            done(Command { name, took });
            Ok(())
        })
    }
}

/// A number and CR LF, as they come.
#[derive(Debug, Clone, Copy, Default)]
struct Number {
    value: u64,
    digits: u8,
    negative: bool,
    ending: bool,
}

impl Number {
    /// The number, once its line is over; `Some(None)` is -1, which means that there is nothing.
    fn read(&mut self, byte: u8) -> Result<Option<Option<u64>>, Lost> {
        match byte {
            b'\n' if self.ending => Ok(Some(if self.negative { None } else { Some(self.value) })),
            _ if self.ending => Err(Lost),
            b'\r' if self.digits > 0 && (!self.negative || self.value == 1) => {
                self.ending = true;
                Ok(None)
            }
            b'-' if self.digits == 0 && !self.negative => {
                self.negative = true;
                Ok(None)
            }
            b'0'..=b'9' if self.digits < 18 => {
                self.digits += 1;
                self.value = self.value * 10 + u64::from(byte - b'0');
                Ok(None)
            }
            _ => Err(Lost),
        }
    }
}

/// The reader of commands.
#[derive(Debug, Default)]
struct Asking {
    state: Ask,
    /// Arguments that are still to come, the one at hand included.
    left: u64,
    /// Arguments that have come.
    place: u64,
    words: [Beginning; 2],
}

#[derive(Debug, Clone, Copy, Default)]
enum Ask {
    #[default]
    Star,
    Arguments(Number),
    Dollar,
    Length(Number),
    /// Bytes of the argument, then its CR LF.
    Data(u64, u64),
}

impl Asking {
    fn read(
        &mut self,
        mut bytes: &[u8],
        mut whole: impl FnMut([&[u8]; 2]) -> Result<(), Lost>,
    ) -> Result<(), Lost> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let Ask::Data(left, end) = &mut self.state {
                let here = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let place = usize::try_from(self.place).unwrap_or(usize::MAX);
                if let Some(word) = self.words.get_mut(place) {
                    word.add(&bytes[..here]);
                }
                *left -= here as u64;
                let after = &bytes[here..];
                let skipped = after.len().min(usize::try_from(*end).unwrap_or(usize::MAX));
                *end -= skipped as u64;
                bytes = &after[skipped..];
                if (*left, *end) == (0, 0) {
                    self.place += 1;
                    self.left -= 1;
                    self.state = if self.left > 0 { Ask::Dollar } else { Ask::Star };
                    if self.left == 0 {
                        whole([self.words[0].bytes(), self.words[1].bytes()])?;
                    }
                }
                continue;
            }
            bytes = rest;
            self.state = match (self.state, byte) {
                (Ask::Star, b'*') => Ask::Arguments(Number::default()),
                (Ask::Dollar, b'$') => Ask::Length(Number::default()),
                (Ask::Arguments(mut number), byte) => match number.read(byte)? {
                    None => Ask::Arguments(number),
                    Some(Some(count @ 1..=MOST_ARGUMENTS)) => {
                        (self.left, self.place) = (count, 0);
                        self.words = Default::default();
                        Ask::Dollar
                    }
                    Some(_) => return Err(Lost),
                },
                (Ask::Length(mut number), byte) => match number.read(byte)? {
                    None => Ask::Length(number),
                    Some(Some(length @ 0..=MOST_BYTES)) => Ask::Data(length, 2),
                    Some(_) => return Err(Lost),
                },
                // An inline command, or nothing of Redis' at all.
                _ => return Err(Lost),
            };
        }
        Ok(())
    }
}

/// The reader of answers.
#[derive(Debug, Default)]
struct Answering {
    state: Answer,
    /// How many elements each open collection still wants, the outermost first.
    open: Vec<u64>,
    /// It answers no command: a push, or attributes of what follows.
    aside: bool,
}

#[derive(Debug, Clone, Copy, Default)]
enum Answer {
    #[default]
    Kind,
    Line,
    Text(Number),
    /// A collection, and how many elements each of its members has.
    Elements(Number, u64),
    Data(u64),
}

impl Answering {
    fn read(&mut self, mut bytes: &[u8], mut whole: impl FnMut() -> Result<(), Lost>) -> Result<(), Lost> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match &mut self.state {
                Answer::Kind => {
                    bytes = rest;
                    self.state = self.begin(byte)?;
                }
                Answer::Line => match bytes.iter().position(|byte| *byte == b'\n') {
                    Some(end) => {
                        bytes = &bytes[end + 1..];
                        self.end(&mut whole)?;
                    }
                    None => return Ok(()),
                },
                Answer::Text(number) => {
                    bytes = rest;
                    match number.read(byte)? {
                        None => {}
                        Some(None) => self.end(&mut whole)?,
                        Some(Some(length)) if length <= MOST_BYTES => self.state = Answer::Data(length + 2),
                        Some(Some(_)) => return Err(Lost),
                    }
                }
                Answer::Elements(number, each) => {
                    bytes = rest;
                    let each = *each;
                    match number.read(byte)? {
                        None => {}
                        Some(None | Some(0)) => self.end(&mut whole)?,
                        Some(Some(_)) if self.open.len() == DEEPEST => return Err(Lost),
                        Some(Some(count)) => {
                            self.open.push(count * each);
                            self.state = Answer::Kind;
                        }
                    }
                }
                Answer::Data(left) => {
                    let here = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= here as u64;
                    bytes = &bytes[here..];
                    if *left == 0 {
                        self.end(&mut whole)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, kind: u8) -> Result<Answer, Lost> {
        let aside = matches!(kind, b'>' | b'|');
        if aside && !self.open.is_empty() {
            return Err(Lost);
        }
        if self.open.is_empty() {
            self.aside = aside;
        }
        Ok(match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Answer::Line,
            b'$' | b'=' | b'!' => Answer::Text(Number::default()),
            b'*' | b'~' | b'>' => Answer::Elements(Number::default(), 1),
            b'%' | b'|' => Answer::Elements(Number::default(), 2),
            _ => return Err(Lost),
        })
    }

    /// One value is over, and with it perhaps those it is in.
    fn end(&mut self, whole: &mut impl FnMut() -> Result<(), Lost>) -> Result<(), Lost> {
        self.state = Answer::Kind;
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return Ok(());
            }
            self.open.pop();
        }
        if self.aside { Ok(()) } else { whole() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn names(redis: &mut Redis, bytes: &[u8], now: Instant) -> Result<Vec<Command>, Lost> {
        let mut all = Vec::new();
        redis
            .answered(bytes, now, &mut |command| all.push(command))
            .map(|()| all)
    }

    #[test]
    fn answers_meet_their_commands_in_order_and_take_the_time_between() {
        let (mut redis, begun) = (Redis::default(), Instant::now());
        redis
            .asked(b"*2\r\n$3\r\nget\r\n$1\r\nk\r\n*1\r\n$9\r\nNEWTHING1\r\n", begun)
            .unwrap();
        let later = begun + Duration::from_millis(3);
        redis
            .asked(b"*3\r\n$6\r\nLRANGE\r\n$1\r\nl\r\n$0\r\n\r\n", later)
            .unwrap();
        let end = begun + Duration::from_millis(10);
        let answers = b"$-1\r\n-ERR unknown\r\n*3\r\n*0\r\n$5\r\na\r\nb\n\r\n%1\r\n+k\r\n*1\r\n:7\r\n";
        let command = |name, millis| Command {
            name,
            took: Duration::from_millis(millis),
        };
        assert_eq!(
            names(&mut redis, answers, end).unwrap(),
            [command("GET", 10), command("other", 10), command("LRANGE", 7)]
        );
    }

    #[test]
    fn what_the_server_says_of_its_own_answers_nothing() {
        let (mut redis, now) = (Redis::default(), Instant::now());
        redis.asked(b"*1\r\n$4\r\nPING\r\n", now).unwrap();
        let got = names(
            &mut redis,
            b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n|1\r\n+ttl\r\n:9\r\n+PONG\r\n",
            now,
        );
        assert_eq!(got.unwrap().len(), 1);
        assert_eq!(names(&mut redis, b"+PONG\r\n", now), Err(Lost));
    }

    #[test]
    fn what_has_no_one_answer_is_not_timed() {
        for command in [
            "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n",
            "*3\r\n$6\r\nclient\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n",
            "PING\r\n",
            "*0\r\n",
            "*-1\r\n",
            "*1\r\n:1\r\n",
        ] {
            assert_eq!(
                Redis::default().asked(command.as_bytes(), Instant::now()),
                Err(Lost),
                "{command:?}"
            );
        }
        let (mut redis, now) = (Redis::default(), Instant::now());
        for _ in 0..MOST_WAITING {
            redis.asked(b"*1\r\n$4\r\nPING\r\n", now).unwrap();
        }
        assert_eq!(redis.asked(b"*1\r\n$4\r\nPING\r\n", now), Err(Lost));
    }
}
