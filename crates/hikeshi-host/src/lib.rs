//! The drill host: gives the pure drill engine a clock, a cluster to break, Prometheus to look through and people to
//! listen to. One [`Session`] is one drill and the only writer of its log.

pub mod budgets;
mod console;
mod experiments;
mod faults;
mod host;
mod intake;
mod judge;
mod lab;
mod library;
pub mod matrix;
pub mod oracle;
mod prometheus;
pub mod rehearsal;
mod sampler;
mod service_map;
mod session;
mod ticker;
mod told;
mod view;

pub use console::KubeconfigOf;
pub use console::{Finished, Shell};
pub use experiments::{Creator, HistoryError};
pub use hikeshi_drill::audit::AuditRecord;
pub use host::{Host, HostConfig, HostError, UpstreamOf};
pub use lab::{Keep, LabConfig};
pub use library::{Library, LibraryError, LoadedScenario, load_file};
pub use prometheus::{Prometheus, PrometheusError};
pub use session::{Session, SubmitError};
pub use told::Told;
