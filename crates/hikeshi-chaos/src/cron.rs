//! When something is due: five-field cron expressions, `@hourly` and its like, `@every 30s`.
//!
//! What a schedule may say is what Kubernetes' and Chaos Mesh's parser takes; the crate that does the arithmetic knows
//! more (`L`, `#`, seconds, years), and that is refused: a manifest that runs here must run on a real cluster too.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::words::Words;

/// Beyond so many missed times Kubernetes warns that the clock may be wrong.
pub const MANY_MISSED: usize = 100;

/// Why a schedule cannot be followed; the text names what to mend.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    #[error("unparseable schedule: {0:?} : {1}")]
    Unparseable(String, Words),
    #[error("unknown time zone: {0:?}: use a name of the IANA time zone database, as in \"Asia/Tokyo\"")]
    UnknownZone(String),
}

impl ScheduleError {
    /// The same in both languages.
    pub fn words(&self) -> Words {
        let ja = match self {
            Self::Unparseable(text, why) => format!("{text:?} はスケジュールとして読めません: {}", why.ja),
            Self::UnknownZone(zone) => {
                format!(
                    "{zone:?} というタイムゾーンはありません。\"Asia/Tokyo\" のような IANA の名前で書いてください"
                )
            }
        };
        Words::new(ja, self.to_string())
    }
}

/// A schedule that can be asked for its times.
#[derive(Clone, Debug)]
pub enum Schedule {
    Cron(Box<Cron>, TimeZone),
    /// So long after the last time; whole seconds, at least one.
    Every(Duration),
}

/// Times that were due and are past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The latest of them.
    pub last: Timestamp,
    /// How many, counted no further than [`MANY_MISSED`] + 1.
    pub count: usize,
}

const NAMES: [&str; 19] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC", "SUN", "MON", "TUE",
    "WED", "THU", "FRI", "SAT",
];

/// Names what the expression says beyond the five-field grammar.
fn foreign(text: &str) -> Option<Words> {
    if text.contains('=') {
        return Some(Words::new(
            "タイムゾーンは TZ= や CRON_TZ= ではなく timeZone フィールドに書きます",
            "a time zone has a field of its own: use timeZone instead of TZ= or CRON_TZ=",
        ));
    }
    if text.starts_with('@') {
        return None;
    }
    let fields = text.split_whitespace().count();
    if fields != 5 {
        return Some(Words::new(
            format!("5 つの欄 (分 時 日 月 曜日) が必要ですが、{fields} つあります"),
            format!("expected 5 fields (minute hour day month weekday), found {fields}"),
        ));
    }
    text.split(|c: char| c.is_whitespace() || "*,/-?".contains(c))
        .find(|word| {
            let number = word.bytes().all(|b| b.is_ascii_digit());
            !number && !NAMES.iter().any(|name| word.eq_ignore_ascii_case(name))
        })
        .map(|word| {
            Words::new(
                format!("{word:?} は数字でも月や曜日の名前でもありません"),
                format!("{word:?} is neither a number nor the name of a month or weekday"),
            )
        })
}

impl Schedule {
    /// Reads `text` as times in `zone` (an IANA name), or in UTC where none is given.
    ///
    /// # Errors
    /// Names what is wrong with the text or that the zone is unknown.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let wrong = |why: Words| ScheduleError::Unparseable(text.to_owned(), why);
        let zone = match zone {
            Some(name) => TimeZone::get(name).map_err(|_| ScheduleError::UnknownZone(name.to_owned()))?,
            None => TimeZone::UTC,
        };
        if let Some(every) = text.strip_prefix("@every") {
            let every = crate::quantity::duration(every).map_err(|_| {
                wrong(Words::new(
                    "@every のあとには \"@every 1h30m\" のように時間を書いてください",
                    "expected a duration after @every, as in \"@every 1h30m\"",
                ))
            })?;
            return Ok(Self::Every(Duration::from_secs(every.as_secs().max(1))));
        }
        if let Some(why) = foreign(text) {
            return Err(wrong(why));
        }
        let text = if text.eq_ignore_ascii_case("@midnight") {
            "@daily"
        } else {
            text
        };
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(text)
            .map_err(|error| wrong(Words::new(error.to_string(), error.to_string())))?;
        Ok(Self::Cron(Box::new(cron), zone))
    }

    /// The first time after `after`; `None` if there is none (`0 0 30 2 *`).
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron, zone) => {
                let from = after.to_zoned(zone.clone());
                cron.find_next_occurrence(&from, false)
                    .ok()
                    .map(|time| time.timestamp())
            }
            Self::Every(every) => whole(after)
                .checked_add(SignedDuration::try_from(*every).ok()?)
                .ok(),
        }
    }

    /// The times after `since` up to and including `now`; `None` if there were none.
    pub fn missed(&self, since: Timestamp, now: Timestamp) -> Option<Missed> {
        let mut last = self.next_after(since).filter(|time| *time <= now)?;
        let mut count = 1;
        while count <= MANY_MISSED {
            match self.next_after(last).filter(|time| *time <= now) {
                Some(next) => last = next,
                None => return Some(Missed { last, count }),
            }
            count += 1;
        }
        Some(Missed {
            last: self.last_until(last, now).unwrap_or(last),
            count,
        })
    }

    /// The latest time up to `now`, found without walking; `from` is one of the schedule's times.
    fn last_until(&self, from: Timestamp, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron, zone) => {
                let until = now.to_zoned(zone.clone());
                cron.find_previous_occurrence(&until, true)
                    .ok()
                    .map(|time| time.timestamp())
            }
            Self::Every(every) => {
                let step = i64::try_from(every.as_secs()).ok()?;
                let rounds = now.duration_since(from).as_secs() / step;
                from.checked_add(SignedDuration::from_secs(rounds.checked_mul(step)?))
                    .ok()
            }
        }
    }
}

