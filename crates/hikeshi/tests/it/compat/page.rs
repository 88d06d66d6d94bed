//! The compatibility page: what the cases prove, command by command and kind by kind, in both languages.

use std::fmt::Write as _;
use std::path::Path;

use super::case::{Group, Words};

#[derive(Clone, Copy)]
pub enum Lang {
    En,
    Ja,
}

impl Lang {
    fn of(self, words: &Words) -> &str {
        match self {
            Self::En => &words.en,
            Self::Ja => &words.ja,
        }
    }

    fn pick(self, en: &'static str, ja: &'static str) -> &'static str {
        match self {
            Self::En => en,
            Self::Ja => ja,
        }
    }
}

/// A line of `kubectl api-resources`.
pub struct Kind {
    pub kind: String,
    pub api_version: String,
    /// `deployments.apps`
    pub key: String,
    /// `deploy`
    short: Vec<String>,
}

impl Kind {
    /// What a command may call it: in the plural, in the singular, in short.
    pub fn words(&self) -> Vec<String> {
        let plural = self.key.split('.').next().unwrap_or_default().to_owned();
        let mut words = vec![plural, self.kind.to_lowercase()];
        words.extend(self.short.iter().cloned());
        words
    }
}

/// Reads `kubectl api-resources --no-headers`.
pub fn kinds(listing: &str) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = listing
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, short @ .., api_version, _namespaced, kind] = words.as_slice() else {
                return None;
            };
            let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
            let dot = if group.is_empty() { "" } else { "." };
            Some(Kind {
                kind: (*kind).to_owned(),
                api_version: (*api_version).to_owned(),
                key: format!("{name}{dot}{group}"),
                short: short
                    .iter()
                    .flat_map(|short| short.split(','))
                    .map(str::to_owned)
                    .collect(),
            })
        })
        .collect();
    kinds.sort_by(|a, b| (&a.kind, &a.key).cmp(&(&b.kind, &b.key)));
    kinds
}

pub fn render(groups: &[Group], kinds: &[Kind], lang: Lang) -> String {
    let mut page = String::new();
    let head = lang.pick(
        "# Compatibility with kubectl

This page is generated: every command below is run by `cargo xtask test` on a real cluster of Hikeshi, with two versions of
the real kubectl, and the page is compared with what was run. A line that stops being true fails the tests.

Supported: kubectl 1.30 and newer; the tests run 1.37 and 1.30. What is not supported says so in a Kubernetes `Status`:
it neither hangs nor succeeds emptily. A field that is taken without being acted on comes back with a warning that names it.
",
        "# kubectl との互換性

このページは自動生成です。以下のコマンドはすべて、`cargo xtask test` が本物の kubectl 2 バージョンを使って Hikeshi の実クラスター上で実行し、
その結果とこのページを突き合わせています。事実でなくなった行があればテストが失敗します。

対応バージョン: kubectl 1.30 以降（テストは 1.37 と 1.30 で実行）。未対応のものは Kubernetes の `Status` で理由を返します（固まったり、
何もせずに成功したりはしません）。受け取るだけで効き目のないフィールドには、その名前を挙げた警告を返します。
",
    );
    page.push_str(head);
    let _ = writeln!(page, "\n## {}", lang.pick("Command by command", "コマンド別"));
    for group in groups {
        let _ = writeln!(page, "\n### {}\n", lang.of(&group.title));
        let (command, shows) = (
            lang.pick("command", "コマンド"),
            lang.pick("what is proven", "確かめていること"),
        );
        let _ = writeln!(page, "| {command} | {shows} |\n|---|---|");
        for case in &group.cases {
            let Some(words) = &case.shows else { continue };
            let run = case
                .run
                .replace("{tmp}/", "")
                .replace("{ns}", "NAMESPACE")
                .replace('|', "\\|");
            let _ = writeln!(page, "| `{run}` | {} |", lang.of(words));
        }
    }
    let _ = writeln!(page, "\n## {}\n", lang.pick("Kind by kind", "種類(kind)別"));
    page.push_str(lang.pick(
        "Every kind the API serves. Where no section is named, the cases above do not show what the kind does. NetworkPolicy is
stored but not enforced.\n\n",
        "API が提供するすべての種類です。節の名前がないものは、上のコマンドでは動作を確かめていません。NetworkPolicy は保存できますが、通信の制限は
行いません。\n\n",
    ));
    let (kind, version, proven) = (
        lang.pick("kind", "種類"),
        lang.pick("API version", "API バージョン"),
        lang.pick("behaviour proven under", "動作を確かめている節"),
    );
    let _ = writeln!(page, "| {kind} | {version} | {proven} |\n|---|---|---|");
    for row in kinds {
        let sections: Vec<&str> = groups
            .iter()
            .filter(|group| group.kinds.contains(&row.key))
            .map(|group| lang.of(&group.title))
            .collect();
        let sections = if sections.is_empty() {
            "–".to_owned()
        } else {
            sections.join(lang.pick(", ", "、"))
        };
        let _ = writeln!(page, "| {} | {} | {sections} |", row.kind, row.api_version);
    }
    page
}

/// Compares a page with the one in the repository; with `HIKESHI_BLESS=1` writes it.
pub fn same(file: &Path, page: &str) -> Result<(), String> {
    if std::env::var_os("HIKESHI_BLESS").is_some() {
        return std::fs::write(file, page).map_err(|error| format!("{}: {error}", file.display()));
    }
    match std::fs::read_to_string(file) {
        Ok(now) if now == page => Ok(()),
        _ => Err(format!(
            "{} does not say what the cases prove; HIKESHI_BLESS=1 with this test writes it anew",
            file.display()
        )),
    }
}
