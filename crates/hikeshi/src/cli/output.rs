//! What people see: plain lines on standard error while something takes time, the result on standard output.

#![expect(clippy::print_stderr, reason = "this is where the CLI prints")]

use std::io::{IsTerminal, Write};
use std::time::Instant;

use serde_json::Value;

/// Progress: one line that is rewritten on a terminal, one line each in a pipe. Silent with `--json`.
pub struct Progress {
    started: Instant,
    quiet: bool,
    terminal: bool,
    open: bool,
}

impl Progress {
    pub fn new(quiet: bool) -> Self {
        Self {
            started: Instant::now(),
            quiet,
            terminal: std::io::stderr().is_terminal(),
            open: false,
        }
    }

    pub fn say(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        let seconds = self.started.elapsed().as_secs_f64();
        if self.terminal {
            eprint!("\r\x1b[2K{seconds:6.1}s  {}", shorten(text, 70));
            let _ = std::io::stderr().flush();
            self.open = true;
        } else {
            eprintln!("{seconds:6.1}s  {text}");
        }
    }

    /// Whether the line is rewritten in place.
    pub fn is_terminal(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// Ends the rewritten line.
    pub fn close(&mut self) {
        if self.open {
            eprintln!();
            self.open = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.close();
    }
}

fn shorten(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns - 1).chain(['…']).collect()
}

pub fn line(text: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone away (`| head`) is no reason to complain.
    let _ = writeln!(out, "{text}");
}

/// What goes along with a result and must not get into a pipe: on standard error.
pub fn aside(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

pub fn json(value: &Value) {
    line(serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_by_characters_not_bytes() {
        assert_eq!(shorten("火消し", 3), "火消し");
        assert_eq!(shorten("火消しだ", 3), "火消…");
    }
}
