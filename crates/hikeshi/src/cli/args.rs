//! The command line's grammar.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Hikeshi 火消し: a flight simulator for incident response.
#[derive(Debug, Parser)]
#[command(name = "hikeshi", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what is installed, what is missing, and how to get it
    Doctor(DoctorArgs),
    /// Start a system on the embedded cluster
    Up(UpArgs),
    /// End everything and leave nothing behind
    Down(DownArgs),
    /// Say what is running
    Status(JsonArgs),
    /// Print the path of a kubeconfig
    Kubeconfig(KubeconfigArgs),
    /// Start, list, show or end a drill
    #[command(subcommand)]
    Drill(DrillCommand),
    /// Run, list, show, stop or export experiments: Chaos Mesh objects with a hypothesis and guards
    #[command(subcommand)]
    Experiment(ExperimentCommand),
    /// Feel a level of latency or errors in the running app, blind, and agree on an SLO
    #[command(subcommand)]
    Lab(super::lab::LabCommand),
    /// Send load to the running system and tell what users would have seen
    #[command(subcommand)]
    Load(super::load::LoadCommand),
    /// Run a scenario with every seat scripted: the test of a scenario, and the source of stories
    Rehearse(RehearseArgs),
    /// List or check scenarios
    #[command(subcommand)]
    Scenario(ScenarioCommand),
    /// Print what really happened in a drill: the system, the incident report and the chat log
    Story(StoryArgs),
    /// Draft a postmortem from a drill's log
    #[command(subcommand)]
    Postmortem(PostmortemCommand),
    /// SLOs: check, generate, import, export; budgets, backtests, and who changed what
    #[command(subcommand)]
    Slo(super::slo::args::SloCommand),
    /// Measure
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Parts that Hikeshi starts itself
    #[command(subcommand, hide = true)]
    Internal(Internal),
}

#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// The system to start
    #[arg(default_value = "chirpy")]
    pub system: String,
    /// Where others reach the war room, until `hikeshi down`; other than loopback it speaks TLS
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Start what somebody once left running beside the system, too: it is in none of its manifests
    #[arg(long)]
    pub left_behind: bool,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DownArgs {
    /// Keep the volumes (the system's data) for the next `up`; without them it begins from the normal state
    #[arg(long)]
    pub keep_volumes: bool,
}

#[derive(Debug, Args)]
pub struct KubeconfigArgs {
    /// A person's handle; without it, the administrator's kubeconfig
    #[arg(long, value_name = "NAME")]
    pub seat: Option<String>,
    /// The role of that person
    #[arg(long, default_value = "operator", requires = "seat")]
    pub role: String,
}

#[derive(Debug, Subcommand)]
pub enum DrillCommand {
    /// Start the system if need be, and open the war room on a scenario
    Start {
        scenario: String,
        /// Where others reach the war room, until `hikeshi down`; other than loopback it speaks TLS
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<SocketAddr>,
        #[arg(long)]
        json: bool,
    },
    /// List the drills on disk, newest first
    List(JsonArgs),
    /// Show one drill: milestones, score, timeline
    Show {
        id: String,
        #[arg(long)]
        json: bool,
        #[arg(long, value_enum)]
        lang: Option<Lang>,
    },
    /// End the drill that is on
    End {
        id: Option<String>,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum ExperimentCommand {
    /// Run one: what it would hit, its steady state, what happened, recovery verified; exit code 1 when refuted or stopped
    Run {
        /// YAML or JSON of one Chaos Mesh object
        file: PathBuf,
        /// How long, e.g. `2m`; without it as long as the manifest says, else one minute
        #[arg(long = "for", value_name = "DURATION")]
        lasts: Option<String>,
        #[arg(long)]
        json: bool,
        #[arg(long, value_enum)]
        lang: Option<Lang>,
    },
    /// List those that are on and those that were, newest first
    List {
        #[arg(long)]
        json: bool,
        #[arg(long, value_enum)]
        lang: Option<Lang>,
    },
    /// Show one: figures before, during and after, who was hit, what happened
    Show {
        /// The experiment; `last` is the newest
        id: String,
        #[arg(long)]
        json: bool,
        #[arg(long, value_enum)]
        lang: Option<Lang>,
    },
    /// End one and wait until its recovery is verified
    Stop {
        /// The experiment; `last` is the newest
        id: String,
        #[arg(long)]
        json: bool,
        #[arg(long, value_enum)]
        lang: Option<Lang>,
    },
    /// Write one as a template for another tool
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Write an AWS FIS experiment template of this manifest, with its IAM role and its rights in the cluster
    #[arg(long, value_name = "FILE", required = true)]
    pub aws_fis: PathBuf,
    /// EKS cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// AWS account
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// AWS region; without it `AWS_REGION` or `AWS_DEFAULT_REGION`
    #[arg(long)]
    pub region: Option<String>,
    /// CloudWatch alarm that stops the experiment; may be given several times
    #[arg(long, value_name = "ARN")]
    pub alarm: Vec<String>,
    /// Folder to write to; without it `fis-NAME` here
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[arg(long)]
    pub json: bool,
    #[arg(long, value_enum)]
    pub lang: Option<Lang>,
}

#[derive(Debug, Args)]
pub struct RehearseArgs {
    /// Scenarios to rehearse
    #[arg(required = true)]
    pub scenarios: Vec<String>,
    /// How many times faster than written people think and wait; the system's own time is never touched
    #[arg(long, default_value_t = 1.0)]
    pub pace: f64,
    /// Prove the oracle: healthy, injected, nobody acts, every fake fix, every fix
    #[arg(long)]
    pub matrix: bool,
    /// Where to write the report
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,
    /// Seed of every random choice
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, Subcommand)]
pub enum ScenarioCommand {
    /// List the shipped scenarios
    List(JsonArgs),
    /// Check scenario files; exit code 1 when something is found
    Lint { files: Vec<PathBuf> },
}

#[derive(Debug, Args)]
pub struct StoryArgs {
    /// The drill; `last` is the newest
    pub id: String,
    #[arg(long, value_enum)]
    pub lang: Option<Lang>,
}

#[derive(Debug, Subcommand)]
pub enum PostmortemCommand {
    /// Print a draft: 17 fields, each sentence linked to its events
    Draft {
        id: String,
        #[arg(long, value_enum)]
        lang: Option<Lang>,
    },
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// `hikeshi up` to the first request served
    Up {
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
    /// Fault injected to page fired
    Page {
        #[arg(long, default_value_t = 1)]
        rounds: u32,
    },
}

#[derive(Debug, Subcommand)]
pub enum Internal {
    Control {
        #[arg(long)]
        listen: Option<SocketAddr>,
        #[arg(long)]
        system: String,
    },
    Dataplane {
        folder: PathBuf,
    },
    PodInit {
        folder: PathBuf,
    },
    Stress {
        load: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    Ja,
    En,
}

impl Lang {
    /// What was asked for, else the language of `LC_ALL`, `LC_MESSAGES` or `LANG`.
    pub fn or_environment(asked: Option<Self>) -> Self {
        asked.unwrap_or_else(|| {
            let said = ["LC_ALL", "LC_MESSAGES", "LANG"]
                .iter()
                .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
            if said.is_some_and(|said| said.starts_with("ja")) {
                Self::Ja
            } else {
                Self::En
            }
        })
    }
}
