//! From the API server's audit to the commands people ran: pure. All requests of one kubectl invocation become one command.

use jiff::Timestamp;
use serde_json::Value;

use crate::command::Command;

mod rebuild;

/// One request as the audit has it; the field names are the API server's.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuditRecord {
    pub at: Timestamp,
    /// Certificate CN.
    pub user: String,
    pub groups: Vec<String>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `exec` ...
    pub verb: String,
    /// API group, empty for core.
    pub group: String,
    pub resource: String,
    pub subresource: Option<String>,
    pub namespace: String,
    pub name: Option<String>,
    /// `kubectl scale`.
    pub kubectl_command: Option<String>,
    pub kubectl_session: Option<String>,
    pub user_agent: String,
    pub code: u16,
    pub request_body: Option<Value>,
    /// Raw query string, without `?`.
    pub query: String,
}

impl AuditRecord {
    /// Whether the request changes something. An exec may: it counts as reading unless the program in it says otherwise.
    fn mutates(&self) -> bool {
        let deed = matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        );
        // `kubectl auth can-i` and friends create review objects, which change nothing.
        let review = self.group == "authorization.k8s.io" || self.group == "authentication.k8s.io";
        (deed && !review && self.subresource.as_deref() != Some("exec") && !self.dry_run())
            || (rebuild::is_exec(self) && rebuild::exec_changes(self))
    }

    fn refused(&self) -> bool {
        self.code >= 400
    }

    /// What was tried and refused is told, but is no change.
    fn changes(&self) -> bool {
        self.mutates() && !self.refused()
    }

    fn dry_run(&self) -> bool {
        rebuild::parameter(&self.query, "dryRun").is_some()
    }
}

/// The command a finished group of requests stands for, None where no person typed one.
///
/// `records` are all requests of one session, oldest first; for a client without a session, one request.
pub fn fold(records: &[AuditRecord]) -> Option<Command> {
    let first = records.first()?;
    let by_kubectl = first.kubectl_command.is_some() || first.user_agent.starts_with("kubectl");
    // Service accounts and other programs (UIs that list and watch) are not people at a keyboard; their changes are told.
    let main = records
        .iter()
        .rev()
        .find(|r| r.changes())
        .or_else(|| records.iter().rev().find(|r| r.mutates()))
        .or_else(|| records.iter().rev().find(|r| rebuild::tells(r)))?;
    if first.user.starts_with("system:") || (!by_kubectl && !main.mutates()) {
        return None;
    }
    let last = records.last()?;
    Some(Command::CommandRun {
        by: first.user.clone(),
        command: rebuild::command_line(main, records),
        mutating: main.changes(),
        source: "audit".to_owned(),
        exit_code: Some(i32::from(main.refused())),
        output: String::new(),
        seconds: last.at.duration_since(first.at).as_secs_f64().max(0.0),
        step: None,
    })
}

/// A session that is not over, and its requests so far, oldest first.
type Open = (String, Vec<AuditRecord>);

/// Gathers requests by session. A reading command is told when its session has been silent for a moment; a change at once.
#[derive(Debug, Default)]
pub struct Folder {
    open: Vec<Open>,
    told: Vec<(String, Timestamp)>,
}

/// A session is over after so many milliseconds without a request.
const QUIET_MS: i64 = 300;
/// Sessions told are remembered so long, so that a long `kubectl rollout status` is one line.
const REMEMBER_SECONDS: i64 = 600;

impl Folder {
    /// Takes one record; commands that are complete now.
    pub fn push(&mut self, record: AuditRecord) -> Vec<Command> {
        let now = record.at;
        let mut out = self.tick(now);
        let Some(session) = record.kubectl_session.clone() else {
            out.extend(fold(&[record]));
            return out;
        };
        if self.told.iter().any(|(s, _)| *s == session) && !record.mutates() {
            return out;
        }
        let (mutating, user) = (record.mutates(), record.user.clone());
        let position = self.open.iter().position(|(s, _)| *s == session);
        let index = position.unwrap_or_else(|| {
            self.open.push((session.clone(), Vec::new()));
            self.open.len() - 1
        });
        if let Some((_, records)) = self.open.get_mut(index) {
            records.push(record);
        }
        if mutating {
            // What a person read before they changed something is told before the change, however lately they read it, as far
            // as it shows already what was wanted.
            let read = |records: &[AuditRecord]| {
                records.iter().any(rebuild::tells) && records.iter().all(|r| r.user == user)
            };
            let over = |(other, records): &mut Open| *other == session || read(records);
            let ended = self.open.extract_if(..=index, over).collect();
            self.tell(ended, now, &mut out);
        }
        out
    }

    /// Commands whose sessions have gone quiet by `now`. Call it about every 100 ms while [`Folder::pending`].
    pub fn tick(&mut self, now: Timestamp) -> Vec<Command> {
        self.told
            .retain(|(_, at)| now.duration_since(*at).as_secs() < REMEMBER_SECONDS);
        let quiet = |(_, records): &mut Open| {
            records
                .last()
                .is_none_or(|r| now.duration_since(r.at).as_millis() >= i128::from(QUIET_MS))
        };
        let ended = self.open.extract_if(.., quiet).collect();
        let mut out = Vec::new();
        self.tell(ended, now, &mut out);
        out
    }

    fn tell(&mut self, ended: Vec<Open>, now: Timestamp, out: &mut Vec<Command>) {
        for (session, records) in ended {
            out.extend(fold(&records));
            self.told.push((session, now));
        }
    }

    /// Whether a session waits to be told.
    pub fn pending(&self) -> bool {
        !self.open.is_empty()
    }
}
