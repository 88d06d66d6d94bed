//! auth-service: accounts and signing keys in PostgreSQL, sessions (refresh tokens) in Redis.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher as _, PasswordVerifier as _};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_postgres::error::SqlState;

use crate::cluster::Cluster;
use crate::database::{self, Reads};
use crate::follower::Person;
use crate::service::{ApiError, Service, parse_env};
use crate::sessions::{Rotated, Sessions};
use crate::signing::Signer;
use crate::token::JWKS_PATH;

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

/// An account as everyone may see it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Account {
    pub id: i64,
    pub name: String,
    /// RFC 3339, UTC.
    #[serde(default)]
    pub created_at: String,
}

struct Auth {
    database: Reads,
    sessions: Sessions,
    hasher: Argon2<'static>,
    signer: Arc<Signer>,
    /// Verified when there is no such account, so that an answer takes as long.
    decoy: String,
    hashing: Hashing,
}

/// Passwords being hashed: as many at once as there are processors. More would take as long, and memory besides.
struct Hashing {
    places: Arc<Semaphore>,
    /// For a place.
    patience: Duration,
}

impl Hashing {
    fn new(places: usize, patience: Duration) -> Self {
        let places = Arc::new(Semaphore::new(places));
        Self { places, patience }
    }

    /// Hashing takes tens of milliseconds of a processor: not on the thread that serves everyone.
    ///
    /// # Errors
    /// 503 when there is no place in time.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let busy = || {
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many people are logging in; try again in a moment",
            )
        };
        let place = tokio::time::timeout(self.patience, self.places.clone().acquire_owned()).await;
        let place = place.map_err(|_| busy())?.map_err(|_| busy())?;
        // Nothing stops a hash that has begun: its place is taken until it ends, though whoever asked may have gone.
        let hashing = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        Ok(hashing.await.context("hashing")??)
    }
}

/// The password hash: Argon2id with `ARGON2_MEMORY_KIB` and `ARGON2_ITERATIONS`, by default the least OWASP recommends
/// (19 MiB, two passes, one lane).
///
/// # Errors
/// When a variable does not parse or is out of Argon2's range.
pub fn hasher() -> anyhow::Result<Argon2<'static>> {
    let params = Params::new(
        parse_env("ARGON2_MEMORY_KIB", 19 * 1024)?,
        parse_env("ARGON2_ITERATIONS", 2)?,
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
    let database = Reads::from_env(&mut service)?;
    let hasher = hasher()?;
    let auth = Arc::new(Auth {
        signer: Arc::new(Signer::from_env(database.primary.clone())?),
        database,
        sessions: Sessions::from_env(&mut service, cluster.clone())?,
        decoy: hash(&hasher, "nobody's password")?,
        hasher,
        hashing: Hashing::new(
            std::thread::available_parallelism().map_or(1, usize::from),
            Duration::from_millis(parse_env("PASSWORD_HASH_WAIT_MS", 1000)?),
        ),
    });
    let check = auth.clone();
    service.ready_when("PostgreSQL and Redis Cluster", move || {
        let (auth, cluster) = (check.clone(), cluster.clone());
        async move {
            database::migrated(&auth.database.primary).await?;
            auth.signer.load().await?;
            anyhow::ensure!(
                cluster.map().await.covered() == 16384,
                "some slots are not served"
            );
            Ok(())
        }
    });
    tokio::spawn(auth.signer.clone().follow());
    let routes = Router::new()
        .route("/register", post(register))
        .route("/login", post(login))
        .route("/refresh", post(refresh))
        .route("/logout", post(logout))
        .route("/users", get(users))
        .route("/users/{name}", get(user))
        .route(JWKS_PATH, get(keys))
        .with_state(auth);
    service.serve(routes).await
}

