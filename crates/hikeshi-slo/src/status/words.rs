//! A budget in plain words.

use hikeshi_scenario::Text;

pub(super) struct Said {
    pub left: f64,
    pub events_left: Option<f64>,
    pub minutes_left: f64,
    pub burn: Option<f64>,
    pub exhausted_in: Option<f64>,
    pub any: bool,
}

pub(super) fn words(said: &Said) -> Text {
    if !said.any {
        return Text {
            ja: "この期間にはまだリクエストがありません。".to_owned(),
            en: "There were no requests in this period yet.".to_owned(),
        };
    }
    let mut ja = crate::budget::budget_words(said.left).ja + "。";
    let mut en = capital(&crate::budget::budget_words(said.left).en) + ".";
    if said.left > 0.0 {
        let minutes = span(said.minutes_left * 60.0);
        let events = said.events_left.map(count);
        let (or_ja, or_en) = match &events {
            Some(events) => (
                format!("、失敗なら約 {events} 件"),
                format!(", or about {events} failed requests,"),
            ),
            None => (String::new(), String::new()),
        };
        ja += &format!("全面停止なら {}{or_ja}で使い切ります。", minutes.ja);
        en += &format!(
            " It would take {} of a full outage{or_en} to spend it.",
            minutes.en
        );
    }
    match said.burn {
        Some(burn) if burn > 0.005 => {
            ja += &format!("いまは許される速さの {burn:.1} 倍で減っています");
            en += &format!(" It is being spent at {burn:.1} times the pace that is allowed");
            match said.exhausted_in {
                Some(seconds) if seconds > 0.0 => {
                    let after = span(seconds);
                    ja += &format!("。このままなら {}後になくなります。", after.ja);
                    en += &format!("; at that pace it is gone in {}.", after.en);
                }
                _ => {
                    ja += "。";
                    en += ".";
                }
            }
        }
        _ => {
            ja += "いまは減っていません。";
            en += " It is not being spent now.";
        }
    }
    Text { ja, en }
}

fn capital(words: &str) -> String {
    let mut chars = words.chars();
    chars
        .next()
        .map(|c| c.to_uppercase().collect::<String>() + chars.as_str())
        .unwrap_or_default()
}

/// Two significant units at most: `3 days 4 h`.
fn span(seconds: f64) -> Text {
    let (ja, en) = match seconds {
        s if s < 120.0 => (format!("{s:.0} 秒"), format!("{s:.0} s")),
        s if s < 7_200.0 => (format!("{:.0} 分", s / 60.0), format!("{:.0} min", s / 60.0)),
        s if s < 172_800.0 => (
            format!("{:.1} 時間", s / 3_600.0),
            format!("{:.1} h", s / 3_600.0),
        ),
        s => (
            format!("{:.1} 日", s / 86_400.0),
            format!("{:.1} days", s / 86_400.0),
        ),
    };
    Text { ja, en }
}

/// A count with its thousands apart.
fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
