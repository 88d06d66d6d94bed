//! Chirpy, a small short-message service: one binary, one role per subcommand.

mod auth;
mod background;
mod budget;
mod cached;
mod capacity;
mod check;
mod cluster;
mod complaints;
mod database;
mod deadline;
mod engagement;
mod follower;
mod gateway;
mod idempotency;
mod limits;
mod log_shipper;
mod page;
mod post;
mod retry;
mod search;
mod search_node;
mod seed;
mod server;
mod service;
mod sessions;
mod signing;
mod stream;
mod telemetry;
mod timeline;
mod token;
mod upstream;
mod wire;
mod words;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    version,
    about = "Chirpy, a short-message service. Configuration is by environment variables."
)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// The edge: tokens, rate limits, the web page
    Gateway,
    /// The REST API for clients
    ChirpyServer,
    /// Accounts and sessions
    AuthService,
    /// Posts and the outbox
    PostService,
    /// The follow graph
    FollowerService,
    /// Home timelines and fan-out
    TimelineService,
    /// Search and trends, asked of the search engine
    SearchService,
    /// A search engine for laptops: a subset of Elasticsearch's REST API
    SearchNode,
    /// Takes log lines and brings them to the search engine
    LogShipper,
    /// Create or update the database schema, then end
    Migrate,
    /// Give every follow a time and an index on it, then end; a change to a table in use
    DateFollows,
    /// Says which texts may not be posted
    Words,
    /// Create people and follows, then end
    Seed(seed::Options),
    /// Compare what was acknowledged with what is stored, then end
    Check(check::Options),
}

impl Role {
    fn name(&self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::ChirpyServer => "chirpy-server",
            Self::AuthService => "auth-service",
            Self::PostService => "post-service",
            Self::FollowerService => "follower-service",
            Self::TimelineService => "timeline-service",
            Self::SearchService => "search-service",
            Self::SearchNode => "search-node",
            Self::LogShipper => "log-shipper",
            Self::Migrate => "migrate",
            Self::DateFollows => "date-follows",
            Self::Words => "words",
            Self::Seed(_) => "seed",
            Self::Check(_) => "check",
        }
    }
}

// One thread per role (timeline-service has one more for what is done in bulk): a role is scaled by replicas, and a small
// machine runs them all.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let role = Cli::parse().role;
    if !matches!(role, Role::Check(_)) {
        telemetry::init(role.name());
    }
    let name = role.name();
    let outcome = match role {
        Role::Gateway => gateway::run().await,
        Role::ChirpyServer => server::run().await,
        Role::AuthService => auth::run().await,
        Role::PostService => post::run().await,
        Role::FollowerService => follower::run().await,
        Role::TimelineService => timeline::run().await,
        Role::SearchService => search::run().await,
        Role::SearchNode => search_node::run().await,
        Role::LogShipper => log_shipper::run().await,
        Role::Migrate => database::migrate().await,
        Role::DateFollows => follower::dated::run().await,
        Role::Words => words::run().await,
        Role::Seed(options) => seed::run(options).await,
        Role::Check(options) => return check::run(options).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %format!("{error:#}"), "{name} failed");
            ExitCode::FAILURE
        }
    }
}
