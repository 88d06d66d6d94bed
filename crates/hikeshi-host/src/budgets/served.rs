//! The budgets of the system that is up, for everybody in the war room at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use hikeshi_drill::event::{Event, EventKind};
use hikeshi_scenario::Text;
use hikeshi_server::api::ApiError;
use hikeshi_server::api::budget::{Budgets as Told, JourneyBudgets, SloBudget};
use hikeshi_server::store;
use hikeshi_slo::backtest::Mark;
use hikeshi_slo::history::{self, Change};
use hikeshi_slo::{Sli, Spec, specs};
use jiff::Timestamp;

use super::{budget, history_file, incidents_file, marks};
use crate::host::Host;
use crate::prometheus::PrometheusError;

/// How long an answer holds: however many people look, Prometheus is asked once.
const FRESH: Duration = Duration::from_secs(5);
/// Objectives that are asked for at once.
const AT_ONCE: usize = 2;

/// What is kept between two looks.
pub(crate) struct Budgets {
    folder: PathBuf,
    kept: tokio::sync::Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    told: Option<(Instant, Arc<Told>)>,
    /// Drills that are over, by id: their logs no longer change. None broke nothing.
    drills: BTreeMap<String, Option<(Mark, Text)>>,
}

impl Budgets {
    /// With the folder of the SLOs.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            kept: tokio::sync::Mutex::default(),
        }
    }
}

impl Host {
    /// Every objective's budget; not older than [`FRESH`].
    ///
    /// # Errors
    /// `Unavailable` while Prometheus is not up.
    pub(crate) async fn budgets_now(&self) -> Result<Arc<Told>, ApiError> {
        let mut kept = self.budgets.kept.lock().await;
        if let Some((at, told)) = &kept.told
            && at.elapsed() < FRESH
        {
            return Ok(told.clone());
        }
        let told = Arc::new(self.tell(&mut kept.drills).await?);
        kept.told = Some((Instant::now(), told.clone()));
        Ok(told)
    }

    async fn tell(&self, over: &mut BTreeMap<String, Option<(Mark, Text)>>) -> Result<Told, ApiError> {
        let now = Timestamp::now();
        let (mut all, drills) = self.drill_marks(over, now);
        let (incidents, marks_problem) = incidents(&incidents_file(&self.budgets.folder));
        all.extend(incidents);
        all.sort_by_key(|mark| (mark.from, mark.to));
        let changes = changes(&history_file(&self.budgets.folder), &self.cujs.system);
        let promised = history::said(&self.cujs);
        let written = specs(&self.cujs);
        let (prometheus, clock) = (&self.prometheus, self.slo_clock);
        let asked: Vec<_> = written
            .iter()
            .map(|spec| budget(prometheus, spec, clock, now.as_second(), &all))
            .collect();
        let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
        let mut slos: BTreeMap<&str, Vec<SloBudget>> = BTreeMap::new();
        for (spec, answer) in written.iter().zip(answers) {
            let (status, alerts, problem) = match answer {
                Ok((status, alerts)) => (Some(status), alerts, None),
                Err(PrometheusError::NotUp) => {
                    return Err(ApiError::Unavailable(PrometheusError::NotUp.to_string()));
                }
                Err(error) => (None, Vec::new(), Some(error.to_string())),
            };
            let own: Vec<Change> = changes
                .iter()
                .rev()
                .filter(|c| c.slo == spec.id)
                .cloned()
                .collect();
            let pending = pending(own.first(), promised.get(&spec.id));
            slos.entry(&spec.journey).or_default().push(SloBudget {
                slo: spec.id.clone(),
                name: spec.sli.clone(),
                sli: spec.kind.name(),
                objective: spec.objective,
                within: within(spec),
                window: spec.period.to_string(),
                status,
                problem,
                alerts,
                changes: own,
                pending,
            });
        }
        let journeys = self.cujs.cujs.iter().map(|cuj| JourneyBudgets {
            name: cuj.name.clone(),
            title: cuj.title.clone(),
            owner: cuj.owner.clone(),
            route: cuj.route.clone(),
            steps: cuj.steps.clone(),
            slos: slos.remove(cuj.name.as_str()).unwrap_or_default(),
        });
        Ok(Told {
            system: self.cujs.system.clone(),
            at: now,
            slo_clock: self.slo_clock,
            journeys: journeys.collect(),
            drills,
            marks_problem,
        })
    }

