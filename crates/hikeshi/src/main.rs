//! `hikeshi`: parse, run, say what went wrong, exit with the code that the contract names.

mod cli;
mod control;
mod daemon;
mod failure;
mod paths;
mod preflight;
mod stage;
mod tools;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::args::Cli::parse();
    match cli::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            #[expect(clippy::print_stderr, reason = "the one place where failures are said")]
            {
                eprintln!("hikeshi: {failure}");
            }
            ExitCode::from(failure.kind.exit_code())
        }
    }
}
