//! timeline-service: home timelines in Redis, written by fan-out, read by rank.

mod cursor;
mod fanout;
mod home;
mod live;
mod subscription;

use std::sync::Arc;

pub use fanout::{Job, Poll};

use crate::cluster::Cluster;
use crate::service::Service;
use crate::upstream::Upstream;

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
    let live = live::routes(&mut service, cluster.clone(), posts.clone(), followers.clone())?;
    let routes = home::routes(cluster.clone(), posts.clone(), followers.clone())?.merge(live);

    let fanout = Arc::new(fanout::Fanout::from_env(
        &mut service,
        cluster.clone(),
        posts,
        followers,
    )?);
    let worker = tokio::spawn(fanout::work(fanout, service.stopping()));
    service.ready_when("Redis Cluster", move || {
        let cluster = cluster.clone();
        async move {
            let covered = cluster.map().await.covered();
            anyhow::ensure!(covered == 16384, "{covered} of 16384 slots are served");
            Ok(())
        }
    });
    service.serve(routes).await?;
    worker.await?;
    Ok(())
}
