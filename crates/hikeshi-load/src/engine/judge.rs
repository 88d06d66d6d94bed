//! What an answer is worth.

use super::request::Request;
use crate::check::{self, Checker};
use crate::journey::Journey;
use crate::people::People;
use crate::text::{self, Sought};

/// Of so many lists one is read as JSON; the others are only glanced at.
const CLOSELY: u64 = 64;

pub enum Outcome {
    Ok,
    /// The post of this id was acknowledged.
    Posted(i64),
    /// Not a status of success.
    Status(u16),
    Wrong(&'static str),
}

#[derive(Default)]
pub struct Judge {
    checker: Checker,
    lists: u64,
    /// What search has found something for.
    found: Vec<Sought>,
    /// What the post should say.
    text: String,
}

impl Judge {
    pub fn judge(&mut self, request: &Request, people: &People, status: u16, body: &[u8]) -> Outcome {
        if !(200..300).contains(&status) {
            return Outcome::Status(status);
        }
        let checked = match request.journey() {
            Journey::ReadTimeline => {
                let closely = self.closely();
                self.checker.timeline(body, closely)
            }
            Journey::ReadProfile if self.closely() => self.checker.profile(body, request.whose(people)),
            Journey::ReadProfile => self.checker.timeline(body, false),
            Journey::Search => self.searched(text::sought(request.arrival.dice), body),
            Journey::PostMessage => {
                text::write(request.arrival.dice, request.arrival.hot, &mut self.text);
                match self.checker.posted(body, &self.text) {
                    Ok(id) => return Outcome::Posted(id),
                    Err(wrong) => Err(wrong),
                }
            }
        };
        checked.map_or_else(Outcome::Wrong, |()| Outcome::Ok)
    }

    /// Whether it is this list's turn to be read as JSON.
    fn closely(&mut self) -> bool {
        self.lists += 1;
        self.lists.is_multiple_of(CLOSELY)
    }

    /// Nobody who takes part deletes posts: what was found once is there for good.
    fn searched(&mut self, sought: Sought, body: &[u8]) -> Result<(), check::Wrong> {
        let posts = self.checker.found(body, sought.word)?;
        let known = self.found.contains(&sought);
        if posts == 0 && known {
            return Err(check::FORGOTTEN);
        }
        if posts > 0 && !known {
            self.found.push(sought);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_may_find_nothing_until_it_has_found_something() {
        let mut judge = Judge::default();
        let (coffee, tokyo) = (text::sought(1), text::sought(0));
        assert_eq!(judge.searched(coffee, b"[]"), Ok(()));
        let one = br#"[{"id":7,"author":"a","text":"Coffee first"}]"#;
        assert_eq!(judge.searched(coffee, one), Ok(()));
        assert_eq!(judge.searched(coffee, b"[]"), Err(check::FORGOTTEN));
        assert_eq!(judge.searched(tokyo, b"[]"), Ok(()));
        assert_eq!(judge.searched(tokyo, one), Err(check::OTHER_WORD));
    }
}
