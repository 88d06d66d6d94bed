//! What the page and the command line ask of the lab.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use hikeshi_lab::lab::{Taken, Wish};
use hikeshi_lab::level::{self, presets};
use hikeshi_lab::view::view;
use hikeshi_lab::{Answer, Kind, Lab, Mode, Normal, Outcome, Refusal, Slot, export, outcome};
use hikeshi_scenario::Text;
use hikeshi_server::api::lab::{Act, LabHost, LabState, Offered, Past, Person};
use hikeshi_server::api::{self, ApiError};
use hikeshi_slo::{Cuj, Spec, specs};
use jiff::Timestamp;
use tokio::time::Instant;

use super::stage::StageError;
use super::{Labs, State};
use crate::host::Host;

/// Labs that are shown in the list of those that are over.
const SHOWN: usize = 30;

fn words(text: Text) -> api::Text {
    api::Text {
        ja: text.ja,
        en: text.en,
    }
}

fn text(ja: impl Into<String>, en: impl Into<String>) -> Text {
    Text {
        ja: ja.into(),
        en: en.into(),
    }
}

fn refused(refusal: &Refusal) -> ApiError {
    said("lab", refusal.words())
}

fn said(code: &str, text: Text) -> ApiError {
    ApiError::Refused {
        code: code.to_owned(),
        words: words(text),
    }
}

fn failed(error: &StageError) -> ApiError {
    ApiError::Unavailable(format!("the lab is not as it should be: {error}"))
}

#[async_trait]
impl LabHost for Labs {
    async fn state(&self, person: Person<'_>) -> LabState {
        let mut state = self.state.lock().await;
        self.hear(&mut state, person);
        self.look(&mut state).await;
        self.told(&state, person)
    }

    async fn token(&self, person: &str) -> Option<String> {
        let state = self.state.lock().await;
        let lab = state.lab.as_ref()?;
        let sits = lab.sitting().is_some_and(|sitting| sitting.person == person);
        let feels = lab.wish.mode == Mode::Feel;
        (sits || feels).then(|| state.token.clone())
    }

    async fn outcome(&self, id: &str) -> Option<Outcome> {
        let state = self.state.lock().await;
        let lab = state.book.over.get(id)?;
        let kind = lab.wish.kind;
        let uses = |journey: &str| self.uses(kind, journey);
        let described = |journey: &str| self.described(journey);
        let period = |cuj: &Cuj| {
            let slo = cuj.slos.iter().find(|slo| slo.sli.name() == kind.name());
            slo.and_then(|slo| slo.window)
                .or(self.cujs.window)
                .unwrap_or_default()
        };
        Some(outcome(lab, described, period, &uses))
    }

    fn wish(&self, act: &Act) -> Result<Wish, ApiError> {
        let Act::Start {
            journeys,
            kind,
            who,
            mode,
            levels,
            trials,
            normal,
        } = act
        else {
            return Err(ApiError::Invalid("this asks for no lab".to_owned()));
        };
        for journey in journeys {
            self.known(journey)?;
        }
        let availability = journeys.first().and_then(|journey| self.availability(journey));
        let read =
            |word: &String| level::parse(word, availability.as_ref()).map_err(|text| said("level", text));
        let normal = match normal.trim() {
            "" => Normal::default(),
            said_so => Normal::parse(said_so).map_err(|wrong| said("normal", wrong.0))?,
        };
        Ok(Wish {
            journeys: journeys.clone(),
            kind: *kind,
            who: *who,
            mode: *mode,
            levels: levels.iter().map(read).collect::<Result<_, _>>()?,
            trials: *trials,
            normal,
        })
    }

