//! Pod addresses: 127.64.0.0/16, one per live pod.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

const FIRST: u32 = 0x7F40_000A; // 127.64.0.10
const LAST: u32 = 0x7F40_FFFE;

/// Whether pods are given this address; any other in a pod's status has been written there by somebody else.
pub fn is_of_pods(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [127, 64, ..])
}

/// Whether Services are given this address by the API server.
pub fn is_of_services(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [127, 96, ..])
}

/// Hands out addresses in turn, so that a freed one is not soon taken by another pod.
#[derive(Debug)]
pub struct Addresses {
    state: Mutex<(u32, HashSet<Ipv4Addr>)>,
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            state: Mutex::new((FIRST, HashSet::new())),
        }
    }
}

impl Addresses {
    /// A free address; `None` when 65,000 pods have taken all.
    pub fn allocate(&self) -> Option<Ipv4Addr> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, taken) = &mut *guard;
        for _ in FIRST..=LAST {
            let address = Ipv4Addr::from(*next);
            *next = if *next == LAST { FIRST } else { *next + 1 };
            if taken.insert(address) {
                return Some(address);
            }
        }
        None
    }

    /// Marks the address of an adopted pod as taken, and goes on after it. `false`: another pod has it.
    pub fn reserve(&self, address: Ipv4Addr) -> bool {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = u32::from(address);
        if (guard.0..LAST).contains(&number) {
            guard.0 = number + 1;
        }
        guard.1.insert(address)
    }

    pub fn release(&self, address: Ipv4Addr) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unique_and_not_reused_at_once() {
        let addresses = Addresses::default();
        let kept: Ipv4Addr = "127.64.0.11".parse().unwrap();
        assert!(addresses.reserve(kept));
        assert!(!addresses.reserve(kept));
        let first = addresses.allocate().unwrap();
        addresses.release(first);
        let second = addresses.allocate().unwrap();
        assert!(first != second && first != kept && second != kept);
        assert!(second.to_string().starts_with("127.64."));
    }
}
