//! The time an objective is promised over: the last N days, or a month or quarter of the calendar.

use std::fmt;

use hikeshi_scenario::Dur;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Period of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Period {
    /// The last so many days, up to now.
    Rolling(Dur),
    /// From the first of a month or quarter on; the budget begins anew at its end.
    Calendar(Calendar),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Calendar {
    pub calendar: Unit,
    /// Where the month begins, e.g. `+09:00`. A fixed offset: Prometheus knows no zones that change their clocks.
    #[serde(default)]
    #[schemars(with = "String")]
    pub utc_offset: Offset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    Month,
    Quarter,
}

/// Minutes east of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offset(pub i32);

impl Offset {
    /// Seconds east of UTC.
    pub fn seconds(self) -> i64 {
        i64::from(self.0) * 60
    }

    /// Reads `+09:00`, `-03:30` or `Z`.
    ///
    /// # Errors
    /// A sentence saying what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is no offset from UTC: write it as +09:00, -05:00 or Z");
        if text == "Z" {
            return Ok(Self(0));
        }
        let (sign, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (1, rest),
            Some(("-", rest)) => (-1, rest),
            _ => return Err(refuse()),
        };
        let (hours, minutes) = rest.split_once(':').ok_or_else(refuse)?;
        let two = |part: &str, most: i32| {
            let right = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            let number: i32 = part.parse().ok().filter(|_| right)?;
            (number <= most).then_some(number)
        };
        let hours = two(hours, 14).ok_or_else(refuse)?;
        let minutes = two(minutes, 59).ok_or_else(refuse)?;
        Ok(Self(sign * (hours * 60 + minutes)))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", self.0.abs() / 60, self.0.abs() % 60)
    }
}

impl Serialize for Offset {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

const DAY: u64 = 86_400;

impl Default for Period {
    /// Thirty days.
    fn default() -> Self {
        Self::Rolling(Dur::secs(30 * DAY))
    }
}

impl Period {
    /// Seconds that burn rates are scaled with. A calendar's are those of its shortest month (28 days) or quarter (90), so
    /// that no alert comes after more of the budget is gone than its policy says.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Rolling(length) => length.get().as_secs(),
            Self::Calendar(c) => match c.calendar {
                Unit::Month => 28 * DAY,
                Unit::Quarter => 90 * DAY,
            },
        }
    }

    /// The longest it can be, in seconds.
    pub fn longest_seconds(self) -> u64 {
        match self {
            Self::Rolling(length) => length.get().as_secs(),
            Self::Calendar(c) => match c.calendar {
                Unit::Month => 31 * DAY,
                Unit::Quarter => 92 * DAY,
            },
        }
    }

    /// The moment (Unix seconds) from which events count at `now`.
    pub fn start(self, now: i64) -> i64 {
        match self {
            Self::Rolling(length) => now.saturating_sub_unsigned(length.get().as_secs()),
            Self::Calendar(c) => {
                let local = now + c.utc_offset.seconds();
                let (year, month, _) = civil(local.div_euclid(86_400));
                let first = match c.calendar {
                    Unit::Month => month,
                    Unit::Quarter => (month - 1) / 3 * 3 + 1,
                };
                days_from_civil(year, first, 1) * 86_400 - c.utc_offset.seconds()
            }
        }
    }

    /// The moment (Unix seconds) at which the budget that counts at `now` begins anew; none for a rolling one.
    pub fn end(self, now: i64) -> Option<i64> {
        let Self::Calendar(c) = self else { return None };
        let start = self.start(now) + c.utc_offset.seconds();
        let (year, month, _) = civil(start.div_euclid(86_400));
        let next = month
            + match c.calendar {
                Unit::Month => 1,
                Unit::Quarter => 3,
            };
        let (year, month) = if next > 12 {
            (year + 1, next - 12)
        } else {
            (year, next)
        };
        Some(days_from_civil(year, month, 1) * 86_400 - c.utc_offset.seconds())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rolling(length) => length.fmt(f),
            Self::Calendar(c) => {
                let unit = match c.calendar {
                    Unit::Month => "month",
                    Unit::Quarter => "quarter",
                };
                write!(f, "calendar {unit} (UTC{})", c.utc_offset)
            }
        }
    }
}

/// Year, month, day of a day number since 1970-01-01 (proleptic Gregorian; Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (
        yoe + era * 400 + i64::from(month <= 2),
        month,
        doy - (153 * mp + 2) / 5 + 1,
    )
}

/// The inverse of [`civil`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 30d, or {calendar: quarter, utcOffset: \"+09:00\"}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                Dur::parse(text).map(Period::Rolling).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Period, A::Error> {
                Calendar::deserialize(de::value::MapAccessDeserializer::new(map)).map(Period::Calendar)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let calendar = generator.subschema_for::<Calendar>();
        json_schema!({
            "description": "Rolling, e.g. 30d, or a calendar's month or quarter.",
            "oneOf": [{"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$"}, calendar],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARTER: Period = Period::Calendar(Calendar {
        calendar: Unit::Quarter,
        utc_offset: Offset(540),
    });

    #[test]
    fn a_quarter_begins_at_midnight_where_it_is_meant() {
        // 2026-11-22T00:00:00Z; the quarter began on 2026-10-01T00:00 in Tokyo.
        let now = 1_795_305_600;
        assert_eq!(QUARTER.start(now), 1_790_780_400);
        assert_eq!(QUARTER.end(now), Some(1_798_729_200));
        assert_eq!(QUARTER.start(1_798_729_200 - 1), 1_790_780_400);
        assert_eq!(QUARTER.start(1_798_729_200), 1_798_729_200);
    }

    #[test]
    fn days_and_dates_agree() {
        for days in (-800_000..800_000).step_by(37) {
            let (y, m, d) = civil(days);
            assert_eq!(days_from_civil(y, m, d), days);
        }
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
    }

    #[test]
    fn offsets_are_read_and_written() {
        for (text, minutes) in [("+09:00", 540), ("-03:30", -210), ("+00:00", 0)] {
            let read = Offset::parse(text).unwrap();
            assert_eq!((read.0, read.to_string().as_str()), (minutes, text));
        }
        for wrong in ["", "9", "+9:00", "+09:60", "JST", "+15:00", "é9:00"] {
            assert!(Offset::parse(wrong).is_err(), "{wrong}");
        }
    }
}
