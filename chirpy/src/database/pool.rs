//! Pools of connections, and the habit of keeping those that lead to a primary that is none any more.
//!
//! A connection to a failed-over primary does not end: the server is there, it only refuses to write. As pools are shipped,
//! nobody notices; each connection goes back to be used again. With `DATABASE_FAILOVER_AWARE` the first refusal condemns
//! every connection made before it, and a new one must lead to a server that takes writes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;

use crate::service::parse_env;

/// Connections made before this lead where they should not; of the whole process, since its pools fail over together.
static CONDEMNED: Mutex<Option<Instant>> = Mutex::new(None);

/// What a pool is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// A server that takes writes.
    Primary,
    /// Any that answers, and soon: there is somebody else to ask.
    Replica,
}

/// A lazy pool to `url` with at most `DATABASE_POOL_MAX` connections. `limit`: after which the server ends a statement, whoever
/// asked it having given up; none: it may take as long as it likes.
///
/// # Errors
/// When the URL or a variable does not parse.
pub fn pool(name: &str, url: &str, to: To, limit: Option<Duration>) -> anyhow::Result<Pool> {
    let aware = parse_env("DATABASE_FAILOVER_AWARE", false)?;
    let max_age = Duration::from_secs(parse_env("DATABASE_CONNECTION_MAX_AGE_S", 300)?);
    let mut config: tokio_postgres::Config = url.parse().with_context(|| name.to_owned())?;
    let (connect, wait) = match to {
        To::Primary => (Duration::from_secs(3), Duration::from_secs(2)),
        To::Replica => (Duration::from_millis(500), Duration::from_millis(500)),
    };
    config.connect_timeout(connect);
    if aware {
        // A server that went away without a word is noticed too.
        config.tcp_user_timeout(Duration::from_secs(5));
        config.keepalives_idle(Duration::from_secs(5));
        config.keepalives_interval(Duration::from_secs(2));
        config.keepalives_retries(2);
        if to == To::Primary {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
    }
    // Every hot statement is prepared and finds its rows by an index whatever its parameters are; the database says so too, but
    // a pooler may have opened this session before it did.
    let set = format!(
        "SET plan_cache_mode = force_generic_plan; SET statement_timeout = {}",
        limit.map_or(0, |limit| limit.as_millis())
    );
    let recycling_method = RecyclingMethod::Fast;
    let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method });
    let mut builder = Pool::builder(manager)
        .max_size(parse_env("DATABASE_POOL_MAX", 8)?)
        .wait_timeout(Some(wait))
        .create_timeout(Some(connect))
        .recycle_timeout(Some(wait))
        .runtime(Runtime::Tokio1)
        .post_create(Hook::async_fn(move |client, _| {
            let set = set.clone();
            Box::pin(async move { client.batch_execute(&set).await.map_err(HookError::Backend) })
        }));
    if aware {
        builder = builder.pre_recycle(Hook::sync_fn(move |_, metrics| {
            if metrics.created.elapsed() > max_age || condemned(metrics.created) {
                return Err(HookError::message(
                    "it may lead to a server that is the primary no more",
                ));
            }
            Ok(())
        }));
    }
    Ok(builder.build()?)
}

/// Whether a connection made then was condemned since.
fn condemned(created: Instant) -> bool {
    let condemned = CONDEMNED.lock().unwrap_or_else(PoisonError::into_inner);
    condemned.is_some_and(|at| created <= at)
}

/// Looks at a failure: one that says "this server takes no writes (any more)" condemns every connection made so far.
pub fn learn_from(error: &tokio_postgres::Error) {
    if of_no_primary(error) {
        *CONDEMNED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// Whether a statement failed because the server may not write, or is ending.
pub fn of_no_primary(error: &tokio_postgres::Error) -> bool {
    let code = error.code();
    [
        &SqlState::READ_ONLY_SQL_TRANSACTION,
        &SqlState::ADMIN_SHUTDOWN,
        &SqlState::CRASH_SHUTDOWN,
        &SqlState::CANNOT_CONNECT_NOW,
    ]
    .into_iter()
    .any(|one| code == Some(one))
}

/// Whether a statement failed because the server, or the way to it, is away for a moment: a connection that broke, one that the
/// server ends, or a statement that it gave up when its time was over.
pub fn away(error: &tokio_postgres::Error) -> bool {
    let broken = std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>());
    let code = error.code().map(SqlState::code).unwrap_or_default();
    error.is_closed()
        || broken
        || code.starts_with("08")
        || code.starts_with("57P0")
        || code == SqlState::QUERY_CANCELED.code()
}
