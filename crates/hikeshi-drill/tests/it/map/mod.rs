//! The shipped service map, and the page that is made from it and from the manifests.

mod manifests;
mod page;

use std::collections::BTreeSet;
use std::path::Path;

use hikeshi_drill::Lang;
use hikeshi_drill::map::SystemMap;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The shipped map.
pub fn shipped() -> SystemMap {
    SystemMap::parse("map.yaml", include_str!("../../../../../systems/chirpy/map.yaml"))
        .expect("the shipped map is right")
}

#[test]
fn the_page_is_what_the_map_and_the_manifests_make() {
    let manifests = manifests::read(&root().join("systems/chirpy"));
    let workloads = manifests.workloads("chirpy");
    let named: BTreeSet<&str> = workloads.iter().map(|one| one.name.as_str()).collect();
    let map = shipped();
    let roles: BTreeSet<&str> = map.roles.iter().map(|role| role.name.as_str()).collect();
    assert_eq!(
        named, roles,
        "each Deployment and StatefulSet of Chirpy is a role of the map"
    );
    let mut wrong = Vec::new();
    for (file, lang) in [("chirpy.md", Lang::En), ("chirpy.ja.md", Lang::Ja)] {
        let made = page::render(&map, &workloads, &manifests, lang);
        wrong.extend(same(&root().join("docs").join(file), &made).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// In post-service's pods drills run `chirpy check`, which looks into every store.
const BY_THE_CHECK: [(&str, &str); 2] = [("post-service", "redis-cluster"), ("post-service", "search-node")];

#[test]
fn network_policies_let_reach_what_a_role_leans_on_and_nothing_else() {
    let map = shipped();
    let roles: BTreeSet<&str> = map.roles.iter().map(|role| role.name.as_str()).collect();
    let mut admitted = manifests::read(&root().join("systems/chirpy")).admitted("chirpy", &roles);
    // The nodes of a store talk to one another, and everyone may ask the gateway, as people do.
    admitted.retain(|(from, to)| from != to && to != "gateway");
    let leans = map.depends.iter().map(|one| (one.from.as_str(), one.to.as_str()));
    let meant: BTreeSet<(String, String)> = leans
        .chain(BY_THE_CHECK)
        .map(|(from, to)| (from.to_owned(), to.to_owned()))
        .collect();
    assert_eq!(admitted, meant);
}

/// Jobs and the stores that they ask. What changes the schema goes past PgBouncer.
const OF_JOBS: [(&str, &str); 6] = [
    ("chirpy-check", "pgbouncer"),
    ("chirpy-check", "redis-cluster"),
    ("chirpy-check", "search-node"),
    ("chirpy-migrate", "postgres"),
    ("chirpy-seed", "postgres"),
    ("date-follows", "postgres"),
];

#[test]
fn network_policies_let_jobs_reach_the_stores_that_they_ask() {
    let apps = OF_JOBS.iter().flat_map(|(job, store)| [*job, *store]).collect();
    let mut admitted = manifests::read(&root().join("systems/chirpy")).admitted("chirpy", &apps);
    // Jobs ask, and nobody asks them; the stores' own ways are another test's.
    admitted.retain(|(from, to)| {
        OF_JOBS.iter().any(|(job, _)| job == from) && OF_JOBS.iter().any(|(_, store)| store == to)
    });
    let meant = OF_JOBS.map(|(from, to)| (from.to_owned(), to.to_owned()));
    assert_eq!(admitted, BTreeSet::from(meant));
}

/// Compares a page with the one in the repository; with `HIKESHI_BLESS=1` writes it.
fn same(file: &Path, page: &str) -> Result<(), String> {
    if std::env::var_os("HIKESHI_BLESS").is_some() {
        return std::fs::write(file, page).map_err(|error| format!("{}: {error}", file.display()));
    }
    match std::fs::read_to_string(file) {
        Ok(now) if now == page => Ok(()),
        _ => Err(format!(
            "{} is not what map.yaml and the manifests say; HIKESHI_BLESS=1 with this test writes it anew",
            file.display()
        )),
    }
}

#[test]
fn of_every_dependency_it_is_said_what_breaks_without_it() {
    for one in shipped().depends {
        let said = one
            .without
            .as_ref()
            .is_some_and(|text| !text.ja.is_empty() && !text.en.is_empty());
        assert!(said, "{} → {}", one.from, one.to);
    }
}

const HEAD: &str = "name: X
about: {ja: a, en: a}
roles:
  - {name: gateway, does: {ja: a, en: a}}
  - {name: postgres, does: {ja: a, en: a}}
depends:
";

fn wrong(depends: &str) -> Vec<String> {
    SystemMap::parse("map.yaml", &format!("{HEAD}{depends}"))
        .expect_err("a mistake")
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn what_breaks_and_seldom_need_not_be_said() {
    let text = format!("{HEAD}  - {{from: gateway, to: postgres, why: {{ja: a, en: a}}}}\n");
    let map = SystemMap::parse("map.yaml", &text).expect("it is right");
    assert_eq!(
        (map.depends[0].without.as_ref(), map.depends[0].seldom),
        (None, false)
    );
}

#[test]
fn a_mistake_is_named_with_its_place() {
    assert_eq!(
        wrong("  - {from: gateway, to: postgres, why: {ja: a, en: a}, witout: {ja: a, en: a}}\n"),
        [
            "map.yaml:7:56: unknown key `witout`, expected one of from, to, why, without, seldom; did you mean `without`?"
        ]
    );
    assert_eq!(
        wrong("  - {from: gateway, to: postgre, why: {ja: a, en: a}}\n"),
        ["map.yaml:7:25: no role is called \"postgre\"; did you mean `postgres`?"]
    );
    assert_eq!(
        wrong("  - {from: gateway, to: gateway, why: {ja: a, en: a}}\n"),
        ["map.yaml:7:25: \"gateway\" cannot depend on itself"]
    );
    let edge = "  - {from: gateway, to: postgres, why: {ja: a, en: a}}\n";
    assert_eq!(
        wrong(&edge.repeat(2)),
        ["map.yaml:8:25: gateway → postgres is there already"]
    );
}
