//! auth-service: accounts in PostgreSQL, sessions (refresh tokens) in Redis.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher as _, PasswordVerifier as _};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;

use crate::cluster::{Cluster, Pool, slots};
use crate::database;
use crate::follower::Person;
use crate::service::{ApiError, Service, parse_env};
use crate::token::Keys;

/// Name and password.
#[derive(Debug, Serialize, Deserialize)]
pub struct Credentials {
    pub name: String,
    pub password: String,
}

/// What login and refresh give.
#[derive(Debug, Serialize, Deserialize)]
pub struct Session {
    pub token: String,
    pub refresh_token: String,
    /// Seconds.
    pub expires_in: i64,
    pub user: Person,
}

/// A refresh token.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refresh {
    pub refresh_token: String,
}

struct Auth {
    database: deadpool_postgres::Pool,
    sessions: Pool,
    hasher: Argon2<'static>,
    keys: Keys,
    session_ttl: u64,
}

/// The password hash with `ARGON2_MEMORY_KIB` and `ARGON2_ITERATIONS`, cheap by default: this is a drill's login.
///
/// # Errors
/// When a variable does not parse or is out of Argon2's range.
pub fn hasher() -> anyhow::Result<Argon2<'static>> {
    let params = Params::new(
        parse_env("ARGON2_MEMORY_KIB", 64)?,
        parse_env("ARGON2_ITERATIONS", 1)?,
        1,
        None,
    )
    .map_err(|error| anyhow::anyhow!("Argon2 parameters: {error}"))?;
    Ok(Argon2::new(
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        params,
    ))
}

/// Hashes a password with a fresh salt.
///
/// # Errors
/// When the system's randomness fails.
pub fn hash(hasher: &Argon2<'_>, password: &str) -> anyhow::Result<String> {
    let hash = hasher
        .hash_password(password.as_bytes())
        .map_err(|error| anyhow::anyhow!("hashing: {error}"))?;
    Ok(hash.to_string())
}

/// Runs the role.
///
/// # Errors
/// Wrong configuration, or a port that is taken.
pub async fn run() -> anyhow::Result<()> {
    let mut service = Service::new("auth-service");
    let cluster = Cluster::from_env(&mut service)?;
    let auth = Arc::new(Auth {
        database: database::pool()?,
        sessions: Pool::new(
            cluster.clone(),
            parse_env("REDIS_POOL_MAX_PER_NODE", 4)?,
            Duration::from_secs(300),
        ),
        hasher: hasher()?,
        keys: Keys::from_env()?,
        session_ttl: parse_env("SESSION_TTL_S", 7 * 24 * 3600)?,
    });
    let check = auth.clone();
    service.ready_when("PostgreSQL and Redis Cluster", move || {
        let (auth, cluster) = (check.clone(), cluster.clone());
        async move {
            database::migrated(&auth.database).await?;
            anyhow::ensure!(
                cluster.map().await.covered() == 16384,
                "some slots are not served"
            );
            Ok(())
        }
    });
    let routes = Router::new()
        .route("/register", post(register))
        .route("/login", post(login))
        .route("/refresh", post(refresh))
        .route("/logout", post(logout))
        .route("/users/{name}", get(user))
        .with_state(auth);
    service.serve(routes).await
}

fn valid_name(name: &str) -> bool {
    (2..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

async fn register(
    State(auth): State<Arc<Auth>>,
    Json(new): Json<Credentials>,
) -> Result<(StatusCode, Json<Person>), ApiError> {
    if !valid_name(&new.name) {
        return Err(ApiError::bad_request(
            "a name is 2 to 32 small letters, digits or underscores",
        ));
    }
    if new.password.len() < 6 {
        return Err(ApiError::bad_request("a password has at least 6 characters"));
    }
    let hash = hash(&auth.hasher, &new.password)?;
    let client = auth.database.get().await?;
    let insert = "INSERT INTO users (name, password_hash) VALUES ($1, $2) RETURNING id";
    match client.query_one(insert, &[&new.name, &hash]).await {
        Ok(row) => Ok((
            StatusCode::CREATED,
            Json(Person {
                id: row.try_get(0)?,
                name: new.name,
            }),
        )),
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("the name {} is taken", new.name),
        )),
        Err(error) => Err(error.into()),
    }
}

