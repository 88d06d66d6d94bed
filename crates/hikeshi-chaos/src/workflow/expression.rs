//! The expression of a conditional branch, over a task's `exitCode` (a number) and `stdout` (a text).
//!
//! Comparisons `== != < <= > >=`, and `contains`, `startsWith`, `endsWith` of texts, joined by `&&`/`and`, `||`/`or`,
//! `!`/`not` and parentheses. Whatever else is written is refused by name.

use crate::words::Words;

/// A parsed expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    Always(bool),
    Compare(Operand, Comparison, Operand),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    ExitCode,
    Stdout,
    Number(i64),
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Number(i64),
    Sign(&'static str),
}

const SIGNS: [&str; 11] = ["==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")"];

impl Expression {
    /// An empty text is always true.
    pub fn parse(text: &str) -> Result<Self, Words> {
        let tokens = tokens(text)?;
        if tokens.is_empty() {
            return Ok(Self::Always(true));
        }
        let mut parser = Parser {
            tokens: &tokens,
            at: 0,
        };
        let read = parser.or()?;
        match parser.tokens.get(parser.at) {
            None => Ok(read),
            Some(left) => Err(Words::new(
                format!("式が終わったあとの {} が分かりません", shown(left)),
                format!("{} is not understood after a whole expression", shown(left)),
            )),
        }
    }

    /// Whether it holds for a task that ended so.
    pub fn holds(&self, exit_code: i64, stdout: &str) -> bool {
        match self {
            Self::Always(value) => *value,
            Self::Not(inner) => !inner.holds(exit_code, stdout),
            Self::And(one, other) => one.holds(exit_code, stdout) && other.holds(exit_code, stdout),
            Self::Or(one, other) => one.holds(exit_code, stdout) || other.holds(exit_code, stdout),
            Self::Compare(one, comparison, other) => {
                let number = |operand: &Operand| match operand {
                    Operand::ExitCode => Some(exit_code),
                    Operand::Number(number) => Some(*number),
                    _ => None,
                };
                if let (Some(one), Some(other)) = (number(one), number(other)) {
                    return ordered(*comparison, one.cmp(&other));
                }
                let text = |operand: &Operand| match operand {
                    Operand::Text(text) => text.clone(),
                    _ => stdout.to_owned(),
                };
                let (one, other) = (text(one), text(other));
                match comparison {
                    Comparison::Contains => one.contains(&other),
                    Comparison::StartsWith => one.starts_with(&other),
                    Comparison::EndsWith => one.ends_with(&other),
                    _ => ordered(*comparison, one.cmp(&other)),
                }
            }
        }
    }
}

fn ordered(comparison: Comparison, order: std::cmp::Ordering) -> bool {
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
        Comparison::Contains | Comparison::StartsWith | Comparison::EndsWith => false,
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(word) => word.clone(),
        Token::Text(text) => format!("{text:?}"),
        Token::Number(number) => number.to_string(),
        Token::Sign(sign) => (*sign).to_owned(),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, Words> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            found.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else if first == '"' || first == '\'' {
            let (value, after) = quoted(&rest[1..], first)?;
            found.push(Token::Text(value));
            rest = after;
        } else {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
                .unwrap_or(rest.len());
            if end == 0 {
                return Err(Words::new(
                    format!("{first:?} は使えません"),
                    format!("{first:?} is not supported"),
                ));
            }
            let (word, after) = rest.split_at(end);
            found.push(match word.parse::<i64>() {
                Ok(number) => Token::Number(number),
                Err(_) => Token::Word(word.to_owned()),
            });
            rest = after;
        }
        rest = rest.trim_start();
    }
    Ok(found)
}

