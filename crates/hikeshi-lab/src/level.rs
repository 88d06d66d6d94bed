//! How bad it is made: latency or errors, from what nobody feels to what nobody bears.

use hikeshi_chaos::quantity;
use hikeshi_scenario::Text;
use hikeshi_slo::policy::Severity;
use hikeshi_slo::{Sli, Spec};
use serde::{Deserialize, Serialize};

use crate::words::{number, percent, seconds, text};

/// What is felt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Latency,
    Availability,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Availability => "availability",
        }
    }

    pub fn title(self) -> Text {
        match self {
            Self::Latency => text("レイテンシ", "latency"),
            Self::Availability => text("可用性", "availability"),
        }
    }

    /// The levels that a search tries, as [`Level::intensity`], evenly spaced: 100 ms to 10 s, or 0.01 % to 60 % of errors.
    pub fn range(self) -> (f64, f64) {
        match self {
            Self::Latency => (-1.0, 1.0),
            Self::Availability => (-4.0, 0.6_f64.log10()),
        }
    }

    /// The level of an intensity.
    pub fn level(self, intensity: f64) -> Level {
        let value = 10_f64.powf(intensity);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the range of the kind"
        )]
        match self {
            // A round figure: what was asked for is read by people.
            Self::Latency => Level::Total {
                micros: ((value * 100.0).round() as u64).max(1) * 10_000,
            },
            Self::Availability => Level::Errors {
                ppm: ((value * 1e6).round() as u32).clamp(LEAST_PPM, WHOLE),
            },
        }
    }

    /// An intensity (seconds, or a share of errors, as a logarithm to 10) in plain words.
    pub fn said(self, intensity: f64) -> Text {
        let value = 10_f64.powf(intensity);
        match self {
            Self::Latency => seconds(value),
            Self::Availability => text(percent(value), percent(value)),
        }
    }
}

/// 0.001 %: one in 100,000.
pub const LEAST_PPM: u32 = 10;
const WHOLE: u32 = 1_000_000;

/// One level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "level", rename_all = "kebab-case")]
pub enum Level {
    /// As it is every day.
    Normal,
    /// The whole exchange takes so many microseconds, whatever the system needed of them: what the user waits.
    Total { micros: u64 },
    /// So many microseconds on top of what the system needs.
    Added { micros: u64 },
    /// At the very edge of an objective: `good_ppm` parts per million of the answers within `micros`, the rest beyond. Their
    /// shape is the normal state's, made longer.
    Edge { micros: u64, good_ppm: u32 },
    /// So many parts per million of the answers are 500.
    Errors { ppm: u32 },
}

impl Level {
    /// Of which kind; none of the normal state.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::Normal => None,
            Self::Errors { .. } => Some(Kind::Availability),
            _ => Some(Kind::Latency),
        }
    }

    /// Logarithm (to 10) of seconds or of the share of errors.
    pub fn intensity(self) -> f64 {
        match self {
            Self::Normal => f64::NEG_INFINITY,
            Self::Total { micros } | Self::Added { micros } | Self::Edge { micros, .. } => {
                secs(micros).log10()
            }
            Self::Errors { ppm } => (f64::from(ppm) / 1e6).log10(),
        }
    }

    /// In plain words.
    pub fn said(self) -> Text {
        match self {
            Self::Normal => text("平常時", "normal"),
            Self::Total { micros } => {
                let s = seconds(secs(micros));
                text(format!("合計 {}", s.ja), format!("{} in all", s.en))
            }
            Self::Added { micros } => {
                let s = seconds(secs(micros));
                text(format!("平常時 + {}", s.ja), format!("{} added", s.en))
            }
            Self::Edge { micros, good_ppm } => {
                let (s, p) = (seconds(secs(micros)), percent(f64::from(good_ppm) / 1e6));
                text(format!("{p} が {} 以内", s.ja), format!("{p} within {}", s.en))
            }
            Self::Errors { ppm } => {
                let p = percent(f64::from(ppm) / 1e6);
                text(format!("{p} がエラー"), format!("{p} errors"))
            }
        }
    }

    /// As [`parse`] reads it.
    pub fn spelt(self) -> String {
        let length = |micros: u64| {
            if micros.is_multiple_of(1_000_000) {
                format!("{}s", micros / 1_000_000)
            } else {
                format!("{}ms", number(secs(micros) * 1e3))
            }
        };
        match self {
            Self::Normal => "normal".to_owned(),
            Self::Total { micros } => length(micros),
            Self::Added { micros } => format!("+{}", length(micros)),
            Self::Edge { micros, good_ppm } => {
                format!("{}@{}", length(micros), f64::from(good_ppm) / 1e4)
            }
            Self::Errors { ppm } => format!("{}%", f64::from(ppm) / 1e4),
        }
    }
}

