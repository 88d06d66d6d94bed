//! The web server over real sockets, with a drill host that has no cluster.

mod budgets;
mod console;
mod fake;
mod hooks;
mod made_budgets;
mod proxy;
mod session;
mod stream;
mod tls;
mod world;
