//! The system under drill, as people need to know it: who does what, who leans on whom, why, and what breaks without it.

use std::collections::BTreeSet;

use hikeshi_scenario::problem::nearest;
use hikeshi_scenario::{Problem, Text};
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

/// A `map.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SystemMap {
    /// `Chirpy`.
    pub name: String,
    pub about: Text,
    pub roles: Vec<Role>,
    pub depends: Vec<Dependency>,
}

/// One workload of the system, by its name in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    pub name: String,
    pub does: Text,
}

/// `from` leans on `to`; both are roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dependency {
    pub from: String,
    pub to: String,
    pub why: Text,
    /// What breaks for users without it.
    pub without: Option<Text>,
    /// Ordinary traffic may never take this way, so that nobody need wonder when it carries nothing.
    pub seldom: bool,
}

/// What is written, with the places of the names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    about: Text,
    roles: Vec<WrittenRole>,
    depends: Vec<WrittenDependency>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRole {
    name: Spanned<String>,
    does: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenDependency {
    from: Spanned<String>,
    to: Spanned<String>,
    why: Text,
    #[serde(default)]
    without: Option<Text>,
    #[serde(default)]
    seldom: bool,
}

impl SystemMap {
    /// Reads a `map.yaml`.
    ///
    /// # Errors
    /// Every problem with its place: unknown keys, a role that is there twice, a dependency of or on what is no role, on
    /// itself, or that is there twice.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let written: Written = hikeshi_scenario::yaml::from_str(file_name, text)?;
        let problems = problems(file_name, &written);
        if !problems.is_empty() {
            return Err(problems);
        }
        let role = |role: WrittenRole| Role {
            name: role.name.value,
            does: role.does,
        };
        let dependency = |one: WrittenDependency| Dependency {
            from: one.from.value,
            to: one.to.value,
            why: one.why,
            without: one.without,
            seldom: one.seldom,
        };
        Ok(Self {
            name: written.name,
            about: written.about,
            roles: written.roles.into_iter().map(role).collect(),
            depends: written.depends.into_iter().map(dependency).collect(),
        })
    }
}

fn problems(file_name: &str, written: &Written) -> Vec<Problem> {
    let at = |name: &Spanned<String>, message: String| Problem {
        file: file_name.to_owned(),
        line: name.referenced.line(),
        column: name.referenced.column(),
        message,
        suggestion: None,
    };
    let mut found = Vec::new();
    let mut roles = BTreeSet::new();
    for role in &written.roles {
        if !roles.insert(role.name.value.as_str()) {
            found.push(at(
                &role.name,
                format!("the role {:?} is there already", role.name.value),
            ));
        }
    }
    let mut edges = BTreeSet::new();
    for WrittenDependency { from, to, .. } in &written.depends {
        for end in [from, to]
            .into_iter()
            .filter(|end| !roles.contains(end.value.as_str()))
        {
            found.push(Problem {
                suggestion: nearest(&end.value, roles.iter().copied()).map(str::to_owned),
                ..at(end, format!("no role is called {:?}", end.value))
            });
        }
        if from.value == to.value {
            found.push(at(to, format!("{:?} cannot depend on itself", to.value)));
        } else if !edges.insert((&from.value, &to.value)) {
            found.push(at(to, format!("{} → {} is there already", from.value, to.value)));
        }
    }
    found
}
