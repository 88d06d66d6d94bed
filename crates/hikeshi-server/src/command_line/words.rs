//! Words of a line, quoted as in a POSIX shell.

use super::{CommandLineError, Words};

/// Splits a line into words: single quotes, double quotes, backslashes. Globs, `~` and braces stay as typed.
///
/// # Errors
/// On an open quote, and on every unquoted character that asks a shell to do something.
pub fn split(line: &str) -> Result<Vec<String>, CommandLineError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\r' => return Err(shell(c, None)),
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err(CommandLineError::OpenQuote('\'')),
                    }
                }
            }
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(CommandLineError::OpenEscape),
            },
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' => return Err(shell(c, chars.peek().copied())),
            '$' if expands(chars.peek().copied()) => return Err(shell(c, chars.peek().copied())),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn double_quoted(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    word: &mut String,
) -> Result<(), CommandLineError> {
    loop {
        match chars.next() {
            Some('"') => return Ok(()),
            Some('\\') => match chars.next() {
                Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => return Err(CommandLineError::OpenQuote('"')),
            },
            Some('`') => return Err(shell('`', None)),
            Some('$') if expands(chars.peek().copied()) => return Err(shell('$', chars.peek().copied())),
            Some(c) => word.push(c),
            None => return Err(CommandLineError::OpenQuote('"')),
        }
    }
}

/// Whether a `$` before this would make a shell put something else in its place.
fn expands(next: Option<char>) -> bool {
    next.is_some_and(|c| {
        matches!(c, '(' | '{' | '_' | '?' | '!' | '@' | '*' | '#' | '$') || c.is_ascii_alphanumeric()
    })
}

fn shell(character: char, next: Option<char>) -> CommandLineError {
    const ONE: Words = [
        "Run the commands one after the other.",
        "コマンドは一つずつ実行してください。",
    ];
    const SECOND: Words = ["Running a second command", "二つ目のコマンドの実行"];
    const NESTED: Words = [
        "Putting in another command's output",
        "別のコマンドの出力の埋め込み",
    ];
    const COPY: Words = [
        "Run it first, and copy what you need.",
        "先にそれを実行して、必要なところを写してください。",
    ];
    let double = next == Some(character);
    let (shown, what, instead) = match character {
        '|' if double => ("||".to_owned(), SECOND, ONE),
        '|' => (
            "|".to_owned(),
            ["A pipe", "パイプ"],
            [
                "Narrow the output with -l, --since, --tail or -o jsonpath, or with the filter box above the output.",
                "出力は -l、--since、--tail、-o jsonpath か、出力の上の絞り込み欄で絞れます。",
            ],
        ),
        '&' if double => ("&&".to_owned(), SECOND, ONE),
        '&' => (
            "&".to_owned(),
            ["Running in the background", "バックグラウンドでの実行"],
            [
                "Open a second browser tab for a second command.",
                "二つ目のコマンドはブラウザの別のタブで実行できます。",
            ],
        ),
        ';' => (";".to_owned(), SECOND, ONE),
        '\n' | '\r' => ("line break".to_owned(), SECOND, ONE),
        '<' => (
            "<".to_owned(),
            ["Reading from a file", "ファイルからの読み込み"],
            [
                "Use kubectl set, patch or scale instead of a manifest file.",
                "マニフェストの代わりに kubectl set、patch、scale を使ってください。",
            ],
        ),
        '>' => (
            ">".to_owned(),
            ["Writing to a file", "ファイルへの書き出し"],
            [
                "The output stays in the history below, and in the record.",
                "出力は下の履歴と記録に残ります。",
            ],
        ),
        '$' if next == Some('(') => ("$(".to_owned(), NESTED, COPY),
        '$' => (
            "$".to_owned(),
            ["A variable", "変数"],
            ["Write the value itself.", "値そのものを書いてください。"],
        ),
        '`' => ("`".to_owned(), NESTED, COPY),
        c => (c.to_string(), ["A subshell", "サブシェル"], ONE),
    };
    CommandLineError::Shell {
        character: shown,
        what,
        instead,
    }
}