    async fn act(&self, act: Act, person: Person<'_>) -> Result<LabState, ApiError> {
        let mut state = self.state.lock().await;
        self.hear(&mut state, person);
        match act {
            Act::Start { .. } => self.start(&mut state, self.wish(&act)?, person).await?,
            Act::Sit => {
                let now = Timestamp::now();
                let lab = on(&mut state)?;
                lab.sit(person.name, now).map_err(|refusal| refused(&refusal))?;
                state.heard = Instant::now();
            }
            Act::Rise => {
                self.must_sit(&state, person)?;
                self.count_out(&mut state).await;
                let why = text("体験者が席を立ちました", "the person got up");
                on(&mut state)?.rise(&why, Timestamp::now());
                self.take_off().await.map_err(|error| failed(&error))?;
            }
            Act::Next => {
                self.must_sit(&state, person)?;
                on(&mut state)?
                    .next(Timestamp::now())
                    .map_err(|refusal| refused(&refusal))?;
            }
            Act::Show { slot } => self.show(&mut state, slot, person).await?,
            Act::Answer(answer) => self.answer(&mut state, answer, person).await?,
            Act::Feel { journey, level } => self.feel(&mut state, &journey, &level).await?,
            Act::Stop => {
                if !person.host {
                    self.must_sit(&state, person)?;
                }
                on(&mut state)?;
                self.count_out(&mut state).await;
                let why = text(
                    format!("{} さんが終えました", person.name),
                    format!("ended by {}", person.name),
                );
                self.over(&mut state, why).await;
            }
            Act::Export { id, journey, why } => {
                drop(state);
                self.export(&id, &journey, person.name, &why).await?;
                state = self.state.lock().await;
            }
        }
        self.write(&state);
        Ok(self.told(&state, person))
    }
}

fn on(state: &mut State) -> Result<&mut Lab, ApiError> {
    let none = || {
        said(
            "no_lab",
            text(
                "ラボは開かれていません。まず準備してください",
                "no lab is open: prepare one first",
            ),
        )
    };
    state.lab.as_mut().ok_or_else(none)
}

impl Labs {
    /// Who sits in the lab, or holds a level that is felt, is there.
    fn hear(&self, state: &mut State, person: Person<'_>) {
        let Some(lab) = &state.lab else { return };
        let sits = lab.sitting().is_some_and(|sitting| sitting.person == person.name);
        if sits || (lab.wish.mode == Mode::Feel && person.host) {
            state.heard = Instant::now();
        }
    }

    fn must_sit(&self, state: &State, person: Person<'_>) -> Result<(), ApiError> {
        let sitting = state.lab.as_ref().and_then(|lab| lab.sitting());
        match sitting {
            Some(sitting) if sitting.person == person.name => Ok(()),
            Some(sitting) => Err(refused(&Refusal::Taken(sitting.person.clone()))),
            None => Err(refused(&Refusal::NobodySits)),
        }
    }

    fn known(&self, journey: &str) -> Result<(), ApiError> {
        if self.file.journey(journey).is_some() {
            return Ok(());
        }
        let names: Vec<&str> = self
            .file
            .journeys
            .iter()
            .map(|journey| journey.cuj.as_str())
            .collect();
        Err(said(
            "journey",
            text(
                format!(
                    "`{journey}` というジャーニーはラボにありません。あるのは {}",
                    names.join("、")
                ),
                format!(
                    "the lab has no journey `{journey}`; there are {}",
                    names.join(", ")
                ),
            ),
        ))
    }

    fn described(&self, journey: &str) -> Option<Cuj> {
        self.file.journey(journey)?.described(&self.cujs).ok()
    }

    fn specs(&self, journey: &str) -> Vec<Spec> {
        let Some(cuj) = self.described(journey) else {
            return Vec::new();
        };
        let mut cujs = self.cujs.clone();
        cujs.cujs = vec![cuj];
        specs(&cujs)
    }

    fn availability(&self, journey: &str) -> Option<Spec> {
        self.specs(journey)
            .into_iter()
            .find(|spec| spec.sli == Kind::Availability.name())
    }