/// The second that `time` lies in.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn next(schedule: &str, zone: Option<&str>, after: &str) -> String {
        let schedule = Schedule::parse(schedule, zone).expect("a schedule");
        schedule.next_after(at(after)).expect("a time").to_string()
    }

    #[test]
    fn every_form_that_kubernetes_takes() {
        let after = "2026-01-01T10:30:15Z"; // a Thursday
        for (schedule, expected) in [
            ("*/5 * * * *", "2026-01-01T10:35:00Z"),
            ("0 9-17/4 * * mon-fri", "2026-01-01T13:00:00Z"),
            ("0 0 1 FEB *", "2026-02-01T00:00:00Z"),
            ("15,45 10 * * ?", "2026-01-01T10:45:00Z"),
            // Day of month and weekday both given: either will do.
            ("0 0 13 * FRI", "2026-01-02T00:00:00Z"),
            ("@hourly", "2026-01-01T11:00:00Z"),
            ("@midnight", "2026-01-02T00:00:00Z"),
            ("@weekly", "2026-01-04T00:00:00Z"),
            ("@monthly", "2026-02-01T00:00:00Z"),
            ("@yearly", "2027-01-01T00:00:00Z"),
            ("@every 30s", "2026-01-01T10:30:45Z"),
            ("@every 1h30m", "2026-01-01T12:00:15Z"),
        ] {
            assert_eq!(next(schedule, None, after), expected, "{schedule}");
        }
        assert_eq!(
            next("0 9 * * *", Some("Asia/Tokyo"), after),
            "2026-01-02T00:00:00Z"
        );
        let never = Schedule::parse("0 0 30 2 *", None).expect("a schedule");
        assert_eq!(never.next_after(at(after)), None);
    }

    #[test]
    fn what_a_real_cluster_would_refuse_is_refused_and_named() {
        for (schedule, named) in [
            ("* * * *", "found 4"),
            ("0 * * * * *", "found 6"),
            ("0 0 L * *", "\"L\""),
            ("0 0 * * MON#2", "\"MON#2\""),
            ("0 0 15W * *", "\"15W\""),
            ("60 * * * *", "60"),
            ("TZ=Asia/Tokyo 0 9 * * *", "timeZone"),
            ("@sometimes", "@sometimes"),
            ("@every soon", "@every"),
            ("", "found 0"),
        ] {
            let error = Schedule::parse(schedule, None).expect_err(schedule).to_string();
            assert!(
                error.to_lowercase().contains(&named.to_lowercase()),
                "{schedule}: {error}"
            );
        }
        let error = Schedule::parse("@daily", Some("Mars/Base")).expect_err("no such zone");
        assert_eq!(error, ScheduleError::UnknownZone("Mars/Base".to_owned()));
    }

    #[test]
    fn the_last_of_many_missed_times_is_found_and_many_is_said() {
        let minutely = Schedule::parse("* * * * *", None).expect("a schedule");
        let since = at("2026-01-01T00:00:30Z");
        assert_eq!(minutely.missed(since, at("2026-01-01T00:00:59Z")), None);
        let two = minutely.missed(since, at("2026-01-01T00:02:00Z")).expect("two");
        assert_eq!((two.last, two.count), (at("2026-01-01T00:02:00Z"), 2));
        let year = minutely.missed(since, at("2027-01-01T00:00:10Z")).expect("many");
        assert_eq!(
            (year.last, year.count),
            (at("2027-01-01T00:00:00Z"), MANY_MISSED + 1)
        );
        let every = Schedule::parse("@every 7s", None).expect("a schedule");
        let many = every.missed(since, at("2026-01-02T00:00:00Z")).expect("many");
        assert_eq!(
            (many.last, many.count),
            (at("2026-01-01T23:59:56Z"), MANY_MISSED + 1)
        );
    }

    proptest! {
        #[test]
        fn the_last_missed_time_is_due_and_nothing_due_follows_it(
            minutes in 1_u32..60, start in 0_i64..2_000_000_000, length in 0_i64..10_000_000,
        ) {
            for text in [format!("*/{minutes} * * * *"), format!("@every {minutes}s")] {
                let schedule = Schedule::parse(&text, Some("Europe/Paris")).expect("a schedule");
                let since = Timestamp::from_second(start).expect("a time");
                let now = Timestamp::from_second(start + length).expect("a time");
                match schedule.missed(since, now) {
                    Some(missed) => {
                        prop_assert!(since < missed.last && missed.last <= now);
                        prop_assert!(schedule.next_after(missed.last).is_some_and(|next| next > now));
                    }
                    None => prop_assert!(schedule.next_after(since).is_some_and(|next| next > now)),
                }
            }
        }
    }
}
