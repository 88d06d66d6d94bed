//! Sessions in Redis. A session is a family of refresh tokens: each is good once and is followed by the next. A token that
//! comes a second time was stolen, or its thief came first: the whole family ends (RFC 9700, section 4.14.2).

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use redis::Value;
use sha2::{Digest as _, Sha256};

use crate::capacity::{Table, Unit};
use crate::cluster::{Cluster, Pool, slots};
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
        format!("session:{{{}}}", self.family)
    }
}

fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
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
        outcome.map_err(|error| {
            tracing::error!(%error, "Redis failed");
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the session store does not answer",
            )
            .into()
        })
    }

    /// A new session: its first refresh token.
    ///
    /// # Errors
    /// When Redis does not take it, or the table's capacity is used up.
    pub async fn open(&self, user: &Person) -> anyhow::Result<String> {
        self.table.take(Unit::Write)?;
        let (family, secret) = (random(), random());
        let key = format!("session:{{{family}}}");
        let mut packed = redis::cmd("HSET")
            .arg(&key)
            .arg("token")
            .arg(hash(&secret))
            .arg("user")
            .arg(serde_json::to_string(user)?)
            .get_packed_command();
        redis::cmd("EXPIRE")
            .arg(&key)
            .arg(self.lifetime)
            .write_packed_command(&mut packed);
        self.run(&key, packed, 2).await?;
        Ok(format!("{family}.{secret}"))
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

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
