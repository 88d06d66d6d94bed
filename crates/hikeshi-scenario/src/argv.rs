//! A command in a scenario: one line as a person would type it, or a list of arguments. Never given to a shell.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Programs a scenario's commands and the console may start.
pub const ALLOWED_PROGRAMS: [&str; 8] = ["kubectl", "redis-cli", "psql", "ps", "curl", "cat", "ls", "top"];

/// Program and arguments, at least one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    argv: Vec<String>,
}

impl CommandLine {
    /// Splits a line into words: spaces separate, `'...'` and `"..."` group, `\` escapes outside single quotes.
    ///
    /// # Errors
    /// A sentence, when a quote is not closed or nothing is there. Pipes, redirections and `$` are ordinary characters.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut argv = Vec::new();
        let mut word: Option<String> = None;
        let mut quote: Option<char> = None;
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match (quote, c) {
                (Some(q), c) if c == q => quote = None,
                (Some('\''), c) => word.get_or_insert_default().push(c),
                (_, '\\') => match chars.next() {
                    Some(next) => word.get_or_insert_default().push(next),
                    None => return Err("the command ends in a lone backslash".to_owned()),
                },
                (Some(_), c) => word.get_or_insert_default().push(c),
                (None, '\'' | '"') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, c) if c.is_whitespace() => argv.extend(word.take()),
                (None, c) => word.get_or_insert_default().push(c),
            }
        }
        if let Some(q) = quote {
            return Err(format!("a {q} quote is not closed"));
        }
        argv.extend(word);
        Self::from_argv(argv)
    }

    /// # Errors
    /// A sentence, when the list is empty or its first word is.
    pub fn from_argv(argv: Vec<String>) -> Result<Self, String> {
        match argv.first() {
            Some(program) if !program.is_empty() => Ok(Self { argv }),
            _ => Err("a command needs a program".to_owned()),
        }
    }

    /// Program first.
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// The first word.
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in self.argv.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&quote(word))?;
        }
        Ok(())
    }
}

/// A word as a person would have to type it.
pub fn quote(word: &str) -> String {
    let plain = !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_alphanumeric() || "-_./:=,@%+{}[]*~^".contains(c));
    if plain {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

impl Serialize for CommandLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = CommandLine;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command: one line, or a list of arguments")
            }

            fn visit_str<E: de::Error>(self, line: &str) -> Result<CommandLine, E> {
                CommandLine::parse(line).map_err(E::custom)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<CommandLine, A::Error> {
                let mut argv = Vec::new();
                while let Some(word) = seq.next_element::<String>()? {
                    argv.push(word);
                }
                CommandLine::from_argv(argv).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::CommandLine;

    #[test]
    fn splits_and_joins_like_a_person() {
        let line = CommandLine::parse(r#"kubectl patch cm a -p '{"data":{"A":"1 2"}}' "x y" a\ b """#)
            .expect("well formed");
        assert_eq!(
            line.argv(),
            [
                "kubectl",
                "patch",
                "cm",
                "a",
                "-p",
                r#"{"data":{"A":"1 2"}}"#,
                "x y",
                "a b",
                ""
            ]
        );
        assert_eq!(CommandLine::parse(&line.to_string()).expect("round trip"), line);
    }

    #[test]
    fn refuses_what_is_not_a_command() {
        for wrong in ["", "  ", "'open", "a \\", "\"\" b"] {
            assert!(CommandLine::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