    fn told(&self, state: &State, person: Person<'_>) -> LabState {
        let offered = self.file.journeys.iter().filter_map(|journey| {
            let cuj = self.described(&journey.cuj)?;
            Some(Offered {
                journey: journey.cuj.clone(),
                title: words(cuj.title.clone()),
                owner: cuj.owner.clone(),
                task: words(journey.task.clone()),
                page: journey.page.clone(),
                promised: cuj.slos.iter().map(promise).map(words).collect(),
                presets: self
                    .availability(&journey.cuj)
                    .map(|spec| presets(&spec))
                    .unwrap_or_default(),
            })
        });
        let lab = state.lab.as_ref();
        let kind = lab.map_or(Kind::Latency, |lab| lab.wish.kind);
        let uses = |journey: &str| self.uses(kind, journey);
        let sits = lab
            .and_then(Lab::sitting)
            .is_some_and(|sitting| sitting.person == person.name);
        let mut past: Vec<Past> = state.book.over.values().map(past).collect();
        past.sort_by_key(|past| std::cmp::Reverse(past.at));
        past.truncate(SHOWN);
        LabState {
            journeys: offered.collect(),
            on: lab.map(|lab| view(lab, &uses, state.normal)),
            mine: sits,
            past,
        }
    }

    fn write(&self, state: &State) {
        if let Some(lab) = &state.lab
            && let Err(error) = state.book.write(lab)
        {
            tracing::error!(%error, id = lab.id, "a lab could not be written down");
        }
    }

    async fn start(&self, state: &mut State, wish: Wish, person: Person<'_>) -> Result<(), ApiError> {
        if let Some(lab) = &state.lab {
            return Err(said(
                "lab_is_on",
                text(
                    format!("{} のラボが開かれています。先に終えてください", lab.by),
                    format!("the lab of {} is open: end it first", lab.by),
                ),
            ));
        }
        let now = Timestamp::now();
        // As far as any number is kept exactly by whoever reads the file.
        let seed = fastrand::u64(..) >> 12;
        let name = format!(
            "{}-{}",
            now.strftime("%Y%m%d-%H%M%S"),
            wish.journeys.first().map_or("", String::as_str)
        );
        let normal = wish.normal.clone();
        let feels =
            (wish.mode == Mode::Feel).then(|| (wish.journeys.first().cloned(), wish.levels.first().copied()));
        let system = self.cujs.system.clone();
        let lab = Lab::new(name, system, person.name.to_owned(), wish, seed, now)
            .map_err(|refusal| refused(&refusal))?;
        state.lab = Some(lab);
        state.token = (0..22).map(|_| fastrand::alphanumeric()).collect();
        state.heard = Instant::now();
        state.normal = None;
        if let Err(error) = self.set_up(state, &normal, seed).await {
            let why = text(
                format!("準備できませんでした: {error}"),
                format!("it could not be prepared: {error}"),
            );
            self.over(state, why).await;
            return Err(failed(&error));
        }
        self.open.store(true, Ordering::Relaxed);
        state.heard = Instant::now();
        if let Some((Some(journey), Some(level))) = feels {
            self.put(state, &journey, level).await?;
        }
        Ok(())
    }

    /// Feels a level from now on.
    async fn put(&self, state: &mut State, journey: &str, level: hikeshi_lab::Level) -> Result<(), ApiError> {
        self.count_out(state).await;
        self.put_on(state, journey, level)
            .await
            .map_err(|error| failed(&error))?;
        state.heard = Instant::now();
        on(state)?
            .feel(journey, level, Timestamp::now())
            .map_err(|refusal| refused(&refusal))
    }

    async fn feel(&self, state: &mut State, journey: &str, level: &str) -> Result<(), ApiError> {
        self.known(journey)?;
        let level =
            level::parse(level, self.availability(journey).as_ref()).map_err(|text| said("level", text))?;
        if on(state)?.wish.mode != Mode::Feel {
            return Err(refused(&Refusal::Blind));
        }
        self.put(state, journey, level).await
    }

    async fn show(&self, state: &mut State, slot: Slot, person: Person<'_>) -> Result<(), ApiError> {
        self.must_sit(state, person)?;
        self.count_out(state).await;
        let trial = on(state)?.trial().ok_or_else(|| refused(&Refusal::NoTrial))?;
        let (journey, level) = (trial.journey.clone(), trial.level_of(slot));
        if let Err(error) = self.put_on(state, &journey, level).await {
            let why = text(
                format!("レベルを作れませんでした: {error}"),
                format!("a level could not be made: {error}"),
            );
            on(state)?.cut(&why, Timestamp::now());
            return Err(failed(&error));
        }
        state.heard = Instant::now();
        on(state)?
            .present(slot, Timestamp::now())
            .map(drop)
            .map_err(|refusal| refused(&refusal))
    }

