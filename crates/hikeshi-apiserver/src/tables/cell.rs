//! One cell of a table. A time is kept as a time, and told as "so long ago" when it is written: until its object changes,
//! a row stays true.

use jiff::Timestamp;
use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::Value;

/// What one cell shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Plain(Value),
    /// The time that has passed since, in kubectl's words.
    Since(Timestamp),
    /// A figure, and how long ago it last changed: `3 (2m ago)`.
    Counted(i64, Timestamp),
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl From<$type> for Cell {
            fn from(value: $type) -> Self {
                Self::Plain(value.into())
            }
        }
    )*};
}
plain!(Value, String, &str, i64, usize);

impl Cell {
    /// The time since an RFC 3339 stamp.
    pub fn since(stamp: &Value) -> Self {
        stamp
            .as_str()
            .and_then(|stamp| stamp.parse().ok())
            .map_or_else(|| "<unknown>".into(), Self::Since)
    }

    fn text(&self, now: Timestamp) -> Option<String> {
        match self {
            Self::Plain(_) => None,
            Self::Since(then) => Some(passed(*then, now)),
            Self::Counted(count, then) => Some(format!("{count} ({} ago)", passed(*then, now))),
        }
    }
}

/// A row's cells as they are at a moment.
#[derive(Debug)]
pub(super) struct At<'a>(pub &'a [Cell], pub Timestamp);

impl Serialize for At<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut cells = to.serialize_seq(Some(self.0.len()))?;
        for cell in self.0 {
            match cell {
                Cell::Plain(value) => cells.serialize_element(value)?,
                told => cells.serialize_element(&told.text(self.1))?,
            }
        }
        cells.end()
    }
}

/// The time between two moments in kubectl's words.
pub(super) fn passed(then: Timestamp, now: Timestamp) -> String {
    human_duration(now.duration_since(then).as_secs())
}

/// `k8s.io/apimachinery/pkg/util/duration.HumanDuration`
fn human_duration(seconds: i64) -> String {
    let (m, h, d) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |big: i64, unit: char, small: i64, sub: char| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{sub}")
        }
    };
    match seconds {
        s if s < 0 => "0s".into(),
        s if s < 120 => format!("{s}s"),
        s if m < 10 => two(m, 'm', s % 60, 's'),
        _ if m < 180 => format!("{m}m"),
        _ if h < 8 => two(h, 'h', m % 60, 'm'),
        _ if h < 48 => format!("{h}h"),
        _ if d < 8 => two(d, 'd', h % 24, 'h'),
        _ if d < 730 => format!("{d}d"),
        _ if d < 365 * 8 => two(d / 365, 'y', d % 365, 'd'),
        _ => format!("{}y", d / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_like_kubectl() {
        let cases = [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_160, "3h6m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (315_360_000, "10y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }
}
