//! What people write about; some of it in Japanese, so that search has both.

use std::fmt::Write as _;

const HOT: [&str; 4] = [
    "東京は晴れ、風が強い",
    "大阪は曇り",
    "Sapporo: snow later",
    "福岡で雨が降り始めた",
];
const TALK: [&str; 8] = [
    "お昼は蕎麦にした",
    "just shipped it",
    "東京タワーが見える",
    "会議が長い",
    "coffee first",
    "猫が起きない",
    "reading a postmortem, again",
    "終電に間に合った",
];

/// A word that people look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought {
    /// In lower case.
    pub word: &'static str,
    /// As it stands in a URL.
    pub encoded: &'static str,
}

const SOUGHT: [Sought; 4] = [
    Sought {
        word: "東京",
        encoded: "%E6%9D%B1%E4%BA%AC",
    },
    Sought {
        word: "coffee",
        encoded: "coffee",
    },
    Sought {
        word: "蕎麦",
        encoded: "%E8%95%8E%E9%BA%A6",
    },
    Sought {
        word: "postmortem",
        encoded: "postmortem",
    },
];

/// The text of a post. It has nothing in it that JSON would escape.
pub fn write(dice: u64, hot: bool, into: &mut String) {
    let texts: &[&str] = if hot { &HOT } else { &TALK };
    into.clear();
    into.push_str(texts[(dice % texts.len() as u64) as usize]);
    // Writing to a string cannot fail.
    let _ = write!(into, " #{:06x}", dice >> 40);
}

/// A word to search.
pub fn sought(dice: u64) -> Sought {
    SOUGHT[(dice % SOUGHT.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sought_is_written_and_encoded_as_it_stands() {
        for Sought { word, encoded } in SOUGHT {
            assert!(HOT.iter().chain(&TALK).any(|text| text.contains(word)), "{word}");
            let bytes: String = if word.is_ascii() {
                word.to_owned()
            } else {
                word.bytes().map(|byte| format!("%{byte:02X}")).collect()
            };
            assert_eq!(bytes, encoded);
        }
    }

    #[test]
    fn texts_are_json_as_they_stand() {
        let mut text = String::new();
        for dice in 0..64 {
            for hot in [false, true] {
                write(dice << 37 | dice, hot, &mut text);
                assert_eq!(serde_json::to_string(&text).ok(), Some(format!("\"{text}\"")));
            }
        }
    }
}
