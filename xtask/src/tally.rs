//! How many tests ran, read from cargo test's own output as it streams by.

use std::fmt;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
}

impl Tally {
    /// Adds a `test result: ok. 5 passed; 0 failed; ...` line; any other line counts nothing.
    /// Says whether it was such a line.
    pub fn read(&mut self, line: &str) -> bool {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else {
            return false;
        };
        for part in result.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let Some(count) = words.next().and_then(|count| count.parse::<u64>().ok()) else {
                continue;
            };
            match words.next() {
                Some("passed") => self.passed += count,
                Some("failed") => self.failed += count,
                _ => {}
            }
        }
        true
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_result_lines_and_nothing_else() {
        let output = "\
running 3 tests
test a ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: FAILED. 4 passed; 3 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1.20s
note: 7 passed elsewhere
";
        let mut tally = Tally::default();
        let results = output.lines().filter(|line| tally.read(line)).count();
        assert_eq!((tally, results), (Tally { passed: 6, failed: 3 }, 2));
        assert_eq!(tally.to_string(), "6 passed, 3 failed");
    }
}
