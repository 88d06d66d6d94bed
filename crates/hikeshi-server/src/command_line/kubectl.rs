//! What a seat may ask of kubectl. The API server decides what the seat's identity may do; this only keeps the program
//! from taking another identity, from the host's files, and from waiting for a terminal nobody sits at.
//!
//! Arguments are read as kubectl reads them, and only what [`grammar`] names is let through: a word is a verb, a flag
//! or a value here exactly when it is one for kubectl.

mod grammar;
mod inside;
mod refusals;

use std::slice::Iter;

use super::{CommandLineError, ConsoleCommand};
use grammar::{Command, Flag, Takes};
use inside::inner_mutates;
use refusals::{check_verb, forbidden, host_file, refused, unavailable, verb_first, wrong_value};

/// Ways to print, as the value of `-o`. Those that name a file of the host are not among them.
const OUTPUTS: &[&str] = &[
    "json",
    "yaml",
    "wide",
    "name",
    "jsonpath=",
    "jsonpath-as-json=",
    "go-template=",
    "custom-columns=",
];

/// Checks arguments (without `kubectl` itself).
pub(super) fn check(args: Vec<String>) -> Result<ConsoleCommand, CommandLineError> {
    let (mutating, follows) = judge(&args)?;
    Ok(ConsoleCommand {
        args,
        mutating,
        follows,
    })
}

/// Whether a line that may be run changes something, and whether it goes on until it is stopped.
fn judge(args: &[String]) -> Result<(bool, bool), CommandLineError> {
    const LOOKS: (bool, bool) = (false, false);
    if args.len() == 1 && asks_for_help(args) {
        return Ok(LOOKS);
    }
    let line = &args[before_verb(args)?..];
    let Some(verb) = line.first().map(String::as_str) else {
        return Ok(LOOKS);
    };
    check_verb(verb)?;
    let Some((command, depth)) = grammar::find(line) else {
        return unfinished(line).map(|()| LOOKS);
    };
    let typed = line[..depth].join(" ");
    let given = Given::read(command, &typed, &line[depth..])?;
    if given.on("help") {
        return Ok(LOOKS);
    }
    if verb == "cluster-info"
        && let Some(word) = given.words.first()
    {
        return Err(host_file(&format!("kubectl cluster-info {word}")));
    }
    if verb == "exec" {
        check_exec(&given)?;
    }
    let follows = ["watch", "watch-only", "follow"]
        .iter()
        .any(|flag| given.on(flag));
    Ok((mutating(verb, line.get(1).map(String::as_str), &given), follows))
}

fn asks_for_help(words: &[String]) -> bool {
    words.iter().all(|word| word == "-h" || word == "--help")
}

/// How many words stand before the verb: none, or those of one namespace. kubectl does not know the flags of its
/// commands there, and would take the word after such a flag for its value.
fn before_verb(args: &[String]) -> Result<usize, CommandLineError> {
    let Some(first) = args.first().filter(|word| word.starts_with('-')) else {
        return Ok(0);
    };
    let (namespace, words) = if first == "-n" || first == "--namespace" {
        (args.get(1).map_or("", String::as_str), 2)
    } else if let Some(value) = first.strip_prefix("--namespace=") {
        (value, 1)
    } else if let Some(value) = first.strip_prefix("-n") {
        (value.strip_prefix('=').unwrap_or(value), 1)
    } else {
        return Err(verb_first(first));
    };
    check_namespace(&flag_name(first), namespace)?;
    match args.get(words) {
        Some(second) if second.starts_with('-') => Err(verb_first(second)),
        _ => Ok(words),
    }
}

/// A word that begins with `-`, without its value.
fn flag_name(arg: &str) -> String {
    if arg.starts_with("--") {
        arg.split('=').next().unwrap_or(arg).to_owned()
    } else {
        arg.chars().take(2).collect()
    }
}

/// What would run any text that it is given.
fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    matches!(
        name,
        "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "fish" | "busybox" | "env" | "xargs"
    )
}

