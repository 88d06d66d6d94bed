//! What the integration tests start as a pod's init (`pod-init-harness internal pod-init DIR`) and as the stress program, as
//! `hikeshi` is.

use std::path::Path;
use std::process::ExitCode;

use hikeshi_node::stress::{Load, stress_main};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["internal", "pod-init", folder] => {
            ExitCode::from(u8::try_from(hikeshi_node::shim::pod_init_main(Path::new(folder))).unwrap_or(1))
        }
        ["internal", "stress", ..] => match Load::parse(&arguments[2..]) {
            Some(load) => ExitCode::from(u8::try_from(stress_main(load)).unwrap_or(1)),
            None => ExitCode::from(2),
        },
        _ => ExitCode::from(2),
    }
}
