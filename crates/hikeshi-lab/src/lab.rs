//! One lab: what was asked for, who sat in it, every trial. Whatever happens comes in as a call with its time; what holds is
//! here, so a lab can be written down after every call and gone on with later.

mod refusal;
#[cfg(test)]
mod tests;
mod trial;

use hikeshi_scenario::Text;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::level::{Kind, Level};
use crate::normal::Normal;
use crate::psi::{Psi, Question};
use crate::stats::mixed;
use crate::verify::{Delivered, Judged, judge};
use crate::words::text;
pub use refusal::Refusal;
pub use trial::{Answer, Shown, Sitting, Slot, Trial};

/// Who feels it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Only the person in the lab; everybody else stays at the normal state.
    Person,
    Everybody,
}

/// What for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A/B/X trials: nobody is told which level is which before the end.
    Blind,
    /// A level chosen by the person, its figures beside it.
    Feel,
}

/// What somebody wants to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wish {
    /// By their names in `cujs.yaml`; each is tried by everybody.
    pub journeys: Vec<String>,
    pub kind: Kind,
    pub who: Who,
    pub mode: Mode,
    /// Tried in turn; empty: the next is chosen by what was answered.
    #[serde(default)]
    pub levels: Vec<Level>,
    /// Valid trials for each journey and person.
    pub trials: u32,
    #[serde(default)]
    pub normal: Normal,
}

/// Of one journey so many uses make a presentation.
pub type UsesOf<'a> = &'a dyn Fn(&str) -> u32;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lab {
    pub id: String,
    pub system: String,
    pub by: String,
    pub at: Timestamp,
    pub wish: Wish,
    /// Places every random choice.
    pub seed: u64,
    pub people: Vec<Sitting>,
    /// The level that is felt, in [`Mode::Feel`]; the last is on.
    #[serde(default)]
    pub felt: Vec<Shown>,
    pub ended: Option<Ended>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    pub at: Timestamp,
    pub why: Text,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Counts,
    /// A level was not delivered: the trial is repeated.
    Void,
}

impl Lab {
    /// # Errors
    /// When what is wished makes no sense.
    pub fn new(
        id: String,
        system: String,
        by: String,
        wish: Wish,
        seed: u64,
        at: Timestamp,
    ) -> Result<Self, Refusal> {
        if wish.journeys.is_empty() {
            return Err(Refusal::NoJourney);
        }
        if !(1..=60).contains(&wish.trials) {
            return Err(Refusal::Trials);
        }
        let kind = wish.kind;
        if wish
            .levels
            .iter()
            .any(|level| level.kind().is_some_and(|of| of != kind))
        {
            return Err(Refusal::OtherKind(kind));
        }
        if wish.mode == Mode::Blind && wish.levels.contains(&Level::Normal) {
            return Err(Refusal::NormalIsNoLevel);
        }
        Ok(Self {
            id,
            system,
            by,
            at,
            wish,
            seed,
            people: Vec::new(),
            felt: Vec::new(),
            ended: None,
        })
    }

    fn alive(&self) -> Result<(), Refusal> {
        if self.ended.is_some() {
            Err(Refusal::Over)
        } else {
            Ok(())
        }
    }

    /// Who sits in it now.
    pub fn sitting(&self) -> Option<&Sitting> {
        self.people.last().filter(|sitting| sitting.left.is_none())
    }

    fn sitting_mut(&mut self) -> Result<&mut Sitting, Refusal> {
        self.alive()?;
        let last = self.people.last_mut().filter(|sitting| sitting.left.is_none());
        last.ok_or(Refusal::NobodySits)
    }

    /// The trial that is on.
    pub fn trial(&self) -> Option<&Trial> {
        self.sitting()?.trials.last().filter(|trial| trial.is_open())
    }

    fn trial_mut(&mut self) -> Result<&mut Trial, Refusal> {
        let last = self.sitting_mut()?.trials.last_mut();
        last.filter(|trial| trial.is_open()).ok_or(Refusal::NoTrial)
    }

    /// The level that is on.
    pub fn on(&self) -> Option<&Shown> {
        let shown = match self.wish.mode {
            Mode::Feel => self.felt.last(),
            Mode::Blind => self.trial()?.shown.last(),
        };
        shown.filter(|shown| shown.to.is_none())
    }