/// A line whose first words name no command: only the beginning of one, alone or asking for help, may be run (kubectl
/// then tells what may follow). Any other word would run a `kubectl-NAME` program of the host.
fn unfinished(line: &[String]) -> Result<(), CommandLineError> {
    let (depth, next) = grammar::beginning(line);
    let Some(word) = line[depth..].first() else {
        return Ok(());
    };
    if depth == 0 {
        return Err(refused(
            format!("kubectl {word}: no such command here (plugins are not run)."),
            format!("kubectl {word}: そのようなコマンドはありません（プラグインは実行しません）。"),
        ));
    }
    if asks_for_help(&line[depth..]) {
        return Ok(());
    }
    if word.starts_with('-')
        && let Some(error) = forbidden(&flag_name(word))
    {
        return Err(error);
    }
    let (typed, next) = (line[..depth].join(" "), next.join(", "));
    if typed == "create" && !word.starts_with('-') {
        return Err(refused(
            format!("kubectl create {word}: there is no such thing to create here. Available: {next}."),
            format!("kubectl create {word}: そのようなものは作れません。使えるもの: {next}。"),
        ));
    }
    Err(refused(
        format!("kubectl {typed} {word}: right after kubectl {typed} comes one of: {next}."),
        format!("kubectl {typed} {word}: kubectl {typed} のすぐあとには次のどれかを書いてください: {next}。"),
    ))
}

/// What stands after the words that name a command, read as kubectl reads it.
#[derive(Default)]
struct Given<'a> {
    /// Neither flags nor values of flags.
    words: Vec<&'a str>,
    /// Long names with values, in order: the last of a name counts.
    flags: Vec<(&'static str, &'a str)>,
    /// After `--`.
    inner: Option<&'a [String]>,
}

impl<'a> Given<'a> {
    fn read(command: &Command, typed: &str, args: &'a [String]) -> Result<Self, CommandLineError> {
        let mut given = Self::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            match arg.as_str() {
                "--" if typed == "exec" => {
                    given.inner = Some(rest.as_slice());
                    break;
                }
                "--" => {
                    return Err(refused(
                        format!("kubectl {typed}: -- is only for kubectl exec POD -- PROGRAM."),
                        format!("kubectl {typed}: -- は kubectl exec POD -- プログラム だけで使えます。"),
                    ));
                }
                "-" => {
                    return Err(refused(
                        format!("kubectl {typed}: - reads what is typed, and there is no terminal here."),
                        format!("kubectl {typed}: - は端末からの入力を読みますが、ここに端末はありません。"),
                    ));
                }
                arg => {
                    if let Some(long) = arg.strip_prefix("--") {
                        let (name, written) = match long.split_once('=') {
                            Some((name, value)) => (name, Some(value)),
                            None => (long, None),
                        };
                        let shown = format!("--{name}");
                        let flag = grammar::long(command, name)
                            .ok_or_else(|| unavailable(&shown, command, typed))?;
                        given.take(flag, &shown, written, &mut rest)?;
                    } else if let Some(letters) = arg.strip_prefix('-') {
                        given.take_letters(command, typed, letters, &mut rest)?;
                    } else {
                        given.words.push(arg);
                    }
                }
            }
        }
        Ok(given)
    }

    /// One group of short flags: those before the first that takes a value, and that one with the rest as its value.
    fn take_letters(
        &mut self,
        command: &Command,
        typed: &str,
        mut letters: &'a str,
        rest: &mut Iter<'a, String>,
    ) -> Result<(), CommandLineError> {
        while let Some(letter) = letters.chars().next() {
            let shown = format!("-{letter}");
            let flag = grammar::short(command, letter).ok_or_else(|| unavailable(&shown, command, typed))?;
            let after = &letters[letter.len_utf8()..];
            if let Some(value) = after.strip_prefix('=').filter(|value| !value.is_empty()) {
                return self.take(flag, &shown, Some(value), rest);
            }
            if flag.takes == Takes::Value {
                return self.take(flag, &shown, Some(after).filter(|value| !value.is_empty()), rest);
            }
            self.take(flag, &shown, None, rest)?;
            letters = after;
        }
        Ok(())
    }

    /// One flag, with the value that is written in the same word, if one is.
    fn take(
        &mut self,
        flag: Flag,
        shown: &str,
        written: Option<&'a str>,
        rest: &mut Iter<'a, String>,
    ) -> Result<(), CommandLineError> {
        let value = match (written, flag.takes) {
            (Some(value), _) => value,
            (None, Takes::Nothing) => "true",
            (None, Takes::Value) => next_value(shown, rest)?,
            (None, Takes::Perhaps) => {
                self.flags.push((flag.long, ""));
                return Ok(());
            }
        };
        check_value(flag, shown, value)?;
        self.flags.push((flag.long, value));
        Ok(())
    }

    fn value(&self, long: &str) -> Option<&'a str> {
        self.flags
            .iter()
            .rfind(|(name, _)| *name == long)
            .map(|(_, value)| *value)
    }

    fn on(&self, long: &str) -> bool {
        self.value(long) == Some("true")
    }
}

