//! The project's own tasks, run as `cargo xtask TASK`: set up a machine, build, start a drill, test, measure.
//!
//! It depends on little on purpose: this is the first thing a newcomer waits for.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line's output is its interface"
)]

mod bench;
mod build;
mod drill;
mod layers;
mod reasons;
mod setup;
mod steps;
mod tally;
mod test;
mod ui;
mod version;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the Hikeshi workspace")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing, saying what and why before each installation
    Setup {
        /// Also what only the tests need: a browser, a Japanese font, rustfmt and clippy
        #[arg(long)]
        tests: bool,
    },
    /// Fetch OpenSearch from Maven Central (and Java and Maven where they are missing), for systems/chirpy/optional/opensearch
    Opensearch,
    /// Build the war room's page (ui/dist) when its sources have changed
    Ui,
    /// Build the page and the programs: hikeshi, hikeshi-load, chirpy
    Build {
        #[arg(long)]
        release: bool,
    },
    /// Set up, build and start a drill; prints the war room's URL
    Drill(drill::Args),
    /// Set up and run every test
    Test {
        /// Leave out what runs a whole system for minutes and needs the machine to itself: the walk through the war
        /// room in Chromium, and the proof of every scenario's oracle
        #[arg(long)]
        quick: bool,
    },
    /// Check that dependencies point downwards, pure crates stay pure, and libraries do not print
    Layers,
    /// Measure a release build
    Bench {
        /// The figure; without a name, `up` and `page`
        what: Option<bench::Bench>,
        /// Passed on to `hikeshi bench`; for `proxy`, the number of rounds
        #[arg(last = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let workspace = Workspace::find();
    let done = match cli.task {
        Task::Setup { tests } => setup::run(&workspace, tests),
        Task::Opensearch => setup::opensearch(&workspace),
        Task::Ui => ui::build(&workspace),
        Task::Build { release } => build::run(&workspace, build::Profile::release_if(release)),
        Task::Drill(args) => drill::run(&workspace, args),
        Task::Test { quick } => match test::run(&workspace, quick) {
            Ok(false) => return ExitCode::FAILURE,
            done => done.map(|_| ()),
        },
        Task::Layers => layers::run(&workspace),
        Task::Bench { what, args } => bench::run(&workspace, what, &args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
