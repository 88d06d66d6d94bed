//! What an answer is worth.

use super::request::Request;
use crate::check::Checker;
use crate::journey::Journey;
use crate::text;

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
    /// What the post should say.
    text: String,
}

impl Judge {
    pub fn judge(&mut self, request: &Request, status: u16, body: &[u8]) -> Outcome {
        if !(200..300).contains(&status) {
            return Outcome::Status(status);
        }
        let checked = match request.journey() {
            Journey::ReadTimeline | Journey::ReadProfile => {
                self.lists += 1;
                self.checker.timeline(body, self.lists.is_multiple_of(CLOSELY))
            }
            Journey::Search => self.checker.found(body),
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
}
