//! Running commands into logs: what failed shows its end, what passed shows its time.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs a command with its output and errors, in order, in `log`; `on_line` sees each line as it comes.
pub fn logged(command: &mut Command, log: &Path, on_line: &mut dyn FnMut(&str)) -> Result<ExitStatus> {
    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    let errors = writer.try_clone().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer).stderr(errors);
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    // The command holds the pipe's writing ends too; while it did, the reader would never see the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .with_context(|| format!("cannot read {name}'s output"))?
        > 0
    {
        file.write_all(&line)
            .with_context(|| format!("cannot write {}", log.display()))?;
        on_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    child.wait().with_context(|| format!("cannot wait for {name}"))
}

/// The last lines of a log, for a message.
pub fn tail(log: &Path, lines: usize) -> String {
    let Ok(file) = File::open(log) else {
        return String::from("(no log)");
    };
    let mut last = VecDeque::with_capacity(lines + 1);
    for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        last.push_back(String::from_utf8_lossy(&line).into_owned());
        if last.len() > lines {
            last.pop_front();
        }
    }
    Vec::from(last).join("\n")
}

/// Steps run one after another, each into its own log.
pub struct Steps {
    logs: PathBuf,
    done: Vec<(String, Duration, bool)>,
}

impl Steps {
    pub fn new(logs: PathBuf) -> Self {
        Self {
            logs,
            done: Vec::new(),
        }
    }

    /// Runs a step that is a command; when it fails, its log's end is the error.
    pub fn command(
        &mut self,
        name: &str,
        command: &mut Command,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let log = self.logs.join(format!("{}.log", name.replace(' ', "-")));
        self.step(name, || {
            let status = logged(command, &log, on_line)?;
            if !status.success() {
                bail!(
                    "{name} failed ({status}); the end of {}:\n{}",
                    log.display(),
                    tail(&log, 80)
                );
            }
            Ok(())
        })
    }

    /// Runs a step and remembers how long it took.
    pub fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("==> {name}");
        let started = Instant::now();
        let result = work();
        self.done
            .push((name.to_owned(), started.elapsed(), result.is_ok()));
        result
    }

    /// One line per step: its time and whether it passed.
    pub fn print_times(&self) {
        println!();
        for (name, took, ok) in &self.done {
            println!(
                "{:>8.1} s  {}  {name}",
                took.as_secs_f64(),
                if *ok { "ok    " } else { "FAILED" }
            );
        }
    }
}

#[cfg(test)]
pub mod scratch {
    //! A folder for one test.

    use std::path::PathBuf;
    use std::{env, fs, ops, process};

    pub struct Dir(PathBuf);

    /// An empty folder that goes when the value does. `name` is unique within this crate's tests.
    pub fn dir(name: &str) -> Dir {
        let path = env::temp_dir().join(format!("xtask-{}-{name}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    impl ops::Deref for Dir {
        type Target = PathBuf;
        fn deref(&self) -> &PathBuf {
            &self.0
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_errors_reach_the_log_in_order() {
        let dir = scratch::dir("logged");
        let log = dir.join("a.log");
        let mut seen = Vec::new();
        let mut command = shell("echo one; echo two >&2; printf three; exit 3");
        let status = logged(&mut command, &log, &mut |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(seen, ["one", "two", "three"]);
        assert_eq!(tail(&log, 2), "two\nthree");
    }

    #[test]
    fn a_failing_step_shows_the_end_of_its_log() {
        let dir = scratch::dir("steps");
        let mut steps = Steps::new(dir.to_path_buf());
        steps.command("good", &mut shell("true"), &mut |_| {}).unwrap();
        let error = steps
            .command("bad one", &mut shell("echo the cause; false"), &mut |_| {})
            .unwrap_err();
        assert!(error.to_string().contains("the cause"), "{error}");
        assert_eq!(
            steps.done.iter().map(|(_, _, ok)| *ok).collect::<Vec<_>>(),
            [true, false]
        );
    }
}
