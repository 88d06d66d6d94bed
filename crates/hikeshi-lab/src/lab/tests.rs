use proptest::prelude::*;

use super::*;
use crate::view::view;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn wish() -> Wish {
    Wish {
        journeys: vec!["edit-message".to_owned()],
        kind: Kind::Latency,
        who: Who::Person,
        mode: Mode::Blind,
        levels: Vec::new(),
        trials: 3,
        normal: Normal::default(),
    }
}

fn lab(wish: Wish, seed: u64) -> Lab {
    Lab::new("l".into(), "chirpy".into(), "ann".into(), wish, seed, at(0)).unwrap()
}

/// What an ingress would count of `requests` at this level, on a system that answers in 30 ms.
fn served(level: Level, requests: u64) -> Delivered {
    let each = match level {
        Level::Total { micros } => crate::level::secs(micros),
        _ => 0.03,
    };
    let errors = match level {
        Level::Errors { ppm } => u64::from(ppm) * requests / 1_000_000,
        _ => 0,
    };
    Delivered {
        requests,
        errors,
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        seconds: each * requests as f64,
        within: None,
    }
}

fn tried(lab: &mut Lab, slot: Slot, requests: u64) {
    let level = lab.present(slot, at(1)).unwrap();
    lab.close(served(level, requests), at(2));
}

fn told(x_is: Slot) -> Answer {
    Answer {
        x_is,
        bearable: true,
        words: String::new(),
    }
}

const TWICE: UsesOf<'static> = &|_| 2;

#[test]
fn a_trial_goes_its_way() {
    let mut lab = lab(wish(), 7);
    assert_eq!(lab.next(at(1)), Err(Refusal::NobodySits));
    lab.sit("ann", at(1)).unwrap();
    lab.sit("ann", at(1)).unwrap();
    assert_eq!(lab.sit("bob", at(1)), Err(Refusal::Taken("ann".into())));
    assert_eq!(lab.answer(told(Slot::A), TWICE, None), Err(Refusal::NoTrial));
    assert_eq!(lab.next(at(1)), Ok(true));
    assert_eq!(lab.next(at(1)), Err(Refusal::TrialIsOn));
    for slot in [Slot::A, Slot::B] {
        tried(&mut lab, slot, 2);
    }
    tried(&mut lab, Slot::X, 1);
    let refused = lab.answer(told(Slot::A), TWICE, None);
    assert_eq!(
        refused,
        Err(Refusal::NotTried {
            slot: Slot::X,
            more: 1
        })
    );
    assert_eq!(lab.used(), Some([2, 2, 1]));
    tried(&mut lab, Slot::X, 1);
    assert_eq!(lab.answer(told(Slot::X), TWICE, None), Err(Refusal::XIsX));
    assert_eq!(lab.answer(told(Slot::A), TWICE, None), Ok(Taken::Counts));
    assert_eq!(lab.trial(), None);
}

#[test]
fn a_level_that_was_not_delivered_voids_the_trial_and_is_tried_again() {
    let mut lab = lab(wish(), 3);
    lab.sit("ann", at(1)).unwrap();
    lab.next(at(1)).unwrap();
    let level = lab.trial().unwrap().level;
    for slot in Slot::ALL {
        lab.present(slot, at(1)).unwrap();
        // The fault never came: everything was as always.
        lab.close(served(Level::Normal, 2), at(2));
    }
    assert_eq!(lab.answer(told(Slot::A), TWICE, None), Ok(Taken::Void));
    let void = &lab.people[0].trials[0];
    assert!(
        !void.counts() && void.void.as_ref().unwrap().en.contains("asked for"),
        "{:?}",
        void.void
    );
    lab.next(at(3)).unwrap();
    assert_eq!(lab.trial().unwrap().level, level, "the same level again");
    assert_eq!(lab.due(), Some("edit-message"));
}

