//! L7: HTTP, request by request. HTTP/1.1 is relayed as bytes ([`crate::http1`] says which); HTTP/2 goes through hyper.

mod account;
mod begun;
mod buffer;
mod client;
mod connection;
mod content;
mod edited;
mod exchange;
mod fault;
mod faulted;
mod flow;
mod h2;
mod h2_body;
mod memory;
mod pump;
mod reject;
mod route;
mod tunnel;
mod turn;
mod upstream;

pub(crate) use connection::serve;
pub(crate) use upstream::HttpPool;
