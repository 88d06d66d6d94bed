//! The service map against what the data plane has seen.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hikeshi_drill::map::SystemMap;
use serde_json::Value;

use crate::harness::Home;

/// In which ordinary traffic has taken every way once, and Prometheus has heard of it.
const SOON: Duration = Duration::from_secs(60);
/// Prometheus hears of it once a second.
const EVERY: Duration = Duration::from_millis(500);

/// Who has called whom, ever.
const SEEN: &str = "sum by (source, destination) (hikeshi_edge_requests_total) > 0 \
                    or sum by (source, destination) (hikeshi_edge_bytes_total) > 0";

/// Who calls whom, by workload.
pub type Edge = (String, String);

/// Between the roles of the map the data plane has seen every dependency that is not `seldom`, and no other.
pub async fn are_those_of_the_map(home: &Home) {
    let file = home.share().join("systems/chirpy/map.yaml");
    let text = std::fs::read_to_string(&file).expect("the shipped map");
    let map = SystemMap::parse("map.yaml", &text).expect("the shipped map is right");
    let roles: BTreeSet<&str> = map.roles.iter().map(|role| role.name.as_str()).collect();
    let declared: BTreeSet<Edge> = map
        .depends
        .iter()
        .map(|one| (one.from.clone(), one.to.clone()))
        .collect();
    let due: BTreeSet<Edge> = map
        .depends
        .iter()
        .filter(|one| !one.seldom)
        .map(|one| (one.from.clone(), one.to.clone()))
        .collect();
    let started = Instant::now();
    loop {
        let mut seen = observed(home).await;
        // The nodes of a store talk to one another: that is how it works, not whom it leans on.
        seen.retain(|(from, to)| from != to && roles.contains(from.as_str()) && roles.contains(to.as_str()));
        let unknown: Vec<&Edge> = seen.difference(&declared).collect();
        assert!(unknown.is_empty(), "map.yaml does not know of {unknown:?}");
        let missing: Vec<&Edge> = due.difference(&seen).collect();
        if missing.is_empty() {
            return;
        }
        assert!(
            started.elapsed() < SOON,
            "map.yaml says so, yet within {} s nobody has seen {missing:?} (`seldom: true` is for what this traffic never does)",
            SOON.as_secs()
        );
        tokio::time::sleep(EVERY).await;
    }
}

/// Who has called whom so far, as Prometheus knows; nothing while it cannot be reached.
pub async fn observed(home: &Home) -> BTreeSet<Edge> {
    let ask = async || {
        let address = home.record()["hosts"]["prometheus"].as_str()?.to_owned();
        let url = format!("http://{address}/prometheus/api/v1/query");
        let answer = reqwest::Client::new()
            .get(url)
            .query(&[("query", SEEN)])
            .send()
            .await
            .ok()?;
        answer.json::<Value>().await.ok()
    };
    let answer = ask().await.unwrap_or_default();
    let samples = answer["data"]["result"].as_array();
    let label = |sample: &Value, name: &str| Some(sample["metric"][name].as_str()?.to_owned());
    samples
        .into_iter()
        .flatten()
        .filter_map(|sample| Some((label(sample, "source")?, label(sample, "destination")?)))
        .collect()
}