async fn login(
    State(auth): State<Arc<Auth>>,
    Json(given): Json<Credentials>,
) -> Result<Json<Session>, ApiError> {
    let wrong = || ApiError::new(StatusCode::UNAUTHORIZED, "wrong name or password");
    let client = auth.database.get().await?;
    let statement = client
        .prepare_cached("SELECT id, password_hash FROM users WHERE name = $1")
        .await?;
    let row = client
        .query_opt(&statement, &[&given.name])
        .await?
        .ok_or_else(wrong)?;
    let (id, hash): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
    let parsed = PasswordHash::new(&hash).map_err(|error| anyhow::anyhow!("user {id}'s hash: {error}"))?;
    auth.hasher
        .verify_password(given.password.as_bytes(), &parsed)
        .map_err(|_| wrong())?;
    auth.open(Person { id, name: given.name }).await
}

fn session_key(token: &str) -> String {
    format!("session:{{{token}}}")
}

impl Auth {
    const DEADLINE: Duration = Duration::from_secs(2);

    async fn redis(&self, key: &str, command: &redis::Cmd) -> Result<redis::Value, ApiError> {
        let slot = slots::slot(key.as_bytes());
        let mut replies = self
            .sessions
            .run(slot, command.get_packed_command(), 1, Self::DEADLINE)
            .await?;
        Ok(replies.pop().context("no reply")?)
    }

    async fn open(&self, user: Person) -> Result<Json<Session>, ApiError> {
        let token = self.keys.sign(user.id, &user.name)?;
        let refresh_token = uuid::Uuid::new_v4().simple().to_string();
        let key = session_key(&refresh_token);
        let value = serde_json::to_string(&user).context("a session")?;
        self.redis(
            &key,
            redis::cmd("SET")
                .arg(&key)
                .arg(value)
                .arg("EX")
                .arg(self.session_ttl),
        )
        .await?;
        Ok(Json(Session {
            token,
            refresh_token,
            expires_in: self.keys.lifetime,
            user,
        }))
    }
}

/// A refresh token is good once: using it opens a new session.
async fn refresh(
    State(auth): State<Arc<Auth>>,
    Json(given): Json<Refresh>,
) -> Result<Json<Session>, ApiError> {
    let key = session_key(&given.refresh_token);
    match auth.redis(&key, redis::cmd("GETDEL").arg(&key)).await? {
        redis::Value::BulkString(user) => {
            auth.open(serde_json::from_slice(&user).context("a session")?)
                .await
        }
        _ => Err(ApiError::new(StatusCode::UNAUTHORIZED, "the session has ended")),
    }
}

async fn logout(State(auth): State<Arc<Auth>>, Json(given): Json<Refresh>) -> Result<StatusCode, ApiError> {
    let key = session_key(&given.refresh_token);
    auth.redis(&key, redis::cmd("DEL").arg(&key)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn user(State(auth): State<Arc<Auth>>, Path(name): Path<String>) -> Result<Json<Person>, ApiError> {
    let client = auth.database.get().await?;
    let statement = client
        .prepare_cached("SELECT id FROM users WHERE name = $1")
        .await?;
    let row = client.query_opt(&statement, &[&name]).await?;
    let id = row
        .ok_or_else(|| ApiError::not_found(format!("nobody is called {name}")))?
        .try_get(0)?;
    Ok(Json(Person { id, name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["ai", "pika7", "a_b"] {
            assert!(valid_name(good), "{good}");
        }
        for bad in ["a", "Pika", "a b", "火消し", "", "a/b"] {
            assert!(!valid_name(bad), "{bad}");
        }
    }
}