pub(crate) fn secs(micros: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of minutes")]
    let micros = micros as f64;
    micros / 1e6
}

/// Reads a level as people type it: `1s` (in all), `+800ms` (added), `1s@99` (99 % within 1 s), `1.5%`, `20ppm`, `normal`, and
/// of an availability objective `burn:1`, `burn:14.4`, `page-1h`, `page-6h` (the thresholds of its own page alerts).
///
/// # Errors
/// What is wrong with it, in both languages, and how to write it.
pub fn parse(word: &str, availability: Option<&Spec>) -> Result<Level, Text> {
    let word = word.trim();
    let refuse = || {
        text(
            format!(
                "`{word}` はレベルとして読めません。1s（合計）、+800ms（追加）、1s@99（99 % が 1 秒以内）、1.5%、20ppm、burn:1、page-1h、normal のように書きます"
            ),
            format!(
                "`{word}` is no level: write 1s (in all), +800ms (added), 1s@99 (99 % within 1 s), 1.5%, 20ppm, burn:1, page-1h or normal"
            ),
        )
    };
    let micros = |length: &str| quantity::micros(length).map_err(|_| refuse());
    if word == "normal" {
        return Ok(Level::Normal);
    }
    if word.starts_with("burn:") || word.starts_with("page-") {
        let spec = availability.ok_or_else(|| {
            text(
                format!("`{word}` には可用性の SLO が要りますが、このジャーニーにはありません。1.5% のように割合で書いてください"),
                format!("`{word}` needs an availability SLO, and this journey has none: write a share such as 1.5%"),
            )
        })?;
        if let Some(factor) = word.strip_prefix("burn:") {
            let factor: f64 = factor.parse().map_err(|_| refuse())?;
            return at_burn(spec, factor).ok_or_else(refuse);
        }
        let known = presets(spec);
        let found = known.iter().find(|preset| preset.name == word);
        return found.map(|preset| preset.level).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|preset| preset.name.as_str()).collect();
            text(
                format!("`{word}` という警告はありません。あるのは {}", names.join("、")),
                format!("there is no alert `{word}`; there are {}", names.join(", ")),
            )
        });
    }
    if let Some(ppm) = word.strip_suffix("ppm") {
        let ppm: u32 = ppm.trim().parse().map_err(|_| refuse())?;
        return errors(ppm).ok_or_else(refuse);
    }
    if let Some(share) = word.strip_suffix('%') {
        let ppm = quantity::percent(share.trim()).map_err(|_| refuse())?;
        return errors(ppm).ok_or_else(refuse);
    }
    if let Some((length, share)) = word.split_once('@') {
        let micros = micros(length)?;
        let good_ppm = quantity::percent(share.trim().trim_end_matches('%')).map_err(|_| refuse())?;
        // Nearly all within is a level; nearly none within, or all, is another thing.
        if !(500_000..WHOLE).contains(&good_ppm) || micros == 0 {
            return Err(refuse());
        }
        return Ok(Level::Edge { micros, good_ppm });
    }
    let (added, length) = match word.strip_prefix('+') {
        Some(length) => (true, length),
        None => (false, word),
    };
    let micros = micros(length)?;
    // Beyond that every browser and gateway has given up.
    if micros == 0 || micros > 60_000_000 {
        return Err(refuse());
    }
    Ok(if added {
        Level::Added { micros }
    } else {
        Level::Total { micros }
    })
}

fn errors(ppm: u32) -> Option<Level> {
    (LEAST_PPM..=WHOLE)
        .contains(&ppm)
        .then_some(Level::Errors { ppm })
}

/// A level that an objective's alerts give a meaning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preset {
    /// `burn:1`, `page-1h`.
    pub name: String,
    pub level: Level,
    pub words: Text,
}

/// The error rate at which the budget of an objective burns so many times too fast; none where that is more than all.
pub fn at_burn(spec: &Spec, factor: f64) -> Option<Level> {
    let ppm = (factor * spec.budget * 1e6).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be within 10 and a million"
    )]
    let ppm = (f64::from(LEAST_PPM)..=1e6)
        .contains(&ppm)
        .then_some(ppm as u32)?;
    Some(Level::Errors { ppm })
}