    fn on_mut(&mut self) -> Option<&mut Shown> {
        let shown = match self.wish.mode {
            Mode::Feel => self.felt.last_mut(),
            Mode::Blind => self.people.last_mut()?.trials.last_mut()?.shown.last_mut(),
        };
        shown.filter(|shown| shown.to.is_none())
    }

    /// Somebody sits down.
    ///
    /// # Errors
    /// When another sits there, or the lab is over.
    pub fn sit(&mut self, person: &str, at: Timestamp) -> Result<(), Refusal> {
        self.alive()?;
        if let Some(sitting) = self.sitting() {
            return if sitting.person == person {
                Ok(())
            } else {
                Err(Refusal::Taken(sitting.person.clone()))
            };
        }
        self.people.push(Sitting {
            person: person.to_owned(),
            since: at,
            left: None,
            trials: Vec::new(),
        });
        Ok(())
    }

    /// The person gets up; a trial that is on is void.
    pub fn rise(&mut self, why: &Text, at: Timestamp) {
        self.cut(why, at);
        if let Some(sitting) = self.people.last_mut() {
            sitting.left.get_or_insert(at);
        }
    }

    /// Voids the trial that is on, and ends what it shows.
    pub fn cut(&mut self, why: &Text, at: Timestamp) {
        self.close(Delivered::default(), at);
        if let Ok(trial) = self.trial_mut() {
            trial.void = Some(why.clone());
        }
    }

    /// The journey that this person has to try next; none: they are done.
    pub fn due(&self) -> Option<&str> {
        let sitting = self.sitting()?;
        let done = |journey: &str| {
            let of = |trial: &&Trial| trial.counts() && trial.journey == journey;
            u32::try_from(sitting.trials.iter().filter(of).count()).unwrap_or(u32::MAX)
        };
        let mut journeys = self.wish.journeys.iter();
        journeys
            .find(|journey| done(journey) < self.wish.trials)
            .map(String::as_str)
    }

    /// Begins the next trial. False: the person is done, and gets up.
    ///
    /// # Errors
    /// When nobody sits there, or a trial is on.
    pub fn next(&mut self, at: Timestamp) -> Result<bool, Refusal> {
        let before = self.sitting_mut()?;
        if before.trials.last().is_some_and(Trial::is_open) {
            return Err(Refusal::TrialIsOn);
        }
        let Some(journey) = self.due().map(str::to_owned) else {
            if let Some(sitting) = self.people.last_mut() {
                sitting.left = Some(at);
            }
            return Ok(false);
        };
        let level = self.level_for(&journey);
        let number: usize = self.people.iter().map(|sitting| sitting.trials.len()).sum();
        let coins = mixed(self.seed, number as u64);
        self.sitting_mut()?.trials.push(Trial {
            journey,
            level,
            a_is_level: coins & 1 == 0,
            x_is_a: coins & 2 == 0,
            shown: Vec::new(),
            answer: None,
            judged: Vec::new(),
            void: None,
        });
        Ok(true)
    }

    /// The next level for this person: a voided trial's again, else by turns the one from which most is to be learnt about
    /// what they notice and what they bear.
    fn level_for(&self, journey: &str) -> Level {
        let trials = self
            .sitting()
            .map(|sitting| sitting.trials.as_slice())
            .unwrap_or_default();
        let of: Vec<&Trial> = trials.iter().filter(|trial| trial.journey == journey).collect();
        if let Some(void) = of.last().filter(|trial| trial.void.is_some()) {
            return void.level;
        }
        let done = of.iter().filter(|trial| trial.counts()).count();
        if let Some(nth) = done.checked_rem(self.wish.levels.len()) {
            return self.wish.levels[nth];
        }
        let question = if done.is_multiple_of(2) {
            Question::TooMuch
        } else {
            Question::Noticed
        };
        self.wish
            .kind
            .level(known(self.wish.kind, question, of.into_iter()).next())
    }

    /// A slot is to be felt from now on. Answers its level, which must be in force by `at`.
    ///
    /// # Errors
    /// When no trial is on.
    pub fn present(&mut self, slot: Slot, at: Timestamp) -> Result<Level, Refusal> {
        let trial = self.trial_mut()?;
        let level = trial.level_of(slot);
        let journey = trial.journey.clone();
        trial.shown.push(Shown {
            slot: Some(slot),
            journey,
            level,
            from: at,
            to: None,
            delivered: Delivered::default(),
        });
        Ok(level)
    }

