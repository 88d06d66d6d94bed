//! Why something cannot be done now, in both languages.

use hikeshi_scenario::Text;

use super::Slot;
use crate::level::Kind;
use crate::words::text;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.words().en)]
pub enum Refusal {
    NoJourney,
    OtherJourney(String),
    Trials,
    OtherKind(Kind),
    NormalIsNoLevel,
    Over,
    NobodySits,
    Taken(String),
    NoTrial,
    TrialIsOn,
    Blind,
    XIsX,
    NotTried { slot: Slot, more: u64 },
}

impl Refusal {
    pub fn words(&self) -> Text {
        match self {
            Self::NoJourney => text(
                "ジャーニーを一つ以上選んでください",
                "choose at least one journey",
            ),
            Self::OtherJourney(name) => text(
                format!("このラボでは {name} を扱っていません"),
                format!("this lab is not about {name}"),
            ),
            Self::Trials => text("比較は 1〜60 回にしてください", "between 1 and 60 trials, please"),
            Self::OtherKind(kind) => {
                let title = kind.title();
                text(
                    format!("レベルはすべて{}のものにしてください", title.ja),
                    format!("every level must be one of {}", title.en),
                )
            }
            Self::NormalIsNoLevel => text(
                "平常時はいつも比べる相手です。レベルには入れないでください",
                "the normal state is what every level is compared with: leave it out of the levels",
            ),
            Self::Over => text("このラボは終わりました", "this lab is over"),
            Self::NobodySits => text(
                "体験者がいません。「体験を始める」を押してください",
                "nobody is in the lab: press “Sit down”",
            ),
            Self::Taken(person) => text(
                format!("今は {person} さんが体験中です。終わるまでお待ちください"),
                format!("{person} is in the lab: wait until they are done"),
            ),
            Self::NoTrial => text("比較が始まっていません", "no trial is on"),
            Self::TrialIsOn => text(
                "前の比較がまだ終わっていません",
                "the trial before is not over yet",
            ),
            Self::Blind => text(
                "ブラインドのラボでは、レベルを選べません",
                "in a blind lab nobody chooses the level",
            ),
            Self::XIsX => text("A か B を選んでください", "choose A or B"),
            Self::NotTried { slot, more } => text(
                format!("{} をあと {more} 回使ってみてください", slot.name()),
                format!(
                    "use {} {more} more time{}",
                    slot.name(),
                    if *more == 1 { "" } else { "s" }
                ),
            ),
        }
    }
}
