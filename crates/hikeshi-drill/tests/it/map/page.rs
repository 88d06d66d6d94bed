//! `docs/chirpy.md`: the service map as a page, in both languages.

use std::fmt::Write as _;

use hikeshi_drill::Lang;
use hikeshi_drill::map::{Dependency, SystemMap};
use hikeshi_scenario::Text;

use super::manifests::{Manifests, Workload};

/// Characters of a value that a table can hold.
const LONG: usize = 60;

fn of(lang: Lang, text: &Text) -> &str {
    lang.pick(&text.ja, &text.en)
}

fn link(role: &str) -> String {
    format!("[{role}](#{role})")
}

pub fn render(map: &SystemMap, workloads: &[Workload], manifests: &Manifests, lang: Lang) -> String {
    let mut page = String::new();
    let name = &map.name;
    let _ = match lang {
        Lang::En => write!(
            page,
            "# {name}: service map

日本語: [chirpy.ja.md](chirpy.ja.md)

{about}

This page is made from `systems/chirpy/map.yaml` and the manifests beside it; a test fails when it says anything else
(`HIKESHI_BLESS=1` with that test writes it anew). A test of the whole system compares the map with what the data plane sees:
a call that is not here fails it, and so does a dependency that nobody uses (but for those that the map calls `seldom`). The war room
draws the same map with live figures (the tab *Service map*).
",
            about = map.about.en
        ),
        Lang::Ja => write!(
            page,
            "# {name}: サービスマップ

English: [chirpy.md](chirpy.md)

{about}

このページは `systems/chirpy/map.yaml` と同じフォルダーのマニフェストから自動生成しています。内容が食い違うとテストが失敗します（そのテストを
`HIKESHI_BLESS=1` を付けて実行すると書き直します）。また、システム全体を動かすテストが、データプレーンの観測した通信とこのマップを突き合わせます。
ここにない呼び出しがあっても、ここにある依存（`seldom` のものを除く）が一度も使われなくても失敗します。ウォールームの「サービスマップ」タブでは、同じマップを実測値とともに
表示します。
",
            about = map.about.ja
        ),
    };
    diagram(&mut page, map, workloads, lang);
    overview(&mut page, map, workloads, lang);
    let _ = writeln!(page, "\n## {}", lang.pick("ロールごとの依存関係", "Role by role"));
    for role in &map.roles {
        let leans: Vec<&Dependency> = map.depends.iter().filter(|one| one.from == role.name).collect();
        let carries: Vec<&Dependency> = map.depends.iter().filter(|one| one.to == role.name).collect();
        let _ = writeln!(
            page,
            "\n### {}\n\n{}{}",
            role.name,
            of(lang, &role.does),
            lang.pick("。", ".")
        );
        // Of a store, what is worth knowing is who needs it; of others, whom they need.
        if leans.is_empty() {
            let title = lang.pick("依存元", "leaned on by");
            edges(
                &mut page,
                title,
                carries.iter().map(|one| (one.from.as_str(), *one)),
                lang,
            );
        } else {
            let title = lang.pick("依存先", "leans on");
            edges(
                &mut page,
                title,
                leans.iter().map(|one| (one.to.as_str(), *one)),
                lang,
            );
            let from: Vec<String> = carries.iter().map(|one| link(&one.from)).collect();
            if !from.is_empty() {
                let title = lang.pick("依存元: ", "Leaned on by ");
                let _ = writeln!(
                    page,
                    "\n{title}{}{}",
                    from.join(lang.pick("、", ", ")),
                    lang.pick("", ".")
                );
            }
        }
    }
    settings(&mut page, workloads, manifests, lang);
    page
}

/// A name for Mermaid, in which a dash could be taken for part of an arrow.
fn id(name: &str) -> String {
    name.replace('-', "_")
}

fn diagram(page: &mut String, map: &SystemMap, workloads: &[Workload], lang: Lang) {
    let _ = writeln!(
        page,
        "\n## {}\n\n```mermaid\nflowchart TD",
        lang.pick("全体図", "The whole")
    );
    for one in map
        .roles
        .iter()
        .filter_map(|role| workloads.iter().find(|one| one.name == role.name))
    {
        let (open, close) = if one.claims.is_empty() {
            ("[", "]")
        } else {
            ("[(", ")]")
        };
        let (id, name, replicas) = (id(&one.name), &one.name, one.replicas);
        let _ = writeln!(page, "  {id}{open}\"{name} ×{replicas}\"{close}");
    }
    for one in &map.depends {
        let arrow = if one.seldom { "-.->" } else { "-->" };
        let _ = writeln!(page, "  {} {arrow} {}", id(&one.from), id(&one.to));
    }
    let _ = writeln!(
        page,
        "```\n\n{}",
        lang.pick(
            "円筒はデータを保存するもの、× の後ろは Pod の数です。点線の矢印は、ふだんのトラフィックではほとんど使われません。",
            "A cylinder stores data; after × is the number of pods. A dotted arrow is seldom used by ordinary traffic."
        )
    );
}

