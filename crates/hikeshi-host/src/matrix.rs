//! Proves a scenario's oracle on the real system: green when healthy, red when injected, red when nobody acts, red after
//! every fake fix, green after each real fix and after the same fault again. One system gives as many colours as it
//! can; the caller resets it between fixes.

mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hikeshi_drill::{Command, State};
use hikeshi_scenario::Fix;
use jiff::Timestamp;

use crate::host::Host;
use crate::oracle::Held;
use crate::rehearsal::run_lines;
use crate::session::Session;

pub use report::{Alert, Journey, Run};
use report::{alerts, times};

/// Longest wait for the page after the fault (the product's own figure is 30 s; a slow machine is not a broken one).
const PAGE_LIMIT: Duration = Duration::from_secs(120);
/// How long a fix may take until it begins to hold.
const SETTLE: Duration = Duration::from_secs(150);
/// How long the system must have been well before anything is proven on it.
const CALM: Duration = Duration::from_secs(20);
/// How much longer than `hold` a fake fix or idleness is watched.
const WATCH: Duration = Duration::from_secs(20);

/// Watches one system through a drill.
pub struct Prover {
    pub host: Arc<Host>,
    pub session: Arc<Session>,
}

/// Where a run begins.
pub struct Mark {
    seq: u64,
    at: Timestamp,
    counters: BTreeMap<String, Journey>,
}

impl Prover {
    /// Green while nothing is wrong.
    pub async fn healthy(&self) -> Run {
        let mark = self.mark().await;
        let held = self.outcome(self.hold() + SETTLE).await;
        self.run("healthy", "healthy", "green", held, mark).await
    }

    /// Waits until the system is healthy and quiet: a drill begins from the normal state.
    ///
    /// # Errors
    /// What is not healthy.
    pub async fn settled(&self) -> Result<(), String> {
        let scenario = &self.session.scenario.scenario;
        let verdict = self.host.oracle.held(scenario, CALM, CALM + SETTLE).await.verdict;
        if verdict.green {
            Ok(())
        } else {
            Err(verdict.reasons.join("; "))
        }
    }

    /// What the oracle says after a rehearsal was played to its end.
    pub async fn rehearsed(&self, mark: Mark) -> Run {
        let held = self.outcome(self.hold() + WATCH).await;
        self.run("fix", "rehearsal", "green", held, mark).await
    }

    /// Puts the scenario's faults in, waits for the page, and looks once.
    ///
    /// # Errors
    /// A sentence, when a fault cannot be put in or its record not be written.
    pub async fn injected(&self) -> Result<Run, String> {
        let mark = self.mark().await;
        self.inject().await?;
        let paged = self.wait(PAGE_LIMIT, State::paging).await;
        let mut verdict = self.host.oracle.look(&self.session.scenario.scenario).await;
        if !paged {
            verdict
                .reasons
                .push(format!("no page within {} s", PAGE_LIMIT.as_secs()));
            // An incident that nobody is told of is not the one that the scenario promises.
            verdict.green = true;
        }
        let held = Held {
            verdict,
            since: None,
            until: Timestamp::now(),
        };
        Ok(self.run("injected", "injected", "red", held, mark).await)
    }

    /// Waits out the faults, and then for longer than the oracle would need to turn green.
    pub async fn do_nothing(&self) -> Run {
        let mark = self.mark().await;
        let held = self.outcome(self.hold() + WATCH).await;
        self.run("do-nothing", "do-nothing", "red", held, mark).await
    }

    /// Runs a fake fix: relief is allowed, health is not. Then takes it back, so that the next is proven by itself.
    ///
    /// # Errors
    /// A sentence, when its commands do not run.
    pub async fn fake_fix(&self, fix: &Fix) -> Result<Run, String> {
        let mark = self.mark().await;
        run_lines(&self.host, &self.session, &fix.run).await?;
        let held = self.outcome(self.hold() + WATCH).await;
        let run = self.run("fake-fix", &fix.name, "red", held, mark).await;
        run_lines(&self.host, &self.session, &fix.undo).await?;
        Ok(run)
    }

    /// Runs a real fix, waits until it holds, then puts the same faults in again: it must hold once more.
    ///
    /// # Errors
    /// A sentence, when its commands do not run or a fault cannot be put in.
    pub async fn fix(&self, fix: &Fix) -> Result<Run, String> {
        let mark = self.mark().await;
        run_lines(&self.host, &self.session, &fix.run).await?;
        let mut held = self.outcome(self.hold() + SETTLE).await;
        if held.verdict.green && !self.session.scenario.scenario.oracle.survives.is_empty() {
            self.inject().await?;
            // The times stay those of the first fault: this one is not to be noticed.
            held.verdict = self.outcome(self.hold() + SETTLE).await.verdict;
            for reason in &mut held.verdict.reasons {
                reason.insert_str(0, "after the same fault again: ");
            }
        }
        Ok(self.run("fix", &fix.name, "green", held, mark).await)
    }

