use super::*;
use crate::export::export;
use crate::lab::{Mode, Taken, Who, Wish};
use crate::normal::Normal;
use crate::stats::mixed;
use crate::verify::Delivered;

const CUJS: &str = include_str!("../../../../systems/chirpy/cujs.yaml");

/// People who notice and bear up to levels of their own, in a lab where everything is delivered.
fn run(kind: Kind, notices: f64, bears: &[f64], trials: u32) -> Lab {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let wish = Wish {
        journeys: vec!["post-message".to_owned()],
        kind,
        who: Who::Person,
        mode: Mode::Blind,
        levels: Vec::new(),
        trials,
        normal: Normal::default(),
    };
    let mut lab = Lab::new("l".into(), "chirpy".into(), "ann".into(), wish, 11, now).unwrap();
    for (nth, bears) in bears.iter().enumerate() {
        lab.sit(&format!("person{nth}"), now).unwrap();
        while lab.next(now).unwrap() {
            let trial = lab.trial().unwrap().clone();
            for slot in Slot::ALL {
                let level = lab.present(slot, now).unwrap();
                let (each, errors) = match level {
                    Level::Total { micros } => (crate::level::secs(micros), 0),
                    Level::Errors { ppm } => (0.03, u64::from(ppm) / 1_000),
                    _ => (0.03, 0),
                };
                let delivered = Delivered {
                    requests: 1_000,
                    errors,
                    seconds: each * 1e3,
                    within: None,
                };
                lab.close(delivered, now);
            }
            let x = 10_f64.powf(trial.level.intensity());
            let guess = mixed(nth as u64, lab.people.last().unwrap().trials.len() as u64) & 1 == 0;
            let right = if trial.x_is_a { Slot::A } else { Slot::B };
            let wrong = if trial.x_is_a { Slot::B } else { Slot::A };
            let answer = Answer {
                x_is: if x > notices || guess { right } else { wrong },
                bearable: x < *bears,
                words: String::new(),
            };
            assert_eq!(lab.answer(answer, &|_| 1, None).unwrap(), Taken::Counts);
        }
    }
    lab.end(text("終わり", "done"), now);
    lab
}

fn told(lab: &Lab) -> OfJourney {
    let cujs = hikeshi_slo::parse("f", CUJS).unwrap();
    let described = |name: &str| cujs.cujs.iter().find(|cuj| cuj.name == name).cloned();
    let out = outcome(lab, described, |_| Period::default(), &|_| 10);
    out.journeys.into_iter().next().unwrap()
}

#[test]
fn a_wait_is_recommended_that_people_bear_and_it_goes_into_the_file() {
    let lab = run(Kind::Latency, 0.4, &[1.6], 12);
    let told = told(&lab);
    assert_eq!((told.valid, told.void), (12, 0));
    let (noticed, borne) = (told.noticeable.unwrap(), told.tolerable.unwrap());
    assert!(noticed.low <= 0.4 && 0.4 <= noticed.high, "{noticed:?}");
    assert!(
        borne.low <= 1.6 && 1.6 <= borne.high && borne.low > 1.0,
        "{borne:?}"
    );
    let change = told.recommendation.change.unwrap();
    assert_eq!(
        change,
        Change::Within {
            slo: "latency".into(),
            from_ms: 500,
            to_ms: 1_000
        }
    );
    let cujs = hikeshi_slo::parse("f", CUJS).unwrap();
    let text = export(&cujs, CUJS, "post-message", None, &change).unwrap();
    let changed: Vec<&str> = text.lines().filter(|line| !CUJS.contains(line)).collect();
    assert_eq!(changed, ["      - {sli: {latency: {within: 1s}}, objective: 98}"]);
    hikeshi_slo::parse("f", &text).unwrap();
}

#[test]
fn an_objective_is_recommended_whose_page_rings_before_it_is_too_much() {
    let lab = run(Kind::Availability, 0.02, &[0.1], 12);
    let told = told(&lab);
    let borne = told.tolerable.unwrap();
    assert!(borne.low <= 0.1 && 0.1 <= borne.high, "{borne:?}");
    // 14.4 x 0.5 % is 7.2 %, below 10 % but perhaps not below the lower end; 14.4 x 0.2 % is.
    let Some(Change::Objective { from, to, .. }) = told.recommendation.change else {
        panic!("{:?}", told.recommendation);
    };
    assert!(
        (from - 99.0).abs() < 1e-9 && 14.4 * (100.0 - to) / 100.0 <= borne.low,
        "{to} {borne:?}"
    );
    assert!(
        told.recommendation
            .reasons
            .iter()
            .any(|reason| reason.en.contains("burn rate 14.4"))
    );
}

#[test]
fn several_people_are_pooled_and_each_is_told() {
    let alone = told(&run(Kind::Latency, 0.4, &[1.6], 8));
    let three = told(&run(Kind::Latency, 0.4, &[1.5, 1.6, 1.7], 8));
    assert_eq!((three.valid, three.each.len()), (24, 3));
    let width = |of: &OfJourney| {
        let found = of.tolerable.as_ref().unwrap();
        found.high / found.low
    };
    assert!(
        width(&three) < width(&alone),
        "{} {}",
        width(&three),
        width(&alone)
    );
    assert!(alone.each.is_empty());
}

#[test]
fn who_bears_nothing_or_has_hardly_tried_is_recommended_nothing() {
    let few = told(&run(Kind::Latency, 0.4, &[1.6], 3));
    assert!(few.recommendation.change.is_none() && few.recommendation.words.en.contains("needs 6"));
    let none = told(&run(Kind::Latency, 0.01, &[0.01], 12));
    assert!(none.recommendation.change.is_none() && none.recommendation.words.en.contains("make it faster"));
    assert_eq!(none.tolerable.unwrap().found, Found::Below);
}
