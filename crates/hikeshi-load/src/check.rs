//! Is an answer right, not only in time?
//!
//! Lists are looked at in two ways. All of them: bounds and the order of ids, found by their key without reading the
//! rest. In JSON every quotation mark inside a string has a backslash before it, so the bytes `"id":` are always a key. A
//! sample of them, and whatever the quick look does not like, is read as JSON; only that reading condemns an answer.

use std::borrow::Cow;

use memchr::memmem::Finder;
use serde::Deserialize;

/// What is wrong with an answer.
pub type Wrong = &'static str;

pub const UNREADABLE: Wrong = "unreadable answer";
pub const OTHER_POST: Wrong = "wrong answer: the acknowledged post is not the one sent";
pub const OTHER_AUTHOR: Wrong = "wrong answer: a profile has somebody else's post";
pub const OTHER_WORD: Wrong = "wrong answer: search found a post without the word";
pub const FORGOTTEN: Wrong = "wrong answer: search no longer finds anything of what it found before";
pub const OUT_OF_ORDER: Wrong = "wrong answer: the timeline is out of order";
pub const TWICE: Wrong = "wrong answer: a post is there twice";

#[derive(Deserialize)]
struct Post<'a> {
    id: i64,
    #[serde(borrow)]
    author: Cow<'a, str>,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

/// Looks at answers; made once, used for all.
pub struct Checker {
    id: Finder<'static>,
    ids: Vec<i64>,
}

impl Default for Checker {
    fn default() -> Self {
        Self {
            id: Finder::new(b"\"id\":"),
            ids: Vec::with_capacity(128),
        }
    }
}

impl Checker {
    /// A list of posts, newest first and none twice. `closely`: read it as JSON in any case.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn timeline(&self, body: &[u8], closely: bool) -> Result<(), Wrong> {
        if !closely && self.glance(body) {
            return Ok(());
        }
        in_order(&read(body)?)
    }

    /// A timeline, read as JSON, in which every post is by `author`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn profile(&self, body: &[u8], author: &str) -> Result<(), Wrong> {
        let posts = read(body)?;
        if posts.iter().any(|post| post.author != author) {
            return Err(OTHER_AUTHOR);
        }
        in_order(&posts)
    }

    /// A list of posts in any order, none twice, each with `word` (in lower case) in it: how many.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn found(&mut self, body: &[u8], word: &str) -> Result<usize, Wrong> {
        let posts = read(body)?;
        self.ids.clear();
        self.ids.extend(posts.iter().map(|post| post.id));
        self.ids.sort_unstable();
        if self.ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(TWICE);
        }
        if posts.iter().any(|post| !post.text.to_lowercase().contains(word)) {
            return Err(OTHER_WORD);
        }
        Ok(posts.len())
    }

    /// An acknowledged post: its id, when it is the post that was sent.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn posted(&self, body: &[u8], text: &str) -> Result<i64, Wrong> {
        let post: Post<'_> = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
        if post.id <= 0 || post.text != text || post.author.is_empty() {
            return Err(OTHER_POST);
        }
        Ok(post.id)
    }

    /// Whether it is surely a list of falling ids.
    fn glance(&self, body: &[u8]) -> bool {
        let body = body.trim_ascii();
        let [b'[', inner @ .., b']'] = body else {
            return false;
        };
        if inner.is_empty() {
            return true;
        }
        let mut last = i64::MAX;
        let mut some = false;
        for at in self.id.find_iter(inner) {
            match number(&inner[at + 5..]) {
                Some(id) if id < last => last = id,
                _ => return false,
            }
            some = true;
        }
        some && inner.first() == Some(&b'{') && inner.last() == Some(&b'}')
    }
}

fn read(body: &[u8]) -> Result<Vec<Post<'_>>, Wrong> {
    serde_json::from_slice(body).map_err(|_| UNREADABLE)
}

/// Newest first and none twice.
fn in_order(posts: &[Post<'_>]) -> Result<(), Wrong> {
    match posts.windows(2).find(|pair| pair[0].id <= pair[1].id) {
        None => Ok(()),
        Some(pair) if pair[0].id == pair[1].id => Err(TWICE),
        Some(_) => Err(OUT_OF_ORDER),
    }
}

/// The whole number that the bytes begin with.
fn number(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // Up to 18 digits nothing can overflow; longer ones are read as JSON.
    if !(1..=18).contains(&digits) {
        return None;
    }
    Some(
        bytes[..digits]
            .iter()
            .fold(0, |number, digit| number * 10 + i64::from(digit - b'0')),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(ids: &[i64], text: &str) -> Vec<u8> {
        let posts: Vec<_> = ids
            .iter()
            .map(|id| serde_json::json!({"id": id, "author": "tenki", "text": text}))
            .collect();
        serde_json::to_vec(&posts).expect("JSON")
    }

    proptest! {
        #[test]
        fn the_quick_look_never_passes_what_reading_condemns(ids in proptest::collection::vec(-3_i64..20, 0..6), text: String) {
            let checker = Checker::default();
            let body = list(&ids, &text);
            prop_assert_eq!(checker.timeline(&body, false), checker.timeline(&body, true));
        }

        #[test]
        fn falling_ids_pass_the_quick_look_whatever_people_write(mut ids in proptest::collection::hash_set(1_i64..i64::MAX / 100, 0..30), text: String) {
            let mut ids: Vec<_> = ids.drain().collect();
            ids.sort_unstable_by(|a, b| b.cmp(a));
            let body = list(&ids, &format!("{text} \"id\":1 \"id\":9"));
            prop_assert!(Checker::default().glance(&body));
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        let mut checker = Checker::default();
        assert_eq!(checker.timeline(&list(&[1, 2], ""), false), Err(OUT_OF_ORDER));
        assert_eq!(checker.timeline(&list(&[2, 2], ""), false), Err(TWICE));
        assert_eq!(checker.timeline(b"<html>", false), Err(UNREADABLE));
        assert_eq!(checker.timeline(b"[{\"id\": 3}", false), Err(UNREADABLE));
        assert_eq!(checker.found(&list(&[1, 5, 3], "Hot Coffee"), "coffee"), Ok(3));
        assert_eq!(checker.found(&list(&[1, 5, 1], "coffee"), "coffee"), Err(TWICE));
        assert_eq!(checker.found(&list(&[1], "tea"), "coffee"), Err(OTHER_WORD));
        assert_eq!(checker.profile(&list(&[5, 1], ""), "tenki"), Ok(()));
        assert_eq!(checker.profile(&list(&[5, 1], ""), "ai"), Err(OTHER_AUTHOR));
        assert_eq!(checker.profile(&list(&[1, 5], ""), "tenki"), Err(OUT_OF_ORDER));
        let one = br#"{"id":7,"author":"a","text":"x \"y\""}"#;
        assert_eq!(checker.posted(one, "x \"y\""), Ok(7));
        assert_eq!(checker.posted(one, "z"), Err(OTHER_POST));
        assert_eq!(checker.posted(b"7", "z"), Err(UNREADABLE));
    }
}
