//! The control daemon: the cluster, the drill host and the war room in one process, asked through `control.sock`.

mod certificate;
pub mod client;
mod experiments;
pub mod lab;
pub mod protocol;
mod secrets;
mod serve;
pub mod session;
mod socket;
pub mod start;

use std::net::SocketAddr;

use crate::failure::Failure;
use crate::paths::Paths;

/// Runs until told to stop. The log goes to standard error; a failure goes to standard output, for whoever started it.
pub fn run(paths: Paths, listen: Option<SocketAddr>, system: String) -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("HIKESHI_LOG")
                .unwrap_or_else(|_| "info,kube=warn".into()),
        )
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = runtime
        .map_err(|error| Failure::component(format!("starting the runtime: {error}")))
        .and_then(|runtime| runtime.block_on(serve::serve(paths, listen, system)));
    if let Err(failure) = &result {
        tracing::error!(%failure, "control has failed");
        // Whoever started control may be gone by now.
        let _ = serde_json::to_writer(std::io::stdout(), failure);
    }
    result
}