    /// Marks of every drill of this machine, and their titles.
    fn drill_marks(
        &self,
        over: &mut BTreeMap<String, Option<(Mark, Text)>>,
        now: Timestamp,
    ) -> (Vec<Mark>, BTreeMap<String, Text>) {
        let running = self.running();
        let on = running.as_ref().map(|session| session.id().to_owned());
        let mut open = Vec::new();
        for id in ids(&self.drills) {
            if Some(&id) != on.as_ref() && !over.contains_key(&id) {
                match self.told_of(&id) {
                    (true, known) => drop(over.insert(id, known)),
                    // Cut off, or only just begun: it may have more to say the next time.
                    (false, known) => open.extend(known),
                }
            }
        }
        let mut all: Vec<(Mark, Text)> = over.values().flatten().cloned().collect();
        all.append(&mut open);
        if let Some(session) = running
            && let Some(mark) = marks::running_mark(session.id(), &session.events_after(0), now)
        {
            all.push((mark, session.scenario.scenario.title.clone()));
        }
        let titles = all.iter().map(|(mark, title)| (mark.name.clone(), title.clone()));
        let titles = titles.collect();
        (all.into_iter().map(|(mark, _)| mark).collect(), titles)
    }

    /// Whether a drill is over; its mark and its title.
    fn told_of(&self, id: &str) -> (bool, Option<(Mark, Text)>) {
        let events = match store::read(&self.drills, id) {
            Ok(events) => events,
            Err(error) => {
                tracing::debug!(drill = id, %error, "this drill marks nothing");
                return (false, None);
            }
        };
        let over = events
            .iter()
            .any(|event| matches!(event.kind, EventKind::DrillEnded { .. }));
        (over, self.marked(id, &events))
    }

    fn marked(&self, id: &str, events: &[Event]) -> Option<(Mark, Text)> {
        let mark = marks::drill_mark(id, events)?;
        let scenario = events.first().and_then(|event| match &event.kind {
            EventKind::DrillStarted { scenario, .. } => Some(scenario.as_str()),
            _ => None,
        });
        let loaded = scenario.and_then(|name| self.scenarios.load(name).ok());
        let title = loaded.map_or_else(
            || Text {
                ja: id.to_owned(),
                en: id.to_owned(),
            },
            |loaded| loaded.scenario.title,
        );
        Some((mark, title))
    }
}

/// The names of a folder's entries; a missing folder has none.
fn ids(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// What people marked, and what is wrong with their file; without a file, nothing and nothing.
fn incidents(file: &Path) -> (Vec<Mark>, Option<String>) {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (Vec::new(), None),
        Err(error) => return (Vec::new(), Some(format!("{name}: {error}"))),
    };
    match marks::read(&name, &text) {
        Ok(marks) => (marks, None),
        Err(problems) => {
            let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
            (Vec::new(), Some(said.join("\n")))
        }
    }
}

/// A system's changes, oldest first. `hikeshi slo history` says what is wrong with a file that cannot be read.
fn changes(file: &Path, system: &str) -> Vec<Change> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let all = history::read(&text)
        .inspect_err(|line| tracing::warn!(file = %file.display(), line, "the history of SLOs is damaged"))
        .unwrap_or_default();
    all.into_iter().filter(|change| change.system == system).collect()
}

/// What was promised since this system was started, if it is something else.
fn pending(last: Option<&Change>, promised: Option<&String>) -> Option<String> {
    let to = last?.to.as_ref()?;
    (Some(to) != promised).then(|| to.clone())
}

fn within(spec: &Spec) -> Option<String> {
    match spec.kind {
        Sli::Latency(within) => Some(within.within.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_marked_is_read_and_what_is_wrong_with_it_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let file = incidents_file(dir.path());
        assert_eq!(incidents(&file), (Vec::new(), None));
        std::fs::write(
            &file,
            "- {name: a, from: 2026-11-22T00:00:00Z, to: 2026-11-22T00:30:00Z}\n",
        )
        .unwrap();
        let (marks, problem) = incidents(&file);
        assert_eq!((marks[0].name.as_str(), problem), ("a", None));
        std::fs::write(&file, "- {nam: a}\n").unwrap();
        let (marks, problem) = incidents(&file);
        assert_eq!(marks, []);
        assert!(problem.unwrap().starts_with("incidents.yaml:1:"));
    }

    #[test]
    fn a_change_since_the_start_is_said() {
        let change = |to: &str| Change {
            at: "t".to_owned(),
            who: "pika".to_owned(),
            system: "s".to_owned(),
            slo: "a".to_owned(),
            from: None,
            to: Some(to.to_owned()),
            why: "lab".to_owned(),
        };
        let promised = "99 % over 30d".to_owned();
        assert_eq!(pending(None, Some(&promised)), None);
        assert_eq!(pending(Some(&change("99 % over 30d")), Some(&promised)), None);
        assert_eq!(
            pending(Some(&change("98 % over 30d")), Some(&promised)).as_deref(),
            Some("98 % over 30d")
        );
        let dir = tempfile::tempdir().unwrap();
        let file = history_file(dir.path());
        assert_eq!(changes(&file, "s"), []);
        let line = serde_json::to_string(&change("x")).unwrap();
        std::fs::write(&file, format!("{line}\n{line}\n")).unwrap();
        assert_eq!((changes(&file, "s").len(), changes(&file, "other").len()), (2, 0));
    }
}