/// The levels of an availability objective that mean something: its budget spent exactly in its period, and the thresholds of
/// its page alerts (of the usual policy over 30 days: 2 % in 1 h is 14.4 times, 5 % in 6 h is 6 times).
pub fn presets(spec: &Spec) -> Vec<Preset> {
    if spec.sli != Sli::Availability.name() {
        return Vec::new();
    }
    let even = at_burn(spec, 1.0).map(|level| Preset {
        name: "burn:1".to_owned(),
        level,
        words: text(
            "バーンレート 1：期間の終わりにちょうど使い切る",
            "burn rate 1: the budget lasts exactly its period",
        ),
    });
    let pages = spec.burns.iter().filter(|burn| burn.severity == Severity::Page);
    let pages = pages.filter_map(|burn| {
        let long = burn.long.name();
        let (factor, share) = (
            number(burn.factor),
            number(burn.factor * 100.0 * whole(burn.long.seconds, spec)),
        );
        Some(Preset {
            name: format!("page-{long}"),
            level: at_burn(spec, burn.factor)?,
            words: text(
                format!("呼び出しが鳴る境目：{long} で {share} %（バーンレート {factor}）"),
                format!("where the page begins: {share} % in {long} (burn rate {factor})"),
            ),
        })
    });
    even.into_iter().chain(pages).collect()
}

/// A window's share of its objective's period.
#[expect(clippy::cast_precision_loss, reason = "at most a year of seconds")]
fn whole(seconds: u64, spec: &Spec) -> f64 {
    seconds as f64 / spec.period.seconds().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "apiVersion: hikeshi.dev/v1\nkind: CUJs\nsystem: s\ncujs:\n  - name: update\n    title: {ja: 更新, en: Update}\n    owner: a\n    route: POST /update\n    slos:\n      - {sli: availability, objective: 99.9}\n";

    fn spec(objective: &str) -> Spec {
        let text = FILE.replace("99.9", objective);
        hikeshi_slo::specs(&hikeshi_slo::parse("f", &text).unwrap()).remove(0)
    }

    #[test]
    fn levels_are_read_as_they_are_spelt() {
        let spec = spec("99.9");
        for (word, level) in [
            ("1s", Level::Total { micros: 1_000_000 }),
            ("200ms", Level::Total { micros: 200_000 }),
            ("+800ms", Level::Added { micros: 800_000 }),
            (
                "1s@99",
                Level::Edge {
                    micros: 1_000_000,
                    good_ppm: 990_000,
                },
            ),
            ("1.5%", Level::Errors { ppm: 15_000 }),
            ("0.001%", Level::Errors { ppm: 10 }),
            ("normal", Level::Normal),
        ] {
            assert_eq!(parse(word, None).unwrap(), level, "{word}");
            assert_eq!(level.spelt(), word);
        }
        assert_eq!(parse("10ppm", None).unwrap(), Level::Errors { ppm: 10 });
        assert_eq!(
            parse("burn:1", Some(&spec)).unwrap(),
            Level::Errors { ppm: 1_000 }
        );
        assert_eq!(
            parse("page-1h", Some(&spec)).unwrap(),
            Level::Errors { ppm: 14_400 }
        );
        for word in [
            "1", "soon", "0.0001%", "101%", "1s@20", "0s", "2h", "burn:x", "page-9h",
        ] {
            assert!(parse(word, Some(&spec)).is_err(), "{word}");
        }
        assert!(parse("burn:1", None).unwrap_err().en.contains("availability SLO"));
    }

    /// The talk's slides: 99.9 % over 30 days; burn 1 is 0.1 % (they print 0.01 %), and near 1.5 % the fast page rings.
    #[test]
    fn presets_are_the_talks() {
        let told = presets(&spec("99.9"));
        let told: Vec<(&str, Level)> = told.iter().map(|p| (p.name.as_str(), p.level)).collect();
        assert_eq!(
            told,
            [
                ("burn:1", Level::Errors { ppm: 1_000 }),
                ("page-1h", Level::Errors { ppm: 14_400 }),
                ("page-6h", Level::Errors { ppm: 6_000 }),
            ]
        );
        let words = &presets(&spec("99.9"))[1].words.en;
        assert!(words.contains("2 % in 1h") && words.contains("14.4"), "{words}");
        // Nobody can burn 14.4 times 10 %.
        assert_eq!(presets(&spec("90")).len(), 2);
    }

    #[test]
    fn a_search_stays_within_what_can_be_made() {
        for kind in [Kind::Latency, Kind::Availability] {
            let (low, high) = kind.range();
            for step in 0..=20 {
                let x = low + (high - low) * f64::from(step) / 20.0;
                let level = kind.level(x);
                assert_eq!(level.kind(), Some(kind));
                assert!((level.intensity() - x).abs() < 0.05, "{x} {level:?}");
                assert_eq!(parse(&level.spelt(), None).unwrap(), level);
            }
        }
    }
}