    async fn answer(&self, state: &mut State, answer: Answer, person: Person<'_>) -> Result<(), ApiError> {
        self.must_sit(state, person)?;
        self.count_out(state).await;
        let normal = state.normal;
        let lab = on(state)?;
        let kind = lab.wish.kind;
        let uses = |journey: &str| self.uses(kind, journey);
        let taken = lab
            .answer(answer, &uses, normal)
            .map_err(|refusal| refused(&refusal))?;
        if taken == Taken::Void {
            tracing::info!("a trial is void: a level was not delivered");
        }
        self.take_off().await.map_err(|error| failed(&error))?;
        state.heard = Instant::now();
        // The next at once: who has judged twelve times wants to go on, or be done.
        if !on(state)?
            .next(Timestamp::now())
            .map_err(|refusal| refused(&refusal))?
        {
            let why = text("予定の比較が終わりました", "every trial is done");
            self.over(state, why).await;
        }
        Ok(())
    }

    async fn export(&self, id: &str, journey: &str, who: &str, why: &str) -> Result<(), ApiError> {
        let outcome = self.outcome(id).await;
        let found = outcome
            .as_ref()
            .and_then(|outcome| outcome.journeys.iter().find(|of| of.journey == journey));
        let Some(of) = found else {
            return Err(ApiError::NotFound(format!(
                "no lab {id} that is over is about {journey}"
            )));
        };
        let Some(change) = &of.recommendation.change else {
            return Err(said(
                "nothing_to_export",
                text(
                    "このラボからは、変更の提案がありません",
                    "this lab recommends no change",
                ),
            ));
        };
        let name = self.cujs_path.display().to_string();
        let unread = |error: String| ApiError::Unavailable(format!("{name}: {error}"));
        let file = std::fs::read_to_string(&self.cujs_path).map_err(|error| unread(error.to_string()))?;
        let cujs = hikeshi_slo::parse(&name, &file)
            .map_err(|problems| unread(problems.first().map(ToString::to_string).unwrap_or_default()))?;
        let add = self
            .file
            .journey(journey)
            .and_then(|journey| journey.add.as_deref());
        let text = export::export(&cujs, &file, journey, add, change).map_err(|why| said("export", why))?;
        let why = if why.trim().is_empty() {
            format!("lab {id}: {}", of.recommendation.words.en)
        } else {
            format!("lab {id}: {}", why.trim())
        };
        (self.keep)(&text, who, &why).map_err(unread)
    }
}

/// An objective in words.
fn promise(slo: &hikeshi_slo::Slo) -> Text {
    let objective = slo.objective;
    match slo.sli {
        hikeshi_slo::Sli::Latency(within) => {
            let length = hikeshi_lab::words::seconds(within.within.get().as_secs_f64());
            text(
                format!("{objective} % が {} 以内", length.ja),
                format!("{objective} % within {}", length.en),
            )
        }
        hikeshi_slo::Sli::Availability => text(
            format!("{objective} % がエラーなし"),
            format!("{objective} % without an error"),
        ),
        other => text(
            format!("{} {objective} %", other.name()),
            format!("{} {objective} %", other.name()),
        ),
    }
}

fn past(lab: &Lab) -> Past {
    let mut people: Vec<String> = lab.people.iter().map(|sitting| sitting.person.clone()).collect();
    people.dedup();
    let trials = lab.people.iter().flat_map(|sitting| &sitting.trials);
    Past {
        id: lab.id.clone(),
        at: lab.at,
        kind: lab.wish.kind,
        journeys: lab.wish.journeys.clone(),
        people,
        valid: trials.filter(|trial| trial.counts()).count(),
    }
}

impl Host {
    /// The base URL of a named listener; the app's while a lab is on is the ingress, where the lab's ways part.
    pub(crate) fn way_to(&self, name: &str) -> Option<String> {
        let in_lab = name == "chirpy" && self.labs.as_ref().is_some_and(|labs| labs.is_on());
        (self.upstream)(if in_lab { "ingress" } else { name })
    }
}
