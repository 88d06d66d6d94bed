//! Numbered steps from an empty database to the present schema; each is recorded with the transaction that made it.

use anyhow::Context as _;
use deadpool_postgres::Object;

/// A step. What is published is never edited: a correction is a further step.
struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "first tables",
        sql: super::SCHEMA,
    },
    Migration {
        version: 2,
        name: "one job for the posts of a transaction",
        sql: "
            ALTER TABLE fanout_jobs ADD COLUMN post_ids BIGINT[], ADD COLUMN author_ids BIGINT[];
            UPDATE fanout_jobs SET post_ids = ARRAY[post_id], author_ids = ARRAY[author_id];
            ALTER TABLE fanout_jobs
                ALTER COLUMN post_ids SET NOT NULL, ALTER COLUMN author_ids SET NOT NULL,
                DROP COLUMN post_id, DROP COLUMN author_id;
            CREATE INDEX fanout_jobs_by_shard ON fanout_jobs (shard, id);
            -- Rows come and go by the thousand while the table stays small: room for updates in place, and a vacuum
            -- that does not wait for a share of the table.
            ALTER TABLE fanout_jobs SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
                                         autovacuum_vacuum_cost_delay = 0);
        ",
    },
    Migration {
        version: 3,
        name: "plans that are made once",
        // Every hot statement is prepared and finds its rows by an index whatever its parameters are. Arrays of unknown
        // length make PostgreSQL plan anew each time, which costs more than running them.
        sql: "
            DO $$ BEGIN
                EXECUTE format('ALTER DATABASE %I SET plan_cache_mode = force_generic_plan', current_database());
            END $$;
        ",
    },
    Migration {
        version: 4,
        name: "replies, likes, idempotency keys and signing keys",
        sql: include_str!("../schema/features.sql"),
    },
    Migration {
        version: 5,
        name: "posts in shards by author",
        sql: include_str!("../schema/shards.sql"),
    },
];

/// Two migrations at once wait for each other on this advisory lock.
const LOCK: i64 = 81;

/// Runs what is missing, in order, all in one transaction. `shards`: into how many posts are divided.
///
/// # Errors
/// When PostgreSQL refuses a statement; nothing is changed then.
pub async fn run(client: &mut Object, shards: u16) -> anyhow::Result<()> {
    let transaction = client.transaction().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
        .await?;
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                 version INTEGER PRIMARY KEY,
                 name TEXT NOT NULL,
                 applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
             )",
        )
        .await?;
    let applied: Vec<i32> = transaction
        .query("SELECT version FROM schema_migrations", &[])
        .await?
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    for migration in MIGRATIONS.iter().filter(|one| !applied.contains(&one.version)) {
        let Migration { version, name, sql } = migration;
        transaction
            .batch_execute(&sql.replace("{SHARDS}", &shards.to_string()))
            .await
            .with_context(|| format!("migration {version} ({name})"))?;
        transaction
            .execute(
                "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)",
                &[version, name],
            )
            .await?;
        tracing::info!(version, name, "Migrated");
    }
    transaction.commit().await?;
    tracing::info!("Schema is up to date");
    Ok(())
}

/// Versions this program needs that the database does not have.
///
/// # Errors
/// When PostgreSQL does not answer, or was never migrated.
pub async fn missing(client: &Object) -> anyhow::Result<Vec<i32>> {
    let rows = client.query("SELECT version FROM schema_migrations", &[]).await?;
    let applied: Vec<i32> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let versions = MIGRATIONS.iter().map(|migration| migration.version);
    Ok(versions.filter(|version| !applied.contains(version)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_without_holes() {
        for (place, migration) in (1..).zip(MIGRATIONS) {
            assert_eq!(migration.version, place, "{}", migration.name);
        }
    }
}
