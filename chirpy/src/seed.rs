//! People and follows to begin with.

use clap::Args;

use crate::{auth, database};

/// How many people, and who is famous.
#[derive(Args)]
pub struct Options {
    /// People, named person0001 and so on
    #[arg(long, env = "SEED_PEOPLE", default_value_t = 3200)]
    people: u32,
    /// The account that almost everyone follows
    #[arg(long, env = "SEED_HOT_ACCOUNT", default_value = "tenki")]
    hot: String,
    /// How many follow the hot account
    #[arg(long, env = "SEED_HOT_FOLLOWERS", default_value_t = 3000)]
    hot_followers: u32,
    /// How many others each person follows, on average
    #[arg(long, env = "SEED_FOLLOWS", default_value_t = 12)]
    follows: u32,
    /// Everyone's password
    #[arg(long, env = "SEED_PASSWORD", default_value = "chirpchirp")]
    password: String,
    /// The same seed gives the same graph
    #[arg(long, env = "SEED_RANDOM", default_value_t = 7)]
    random: u64,
}

/// Follows among `people` (1-based), skewed: the chance to be followed falls with the square of the rank.
fn graph(people: u32, follows: u32, seed: u64) -> Vec<(i64, i64)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut edges = vec![];
    for follower in 1..=people {
        for _ in 0..random.u32(0..=follows * 2) {
            let followee = 1 + (random.f64().powi(2) * f64::from(people)) as u32;
            if followee != follower {
                edges.push((i64::from(followee.min(people)), i64::from(follower)));
            }
        }
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// Creates what is missing; running it again changes nothing.
///
/// # Errors
/// When PostgreSQL does not answer or refuses.
pub async fn run(options: Options) -> anyhow::Result<()> {
    database::migrate().await?;
    let pool = database::direct()?;
    let mut client = database::wait_for(&pool).await?;
    // One hash for all: a login costs the same, and seeding takes no minutes.
    let hash = auth::hash(&auth::hasher()?, &options.password)?;
    let names: Vec<String> = (1..=options.people).map(|n| format!("person{n:04}")).collect();

    let transaction = client.transaction().await?;
    let insert = "INSERT INTO users (name, password_hash) SELECT name, $2 FROM unnest($1::text[]) AS name
                  ON CONFLICT (name) DO NOTHING";
    transaction.execute(insert, &[&names, &hash]).await?;
    transaction.execute(insert, &[&vec![&options.hot], &hash]).await?;

    let rows = transaction
        .query(
            "SELECT id FROM users WHERE name = ANY($1) ORDER BY name",
            &[&names],
        )
        .await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let id = |n: i64| usize::try_from(n - 1).ok().and_then(|n| ids.get(n)).copied();
    let edges = graph(options.people, options.follows, options.random);
    let (mut followees, mut followers): (Vec<i64>, Vec<i64>) = edges
        .iter()
        .filter_map(|(followee, follower)| Some((id(*followee)?, id(*follower)?)))
        .unzip();
    let hot: i64 = transaction
        .query_one("SELECT id FROM users WHERE name = $1", &[&options.hot])
        .await?
        .try_get(0)?;
    for follower in ids.iter().take(options.hot_followers as usize) {
        followees.push(hot);
        followers.push(*follower);
    }
    transaction
        .execute(
            "INSERT INTO follows (followee_id, follower_id)
             SELECT * FROM unnest($1::bigint[], $2::bigint[]) ON CONFLICT DO NOTHING",
            &[&followees, &followers],
        )
        .await?;
    transaction.commit().await?;
    tracing::info!(people = options.people + 1, follows = followees.len(), "Seeded");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_is_skewed_and_repeatable() {
        let edges = graph(1000, 12, 7);
        assert_eq!(edges, graph(1000, 12, 7));
        assert!(edges.iter().all(|(followee, follower)| followee != follower));
        let first_tenth = edges.iter().filter(|(followee, _)| *followee <= 100).count();
        assert!(
            first_tenth * 4 > edges.len(),
            "the first tenth has over a quarter of all followers"
        );
    }
}
