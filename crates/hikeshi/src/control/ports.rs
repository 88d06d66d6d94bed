//! Host ports: the usual one when it is free, else another; one asked for by name must be free.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::failure::Failure;

/// `wanted` when it can be bound at `address`, else a port that the kernel finds.
pub fn usual_or_free(address: Ipv4Addr, wanted: u16) -> SocketAddr {
    let usual = SocketAddr::from((address, wanted));
    if TcpListener::bind(usual).is_ok() {
        usual
    } else {
        SocketAddr::from((address, 0))
    }
}

/// Fails when `address` is unspecified (0.0.0.0 or ::): people would get it in their links.
pub fn must_name_this_machine(address: SocketAddr) -> Result<(), Failure> {
    if !address.ip().to_canonical().is_unspecified() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "--listen {address}: nobody can open a page at {}, and no certificate can name it",
        address.ip()
    ))
    .hint(format!(
        "give this machine's address on the team's network, such as --listen 192.0.2.10:{}; `hostname -I` says it",
        address.port()
    )))
}

/// Fails with one clear message when `address` cannot be listened on.
pub fn must_be_free(address: SocketAddr) -> Result<(), Failure> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(Failure::usage(format!(
            "port {} on {} is taken by another program",
            address.port(),
            address.ip()
        ))
        .hint("name another with --listen ADDRESS:PORT, or leave --listen out to get a free one")),
        Err(error) => Err(Failure::usage(format!("cannot listen on {address}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = holder.local_addr().unwrap();
        let failure = must_be_free(taken).unwrap_err();
        assert!(failure.message.contains(&taken.port().to_string()), "{failure}");
        assert_eq!(usual_or_free(Ipv4Addr::LOCALHOST, taken.port()).port(), 0);
    }

    #[test]
    fn an_address_that_nobody_can_type_is_refused() {
        for address in ["0.0.0.0:7700", "[::]:7700", "[::ffff:0.0.0.0]:7700"] {
            let failure = must_name_this_machine(address.parse().unwrap()).unwrap_err();
            assert!(failure.message.contains(address), "{failure}");
        }
        for address in ["192.0.2.10:7700", "127.0.0.1:7700", "[::1]:7700"] {
            must_name_this_machine(address.parse().unwrap()).unwrap();
        }
    }
}
