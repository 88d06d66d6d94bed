//! Sessions in Redis. A session is a family of refresh tokens: each is good once and is followed by the next. A token that
//! comes a second time was stolen, or its thief came first: the whole family ends (RFC 9700, section 4.14.2).

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use redis::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::capacity::{Table, Unit};
use crate::cluster::{Cluster, Pool, RedisError, slots};
use crate::deadline;
use crate::follower::Person;
use crate::service::{ApiError, Service, parse_env};

/// See there.
const ROTATE: &str = include_str!("sessions/rotate.lua");

/// What came of a refresh token.
#[derive(Debug)]
pub enum Rotated {
    /// It was good: the session's user and the next token.
    Next(Person, String),
    /// There is no such session any more.
    Ended,
    /// It was used before: the session is ended now.
    Reused,
}

/// The store of sessions.
pub struct Sessions {
    pool: Pool,
    table: Table,
    /// Seconds without a refresh after which a session ends.
    lifetime: u64,
}

/// A refresh token: which session, and the secret that is good once.
struct Token<'a> {
    family: &'a str,
    secret: &'a str,
}

impl<'a> Token<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (family, secret) = text.split_once('.')?;
        let plain = |part: &str| part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        (plain(family) && plain(secret)).then_some(Self { family, secret })
    }

    fn key(&self) -> String {
        key(self.family)
    }
}

fn key(family: &str) -> String {
    format!("session:{{{family}}}")
}

fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// A new session's family, with its key in another third of the slots than these.
fn family(tried: &[i16]) -> String {
    loop {
        let family = random();
        if !tried.contains(&slots::shard(slots::slot(key(&family).as_bytes()))) {
            return family;
        }
    }
}

/// The store holds no token that could be used, only what recognises it.
fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

impl Sessions {
    const DEADLINE: Duration = Duration::from_secs(2);

    /// From `REDIS_POOL_MAX_PER_NODE` and `SESSION_TTL_S`; how much the table takes, see [`Table::from_env`].
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env(service: &mut Service, cluster: Arc<Cluster>) -> anyhow::Result<Self> {
        let per_node = parse_env("REDIS_POOL_MAX_PER_NODE", 4)?;
        Ok(Self {
            table: Table::from_env(service, "sessions")?,
            pool: Pool::new(cluster, per_node, Duration::from_secs(300)),
            lifetime: parse_env("SESSION_TTL_S", 7 * 24 * 3600)?,
        })
    }

    async fn run(&self, key: &str, packed: Vec<u8>, replies: usize) -> anyhow::Result<Vec<Value>> {
        let slot = slots::slot(key.as_bytes());
        let outcome = self.pool.run(slot, packed, replies, Self::DEADLINE).await;
        outcome.map_err(|error| unanswered(&error))
    }

    /// A new session: its first refresh token. Nothing leads to it yet, so where one node does not take it another may.
    ///
    /// # Errors
    /// When no node of Redis takes it, or the table's capacity is used up.
    pub async fn open(&self, user: &Person) -> anyhow::Result<String> {
        self.table.take(Unit::Write)?;
        let user = serde_json::to_string(user)?;
        let until = Instant::now() + deadline::left(Self::DEADLINE);
        let mut tried = vec![];
        loop {
            let (family, secret) = (family(&tried), random());
            let key = key(&family);
            let mut packed = redis::cmd("HSET")
                .arg(&key)
                .arg("token")
                .arg(hash(&secret))
                .arg("user")
                .arg(&user)
                .get_packed_command();
            redis::cmd("EXPIRE")
                .arg(&key)
                .arg(self.lifetime)
                .write_packed_command(&mut packed);
            let slot = slots::slot(key.as_bytes());
            tried.push(slots::shard(slot));
            // An even part of the time for each that is left: one that answers slowly has some of it too.
            let others = usize::try_from(slots::SHARDS)?.saturating_sub(tried.len());
            let left = until.saturating_duration_since(Instant::now());
            let within = left / u32::try_from(others + 1)?;
            match self.pool.run(slot, packed, 2, within).await {
                Ok(_) => return Ok(format!("{family}.{secret}")),
                Err(error) if others > 0 => {
                    tracing::warn!(%error, "Redis did not take a session; another of its nodes is asked");
                }
                Err(error) => return Err(unanswered(&error)),
            }
        }
    }

