//! The data plane as a process of its own, among pods whose inits are played by the test.

mod control;
mod databases;
mod differential;
mod edits;
mod entrance;
mod fuzzed;
mod harness;
mod http;
mod http2;
mod l4;
mod network_faults;
mod relayed;
mod traffic;
mod traps;

/// Not a test of its own: the other tests start this program again, with this name and a folder, as their data plane.
#[test]
fn dataplane_process() {
    if let Ok(dir) = std::env::var(harness::DIR) {
        hikeshi_proxy::dataplane_main(std::path::Path::new(&dir)).unwrap();
    }
}
