//! Tools that are proposed for a project by what lies in its folder.

use std::{fmt::Write as _, fs, io::Read, path::Path};

/// The largest file that is looked at, in bytes.
const SIZE_MAX: u64 = 1 << 20;
/// The most targets of a Makefile that are proposed.
const TARGETS_MAX: usize = 24;

const CARGO: &str = r#"[tools.run_tests]
about = "Runs the project's tests, or those whose name holds a text."
run = ["cargo", "test", "--offline", "{only}"]
arguments.only = { about = "A part of the names of tests", optional = true }

[tools.lint]
about = "Lints all targets; warnings are errors."
run = ["cargo", "clippy", "--offline", "--all-targets", "--", "-D", "warnings"]

[tools.fetch_deps]
about = "Downloads the dependencies that Cargo.lock names."
run = ["cargo", "fetch", "--locked"]
network = true
read_only = true
"#;

const PYTEST: &str = r#"[tools.run_tests]
about = "Runs the project's tests, or those of a file, or whose name holds a text."
run = ["python3", "-m", "pytest", "-q", "-k={only}", "{file}"]
arguments.only = { about = "An expression over names of tests", optional = true }
arguments.file = { type = "path", about = "A file or folder with tests", optional = true }
"#;

const GO: &str = r#"[tools.run_tests]
about = "Runs the tests of all packages, or those whose name a regular expression matches."
run = ["go", "test", "-run={only}", "./..."]
arguments.only = { about = "A regular expression over names of tests", optional = true }

[tools.lint]
about = "Reports suspicious constructs."
run = ["go", "vet", "./..."]

[tools.fetch_deps]
about = "Downloads the modules that go.sum names."
run = ["go", "mod", "download"]
network = true
read_only = true
"#;

/// `[tools]` for the project in `folder`, as TOML; nothing where none of the files is known
/// by which one would know how to run its tests.
pub fn starters(folder: &Path) -> Option<String> {
    let has = |name: &str| folder.join(name).is_file();
    let pytest = ["pytest.ini", "pyproject.toml", "setup.cfg", "tox.ini"];
    if has("Cargo.toml") {
        Some(CARGO.to_owned())
    } else if has("package.json") {
        Some(npm(&read(&folder.join("package.json"))?))
    } else if has("go.mod") {
        Some(GO.to_owned())
    } else if pytest.iter().any(|name| has(name)) {
        Some(PYTEST.to_owned())
    } else if has("Makefile") {
        make(&read(&folder.join("Makefile"))?)
    } else {
        None
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(SIZE_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// One tool for each of npm's scripts that has an ordinary name.
fn npm(text: &str) -> String {
    let package: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let mut tools = String::new();
    for (script, tool, about) in [
        ("test", "run_tests", "Runs the project's tests."),
        ("lint", "lint", "Lints the project."),
        ("build", "build", "Builds the project."),
        ("typecheck", "typecheck", "Checks types."),
    ] {
        if package["scripts"][script].is_string() {
            let _ = writeln!(
                tools,
                "[tools.{tool}]\nabout = \"{about}\"\nrun = [\"npm\", \"run\", \"--silent\", \"{script}\"]\n"
            );
        }
    }
    tools.push_str(
        "[tools.fetch_deps]\nabout = \"Installs the dependencies that package-lock.json names; \
         no script of theirs runs.\"\nrun = [\"npm\", \"ci\", \"--ignore-scripts\"]\nnetwork = true\n",
    );
    tools
}

/// A choice between the targets that a Makefile has.
fn make(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let targets = text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let is_target = !name.is_empty() && name.chars().all(plain) && !rest.starts_with('=');
        is_target.then(|| format!("\"{name}\""))
    });
    let mut known: Vec<String> = Vec::new();
    for target in targets {
        if !known.contains(&target) && known.len() < TARGETS_MAX {
            known.push(target);
        }
    }
    (!known.is_empty()).then(|| {
        format!(
            "[tools.make]\nabout = \"Makes a target.\"\nrun = [\"make\", \"{{target}}\"]\n\
             arguments.target = {{ type = \"choice\", of = [{}] }}\n",
            known.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Project;

    #[test]
    fn what_is_proposed_can_be_declared() {
        let scripts = r#"{"scripts": {"test": "x", "lint": "y", "other": "z"}}"#;
        let targets = "CC := gcc\n.PHONY: all\nall: a b\ntest:\n\tx\nall:\n%.o: %.c\n";
        for (file, text, names) in [
            ("Cargo.toml", "", &["fetch_deps", "lint", "run_tests"][..]),
            (
                "package.json",
                scripts,
                &["fetch_deps", "lint", "run_tests"],
            ),
            ("go.mod", "", &["fetch_deps", "lint", "run_tests"]),
            ("pyproject.toml", "", &["run_tests"]),
            ("Makefile", targets, &["make"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            assert_eq!(starters(folder.path()), None);
            fs::write(folder.path().join(file), text).unwrap();
            let proposed = starters(folder.path()).unwrap();
            let project = Project::parse(&proposed).unwrap();
            let found: Vec<_> = project.tools.keys().collect();
            assert_eq!(found, names, "{file}: {proposed}");
        }
        assert_eq!(make(targets).unwrap().matches("\"all\"").count(), 1);
    }
}
