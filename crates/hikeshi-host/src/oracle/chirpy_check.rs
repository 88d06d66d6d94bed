//! Every post that was acknowledged is still there: `chirpy check` compares the load's record with the database.

use serde::{Deserialize, Serialize};

use super::exec::exec;

/// What `chirpy check` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostsFound {
    pub acknowledged: u64,
    pub in_database: u64,
}

pub(super) async fn no_acknowledged_post_lost(client: &kube::Client) -> Result<PostsFound, String> {
    let found = count(client).await?;
    if found.in_database < found.acknowledged {
        return Err(format!(
            "acknowledged posts lost: {} of {}",
            found.acknowledged - found.in_database,
            found.acknowledged
        ));
    }
    Ok(found)
}

pub(super) async fn count(client: &kube::Client) -> Result<PostsFound, String> {
    let url = "http://chirpy-load.hikeshi-load.svc.cluster.local/acknowledged";
    let argv = ["/opt/hikeshi/bin/chirpy", "check", "--acknowledged", url];
    let ran = exec(client, "chirpy", "app=post-service", &argv, None).await?;
    let line = ran
        .stdout
        .lines()
        .rev()
        .find(|line| line.starts_with('{'))
        .unwrap_or(&ran.stdout);
    serde_json::from_str(line).map_err(|_| {
        let said = ran.stderr.lines().last().unwrap_or("it printed nothing");
        format!("chirpy check gave no result (success: {}): {said}", ran.success)
    })
}