/// The next word, as the value of a flag. kubectl would take any; what looks like a flag is most likely meant as one.
fn next_value<'a>(flag: &str, rest: &mut Iter<'a, String>) -> Result<&'a str, CommandLineError> {
    let negative = |value: &str| {
        value
            .strip_prefix('-')
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    match rest.next().map(String::as_str) {
        Some(value) if !value.starts_with('-') || negative(value) => Ok(value),
        Some(value) => Err(refused(
            format!("{flag} needs a value before {value}. If {value} is the value, write {flag}={value}."),
            format!(
                "{flag} には値が必要です。{value} が値なら {flag}={value} のように続けて書いてください。"
            ),
        )),
        None => Err(refused(
            format!("{flag} needs a value."),
            format!("{flag} には値が必要です。"),
        )),
    }
}

fn check_value(flag: Flag, shown: &str, value: &str) -> Result<(), CommandLineError> {
    match (flag.takes, flag.long) {
        (Takes::Nothing, _) if !matches!(value, "true" | "false") => {
            Err(wrong_value(shown, value, "true, false"))
        }
        // kubectl takes `false`, too, for `none`.
        (_, "dry-run") if !matches!(value, "none" | "client" | "server") => {
            Err(wrong_value(shown, value, "none, client, server"))
        }
        (_, "output") => check_output(shown, value),
        (_, "namespace") => check_namespace(shown, value),
        // From 9 on kubectl prints whole requests as curl commands.
        (_, "v") if !matches!(value.as_bytes(), [b'0'..=b'8']) => Err(wrong_value(shown, value, "0-8")),
        _ => Ok(()),
    }
}

fn check_output(shown: &str, value: &str) -> Result<(), CommandLineError> {
    let allowed = OUTPUTS.iter().any(|output| {
        if output.ends_with('=') {
            value.starts_with(*output)
        } else {
            value == *output
        }
    });
    if allowed {
        return Ok(());
    }
    let kind = value.split('=').next().unwrap_or(value);
    if kind.ends_with("file") {
        return Err(host_file(&format!("{shown} {kind}")));
    }
    Err(wrong_value(shown, value, &OUTPUTS.join(", ")))
}

/// A DNS label: never a flag, and never `--`.
fn check_namespace(shown: &str, value: &str) -> Result<(), CommandLineError> {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = (1..=63).contains(&value.len())
        && value.bytes().all(inside)
        && !value.starts_with('-')
        && !value.ends_with('-');
    if label {
        Ok(())
    } else {
        Err(wrong_value(shown, value, "NAMESPACE (a-z, 0-9, -)"))
    }
}

fn check_exec(given: &Given<'_>) -> Result<(), CommandLineError> {
    let Some(program) = given.inner.and_then(<[String]>::first) else {
        return Err(refused(
            "kubectl exec: say what to run after --, for example: kubectl exec POD -- ps aux",
            "kubectl exec: 実行するものを -- のあとに書いてください。例: kubectl exec POD -- ps aux",
        ));
    };
    if given.words.len() != 1 {
        return Err(refused(
            "kubectl exec: name one pod before --, for example: kubectl exec POD -- ps aux",
            "kubectl exec: -- の前に Pod を一つ書いてください。例: kubectl exec POD -- ps aux",
        ));
    }
    if is_shell(program) {
        return Err(refused(
            format!(
                "There is no {program} here: name the program itself, for example: kubectl exec POD -- ps aux"
            ),
            format!(
                "ここでは {program} は使えません。プログラムを直接書いてください。例: kubectl exec POD -- ps aux"
            ),
        ));
    }
    Ok(())
}

fn mutating(verb: &str, object: Option<&str>, given: &Given<'_>) -> bool {
    // Without a value, it is kubectl's old way to say `client`.
    if given.value("dry-run").is_some_and(|value| value != "none") {
        return false;
    }
    match verb {
        "scale" | "delete" | "patch" | "label" | "annotate" | "cordon" | "uncordon" | "drain" | "taint"
        | "create" | "expose" | "autoscale" | "run" => true,
        "set" => !given.on("list"),
        "rollout" => matches!(object, Some("restart" | "undo" | "pause" | "resume")),
        "exec" => inner_mutates(given.inner.unwrap_or_default()),
        _ => false,
    }
}
