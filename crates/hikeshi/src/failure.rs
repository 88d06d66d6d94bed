//! What the CLI says when it cannot do what was asked, and the exit code that goes with it.

use std::fmt;

/// Exit codes are part of the CLI's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 1: the thing asked about is not so (red oracle, lint finding).
    NotSo,
    /// 2: wrong usage or input.
    Usage,
    /// 3: a component is missing or failed.
    Component,
}

impl Kind {
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::NotSo => 1,
            Kind::Usage => 2,
            Kind::Component => 3,
        }
    }
}

/// One message: what is wrong, and how to mend it.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    pub kind: Kind,
    pub message: String,
    #[serde(default)]
    pub hint: Option<String>,
}

impl Failure {
    pub fn not_so(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::NotSo,
            message: message.into(),
            hint: None,
        }
    }
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Usage,
            message: message.into(),
            hint: None,
        }
    }
    pub fn component(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Component,
            message: message.into(),
            hint: None,
        }
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// `.component("starting the data plane")?` — an IO-ish error with what was being done.
pub trait Context<T> {
    fn component(self, doing: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn component(self, doing: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::component(format!("{doing}: {error}")))
    }
}
