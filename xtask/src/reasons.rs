//! Why tests failed, picked out of cargo test's output: the end of the log shows only the last binary's.

/// Follows cargo test's output line by line.
#[derive(Debug, Default)]
pub struct Reasons {
    /// Lines still to show of the test that is being reported.
    left: usize,
}

/// Lines shown per failed test: the panic's message and a little of what it printed before.
const LINES: usize = 30;

impl Reasons {
    /// Whether the line is part of what a failed test said: from its heading to the backtrace or the list of names.
    pub fn shows(&mut self, line: &str) -> bool {
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            self.left = LINES;
            return true;
        }
        if line == "stack backtrace:" || line == "failures:" {
            self.left = 0;
        }
        let shown = self.left > 0 && !line.is_empty();
        self.left = self.left.saturating_sub(1);
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_tests_message_is_shown_and_its_backtrace_is_not() {
        let output = "test a ... FAILED

failures:

---- a stdout ----
said before
thread 'a' panicked at src/x.rs:1:1:
left: 1
stack backtrace:
   0: main

---- b stdout ----
b's reason

failures:
    a
    b

test result: FAILED. 0 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let mut reasons = Reasons::default();
        let shown: Vec<&str> = output.lines().filter(|line| reasons.shows(line)).collect();
        let expected = [
            "---- a stdout ----",
            "said before",
            "thread 'a' panicked at src/x.rs:1:1:",
            "left: 1",
            "---- b stdout ----",
            "b's reason",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_flood_is_cut() {
        let mut reasons = Reasons::default();
        assert!(reasons.shows("---- a stdout ----"));
        let shown = (0..100).filter(|_| reasons.shows("line")).count();
        assert_eq!(shown, LINES);
    }
}
