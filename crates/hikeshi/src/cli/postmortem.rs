//! `hikeshi postmortem draft ID`.

use super::args::{Lang, PostmortemCommand};
use super::output;
use super::story::words;
use crate::failure::Failure;
use crate::paths::Paths;

pub fn run(command: PostmortemCommand) -> Result<(), Failure> {
    match command {
        PostmortemCommand::Draft { id, lang } => {
            let told = super::drill::told(&Paths::from_environment()?, &id)?;
            output::line(told.postmortem(words(Lang::or_environment(lang))));
            Ok(())
        }
    }
}
