//! Durations as people write them: `40s`, `2m`, `1h30m`, `500ms`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time written as text in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Dur(pub Duration);

impl Dur {
    /// A whole number of seconds.
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The standard library's duration.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Reads `1h30m`, `2m`, `40s`, `500ms`, `1d`; a bare number is refused because its unit would be a guess.
    ///
    /// # Errors
    /// A sentence saying what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "`{text}` is not a duration: write a number and a unit, for example 40s, 2m, 1h30m or 500ms"
            )
        };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(refuse());
        }
        let mut total = Duration::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
            let number: u64 = rest[..digits].parse().map_err(|_| refuse())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let unit_ms: u64 = match &rest[..letters] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(refuse()),
            };
            rest = &rest[letters..];
            let part = number
                .checked_mul(unit_ms)
                .map(Duration::from_millis)
                .ok_or_else(refuse)?;
            total = total.checked_add(part).ok_or_else(refuse)?;
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Dur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_millis();
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, ms) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1_000),
            ("ms", 1),
        ] {
            if left >= ms {
                write!(f, "{}{unit}", left / ms)?;
                left %= ms;
            }
        }
        Ok(())
    }
}

impl Serialize for Dur {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Dur {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Dur;

    #[test]
    fn reads_and_writes_what_people_write() {
        for (text, ms) in [
            ("40s", 40_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("1d", 86_400_000),
        ] {
            let read = Dur::parse(text).expect(text);
            assert_eq!(read.get().as_millis(), ms);
            assert_eq!(read.to_string(), text);
        }
        for wrong in [
            "",
            "2",
            "m",
            "2 minutes",
            "-1s",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(Dur::parse(wrong).is_err(), "{wrong}");
        }
    }
}
