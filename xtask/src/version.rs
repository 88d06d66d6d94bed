//! Versions as programs print them.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

impl Version {
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// The first `MAJOR.MINOR` in `text`, with or without a leading `v`; a lone `MAJOR` counts as `MAJOR.0`
    /// when it is the whole word.
    pub fn parse(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let word = word.strip_prefix('v').unwrap_or(word);
            let (major, rest) = leading_number(word)?;
            match rest.strip_prefix('.') {
                Some(rest) => leading_number(rest).map(|(minor, _)| Self { major, minor }),
                None => rest.is_empty().then_some(Self { major, minor: 0 }),
            }
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_programs_print() {
        for (text, expected) in [
            ("v20.20.2\n", Some(Version::new(20, 20))),
            ("v1.32.4-dispatcher", Some(Version::new(1, 32))),
            ("v1.20.5+really1.20.2", Some(Version::new(1, 20))),
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)",
                Some(Version::new(15, 18)),
            ),
            ("PostgreSQL 18beta1", None),
            ("15", Some(Version::new(15, 0))),
            ("v1.", None),
            ("99999999999.1", None),
            ("no version here", None),
            ("", None),
        ] {
            assert_eq!(Version::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn orders_by_number_not_by_letter() {
        assert!(Version::new(1, 9) < Version::new(1, 30));
        assert!(Version::new(2, 0) > Version::new(1, 30));
    }
}
