//! What can be typed. One file per command; `args` holds the grammar.

pub mod args;
mod bench;
mod doctor;
mod down;
mod drill;
mod experiment;
mod kubeconfig;
mod lab;
mod load;
mod output;
mod postmortem;
mod rehearse;
mod scenario;
mod slo;
mod status;
mod story;
mod up;

use args::{Command, Internal};
use hikeshi_node::stress::{Load, stress_main};
pub use slo::keep_objectives;

use crate::failure::Failure;
use crate::paths::Paths;

/// Runs one command to its end.
pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Doctor(args) => doctor::run(&args),
        Command::Up(args) => up::run(&args),
        Command::Down(args) => down::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Kubeconfig(args) => kubeconfig::run(&args),
        Command::Drill(command) => drill::run(command),
        Command::Experiment(command) => experiment::run(command),
        Command::Lab(command) => lab::run(command),
        Command::Load(command) => load::run(command),
        Command::Rehearse(args) => rehearse::run(&args),
        Command::Scenario(command) => scenario::run(command),
        Command::Story(args) => story::run(&args),
        Command::Postmortem(command) => postmortem::run(command),
        Command::Slo(command) => slo::run(command),
        Command::Bench(command) => bench::run(&command),
        Command::Internal(internal) => run_internal(internal),
    }
}

fn run_internal(internal: Internal) -> Result<(), Failure> {
    match internal {
        Internal::Control { listen, system } => {
            crate::daemon::run(Paths::from_environment()?, listen, system)
        }
        Internal::Dataplane { folder } => hikeshi_proxy::dataplane_main(&folder)
            .map_err(|error| Failure::component(format!("the data plane has failed: {error}"))),
        Internal::PodInit { folder } => match hikeshi_node::pod_init_main(&folder) {
            0 => Ok(()),
            code => Err(Failure::component(format!("the pod's init ended with {code}"))),
        },
        Internal::Stress { load } => match Load::parse(&load) {
            Some(load) => {
                stress_main(load);
                Ok(())
            }
            None => Err(Failure::usage("a load is four numbers".to_owned())),
        },
    }
}

/// A runtime for commands that talk to the network.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    use crate::failure::Context;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .component("starting the runtime")
}