    /// Takes a refresh token and gives the next.
    ///
    /// # Errors
    /// When Redis does not answer, or the table's capacity is used up.
    pub async fn rotate(&self, token: &str) -> anyhow::Result<Rotated> {
        let Some(token) = Token::parse(token) else {
            return Ok(Rotated::Ended);
        };
        self.table.take(Unit::Read)?;
        self.table.take(Unit::Write)?;
        let (key, next) = (token.key(), random());
        let packed = redis::cmd("EVAL")
            .arg(ROTATE)
            .arg(1)
            .arg(&key)
            .arg(hash(token.secret))
            .arg(hash(&next))
            .arg(self.lifetime)
            .get_packed_command();
        let replies = self.run(&key, packed, 1).await?;
        let parts: Vec<&[u8]> = match replies.first() {
            Some(Value::Array(parts)) => parts.iter().filter_map(bytes).collect(),
            _ => vec![],
        };
        match parts.as_slice() {
            [b"ok", user] => {
                let next = format!("{}.{next}", token.family);
                Ok(Rotated::Next(serde_json::from_slice(user)?, next))
            }
            [b"reused", ..] => Ok(Rotated::Reused),
            [b"ended"] => Ok(Rotated::Ended),
            _ => anyhow::bail!("Redis answered a session's rotation with {replies:?}"),
        }
    }

    /// Ends the session a refresh token belongs to; one that has ended stays so.
    ///
    /// # Errors
    /// When Redis does not answer, or the table's capacity is used up.
    pub async fn end(&self, token: &str) -> anyhow::Result<()> {
        if let Some(token) = Token::parse(token) {
            self.table.take(Unit::Write)?;
            let key = token.key();
            let packed = redis::cmd("DEL").arg(&key).get_packed_command();
            self.run(&key, packed, 1).await?;
        }
        Ok(())
    }
}

fn unanswered(error: &RedisError) -> anyhow::Error {
    tracing::error!(%error, "Redis failed");
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the session store does not answer",
    )
    .into()
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::scripted::{cluster, nobody, node};

    fn sessions(cluster: Arc<Cluster>) -> Sessions {
        Sessions {
            pool: Pool::new(cluster, 4, Duration::from_secs(300)),
            table: Table::from_env(&mut Service::new("test"), "sessions").expect("on demand"),
            lifetime: 60,
        }
    }

    #[tokio::test]
    async fn a_session_opens_while_any_node_takes_it() {
        let (gone, lost) = (nobody().await, nobody().await);
        let well = node(|_| Some(":1\r\n".into())).await;
        let sessions = sessions(cluster(&[&gone, &well, &lost]));
        let user = Person {
            id: 1,
            name: "ai".into(),
        };
        // At random two of three would come to a node that nobody can connect to.
        let opened = futures::future::join_all((0..12).map(|_| sessions.open(&user))).await;
        for token in opened {
            let token = token.expect("opened");
            let token = Token::parse(&token).expect("a token");
            assert_eq!(slots::shard(slots::slot(token.key().as_bytes())), 1);
        }
    }

    #[test]
    fn a_token_names_its_session() {
        let text = format!("{}.{}", random(), random());
        let token = Token::parse(&text).expect("a token");
        assert_eq!(token.key(), format!("session:{{{}}}", &text[..32]));
        for bad in ["", ".", "a.b", &text[1..], &format!("{text}0"), &"}".repeat(65)] {
            assert!(Token::parse(bad).is_none(), "{bad}");
        }
    }
}