fn quoted(text: &str, quote: char) -> Result<(String, &str), Words> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other)) => value.push(other),
                None => break,
            },
            c if c == quote => return Ok((value, &text[at + c.len_utf8()..])),
            c => value.push(c),
        }
    }
    Err(Words::new("文字列が閉じられていません", "a text is not closed"))
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn take(&mut self, spellings: &[&str]) -> bool {
        let hit = match self.tokens.get(self.at) {
            Some(Token::Sign(sign)) => spellings.contains(sign),
            Some(Token::Word(word)) => spellings.contains(&word.as_str()),
            _ => false,
        };
        self.at += usize::from(hit);
        hit
    }

    fn or(&mut self) -> Result<Expression, Words> {
        let mut left = self.and()?;
        while self.take(&["||", "or"]) {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, Words> {
        let mut left = self.not()?;
        while self.take(&["&&", "and"]) {
            left = Expression::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expression, Words> {
        if self.take(&["!", "not"]) {
            return Ok(Expression::Not(Box::new(self.not()?)));
        }
        if self.take(&["("]) {
            let inner = self.or()?;
            return if self.take(&[")"]) {
                Ok(inner)
            } else {
                Err(Words::new(
                    "括弧が閉じられていません",
                    "a parenthesis is not closed",
                ))
            };
        }
        if self.take(&["true"]) {
            return Ok(Expression::Always(true));
        }
        if self.take(&["false"]) {
            return Ok(Expression::Always(false));
        }
        let left = self.operand()?;
        let comparison = self.comparison()?;
        let right = self.operand()?;
        let is_text = |operand: &Operand| matches!(operand, Operand::Stdout | Operand::Text(_));
        let of_texts = matches!(
            comparison,
            Comparison::Contains | Comparison::StartsWith | Comparison::EndsWith
        );
        if is_text(&left) != is_text(&right) || of_texts && !is_text(&left) {
            return Err(Words::new(
                "exitCode は数値、stdout は文字列です。同じ種類どうしでしか比べられません",
                "exitCode is a number and stdout a text: they compare with their like only",
            ));
        }
        Ok(Expression::Compare(left, comparison, right))
    }

    fn operand(&mut self) -> Result<Operand, Words> {
        let token = self
            .tokens
            .get(self.at)
            .ok_or_else(|| Words::new("式が途中で終わっています", "the expression ends too early"))?;
        self.at += 1;
        match token {
            Token::Number(number) => Ok(Operand::Number(*number)),
            Token::Text(text) => Ok(Operand::Text(text.clone())),
            Token::Word(word) if word == "exitCode" => Ok(Operand::ExitCode),
            Token::Word(word) if word == "stdout" => Ok(Operand::Stdout),
            other => Err(Words::new(
                format!(
                    "{} は使えません。値は exitCode、stdout、数値、引用符付きの文字列のどれかです",
                    shown(other)
                ),
                format!(
                    "{} is not supported; a value can be exitCode, stdout, a number or a quoted text",
                    shown(other)
                ),
            )),
        }
    }

    fn comparison(&mut self) -> Result<Comparison, Words> {
        let known = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("contains", Comparison::Contains),
            ("startsWith", Comparison::StartsWith),
            ("endsWith", Comparison::EndsWith),
        ];
        for (spelling, comparison) in known {
            if self.take(&[spelling]) {
                return Ok(comparison);
            }
        }
        let names = known.map(|(spelling, _)| spelling).join(", ");
        match self.tokens.get(self.at) {
            Some(token) => Err(Words::new(
                format!("{} は使えません。比較は {names} のどれかです", shown(token)),
                format!("{} is not supported; a comparison can be {names}", shown(token)),
            )),
            None => Err(Words::new(
                format!("式が途中で終わっています。比較は {names} のどれかです"),
                format!("the expression ends too early; a comparison can be {names}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn outcomes_are_compared() {
        for (text, code, stdout, holds) in [
            ("", 1, "", true),
            ("exitCode == 0", 0, "", true),
            ("exitCode != 0", 0, "", false),
            ("exitCode > 1 && exitCode <= 3", 2, "", true),
            ("stdout == \"ok\"", 0, "ok", true),
            ("stdout contains 'es' and not (exitCode == 1)", 0, "yes", true),
            ("stdout startsWith \"a\\\"\"", 0, "a\"b", true),
            ("stdout endsWith 'x' || exitCode == -1", -1, "y", true),
            ("!(exitCode == 0) or false", 0, "", false),
        ] {
            assert_eq!(
                Expression::parse(text).unwrap().holds(code, stdout),
                holds,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (text, words) in [
            ("len(stdout) > 3", "len is not supported"),
            ("stdout matches 'a.*'", "matches is not supported"),
            ("exitCode + 1 == 2", "'+' is not supported"),
            ("exitCode == 'a'", "compare with their like only"),
            ("exitCode ==", "ends too early"),
            ("(exitCode == 1", "not closed"),
            ("stdout == 'a", "not closed"),
            ("exitCode == 0 exitCode", "after a whole expression"),
        ] {
            let error = Expression::parse(text).unwrap_err();
            assert!(error.en.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_answered(text in "[a-zA-Z0-9 =!<>&|()'\"\\\\]{0,40}") {
            let _ = Expression::parse(&text);
        }
    }
}
