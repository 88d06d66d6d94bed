//! One person's trials: what was shown, what was measured, what they said.

use hikeshi_scenario::Text;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::level::Level;
use crate::verify::{Delivered, Judged};

/// What the person chooses between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    A,
    B,
    /// The same as one of the others.
    X,
}

impl Slot {
    pub const ALL: [Self; 3] = [Self::A, Self::B, Self::X];

    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::X => "X",
        }
    }
}

/// One person's time in the lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sitting {
    pub person: String,
    pub since: Timestamp,
    pub left: Option<Timestamp>,
    pub trials: Vec<Trial>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub journey: String,
    pub level: Level,
    /// A is the level and B the normal state, or the other way round.
    pub a_is_level: bool,
    /// X is what A is.
    pub x_is_a: bool,
    pub shown: Vec<Shown>,
    pub answer: Option<Answer>,
    /// What each slot was, judged when the answer came: A, B, X.
    #[serde(default)]
    pub judged: Vec<Judged>,
    /// Why it does not count.
    pub void: Option<Text>,
}

/// A level that was on for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// None in [`Mode::Feel`].
    pub slot: Option<Slot>,
    pub journey: String,
    pub level: Level,
    pub from: Timestamp,
    pub to: Option<Timestamp>,
    #[serde(default)]
    pub delivered: Delivered,
}

/// What the person says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// A or B.
    pub x_is: Slot,
    /// They could live with the worse of A and B every day.
    pub bearable: bool,
    /// What it was like, in their own words.
    #[serde(default)]
    pub words: String,
}

impl Trial {
    /// The level behind a slot.
    pub fn level_of(&self, slot: Slot) -> Level {
        let a = if self.a_is_level {
            self.level
        } else {
            Level::Normal
        };
        let b = if self.a_is_level {
            Level::Normal
        } else {
            self.level
        };
        match slot {
            Slot::A => a,
            Slot::B => b,
            Slot::X => {
                if self.x_is_a {
                    a
                } else {
                    b
                }
            }
        }
    }

    /// What was measured of a slot, all its presentations together.
    pub fn delivered(&self, slot: Slot) -> Delivered {
        let of_slot = self.shown.iter().filter(|shown| shown.slot == Some(slot));
        of_slot.fold(Delivered::default(), |sum, shown| sum.and(shown.delivered))
    }

    /// Neither answered nor void.
    pub fn is_open(&self) -> bool {
        self.answer.is_none() && self.void.is_none()
    }

    pub fn counts(&self) -> bool {
        self.answer.is_some() && self.void.is_none()
    }

    /// The person found out what X was.
    pub fn is_right(&self) -> bool {
        let right = if self.x_is_a { Slot::A } else { Slot::B };
        self.answer.as_ref().is_some_and(|answer| answer.x_is == right)
    }
}