#[test]
fn who_leaves_in_the_middle_voids_it_and_another_may_sit_down() {
    let mut lab = lab(wish(), 3);
    lab.sit("ann", at(1)).unwrap();
    lab.next(at(1)).unwrap();
    lab.present(Slot::A, at(1)).unwrap();
    lab.rise(&text("閉じた", "closed"), at(2));
    assert_eq!(lab.on(), None);
    assert!(lab.people[0].trials[0].void.is_some() && lab.people[0].trials[0].shown[0].to.is_some());
    lab.sit("bob", at(3)).unwrap();
    lab.end(text("終わり", "done"), at(4));
    assert_eq!(lab.sit("cat", at(5)), Err(Refusal::Over));
    assert_eq!(lab.people[1].left, Some(at(4)));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let no = |change: fn(&mut Wish)| {
        let mut wish = wish();
        change(&mut wish);
        Lab::new("l".into(), "s".into(), "a".into(), wish, 1, at(0)).unwrap_err()
    };
    assert_eq!(no(|wish| wish.journeys.clear()), Refusal::NoJourney);
    assert_eq!(no(|wish| wish.trials = 0), Refusal::Trials);
    assert_eq!(
        no(|wish| wish.levels = vec![Level::Errors { ppm: 10 }]),
        Refusal::OtherKind(Kind::Latency)
    );
    assert_eq!(
        no(|wish| wish.levels = vec![Level::Normal]),
        Refusal::NormalIsNoLevel
    );
    let mut blind = lab(wish(), 1);
    assert_eq!(
        blind.feel("edit-message", Level::Normal, at(1)),
        Err(Refusal::Blind)
    );
}

#[test]
fn fixed_levels_are_tried_in_turn() {
    let levels = vec![
        Level::Total { micros: 500_000 },
        Level::Total { micros: 1_000_000 },
    ];
    let mut lab = lab(
        Wish {
            levels: levels.clone(),
            ..wish()
        },
        5,
    );
    lab.sit("ann", at(1)).unwrap();
    let mut seen = Vec::new();
    while lab.next(at(1)).unwrap() {
        seen.push(lab.trial().unwrap().level);
        for slot in Slot::ALL {
            tried(&mut lab, slot, 2);
        }
        lab.answer(told(Slot::A), TWICE, None).unwrap();
    }
    assert_eq!(seen, [levels[0], levels[1], levels[0]]);
    assert!(lab.sitting().is_none(), "three trials were asked for");
}

proptest! {
    /// Two labs that differ in nothing but which of A and B is the level: the page of a person who does the same in both is
    /// told the same, to the letter, at every moment.
    #[test]
    fn the_page_is_never_told_which_is_which(seed: u64, order in prop::collection::vec(0..3_usize, 1..8), kind in prop::bool::ANY) {
        let kind = if kind { Kind::Latency } else { Kind::Availability };
        let mut one = lab(Wish { kind, ..wish() }, seed);
        one.sit("ann", at(1)).unwrap();
        one.next(at(1)).unwrap();
        let mut other = one.clone();
        let trial = other.people[0].trials.last_mut().unwrap();
        trial.a_is_level = !trial.a_is_level;
        trial.x_is_a = !trial.x_is_a;
        let page = |lab: &Lab| serde_json::to_string(&view(lab, TWICE, Some(0.03))).unwrap();
        prop_assert_eq!(page(&one), page(&other));
        for nth in order {
            let slot = Slot::ALL[nth];
            for lab in [&mut one, &mut other] {
                let level = lab.present(slot, at(2)).unwrap();
                lab.measured(served(level, 1));
            }
            prop_assert_eq!(page(&one), page(&other));
            for lab in [&mut one, &mut other] {
                let level = lab.on().unwrap().level;
                lab.close(served(level, 3), at(3));
            }
            prop_assert_eq!(page(&one), page(&other));
            let (a, b) = (one.answer(told(Slot::X), TWICE, None), other.answer(told(Slot::X), TWICE, None));
            prop_assert_eq!(a, b);
        }
        let words = page(&one);
        for word in ["level", "total", "errors", "a_is", "x_is", "delivered", "seconds"] {
            prop_assert!(!words.contains(word), "{} in {}", word, words);
        }
    }

    /// What X is and where the level is are as even as coins.
    #[test]
    fn sides_are_even(seed: u64) {
        let mut lab = lab(Wish { trials: 60, levels: vec![Level::Total { micros: 1_000_000 }], ..wish() }, seed);
        lab.sit("ann", at(1)).unwrap();
        while lab.next(at(1)).unwrap() {
            for slot in Slot::ALL {
                tried(&mut lab, slot, 2);
            }
            lab.answer(told(Slot::B), TWICE, None).unwrap();
        }
        let trials = &lab.people[0].trials;
        for counted in [
            trials.iter().filter(|trial| trial.a_is_level).count(),
            trials.iter().filter(|trial| trial.x_is_a).count(),
            trials.iter().filter(|trial| trial.a_is_level == trial.x_is_a).count(),
        ] {
            // Beyond five standard deviations of 60 coins.
            prop_assert!((11..=49).contains(&counted), "{} of 60", counted);
        }
    }
}