fn overview(page: &mut String, map: &SystemMap, workloads: &[Workload], lang: Lang) {
    let _ = writeln!(page, "\n## {}\n", lang.pick("ロールの一覧", "Roles"));
    let _ = writeln!(
        page,
        "{}",
        lang.pick(
            "| ロール | すること | ワークロード | イメージ | ポート | 保存するデータ |\n|---|---|---|---|---|---|",
            "| role | does | workload | image | ports | stores |\n|---|---|---|---|---|---|"
        )
    );
    for role in &map.roles {
        let Some(one) = workloads.iter().find(|one| one.name == role.name) else {
            continue;
        };
        let ports: Vec<String> = one.ports.iter().map(ToString::to_string).collect();
        let stores = if one.claims.is_empty() {
            lang.pick("なし", "nothing").to_owned()
        } else {
            one.claims.join(", ")
        };
        let _ = writeln!(
            page,
            "| {name} | {does} | {kind} ×{replicas} | `{image}` | {ports} | {stores} |",
            name = link(&role.name),
            does = of(lang, &role.does),
            kind = one.kind,
            replicas = one.replicas,
            image = one.image,
            ports = ports.join(", "),
        );
    }
}

fn edges<'a>(
    page: &mut String,
    title: &str,
    edges: impl Iterator<Item = (&'a str, &'a Dependency)>,
    lang: Lang,
) {
    let mut edges = edges.peekable();
    if edges.peek().is_none() {
        return;
    }
    let (why, without) = (
        lang.pick("何のために", "for what"),
        lang.pick("使えないときの影響", "what breaks without it"),
    );
    let _ = writeln!(page, "\n| {title} | {why} | {without} |\n|---|---|---|");
    for (other, one) in edges {
        let broken = one.without.as_ref().map_or("", |text| of(lang, text));
        let seldom = if one.seldom {
            lang.pick(" (まれ)", " (seldom)")
        } else {
            ""
        };
        let _ = writeln!(
            page,
            "| {}{seldom} | {} | {broken} |",
            link(other),
            of(lang, &one.why)
        );
    }
}

fn settings(page: &mut String, workloads: &[Workload], manifests: &Manifests, lang: Lang) {
    let _ = writeln!(
        page,
        "\n## {}\n\n{}",
        lang.pick("設定", "Settings"),
        lang.pick(
            "障害の起き方を変えるスイッチは ConfigMap にあります。`kubectl edit configmap` で変え、`kubectl rollout restart` で反映します。",
            "The switches that change how things fail are in ConfigMaps: `kubectl edit configmap`, then `kubectl rollout restart`."
        )
    );
    let mut names: Vec<&str> = workloads
        .iter()
        .flat_map(|one| one.config.iter().map(String::as_str))
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let readers: Vec<String> = workloads
            .iter()
            .filter(|one| one.config.iter().any(|config| config == name))
            .map(|one| link(&one.name))
            .collect();
        let _ = writeln!(
            page,
            "\n### {name}\n\n{}: {}",
            lang.pick("読むもの", "read by"),
            readers.join(lang.pick("、", ", "))
        );
        let data = manifests.config("chirpy", name);
        let (files, switches): (Vec<_>, Vec<_>) = data.iter().partition(|(_, value)| value.contains('\n'));
        if !switches.is_empty() {
            let (key, value) = (lang.pick("キー", "key"), lang.pick("値", "value"));
            let _ = writeln!(page, "\n| {key} | {value} |\n|---|---|");
        }
        for (key, value) in switches {
            let _ = writeln!(page, "| `{key}` | `{}` |", shortened(value));
        }
        for (key, text) in files {
            let _ = writeln!(page, "\n`{key}`:\n\n```\n{}\n```", text.trim_end());
        }
    }
}

fn shortened(value: &str) -> String {
    if value.chars().count() <= LONG {
        return value.to_owned();
    }
    value.chars().take(LONG).chain(['…']).collect()
}
