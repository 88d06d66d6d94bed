//! Loss: TCP hides a lost packet behind a retransmission, so what a program sees is a stall.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::percent::{Percent, WHOLE};

/// Payload of one packet in bytes (Ethernet's 1,500 less the headers).
pub const PACKET: usize = 1_448;
/// Linux' smallest retransmission timeout; each further loss of the same packet doubles it.
const RETRANSMIT: Duration = Duration::from_millis(200);
/// Doublings after which the stall grows no more (Linux stops at 120 s).
const MOST_DOUBLINGS: u32 = 9;

/// A share of the packets is lost. All of them lost is a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    pub percent: Percent,
}

impl Loss {
    pub fn is_total(&self) -> bool {
        self.percent.ppm >= WHOLE
    }

    /// How long `bytes` stall. `draw` numbers the packets sent so far, retransmissions included.
    pub fn stall(&self, bytes: usize, mut draw: impl FnMut() -> u64) -> Duration {
        let mut longest = Duration::ZERO;
        for _ in 0..bytes.div_ceil(PACKET).max(1) {
            let (mut stall, mut losses) = (Duration::ZERO, 0);
            while losses <= MOST_DOUBLINGS && self.percent.hits(draw()) {
                stall += RETRANSMIT * 2u32.pow(losses);
                losses += 1;
            }
            // Packets of one chunk are in flight together: the slowest decides.
            longest = longest.max(stall);
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_packet_in_ten_stalls_for_a_retransmission() {
        let loss = Loss {
            percent: Percent {
                ppm: 100_000,
                seed: 1,
            },
        };
        let mut sent = 0;
        let stalls: Vec<_> = (0..900)
            .map(|_| {
                loss.stall(100, || {
                    sent += 1;
                    sent - 1
                })
            })
            .collect();
        let stalled = stalls.iter().filter(|stall| !stall.is_zero()).count();
        assert!((80..=100).contains(&stalled), "{stalled} of 900 stalled");
        assert!(stalls.iter().all(|stall| stall.is_zero() || *stall >= RETRANSMIT));
    }

    #[test]
    fn without_loss_nothing_stalls() {
        let loss = Loss {
            percent: Percent { ppm: 0, seed: 1 },
        };
        assert_eq!(loss.stall(1_000_000, || 0), Duration::ZERO);
    }
}
