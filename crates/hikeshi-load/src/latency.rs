//! Latencies as HdrHistograms, which add up without losing anything, and travel as text.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use serde::{Deserialize, Serialize, de, ser};

/// Microseconds: what is longer counts as this.
const LONGEST: u64 = 60_000_000;
/// The largest text that is read back: a full histogram is far smaller.
const LONGEST_TEXT: usize = 4 << 20;

/// Latencies in microseconds, up to a minute. Written as the base64 text of HdrHistogram's V2 format.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

/// Quantiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Latencies {
    /// Within 0.1 %: for totals.
    pub fn fine() -> Self {
        Self::with_digits(3)
    }

    /// Within 1 %: for the many short stretches of a run.
    pub fn coarse() -> Self {
        Self::with_digits(2)
    }

    fn with_digits(digits: u8) -> Self {
        Self(
            Histogram::new_with_bounds(1, LONGEST, digits)
                .unwrap_or_else(|_| unreachable!("these bounds are valid")),
        )
    }

    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.min(LONGEST));
    }

    /// Adds what another one holds.
    pub fn add(&mut self, other: &Self) {
        // Nothing is longer than the bounds that all of ours have; one from elsewhere is cut.
        if self.0.add(&other.0).is_err() {
            for step in other.0.iter_recorded() {
                self.0.saturating_record_n(
                    step.value_iterated_to().min(LONGEST),
                    step.count_since_last_iteration(),
                );
            }
        }
    }

    pub fn len(&self) -> u64 {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latency in milliseconds that a share (0 to 1) did not exceed; zero without any.
    pub fn quantile(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1000.0
    }

    pub fn quantiles(&self) -> Quantiles {
        Quantiles {
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: self.0.max() as f64 / 1000.0,
        }
    }
}

impl Serialize for Latencies {
    fn serialize<S: ser::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut bytes = vec![];
        V2Serializer::new()
            .serialize(&self.0, &mut bytes)
            .map_err(|error| ser::Error::custom(format!("{error:?}")))?;
        to.serialize_str(&BASE64.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        if text.len() > LONGEST_TEXT {
            return Err(de::Error::custom("a histogram of more than 4 MiB"));
        }
        let bytes = BASE64.decode(text.as_bytes()).map_err(de::Error::custom)?;
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| de::Error::custom(format!("not an HdrHistogram: {error:?}")))?;
        Ok(Self(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_told_apart_adds_up_and_survives_the_journey(micros in proptest::collection::vec(0_u64..100_000_000, 0..200), cut in 0_usize..200) {
            let cut = cut.min(micros.len());
            let of = |some: &[u64]| {
                let mut latencies = Latencies::fine();
                some.iter().for_each(|micros| latencies.record(Duration::from_micros(*micros)));
                latencies
            };
            let (mut left, right, all) = (of(&micros[..cut]), of(&micros[cut..]), of(&micros));
            let text = serde_json::to_string(&right).expect("text");
            left.add(&serde_json::from_str(&text).expect("as written"));
            prop_assert_eq!(left.quantiles(), all.quantiles());
            prop_assert_eq!(left.len(), micros.len() as u64);
        }
    }

    #[test]
    fn text_that_is_no_histogram_is_refused() {
        for text in ["\"\"", "\"AAAA\"", "\"%\"", "7"] {
            assert!(serde_json::from_str::<Latencies>(text).is_err(), "{text}");
        }
    }
}