fn valid_name(name: &str) -> bool {
    (2..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Longest password, bytes: hashing is meant to take long, not as long as a client likes.
const MAX_PASSWORD: usize = 1024;

/// The public keys that verify our tokens.
async fn keys(State(auth): State<Arc<Auth>>) -> Result<impl IntoResponse, ApiError> {
    let kept = [(header::CACHE_CONTROL, "public, max-age=60")];
    Ok((kept, Json(auth.signer.published()?)))
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
    if new.password.len() > MAX_PASSWORD {
        return Err(ApiError::bad_request(format!(
            "a password has at most {MAX_PASSWORD} bytes"
        )));
    }
    let (hasher, password) = (auth.hasher.clone(), new.password);
    let hash = auth.hashing.run(move || hash(&hasher, &password)).await?;
    let insert = "INSERT INTO users (name, password_hash) VALUES ($1, $2) RETURNING id";
    let inserted =
        auth.database.within(
            async |client| match client.query_one(insert, &[&new.name, &hash]).await {
                Ok(row) => Ok(row),
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Err(ApiError::new(
                    StatusCode::CONFLICT,
                    format!("the name {} is taken", new.name),
                )),
                Err(error) => Err(error.into()),
            },
        );
    let id = inserted.await?.try_get(0)?;
    Ok((StatusCode::CREATED, Json(Person { id, name: new.name })))
}

async fn login(
    State(auth): State<Arc<Auth>>,
    Json(given): Json<Credentials>,
) -> Result<Json<Session>, ApiError> {
    let wrong = || ApiError::new(StatusCode::UNAUTHORIZED, "wrong name or password");
    if given.password.len() > MAX_PASSWORD {
        return Err(wrong());
    }
    let select = "SELECT id, password_hash FROM users WHERE name = $1";
    let rows = auth.database.fresh(select, &[&given.name]).await?;
    let (id, hash): (Option<i64>, String) = match rows.first() {
        Some(row) => (Some(row.try_get(0)?), row.try_get(1)?),
        None => (None, auth.decoy.clone()),
    };
    let (hasher, password) = (auth.hasher.clone(), given.password);
    let matches = auth
        .hashing
        .run(move || {
            let parsed =
                PasswordHash::new(&hash).map_err(|error| anyhow::anyhow!("a stored hash: {error}"))?;
            Ok(hasher.verify_password(password.as_bytes(), &parsed).is_ok())
        })
        .await?;
    let id = id.filter(|_| matches).ok_or_else(wrong)?;
    let user = Person { id, name: given.name };
    let refresh_token = auth.sessions.open(&user).await?;
    auth.session(user, refresh_token)
}

impl Auth {
    fn session(&self, user: Person, refresh_token: String) -> Result<Json<Session>, ApiError> {
        Ok(Json(Session {
            token: self.signer.sign(user.id, &user.name)?,
            refresh_token,
            expires_in: self.signer.lifetime(),
            user,
        }))
    }
}

/// A refresh token is good once: using it gives the next, using it again ends the session.
async fn refresh(
    State(auth): State<Arc<Auth>>,
    Json(given): Json<Refresh>,
) -> Result<Json<Session>, ApiError> {
    match auth.sessions.rotate(&given.refresh_token).await? {
        Rotated::Next(user, refresh_token) => auth.session(user, refresh_token),
        Rotated::Ended => Err(ApiError::new(StatusCode::UNAUTHORIZED, "the session has ended")),
        Rotated::Reused => {
            tracing::warn!("A refresh token came a second time; its session is ended");
            Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "this refresh token was used before, so the session has been ended; please log in again",
            ))
        }
    }
}

async fn logout(State(auth): State<Arc<Auth>>, Json(given): Json<Refresh>) -> Result<StatusCode, ApiError> {
    auth.sessions.end(&given.refresh_token).await?;
    Ok(StatusCode::NO_CONTENT)
}

const ACCOUNT: &str = "id, name, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')";

fn account(row: &tokio_postgres::Row) -> Result<Account, tokio_postgres::Error> {
    Ok(Account {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        created_at: row.try_get(2)?,
    })
}

async fn user(State(auth): State<Arc<Auth>>, Path(name): Path<String>) -> Result<Json<Account>, ApiError> {
    // Accounts do not change, so the replica's is as good as any.
    let select = format!("SELECT {ACCOUNT} FROM users WHERE name = $1");
    let row = auth.database.stale_or_new(&select, &[&name]).await?;
    let row = row.ok_or_else(|| ApiError::not_found(format!("nobody is called {name}")))?;
    Ok(Json(account(&row)?))
}

#[derive(Deserialize)]
struct After {
    after: i64,
}

/// Accounts above an id, oldest first, at most 500: what the search index reads.
async fn users(
    State(auth): State<Arc<Auth>>,
    Query(page): Query<After>,
) -> Result<Json<Vec<Account>>, ApiError> {
    let select = format!("SELECT {ACCOUNT} FROM users WHERE id > $1 ORDER BY id LIMIT 500");
    let rows = auth.database.stale(&select, &[&page.after]).await?;
    Ok(Json(rows.iter().map(account).collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_passwords_are_hashed_at_once_than_there_are_places() {
        let hashing = Arc::new(Hashing::new(1, Duration::from_millis(20)));
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (began, begun) = tokio::sync::oneshot::channel();
        let (first, second) = (hashing.clone(), hashing.clone());
        let first = tokio::spawn(async move {
            first
                .run(move || {
                    began.send(()).ok();
                    Ok(released.recv()?)
                })
                .await
        });
        begun.await.expect("begun");
        let refused = second.run(|| Ok(())).await.expect_err("no place");
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        release.send(()).expect("awaited");
        assert!(first.await.expect("ended").is_ok());
        assert!(hashing.run(|| Ok(())).await.is_ok());
    }

    #[tokio::test]
    async fn a_hash_whose_asker_has_gone_still_takes_its_place() {
        let hashing = Arc::new(Hashing::new(1, Duration::from_millis(20)));
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (began, begun) = tokio::sync::oneshot::channel();
        let asked = hashing.clone();
        let gone = tokio::spawn(async move {
            let work = move || {
                began.send(()).ok();
                Ok(released.recv()?)
            };
            asked.run(work).await
        });
        begun.await.expect("begun");
        gone.abort();
        assert!(gone.await.is_err_and(|error| error.is_cancelled()));
        let refused = hashing.run(|| Ok(())).await.expect_err("no place");
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        release.send(()).expect("awaited");
        let patient = Hashing {
            places: hashing.places.clone(),
            patience: Duration::from_secs(60),
        };
        assert!(
            patient.run(|| Ok(())).await.is_ok(),
            "it is free when the work is done"
        );
    }

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
