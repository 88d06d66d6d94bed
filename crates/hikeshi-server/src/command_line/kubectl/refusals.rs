//! What is said to a line that may not run: in both languages, with what to do instead.

use super::flag_name;
use super::grammar::{self, Command};
use crate::api::Text;
use crate::command_line::CommandLineError;

/// Flags that take another identity or another server: refused with those words. They are in no list of [`grammar`].
const IDENTITY: &[&str] = &[
    "kubeconfig",
    "as",
    "as-group",
    "as-uid",
    "as-user-extra",
    "server",
    "token",
    "user",
    "username",
    "password",
    "context",
    "cluster",
    "client-certificate",
    "client-key",
    "certificate-authority",
    "insecure-skip-tls-verify",
    "tls-server-name",
    "kuberc",
];

/// Flags that read or write files of the host: refused with those words. They are in no list of [`grammar`].
const HOST_FILES: &[&str] = &[
    "filename",
    "kustomize",
    "from-file",
    "from-env-file",
    "env-file",
    "patch-file",
    "output-directory",
    "cache-dir",
    "profile",
    "profile-output",
    "log-file",
    "log-dir",
    "cert",
    "key",
];

pub(super) fn verb_first(arg: &str) -> CommandLineError {
    let flag = flag_name(arg);
    forbidden(&flag).unwrap_or_else(|| {
        refused(
            format!(
                "{flag} stands before the command: write the command first, for example: kubectl get pods. \
                 Only one -n NAMESPACE may stand before it."
            ),
            format!(
                "{flag} がコマンドの前にあります。コマンドを先に書いてください。例: kubectl get pods。\
                 前に書けるのは -n NAMESPACE 一つだけです。"
            ),
        )
    })
}

pub(super) fn refused(en: impl Into<String>, ja: impl Into<String>) -> CommandLineError {
    CommandLineError::Refused(Text {
        en: en.into(),
        ja: ja.into(),
    })
}

/// Verbs that are refused with words of their own.
pub(super) fn check_verb(verb: &str) -> Result<(), CommandLineError> {
    match verb {
        "edit" => Err(refused(
            "kubectl edit opens an editor, and there is no terminal here: use kubectl set or kubectl patch.",
            "kubectl edit はエディタを開きますが、ここに端末はありません。kubectl set か kubectl patch を使ってください。",
        )),
        "cp" => Err(refused(
            "kubectl cp reads and writes files of the host: use kubectl exec POD -- cat FILE to read one.",
            "kubectl cp はホストのファイルを読み書きします。読むだけなら kubectl exec POD -- cat FILE を使ってください。",
        )),
        "proxy" | "port-forward" => Err(refused(
            format!(
                "kubectl {verb} opens a port on the host: use kubectl exec POD -- curl URL, or the tabs for \
                 Prometheus, Alertmanager and the app."
            ),
            format!(
                "kubectl {verb} はホストのポートを開きます。kubectl exec POD -- curl URL か、Prometheus、Alertmanager、\
                 アプリのタブを使ってください。"
            ),
        )),
        "attach" | "debug" => Err(refused(
            format!("kubectl {verb} needs a terminal: use kubectl exec POD -- PROGRAM."),
            format!("kubectl {verb} には端末が必要です。kubectl exec POD -- プログラム を使ってください。"),
        )),
        "config" => Err(refused(
            "kubectl config changes who you are; in the console you are your seat.",
            "kubectl config は身元を変えます。コンソールでは、あなたは自分の役割のままです。",
        )),
        // All they do begins with a manifest.
        "apply" | "replace" | "diff" | "kustomize" => Err(host_file(&format!("kubectl {verb}"))),
        _ => Ok(()),
    }
}

/// Why a flag (`--long` or `-s`) is never given, where there is more to say than that it is not.
pub(super) fn forbidden(flag: &str) -> Option<CommandLineError> {
    // kubectl takes `_` for `-`, too.
    let name = flag.trim_start_matches('-').replace('_', "-");
    match flag {
        "-s" => return Some(own_seat(flag)),
        "-f" | "-k" => return Some(host_file(flag)),
        _ if !flag.starts_with("--") => return None,
        _ => {}
    }
    if IDENTITY.contains(&name.as_str()) {
        return Some(own_seat(&format!("--{name}")));
    }
    if HOST_FILES.contains(&name.as_str()) {
        return Some(host_file(&format!("--{name}")));
    }
    match name.as_str() {
        "edit" => Some(refused(
            "--edit opens an editor, and there is no terminal here: use kubectl set or kubectl patch.",
            "--edit はエディタを開きますが、ここに端末はありません。kubectl set か kubectl patch を使ってください。",
        )),
        "template" => Some(refused(
            "--template may name a file of the host: write the template itself, -o go-template='{{.kind}}' or \
             -o jsonpath='{.kind}'.",
            "--template はホストのファイルを指せます。-o go-template='{{.kind}}' か -o jsonpath='{.kind}' のように、\
             テンプレートそのものを書いてください。",
        )),
        _ => None,
    }
}

pub(super) fn unavailable(flag: &str, command: &Command, typed: &str) -> CommandLineError {
    forbidden(flag).unwrap_or_else(|| {
        let available: Vec<String> = grammar::flags(command)
            .map(|flag| format!("--{}", flag.long))
            .collect();
        let available = available.join(", ");
        refused(
            format!("kubectl {typed}: {flag} is not available in this console. Available: {available}."),
            format!("kubectl {typed}: {flag} はこのコンソールでは使えません。使えるもの: {available}。"),
        )
    })
}

fn own_seat(flag: &str) -> CommandLineError {
    refused(
        format!("{flag} is refused: in the console every command runs as your own seat."),
        format!("{flag} は使えません。コンソールのコマンドは、すべて自分の役割の権限で実行されます。"),
    )
}

pub(super) fn host_file(flag: &str) -> CommandLineError {
    refused(
        format!(
            "{flag} is refused: the console has no files of its own. Use kubectl set, scale or patch -p, or your own \
             terminal with your seat's kubeconfig."
        ),
        format!(
            "{flag} は使えません。コンソールにはファイルがありません。kubectl set、scale、patch -p を使うか、\
             自分の端末で役割の kubeconfig を使ってください。"
        ),
    )
}

pub(super) fn wrong_value(flag: &str, value: &str, right: &str) -> CommandLineError {
    refused(
        format!("{flag} takes {right} here, not '{value}'."),
        format!("{flag} に '{value}' は使えません。使えるもの: {right}。"),
    )
}