    fn hold(&self) -> Duration {
        self.session.scenario.scenario.oracle.journeys.hold.get()
    }

    async fn outcome(&self, limit: Duration) -> Held {
        self.host
            .oracle
            .outcome(&self.session.scenario.scenario, limit)
            .await
    }

    /// Puts every fault in for as long as the scenario says, then takes it out.
    async fn inject(&self) -> Result<(), String> {
        let scenario = self.session.scenario.clone();
        for inject in &scenario.scenario.inject {
            let objects = scenario.fault(&inject.apply);
            let object = self
                .host
                .faults
                .put_in(objects, inject.lasts.map(|lasts| lasts.get()))
                .await
                .map_err(|error| error.to_string())?;
            self.submit(Command::FaultInjected {
                name: inject.apply.clone(),
                object,
            })
            .await?;
        }
        for inject in &scenario.scenario.inject {
            let Some(lasts) = inject.lasts else { continue };
            tokio::time::sleep(lasts.get()).await;
            let objects = scenario.fault(&inject.apply);
            self.host
                .faults
                .take_out(objects)
                .await
                .map_err(|error| error.to_string())?;
            self.submit(Command::FaultEnded {
                name: inject.apply.clone(),
            })
            .await?;
        }
        Ok(())
    }

    async fn submit(&self, command: Command) -> Result<(), String> {
        self.session
            .submit(command)
            .await
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    async fn wait(&self, limit: Duration, so: impl Fn(&State) -> bool) -> bool {
        let mut heard = self.host.heard.subscribe();
        let waiting = async {
            while !self.session.with_state(&so) {
                let _ = heard.recv().await;
            }
        };
        tokio::time::timeout(limit, waiting).await.is_ok()
    }

    /// Remembers where things stand now.
    pub async fn mark(&self) -> Mark {
        Mark {
            seq: self.session.with_state(|state| state.last_seq),
            at: Timestamp::now(),
            counters: self.counters().await,
        }
    }

    async fn counters(&self) -> BTreeMap<String, Journey> {
        let samples = self
            .host
            .prometheus
            .query("sum by (journey, result) (journey_requests_total)")
            .await;
        let mut counters = BTreeMap::new();
        for sample in samples.unwrap_or_default() {
            let text = |label: &str| {
                sample
                    .labels
                    .get(label)
                    .and_then(|value| value.as_str())
                    .unwrap_or_default()
                    .to_owned()
            };
            let journey = counters
                .entry(text("journey"))
                .or_insert(Journey { served: 0, failed: 0 });
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a counter: whole and positive"
            )]
            let count = sample.value as u64;
            if text("result") == "ok" {
                journey.served = count
            } else {
                journey.failed = count
            }
        }
        counters
    }

    async fn run(&self, kind: &str, name: &str, expected: &'static str, held: Held, mark: Mark) -> Run {
        let verdict = held.verdict;
        let events = self.session.events_after(0);
        let recorded = Command::OracleChecked {
            green: verdict.green,
            reasons: verdict.reasons.clone(),
        };
        if let Err(error) = self.submit(recorded).await {
            tracing::error!(error, "the oracle's word could not be written down");
        }
        let now = self.counters().await;
        let journeys = now
            .into_iter()
            .map(|(name, after)| {
                let before = mark.counters.get(&name);
                let since = |after: u64, before: Option<u64>| after.saturating_sub(before.unwrap_or(0));
                let journey = Journey {
                    served: since(after.served, before.map(|b| b.served)),
                    failed: since(after.failed, before.map(|b| b.failed)),
                };
                (name, journey)
            })
            .collect();
        let times = times(
            &events,
            mark.seq,
            held.since.filter(|_| verdict.green),
            held.until,
        );
        Run {
            kind: kind.to_owned(),
            name: name.to_owned(),
            expected,
            oracle: if verdict.green { "green" } else { "red" },
            reasons: verdict.reasons,
            alerts: alerts(&events)
                .into_iter()
                .filter(|alert| alert.resolved_at.is_none_or(|end| end >= mark.at))
                .collect(),
            journeys,
            posts: self.host.oracle.posts().await.ok(),
            seconds_to_detect: times.detect,
            seconds_to_mitigate: times.mitigate,
            seconds_to_resolve: times.resolve,
            seconds: Timestamp::now().duration_since(mark.at).as_secs_f64(),
        }
    }
}
