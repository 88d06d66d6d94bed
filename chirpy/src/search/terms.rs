//! What of a text can trend, and how texts are folded so that ＡＢＣ, ABC and abc are the same word.
//!
//! Without a dictionary a Japanese sentence has no word boundaries, but its scripts have: names of things are runs of kanji or
//! of katakana, and what joins them is hiragana. That is enough to see what is talked about.

use std::collections::BTreeSet;

use unicode_normalization::UnicodeNormalization as _;

/// Most terms of one post.
const MOST: usize = 20;
/// Longest term, characters; longer runs are rarely words.
const LONGEST: usize = 24;

/// Words that are everywhere, and therefore say nothing.
const STOP_WORDS: [&str; 92] = [
    "about", "after", "again", "all", "also", "and", "any", "are", "because", "been", "before", "being",
    "but", "can", "could", "did", "does", "doing", "done", "don", "each", "every", "for", "from", "get",
    "got", "had", "has", "have", "her", "here", "him", "his", "how", "into", "its", "just", "like", "made",
    "make", "more", "most", "much", "not", "now", "off", "one", "only", "other", "our", "out", "over",
    "really", "she", "should", "some", "still", "such", "than", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "too", "very", "was", "were", "what", "when", "which", "who", "why",
    "will", "with", "would", "you", "your", "今日", "自分", "本当", "時間", "最近", "感じ", "一番", "全部",
    "人間", "場合",
];

/// Compatibility forms made one (NFKC), letters made small.
pub fn fold(text: &str) -> String {
    text.nfkc().flat_map(char::to_lowercase).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Kanji,
    Katakana,
    Word,
    /// Part of a word only behind a hash sign.
    Hiragana,
    Other,
}

fn script(character: char) -> Script {
    match character {
        '々' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' => Script::Kanji,
        '\u{30a1}'..='\u{30fa}' | 'ー' => Script::Katakana,
        '\u{3041}'..='\u{309f}' => Script::Hiragana,
        '_' => Script::Word,
        letter if letter.is_alphanumeric() => Script::Word,
        _ => Script::Other,
    }
}

/// The terms of a text, each once.
pub fn terms(text: &str) -> Vec<String> {
    let folded = fold(text);
    let mut found = BTreeSet::new();
    for part in folded.split_whitespace().filter(|part| !part.contains("://")) {
        scan(part, &mut found);
    }
    found.into_iter().take(MOST).collect()
}

fn scan(part: &str, found: &mut BTreeSet<String>) {
    let characters: Vec<char> = part.chars().collect();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let run = |start: usize, belongs: &dyn Fn(Script) -> bool| -> String {
            let rest = characters.iter().skip(start);
            rest.take_while(|character| belongs(script(**character)))
                .collect()
        };
        let (term, length, least) = match (character, script(character)) {
            ('#', _) => {
                let tag = run(at + 1, &|script| script != Script::Other);
                let length = tag.chars().count() + 1;
                (format!("#{tag}"), length, 3)
            }
            (_, own @ (Script::Kanji | Script::Katakana)) => {
                let run = run(at, &|script| script == own);
                let length = run.chars().count();
                (run, length, 2)
            }
            (_, Script::Word) => {
                let run = run(at, &|script| script == Script::Word);
                let length = run.chars().count();
                (run, length, 3)
            }
            _ => (String::new(), 1, 1),
        };
        let says_something = (least..=LONGEST).contains(&length)
            && !term.is_empty()
            && !term
                .chars()
                .all(|character| character.is_numeric() || character == '_')
            && !STOP_WORDS.contains(&term.as_str());
        if says_something {
            found.insert(term);
        }
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn japanese_falls_into_its_scripts() {
        assert_eq!(
            terms("今日の東京タワーは、とてもきれいだった"),
            ["タワー", "東京"]
        );
        assert_eq!(terms("火消し訓練を始めます"), ["火消", "訓練"]);
    }

    #[test]
    fn words_tags_and_addresses() {
        assert_eq!(
            terms("The Redis cluster and the REDIS replica"),
            ["cluster", "redis", "replica"]
        );
        assert_eq!(terms("＃お花見 に行く #hanami"), ["#hanami", "#お花見"]);
        assert_eq!(terms("see https://example.com/redis 2026 a"), ["see"]);
        assert_eq!(terms(""), Vec::<String>::new());
    }

    #[test]
    fn width_and_case_do_not_matter() {
        assert_eq!(fold("Ｒｅｄｉｓ ﾀﾜｰ"), "redis タワー");
    }

    #[test]
    fn a_text_has_so_many_terms_and_no_more() {
        let text: Vec<String> = (0..50).map(|number| format!("word{number}")).collect();
        assert_eq!(terms(&text.join(" ")).len(), MOST);
    }
}
