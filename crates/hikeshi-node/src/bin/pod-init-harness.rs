//! What the integration tests start as a pod's init: `pod-init-harness internal pod-init DIR`, as `hikeshi` is.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["internal", "pod-init", folder] => {
            ExitCode::from(u8::try_from(hikeshi_node::shim::pod_init_main(Path::new(folder))).unwrap_or(1))
        }
        _ => ExitCode::from(2),
    }
}
