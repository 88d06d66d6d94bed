//! A sentence in the two languages that Hikeshi speaks.

use std::fmt;

/// One sentence (or a part of one) in Japanese and English. Shown as English: kubectl's world.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    pub ja: String,
    pub en: String,
}

impl Words {
    pub fn new(ja: impl Into<String>, en: impl Into<String>) -> Self {
        Self {
            ja: ja.into(),
            en: en.into(),
        }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.en)
    }
}

impl std::error::Error for Words {}

impl From<(&str, &str)> for Words {
    /// Japanese, then English.
    fn from((ja, en): (&str, &str)) -> Self {
        Self::new(ja, en)
    }
}

impl From<Words> for String {
    fn from(words: Words) -> Self {
        words.en
    }
}
