//! The web server over real sockets, with a drill host that has no cluster.

mod console;
mod fake;
mod hooks;
mod proxy;
mod session;
mod stream;
mod tls;
mod world;
