//! What source text may not say. Text, not syntax: a check that reads in a minute and misses only who hides on purpose.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};

use super::PURE;

const LONG: usize = 500;
/// What a long file's first comment must say, and then why.
const LONG_REASON: &str = "long because";

/// Who may print and exit: command lines, whose output is their interface.
const PRINTERS: &[&str] = &[
    "crates/hikeshi-apiserver/examples/",
    "crates/hikeshi-proxy/examples/",
    "crates/hikeshi-slo/examples/",
    "crates/hikeshi/",
    "chirpy/",
    "crates/hikeshi-load/src/main.rs",
    "xtask/",
];
const PRINTS: &[&str] = &["println!", "eprintln!", "print!", "eprint!", "process::exit("];

const PURE_PATHS: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::time::SystemTime",
    "std::time::Instant",
    "SystemTime::now(",
    "Instant::now(",
    "Timestamp::now(",
    "Zoned::now(",
];
/// The same in a grouped `use std::{...}`.
const PURE_GROUPED: &[&str] = &["fs", "net", "process", "SystemTime", "Instant"];

/// Every Rust and TypeScript file that people write.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in ["crates", "chirpy", "xtask", "ui"] {
        let folder = root.join(folder);
        if folder.is_dir() {
            walk(&folder, &mut files).with_context(|| format!("cannot list {}", folder.display()))?;
        }
    }
    files.sort();
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if !["node_modules", "dist", "target"]
                .iter()
                .any(|made| entry.file_name() == *made)
            {
                walk(&path, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|kind| kind == "rs" || kind == "ts" || kind == "tsx")
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Findings in one file; `name` is its path from the root.
pub fn check(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > LONG && !first_comment(text).to_lowercase().contains(LONG_REASON) {
        findings.push(format!(
            "{name}: {lines} lines; split it, or say in its first comment: \"Long because ...\""
        ));
    }
    let is_test = name.contains("/tests/") || name.ends_with("/tests.rs") || name.contains("/benches/");
    if !name.ends_with(".rs") || is_test {
        return findings;
    }
    let code = shipped_code(text);
    if !PRINTERS.iter().any(|printer| name.starts_with(printer)) {
        for (number, line) in &code {
            if PRINTS.iter().any(|print| has_word(line, print)) {
                findings.push(format!(
                    "{name}:{number}: only command lines print or exit; use tracing or return an error"
                ));
            }
        }
    }
    let pure = PURE
        .iter()
        .any(|layer| name.starts_with(&format!("crates/{layer}/src/")));
    if pure {
        findings.extend(
            impure(&code)
                .into_iter()
                .map(|(number, what)| format!("{name}:{number}: pure, yet says {what}")),
        );
    }
    findings
}

fn impure(code: &[(usize, &str)]) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    let mut grouped = false;
    for (number, line) in code {
        found.extend(
            PURE_PATHS
                .iter()
                .filter(|path| has_word(line, path))
                .map(|path| (*number, *path)),
        );
        grouped |=
            line.trim_start().starts_with("use std::{") || line.trim_start().starts_with("use std::time::{");
        if grouped {
            found.extend(
                PURE_GROUPED
                    .iter()
                    .filter(|word| has_word(line, word))
                    .map(|word| (*number, *word)),
            );
        }
        grouped &= !line.contains(';');
    }
    found
}

/// Numbered lines without comments, up to the tests at the file's end.
fn shipped_code(text: &str) -> Vec<(usize, &str)> {
    let mut code: Vec<(usize, &str)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let opens_tests = trimmed.trim_start_matches("pub ").starts_with("mod ") && trimmed.ends_with('{');
        if opens_tests && code.last().is_some_and(|(_, last)| last.trim() == "#[cfg(test)]") {
            break;
        }
        code.push((index + 1, line.split("//").next().unwrap_or("")));
    }
    code
}

/// Whether `needle` stands in `line` and is not the end or the beginning of a longer name.
fn has_word(line: &str, needle: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(needle).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + needle.len()..].chars().next();
        let open_end = needle.ends_with(is_name);
        !(before.is_some_and(is_name) || open_end && after.is_some_and(is_name))
    })
}

/// The comment a file begins with.
fn first_comment(text: &str) -> String {
    let is_comment = |line: &&str| {
        let line = line.trim_start();
        ["//", "/*", "*"].iter().any(|mark| line.starts_with(mark))
    };
    text.lines().take_while(is_comment).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_do_not_print_and_command_lines_do() {
        let text = "fn f() {\n    println!(\"x\");\n    std::process::exit(1);\n}\n";
        assert_eq!(check("crates/hikeshi-node/src/lib.rs", text).len(), 2);
        for name in [
            "crates/hikeshi/src/cli/up.rs",
            "chirpy/src/main.rs",
            "crates/hikeshi-load/src/main.rs",
        ] {
            assert!(check(name, text).is_empty(), "{name}");
        }
        assert_eq!(check("crates/hikeshi-load/src/lib.rs", text).len(), 2);
        assert!(check("crates/hikeshi-node/tests/it/main.rs", text).is_empty());
    }

    #[test]
    fn comments_and_tests_may_name_anything() {
        let text = "//! Unlike println!, this returns.\nfn f() {} // not std::fs\n\n#[cfg(test)]\nmod tests {\n    fn g() { println!(\"{:?}\", std::fs::read(\"x\")); }\n}\n";
        assert_eq!(check("crates/hikeshi-drill/src/lib.rs", text), [""; 0]);
    }

    #[test]
    fn pure_crates_touch_neither_files_nor_clock() {
        for (text, expected) in [
            ("use std::fs;\n", vec!["std::fs"]),
            ("use std::{collections::BTreeMap, fs};\n", vec!["fs"]),
            (
                "use std::{\n    collections::BTreeMap,\n    net::IpAddr,\n};\n",
                vec!["net"],
            ),
            ("use std::time::{Duration, Instant};\n", vec!["Instant"]),
            ("use std::time::Duration;\nstruct InstantReply;\n", vec![]),
            ("let now = jiff::Timestamp::now();\n", vec!["Timestamp::now("]),
            ("use std::fmt;\nlet fs = 1;\n", vec![]),
        ] {
            let code = shipped_code(text);
            let found: Vec<_> = impure(&code).into_iter().map(|(_, what)| what).collect();
            assert_eq!(found, expected, "{text:?}");
        }
        assert_eq!(check("crates/hikeshi-slo/src/x.rs", "use std::fs;\n").len(), 1);
        assert!(check("crates/hikeshi-node/src/x.rs", "use std::fs;\n").is_empty());
    }

    #[test]
    fn a_long_file_says_why() {
        let body = "fn f() {}\n".repeat(501);
        let finding = check("crates/hikeshi-node/src/x.rs", &body);
        assert!(finding[0].contains("501 lines"), "{finding:?}");
        let explained = format!("//! Everything. Long because one table is one table.\n{body}");
        assert!(check("crates/hikeshi-node/src/x.rs", &explained).is_empty());
        assert_eq!(check("ui/src/App.tsx", &body).len(), 1);
    }
}
