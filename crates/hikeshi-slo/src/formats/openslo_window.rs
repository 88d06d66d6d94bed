//! OpenSLO's time windows.

use hikeshi_scenario::Dur;

use super::given;
use super::reading::Reading;
use crate::period::{Calendar, Offset, Period, Unit};
use hikeshi_scenario::node::Node;

const DAY: u64 = 86_400;

/// The period of an SLO; none where it names none.
pub(super) fn window(spec: &Node, about: &str, reading: &mut Reading) -> Option<Period> {
    if let Some(old) = spec.get("timeWindows").map(Node::items).and_then(<[Node]>::first) {
        let days = old
            .get("count")
            .and_then(Node::number)
            .filter(|_| old.get("unit").and_then(Node::text) == Some("Day"));
        if let Some(days) = days.filter(|days| (1.0..=366.0).contains(days)) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 366")]
            return Some(Period::Rolling(Dur::secs(days as u64 * DAY)));
        }
        reading.refuse(old.at, "a v1alpha window is a `count` of `unit: Day`".to_owned());
        return None;
    }
    let node = spec
        .get("timeWindow")
        .map(Node::items)
        .and_then(<[Node]>::first)?;
    let Some(text) = node.get("duration").and_then(Node::text) else {
        reading.refuse(node.at, "a time window needs a `duration`".to_owned());
        return None;
    };
    let at = node.get("duration").map_or(node.at, |n| n.at);
    if let Some(calendar) = given(node.get("calendar")) {
        let unit = match text {
            "1M" => Some(Unit::Month),
            "1Q" | "3M" => Some(Unit::Quarter),
            _ => None,
        };
        if let Some(unit) = unit {
            return Some(Period::Calendar(Calendar {
                calendar: unit,
                utc_offset: zone(calendar, about, reading),
            }));
        }
        reading.note(
            at,
            about,
            format!("暦の {text} は使えません。同じ長さの、直近を見る窓にしました"),
            format!("a calendar's {text} cannot be used: a rolling window of that length is"),
        );
    }
    let Some((seconds, exact)) = shorthand(text) else {
        reading.refuse(
            at,
            format!("`{text}` is no duration of OpenSLO: write 30d, 4w, 1M or 1Q"),
        );
        return None;
    };
    if !exact {
        reading.note(
            at,
            about,
            format!("{text} の長さは決まっていないため {} 日としました", seconds / DAY),
            format!("{text} has no fixed length: {} days are used", seconds / DAY),
        );
    }
    Some(Period::Rolling(Dur::secs(seconds)))
}

/// Seconds of a duration-shorthand, and whether it is exactly that long.
pub(super) fn shorthand(text: &str) -> Option<(u64, bool)> {
    let unit = text.chars().next_back()?;
    let number: u64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .ok()
        .filter(|n| (1..100_000).contains(n))?;
    let (seconds, exact) = match unit {
        'm' => (60, true),
        'h' => (3_600, true),
        'd' => (DAY, true),
        'w' => (7 * DAY, true),
        'M' => (30 * DAY, false),
        'Q' => (90 * DAY, false),
        'Y' => (365 * DAY, false),
        _ => return None,
    };
    Some((number * seconds, exact))
}

/// Zones whose offset never changes, in minutes; whatever else changes its clocks, or may.
pub(super) const ZONES: [(&str, i32); 9] = [
    ("UTC", 0),
    ("Etc/UTC", 0),
    ("Asia/Tokyo", 540),
    ("Asia/Seoul", 540),
    ("Asia/Shanghai", 480),
    ("Asia/Taipei", 480),
    ("Asia/Singapore", 480),
    ("Asia/Bangkok", 420),
    ("Asia/Kolkata", 330),
];

fn zone(calendar: &Node, about: &str, reading: &mut Reading) -> Offset {
    let Some(node) = given(calendar.get("timeZone")) else {
        return Offset::default();
    };
    let name = node.text().unwrap_or_default();
    if let Some((_, minutes)) = ZONES.iter().find(|(zone, _)| *zone == name) {
        return Offset(*minutes);
    }
    // `Etc/GMT-9` is nine hours east.
    let hours = name.strip_prefix("Etc/GMT").and_then(|h| h.parse::<i32>().ok());
    if let Some(hours) = hours.filter(|h| (-14..=12).contains(h)) {
        return Offset(-hours * 60);
    }
    reading.note(
        node.at,
        about,
        format!(
            "タイムゾーン {name} の時差は一定と言えないため、UTC で区切ります。utcOffset を書いてください"
        ),
        format!("the offset of {name} may change, so the period begins in UTC; write `utcOffset`"),
    );
    Offset::default()
}
