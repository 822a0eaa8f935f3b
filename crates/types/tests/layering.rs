//! What the workspace depends on, read from `cargo metadata`: an arrow that
//! points the wrong way, or a dependency without its reason, fails here rather
//! than in a review.

#![expect(
    clippy::unwrap_used,
    reason = "a file of the workspace that cannot be read fails the test"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use serde_json::Value;

/// The rooms, each of which may depend on those before it. `ARCHITECTURE.md`
/// says what each holds.
const ORDER: [&str; 21] = [
    "types",
    "audit",
    "policy",
    "approval",
    "budget",
    "vault",
    "scan",
    "inside",
    "sandbox",
    "workspace",
    "gateway",
    "mcp",
    "agents",
    "supervisor",
    "api",
    "bridge",
    "rehearsal",
    "attempt",
    "attack",
    "cli",
    "testkit",
];

/// Rooms that only tests of other rooms may depend on.
const FOR_TESTS: [&str; 1] = ["testkit"];

/// One arrow of the workspace: who depends, on whom, and whether only its
/// tests do.
#[derive(Debug, PartialEq, Eq)]
struct Arrow {
    from: String,
    to: String,
    for_tests: bool,
}

/// What `cargo metadata` says of this workspace.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo is the one that knows the workspace"
)]
fn metadata() -> Value {
    // The cargo that runs this test; a test executable that is started without
    // one falls back to the cargo that built it.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let output = Command::new(&cargo)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

/// The rooms of the workspace by package name; a room is named by its folder.
fn rooms(metadata: &Value) -> BTreeMap<String, String> {
    let packages = metadata["packages"].as_array().unwrap();
    let room = |package: &Value| {
        let folder = Path::new(text(package, "manifest_path")).parent().unwrap();
        let room = folder.file_name().unwrap().to_str().unwrap().to_owned();
        (text(package, "name").to_owned(), room)
    };
    packages.iter().map(room).collect()
}

fn arrows(metadata: &Value, rooms: &BTreeMap<String, String>) -> Vec<Arrow> {
    let mut arrows = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            if let Some(to) = rooms.get(text(dependency, "name")) {
                arrows.push(Arrow {
                    from: rooms[text(package, "name")].clone(),
                    to: to.clone(),
                    for_tests: dependency["kind"] == "dev",
                });
            }
        }
    }
    arrows
}

fn place(room: &str) -> Option<usize> {
    ORDER.iter().position(|known| *known == room)
}

/// Why an arrow must not be, if it must not.
fn wrong(arrow: &Arrow) -> Option<String> {
    let Arrow {
        from,
        to,
        for_tests,
    } = arrow;
    if FOR_TESTS.contains(&to.as_str()) {
        return (!for_tests).then(|| format!("{from} ships {to}, which is for tests"));
    }
    match (place(from), place(to)) {
        (Some(from_place), Some(to_place)) if to_place < from_place => None,
        (Some(_), Some(_)) => Some(format!("{from} depends on {to}, which is not above it")),
        _ => Some(format!("{from} or {to} has no place in the order")),
    }
}

#[test]
fn every_room_has_a_place_and_depends_only_on_rooms_above_it() {
    let metadata = metadata();
    let rooms = rooms(&metadata);
    for room in rooms.values() {
        assert!(place(room).is_some(), "{room} has no place in the order");
    }
    let arrows = arrows(&metadata, &rooms);
    assert!(
        arrows.iter().any(|arrow| arrow.from == "supervisor"),
        "no arrows were read"
    );
    let wrong: Vec<_> = arrows.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The packages from elsewhere that the workspace names itself.
fn dependencies(metadata: &Value, rooms: &BTreeMap<String, String>) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .flat_map(|package| package["dependencies"].as_array().unwrap())
        .map(|dependency| text(dependency, "name").to_owned())
        .filter(|name| !rooms.contains_key(name))
        .collect()
}

#[test]
fn every_direct_dependency_has_its_line_and_every_line_its_dependency() {
    let metadata = metadata();
    let known = dependencies(&metadata, &rooms(&metadata));
    let file = Path::new(text(&metadata, "workspace_root")).join("docs/dependencies.md");
    let document = std::fs::read_to_string(file).unwrap();
    let listed = document
        .lines()
        .filter_map(|line| line.strip_prefix("- `")?.split('`').next())
        .map(str::to_owned);
    assert_eq!(listed.collect::<BTreeSet<_>>(), known);
}

#[test]
fn an_arrow_that_points_down_to_itself_or_to_a_room_for_tests_is_found() {
    let arrow = |from: &str, to: &str, for_tests| Arrow {
        from: from.to_owned(),
        to: to.to_owned(),
        for_tests,
    };
    for (bad, named) in [
        (arrow("sandbox", "workspace", false), "not above"),
        (arrow("sandbox", "gateway", true), "not above"),
        (arrow("gateway", "gateway", false), "not above"),
        (arrow("cli", "testkit", false), "for tests"),
        (arrow("cli", "misc", false), "no place"),
    ] {
        let reason = wrong(&bad);
        assert!(
            reason.as_ref().is_some_and(|reason| reason.contains(named)),
            "{bad:?}: {reason:?}"
        );
    }
    assert_eq!(wrong(&arrow("supervisor", "sandbox", false)), None);
    assert_eq!(wrong(&arrow("gateway", "testkit", true)), None);
}
