//! Labs on a terminal.

use serde_json::Value;

use super::super::args::Lang;
use super::super::output;

fn words(text: &Value, lang: Lang) -> &str {
    text[lang.pick("ja", "en")].as_str().unwrap_or_default()
}

/// A level with what is delivered beside it.
pub fn felt(felt: &Value, lang: Lang) -> String {
    let judged = &felt["judged"];
    let mark = match (judged["delivered"]["requests"].as_u64(), judged["ok"].as_bool()) {
        (None | Some(0), _) => lang.pick("まだ誰も使っていません", "nobody has used it yet"),
        (_, Some(true)) => lang.pick("指定どおり", "as asked for"),
        _ => lang.pick("指定と違います", "not as asked for"),
    };
    format!(
        "  {}  {}  {}  ({} {})",
        felt["journey"].as_str().unwrap_or_default(),
        words(&felt["said"], lang),
        words(&judged["words"], lang),
        judged["delivered"]["requests"],
        mark
    )
}

pub fn status(state: &Value, lang: Lang) {
    let on = &state["on"];
    if on.is_null() {
        output::line(lang.pick(
            "ラボは開かれていません。準備するには: hikeshi lab start CUJ",
            "no lab is open; prepare one: hikeshi lab start CUJ",
        ));
    } else {
        let person = on["person"]
            .as_str()
            .unwrap_or(lang.pick("（まだ誰もいません）", "(nobody yet)"));
        output::line(format!(
            "{}  {person}  {}/{}",
            on["id"].as_str().unwrap_or_default(),
            on["done"],
            on["of"]
        ));
        if !on["felt"].is_null() {
            output::line(felt(&on["felt"], lang));
        }
    }
    output::line(lang.pick("ジャーニー:", "journeys:"));
    for journey in state["journeys"].as_array().into_iter().flatten() {
        let promised = journey["promised"].as_array().into_iter().flatten();
        let promised: Vec<&str> = promised.map(|one| words(one, lang)).collect();
        let presets = journey["presets"].as_array().into_iter().flatten();
        let presets: Vec<&str> = presets.filter_map(|one| one["name"].as_str()).collect();
        output::line(format!(
            "  {:<14} {}  [{}]",
            journey["journey"].as_str().unwrap_or_default(),
            promised.join(lang.pick("、", ", ")),
            presets.join(" ")
        ));
    }
    for past in state["past"].as_array().into_iter().flatten() {
        output::line(format!(
            "  {}  {}",
            past["id"].as_str().unwrap_or_default(),
            lang.pick("終了", "over")
        ));
    }
}

pub fn outcome(outcome: &Value, lang: Lang) {
    output::line(format!(
        "{}  {}",
        outcome["id"].as_str().unwrap_or_default(),
        words(&outcome["ended"], lang)
    ));
    for journey in outcome["journeys"].as_array().into_iter().flatten() {
        if journey["trials"].as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        output::line(format!(
            "\n{}  {} {}, {} {}",
            words(&journey["title"], lang),
            journey["valid"],
            lang.pick("回有効", "valid"),
            journey["void"],
            lang.pick("回無効", "void")
        ));
        for trial in journey["trials"].as_array().into_iter().flatten() {
            let mark = match trial["right"].as_bool() {
                _ if !trial["void"].is_null() => "-",
                Some(true) => "o",
                _ => "x",
            };
            let judged = trial["judged"].as_array().into_iter().flatten();
            let delivered: Vec<&str> = judged
                .filter(|judged| judged["asked"]["level"] != "normal")
                .map(|judged| words(&judged["words"], lang))
                .collect();
            output::line(format!(
                "  {mark} {:<22} {}{}",
                words(&trial["said"], lang),
                delivered.first().copied().unwrap_or_default(),
                if trial["void"].is_null() {
                    String::new()
                } else {
                    format!("  {}", words(&trial["void"], lang))
                }
            ));
        }
        let recommendation = &journey["recommendation"];
        output::line(format!("  => {}", words(&recommendation["words"], lang)));
        for reason in recommendation["reasons"].as_array().into_iter().flatten() {
            output::line(format!("     {}", words(reason, lang)));
        }
    }
    for shown in outcome["felt"].as_array().into_iter().flatten() {
        output::line(felt(shown, lang));
    }
}
