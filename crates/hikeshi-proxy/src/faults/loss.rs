//! Loss: TCP hides a lost packet behind a retransmission, so what a program sees is a stall.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::percent::{Percent, WHOLE, unit};

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
    /// How much more likely a loss is after a loss, in parts per million: losses come in bursts, and the share stays.
    #[serde(default)]
    pub correlation: u32,
}

impl Loss {
    pub fn is_total(&self) -> bool {
        self.percent.ppm >= WHOLE
    }

    /// Whether packet number `n` is lost, when the one before was (`after_loss`) or was not. Without correlation the share
    /// is exact; with it, losses are a chain of two states whose long-run share is `percent`, and whose neighbours
    /// correlate by `correlation`: P(loss after loss) = p + c (1 - p), P(loss after none) = p (1 - c).
    pub fn hits(&self, n: u64, after_loss: bool) -> bool {
        if self.correlation == 0 {
            return self.percent.hits(n);
        }
        let whole = f64::from(WHOLE);
        let (p, c) = (
            f64::from(self.percent.ppm) / whole,
            f64::from(self.correlation) / whole,
        );
        let likely = if after_loss {
            p + c * (1.0 - p)
        } else {
            p * (1.0 - c)
        };
        unit(self.percent.seed, n) < likely
    }

    /// How long `bytes` stall. `lost` tells of each packet in turn, retransmissions included, whether it is lost.
    pub fn stall(&self, bytes: usize, mut lost: impl FnMut() -> bool) -> Duration {
        let mut longest = Duration::ZERO;
        for _ in 0..bytes.div_ceil(PACKET).max(1) {
            let (mut stall, mut losses) = (Duration::ZERO, 0);
            while losses <= MOST_DOUBLINGS && lost() {
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
            correlation: 0,
        };
        let mut sent = 0;
        let stalls: Vec<_> = (0..900)
            .map(|_| {
                loss.stall(100, || {
                    sent += 1;
                    loss.hits(sent - 1, false)
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
            correlation: 0,
        };
        assert_eq!(loss.stall(1_000_000, || loss.hits(0, false)), Duration::ZERO);
    }

    #[test]
    fn correlated_losses_come_in_bursts_and_keep_their_share() {
        let loss = Loss {
            percent: Percent {
                ppm: 100_000,
                seed: 7,
            },
            correlation: 500_000,
        };
        let (mut last, mut losses, mut pairs) = (false, 0, 0);
        for n in 0..100_000 {
            let now = loss.hits(n, last);
            losses += u32::from(now);
            pairs += u32::from(now && last);
            last = now;
        }
        assert!((9_000..11_000).contains(&losses), "{losses} of 100,000");
        // P(loss after loss) is 0.55.
        let share = f64::from(pairs) / f64::from(losses);
        assert!((0.50..0.60).contains(&share), "{share}");
    }
}