    /// A level to be felt from now on, its figures beside it.
    ///
    /// # Errors
    /// In a blind lab, of another kind or journey, or when it is over.
    pub fn feel(&mut self, journey: &str, level: Level, at: Timestamp) -> Result<(), Refusal> {
        self.alive()?;
        if self.wish.mode != Mode::Feel {
            return Err(Refusal::Blind);
        }
        if !self.wish.journeys.iter().any(|known| known == journey) {
            return Err(Refusal::OtherJourney(journey.to_owned()));
        }
        self.felt.push(Shown {
            slot: None,
            journey: journey.to_owned(),
            level,
            from: at,
            to: None,
            delivered: Delivered::default(),
        });
        Ok(())
    }

    /// What has been counted so far of what is on.
    pub fn measured(&mut self, delivered: Delivered) {
        if let Some(shown) = self.on_mut() {
            shown.delivered = delivered;
        }
    }

    /// What is on ends, with what was counted of it.
    pub fn close(&mut self, delivered: Delivered, at: Timestamp) {
        if let Some(shown) = self.on_mut() {
            // A last look that failed must not take away what an earlier one saw.
            if delivered.requests >= shown.delivered.requests {
                shown.delivered = delivered;
            }
            shown.to = Some(at);
        }
    }

    /// How often each slot of the trial that is on has been used.
    pub fn used(&self) -> Option<[u64; 3]> {
        let trial = self.trial()?;
        Some(Slot::ALL.map(|slot| trial.delivered(slot).requests))
    }

    /// The person has judged. `uses` is how often each slot must have been used, `normal` the mean of the same requests at
    /// the normal state, in seconds.
    ///
    /// # Errors
    /// When something has not been tried often enough, or the answer makes no sense.
    pub fn answer(
        &mut self,
        answer: Answer,
        uses: UsesOf<'_>,
        normal: Option<f64>,
    ) -> Result<Taken, Refusal> {
        let trial = self.trial_mut()?;
        if answer.x_is == Slot::X {
            return Err(Refusal::XIsX);
        }
        let wanted = u64::from(uses(&trial.journey).max(1));
        for slot in Slot::ALL {
            let used = trial.delivered(slot).requests;
            if used < wanted {
                return Err(Refusal::NotTried {
                    slot,
                    more: wanted - used,
                });
            }
        }
        // What was normal here a moment ago is the best that is known of the normal state.
        let own = Slot::ALL
            .iter()
            .find(|slot| trial.level_of(**slot) == Level::Normal);
        let normal = own.and_then(|slot| trial.delivered(*slot).mean()).or(normal);
        trial.judged = Slot::ALL
            .iter()
            .map(|slot| judge(trial.level_of(*slot), normal, trial.delivered(*slot)))
            .collect();
        trial.answer = Some(answer);
        let missed: Vec<(Slot, &Judged)> = Slot::ALL
            .into_iter()
            .zip(&trial.judged)
            .filter(|(_, judged)| !judged.ok)
            .collect();
        if missed.is_empty() {
            return Ok(Taken::Counts);
        }
        let of = |ja: bool| {
            let one = |(slot, judged): &(Slot, &Judged)| {
                let said = if ja { &judged.words.ja } else { &judged.words.en };
                format!("{}: {said}", slot.name())
            };
            missed.iter().map(one).collect::<Vec<_>>()
        };
        trial.void = Some(text(
            format!("指定したレベルになっていませんでした（{}）", of(true).join("、")),
            format!("a level was not delivered ({})", of(false).join("; ")),
        ));
        Ok(Taken::Void)
    }

    /// It is over: whoever sits gets up, and all may be told.
    pub fn end(&mut self, why: Text, at: Timestamp) {
        if self.ended.is_some() {
            return;
        }
        self.close(Delivered::default(), at);
        if self.sitting().is_some() {
            self.rise(&why, at);
        }
        self.ended = Some(Ended { at, why });
    }
}

/// What trials tell about a question.
pub fn known<'a>(kind: Kind, question: Question, trials: impl Iterator<Item = &'a Trial>) -> Psi {
    let mut psi = Psi::new(kind.range(), question);
    for trial in trials.filter(|trial| trial.counts()) {
        let yes = match question {
            Question::Noticed => trial.is_right(),
            Question::TooMuch => trial.answer.as_ref().is_some_and(|answer| !answer.bearable),
        };
        psi.learn(trial.level.intensity(), yes);
    }
    psi
}
