//! The server that nobody knows of: in no manifest of the system, and yet every post asks it.

use std::path::Path;
use std::time::Duration;

use crate::edges;
use crate::harness::{Home, eventually};

/// In which chirpy-server has found it, somebody has posted, and Prometheus has heard of it.
const SOON: Duration = Duration::from_secs(60);
const NAME: &str = "wb01";

/// On a running system under load: started by its own flag, it is asked; only the traffic says so.
pub async fn is_asked_by_posts(home: &Home) {
    let before = edges::observed(home).await;
    assert!(
        before.iter().all(|(_, to)| to != NAME),
        "nobody has started it yet: {before:?}"
    );
    home.ok(&["up", "--left-behind"]);
    eventually("posts ask the forgotten server", SOON, async || {
        let asked = ("chirpy-server".to_owned(), NAME.to_owned());
        edges::observed(home).await.contains(&asked).then_some(())
    })
    .await;
    assert_eq!(
        naming(&home.share().join("systems/chirpy")),
        Vec::<String>::new(),
        "files of the system that name it"
    );
}

/// Files below a folder in which its name stands.
fn naming(folder: &Path) -> Vec<String> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).expect("the system's folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(naming(&path));
        } else if std::fs::read_to_string(&path).is_ok_and(|text| text.contains(NAME)) {
            found.push(path.display().to_string());
        }
    }
    found
}
