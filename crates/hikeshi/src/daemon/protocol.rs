//! What the CLI and control say to each other over `control.sock`: one JSON line asks, lines of progress and one
//! result answer. The socket's file mode is its lock: only the state folder's owner can connect.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// Bring a system up and wait until it is ready.
    Up {
        system: String,
        /// What is in none of its manifests, too.
        #[serde(default)]
        left_behind: bool,
    },
    Status,
    /// Prepare a drill: the system is brought up, the war room shows the briefing.
    DrillStart {
        scenario: String,
    },
    DrillEnd,
    /// About experiments.
    Experiment(AboutExperiment),
    /// About the lab: what there is (nothing done), or something that is done in it.
    Lab {
        by: String,
        #[serde(default)]
        act: Option<hikeshi_server::api::lab::Act>,
    },
    /// What came out of a lab that is over.
    LabOutcome {
        id: String,
    },
    /// The kubeconfig of a person in a seat.
    SeatKubeconfig {
        name: String,
        seat: String,
    },
    /// End control; pods and data plane are ended by whoever asks.
    Stop,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "kebab-case")]
pub enum AboutExperiment {
    /// What a manifest would do.
    Preview {
        manifest: String,
        /// Where it goes when it names no namespace.
        namespace: String,
    },
    /// Begin one; answers its id, or its manifest's problems.
    Start {
        manifest: String,
        /// Where it goes when it names no namespace.
        namespace: String,
        by: String,
        /// Ends it after so long, in place of what the manifest says.
        seconds: Option<f64>,
    },
    List,
    Show {
        id: String,
    },
    Stop {
        id: String,
        by: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Progress(String),
    Done(Value),
    Failed(Failure),
}
