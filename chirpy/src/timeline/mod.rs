//! timeline-service: home timelines in Redis, written by fan-out, read by rank.

pub mod batch;
mod bodies;
mod cursor;
mod fanout;
mod feed;
mod home;
mod inflight;
mod large;
mod live;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

pub use bodies::Wanted;
pub use fanout::{Job, Poll};
pub use home::{BROUGHT, KEPT, ids};
pub use large::{Account, key as author_key};

use crate::background::Background;
use crate::cluster::{Cluster, Store};
use crate::service::{Service, parse_env};
use crate::upstream::Upstream;
use bodies::Bodies;
use large::Large;

/// The key of a user's home timeline: a sorted set of post ids scored by themselves.
pub fn key(user: i64) -> String {
    format!("timeline:{{{user}}}")
}

/// Runs the role.
///
/// # Errors
/// Wrong configuration, or a port that is taken.
pub async fn run() -> anyhow::Result<()> {
    let mut service = Service::new("timeline-service");
    let cluster = Cluster::from_env(&mut service)?;
    let posts = Upstream::from_env("post-service", "Post Service", 2000)?;
    let followers = Upstream::from_env("follower-service", "Follower Service", 2000)?;
    let max_age = Duration::from_secs(parse_env("REDIS_READ_CONNECTION_MAX_AGE_S", 30)?);
    let store = Arc::new(Store::new(
        cluster.clone(),
        parse_env("REDIS_READ_POOL_PER_NODE", 0)?,
        max_age,
    ));
    let bodies = Arc::new(Bodies::from_env(posts.clone())?);
    let large = Large::from_env(followers.clone())?;
    let home = Arc::new(home::Home::new(
        store.clone(),
        bodies.clone(),
        large.clone(),
        posts.clone(),
        followers.clone(),
    )?);
    let live = live::routes(
        &mut service,
        store.clone(),
        large.clone(),
        cluster.clone(),
        posts,
        followers,
    )?;

    // What is done in bulk has a thread, and connections, of its own: a reader never waits for it.
    let bulk = Background::start("bulk")?;
    let every = Duration::from_millis(parse_env("POST_FEED_INTERVAL_MS", 200)?);
    let (posts, followers) = (
        Upstream::from_env("post-service", "Post Service", 2000)?,
        Upstream::from_env("follower-service", "Follower Service", 2000)?,
    );
    bulk.spawn(feed::follow(posts.clone(), bodies, every, service.stopping()));
    let fanout = bulk.within(|| {
        fanout::Fanout::from_env(&mut service, cluster.clone(), posts, followers, large.over).map(Arc::new)
    })?;
    let worker = bulk.spawn(fanout::work(fanout, service.stopping()));
    let (lists, lists_store, stopping) = (large.clone(), store.clone(), service.stopping());
    tokio::spawn(async move { lists.follow(&lists_store, stopping).await });
    service.ready_when("Redis Cluster", move || {
        let (cluster, large, store) = (cluster.clone(), large.clone(), store.clone());
        async move {
            let covered = cluster.map().await.covered();
            anyhow::ensure!(covered == 16384, "{covered} of 16384 slots are served");
            large.learn().await?;
            large.read_all(&store).await;
            Ok(())
        }
    });
    let hot = home::hot(&service, home.clone());
    service.serve_hot(home::routes(home).merge(live), hot).await?;
    worker.await?;
    Ok(())
}
