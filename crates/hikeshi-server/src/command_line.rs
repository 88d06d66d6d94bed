//! One line typed into the console, made into the arguments of one kubectl run. There is no shell anywhere: what only
//! a shell can do is refused, with words that say what to do instead.

mod kubectl;
mod words;

pub use words::split;

use crate::api::{ApiError, Text};

/// Words that never change, English and Japanese.
type Words = [&'static str; 2];

/// A console line that may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleCommand {
    /// Arguments for kubectl, without the program's own name.
    pub args: Vec<String>,
    /// Changes something, as far as the words tell.
    pub mutating: bool,
    /// Goes on until it is stopped (`--watch`, `logs -f`): ends at the shorter limit without being an error.
    pub follows: bool,
}

/// Why a line is not run. The words are for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    #[error("type a command, for example: kubectl get pods")]
    Empty,
    #[error("the {0} quote is not closed")]
    OpenQuote(char),
    #[error("the line ends with a backslash")]
    OpenEscape,
    #[error(
        "{} ({character}) does not work here: the console runs one program, without a shell. {} \
         If you mean the character itself, put it in 'single quotes'.",
        what[0],
        instead[0]
    )]
    Shell {
        character: String,
        what: Words,
        instead: Words,
    },
    #[error("{program}: not available in this console. Available: {}.{}", available.join(", "), hint[0])]
    UnknownProgram {
        program: String,
        available: Vec<String>,
        hint: Words,
    },
    #[error("{}", .0.en)]
    Refused(Text),
}

impl CommandLineError {
    /// The same in Japanese; `Display` is English.
    #[must_use]
    pub fn ja(&self) -> String {
        match self {
            Self::Empty => "コマンドを入力してください。例: kubectl get pods".to_owned(),
            Self::OpenQuote(quote) => format!("引用符 {quote} が閉じられていません。"),
            Self::OpenEscape => "行がバックスラッシュで終わっています。".to_owned(),
            Self::Shell {
                character,
                what,
                instead,
            } => format!(
                "{} ({character}) はここでは使えません。コンソールはシェルなしでプログラムを一つだけ実行します。{}\
                 文字そのものを渡したいときは 'シングルクォート' で囲んでください。",
                what[1], instead[1]
            ),
            Self::UnknownProgram {
                program,
                available,
                hint,
            } => format!(
                "{program}: このコンソールでは使えません。使えるもの: {}。{}",
                available.join(", "),
                hint[1]
            ),
            Self::Refused(words) => words.ja.clone(),
        }
    }
}

impl From<CommandLineError> for ApiError {
    fn from(error: CommandLineError) -> Self {
        let words = Text {
            en: error.to_string(),
            ja: error.ja(),
        };
        Self::Refused {
            code: "command_line".to_owned(),
            words,
        }
    }
}

/// Programs that live in pods, and the pod each is run in when the line does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs(Vec<(String, Option<String>)>);

impl Default for Programs {
    /// Chirpy's: its store's clients have a home, the others must be told a pod.
    fn default() -> Self {
        let home = |program: &str, pod: &str| (program.to_owned(), Some(pod.to_owned()));
        let homeless = |program: &str| (program.to_owned(), None);
        Self(vec![
            home("redis-cli", "redis-cluster-0"),
            home("psql", "postgres-0"),
            homeless("ps"),
            homeless("curl"),
            homeless("promtool"),
        ])
    }
}

impl Programs {
    /// `(program, pod it runs in)`; without a pod the line is refused with the `kubectl exec` to write.
    #[must_use]
    pub fn new(programs: Vec<(String, Option<String>)>) -> Self {
        Self(programs)
    }

    /// Names a person may start a line with.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        std::iter::once("kubectl")
            .chain(
                self.0
                    .iter()
                    .filter(|(_, pod)| pod.is_some())
                    .map(|(name, _)| name.as_str()),
            )
            .map(str::to_owned)
            .collect()
    }

    /// Makes a line into a command.
    ///
    /// # Errors
    /// When the line needs a shell, names another program, or asks kubectl for another identity, for files of the
    /// host, or for something that needs a terminal.
    pub fn resolve(&self, line: &str) -> Result<ConsoleCommand, CommandLineError> {
        let mut argv = split(line)?;
        // Lines pasted from a runbook often carry the prompt.
        if argv.first().is_some_and(|w| w == "$" || w == "#") {
            argv.remove(0);
        }
        let Some(program) = argv.first().cloned() else {
            return Err(CommandLineError::Empty);
        };
        if program == "kubectl" || program == "k" {
            return kubectl::check(argv.split_off(1));
        }
        match self.0.iter().find(|(name, _)| *name == program) {
            Some((_, Some(pod))) => {
                let mut args = vec!["exec".to_owned(), pod.clone(), "--".to_owned()];
                args.append(&mut argv);
                kubectl::check(args)
            }
            Some((_, None)) => {
                let line = argv.join(" ");
                Err(CommandLineError::Refused(Text {
                    en: format!("{program} runs inside a pod; say which: kubectl exec POD -- {line}"),
                    ja: format!(
                        "{program} は Pod の中で動きます。Pod を指定してください: kubectl exec POD -- {line}"
                    ),
                }))
            }
            None => Err(self.unknown(program)),
        }
    }

    fn unknown(&self, program: String) -> CommandLineError {
        let hint = match program.as_str() {
            "grep" | "awk" | "sed" | "jq" | "head" | "tail" | "less" => [
                " Narrow the output with -l, --since, --tail or -o jsonpath, or with the filter box above the output.",
                "出力は -l、--since、--tail、-o jsonpath か、出力の上の絞り込み欄で絞れます。",
            ],
            "cd" | "export" | "sudo" | "bash" | "sh" | "ssh" => [
                " There is no shell here; to look inside a pod: kubectl exec POD -- PROGRAM.",
                "ここにシェルはありません。Pod の中を見るには: kubectl exec POD -- プログラム",
            ],
            "promql" | "prometheus" => [
                " Queries have their own page: the Prometheus tab.",
                "クエリは Prometheus タブで実行できます。",
            ],
            _ if program.contains('=') => [" Variables cannot be set here.", "変数は設定できません。"],
            _ => ["", ""],
        };
        CommandLineError::UnknownProgram {
            program,
            available: self.names(),
            hint,
        }
    }
}

#[cfg(test)]
mod tests;
