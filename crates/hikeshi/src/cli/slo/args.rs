//! The grammar of `hikeshi slo`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::super::args::Lang;

#[derive(Debug, Subcommand)]
pub enum SloCommand {
    /// Check a file of SLOs; exit code 1 when something in it will not work
    Lint {
        /// cujs.yaml; without it, that of the system that is up
        file: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Print the JSON schema of cujs.yaml, for editors
    Schema,
    /// Write Prometheus rules, promtool tests, PrometheusRule objects and a Grafana dashboard
    Generate {
        file: Option<PathBuf>,
        /// Folder to write to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        how: How,
    },
    /// Read a file of Sloth or OpenSLO and write cujs.yaml; what it cannot say is said
    Import {
        file: PathBuf,
        /// Without it, the format that the file looks like
        #[arg(long, value_enum)]
        format: Option<Source>,
        /// File to write; without it, standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Write the SLOs in another format; what that cannot say is said
    Export {
        file: Option<PathBuf>,
        #[arg(long, value_enum, default_value = "openslo")]
        format: Target,
        /// File to write; without it, standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Say what is left of each error budget, and what spent it; exit code 1 when one is spent
    Budget {
        file: Option<PathBuf>,
        #[command(flatten)]
        asked: Asked,
        #[command(flatten)]
        how: How,
    },
    /// Run targets and alerts over history: would they have held, would they have been right; exit code 1 when a target was missed
    Backtest {
        file: Option<PathBuf>,
        /// Beginning of the history: a time (2026-11-01T00:00:00Z) or how long ago (30d)
        #[arg(long, default_value = "30d")]
        from: String,
        /// Its end, likewise; without it, now
        #[arg(long)]
        to: Option<String>,
        /// Length of one step, e.g. 1m; at least twice the scrape interval
        #[arg(long)]
        step: Option<String>,
        #[command(flatten)]
        asked: Asked,
        #[command(flatten)]
        how: How,
    },
    /// Change an objective, and write down who did and why
    Set {
        /// The journey
        cuj: String,
        /// Its SLI, e.g. `latency`
        sli: String,
        /// Percent
        #[arg(long)]
        objective: f64,
        /// Why: what the next person who asks will read
        #[arg(long)]
        why: String,
        /// cujs.yaml; without it, that of the system that is up
        #[arg(long)]
        file: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Say who changed which objective, when, from what to what, and why
    History {
        /// cujs.yaml; without it, that of the system that is up
        file: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, Args)]
pub struct How {
    #[arg(long)]
    pub json: bool,
    #[arg(long, value_enum)]
    pub lang: Option<Lang>,
}

/// Where history comes from.
#[derive(Debug, Args)]
pub struct Asked {
    /// Prometheus' address; without it, that of the system that is up
    #[arg(long, value_name = "URL")]
    pub prometheus: Option<String>,
    /// YAML list of incidents: {name, from, to, journeys}; drills of this machine are marked by themselves
    #[arg(long, value_name = "FILE")]
    pub marks: Option<PathBuf>,
    /// How many times faster than written the windows run; 60 for the system that is up, else 1
    #[arg(long)]
    pub slo_clock: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    Sloth,
    Openslo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    Openslo,
}
