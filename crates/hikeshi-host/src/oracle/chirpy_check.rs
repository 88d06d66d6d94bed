//! Every post that was acknowledged is still there: `chirpy check` compares the load's record with the database, and where a
//! scenario asks for it with timelines and search too.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::exec::exec;

/// What `chirpy check` found in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostsFound {
    pub acknowledged: u64,
    pub in_database: u64,
}

/// What it found everywhere.
#[derive(Debug, Deserialize)]
struct FoundEverywhere {
    #[serde(flatten)]
    stored: PostsFound,
    timelines_checked: u64,
    timelines_missing: u64,
    search_checked: u64,
    search_wrong: u64,
    search_error: Option<String>,
}

pub(super) async fn no_acknowledged_post_lost(client: &kube::Client) -> Result<PostsFound, String> {
    let found = count(client).await?;
    lost(&found).map_or(Ok(found), Err)
}

fn lost(found: &PostsFound) -> Option<String> {
    let lost = found.acknowledged.saturating_sub(found.in_database);
    (lost > 0).then(|| format!("acknowledged posts lost: {lost} of {}", found.acknowledged))
}

/// The check waits for what may still be on its way, and says within some seconds what has not come.
pub(super) async fn acknowledged_posts_everywhere(client: &kube::Client) -> Result<(), String> {
    reasons(&check(client, "database,timelines,search").await?)
}

fn reasons(found: &FoundEverywhere) -> Result<(), String> {
    let mut reasons: Vec<String> = lost(&found.stored).into_iter().collect();
    if found.timelines_missing > 0 {
        let (missing, checked) = (found.timelines_missing, found.timelines_checked);
        reasons.push(format!(
            "acknowledged posts not in followers' timelines: {missing} of {checked} looked at"
        ));
    }
    if found.search_wrong > 0 {
        let (wrong, checked) = (found.search_wrong, found.search_checked);
        reasons.push(format!(
            "acknowledged posts that search does not show as they are: {wrong} of {checked}"
        ));
    }
    if let Some(error) = &found.search_error {
        reasons.push(format!("search could not be compared: {error}"));
    }
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(reasons.join("; "))
    }
}

pub(super) async fn count(client: &kube::Client) -> Result<PostsFound, String> {
    check(client, "database").await
}

async fn check<T: DeserializeOwned>(client: &kube::Client, places: &str) -> Result<T, String> {
    let url = "http://chirpy-load.hikeshi-load.svc.cluster.local/acknowledged";
    let argv = [
        "/opt/hikeshi/bin/chirpy",
        "check",
        "--acknowledged",
        url,
        "--places",
        places,
    ];
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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Result<(), String> {
        reasons(&serde_json::from_str(text).expect("as chirpy check prints it"))
    }

    #[test]
    fn what_is_missing_is_said_by_place() {
        let well = r#"{"acknowledged":3,"in_database":3,"missing":[],"timelines_checked":7,"timelines_missing":0,
            "timelines":[],"search_checked":3,"search_wrong":0,"search_missing":[],"search_stale":[],"search_deleted":[],
            "waited_s":0.4}"#;
        assert_eq!(said(well), Ok(()));
        let ill = r#"{"acknowledged":3,"in_database":2,"timelines_checked":7,"timelines_missing":1,"search_checked":3,
            "search_wrong":2,"search_error":"no search node can be reached"}"#;
        assert_eq!(
            said(ill).expect_err("much is missing"),
            "acknowledged posts lost: 1 of 3; acknowledged posts not in followers' timelines: 1 of 7 looked at; \
             acknowledged posts that search does not show as they are: 2 of 3; \
             search could not be compared: no search node can be reached"
        );
    }
}
