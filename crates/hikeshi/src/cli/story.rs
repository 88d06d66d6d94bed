//! `hikeshi story ID`.

use super::args::{Lang, StoryArgs};
use super::output;
use crate::failure::Failure;
use crate::paths::Paths;

pub fn run(args: &StoryArgs) -> Result<(), Failure> {
    let told = super::drill::told(&Paths::from_environment()?, &args.id)?;
    output::line(told.story(words(Lang::or_environment(args.lang))));
    Ok(())
}

pub fn words(lang: Lang) -> hikeshi_drill::Lang {
    match lang {
        Lang::Ja => hikeshi_drill::Lang::Ja,
        Lang::En => hikeshi_drill::Lang::En,
    }
}
