//! What a change would make run, read or trust on the reader's machine.

mod rules;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};
use stockade_scan::Finding;

use self::rules::{RULES, Rule};
use crate::{object::FileMode, path::TreePath};

/// Kinds of risk, the worst first; reviews are sorted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// Runs when the folder is entered, opened in an editor, or committed in.
    RunsByItself,
    /// Changes what git itself does.
    ChangesGit,
    /// Holds a key, or what looks like one.
    Credential,
    /// Configures another agent, which may then run things.
    AgentSettings,
    /// Runs in continuous integration, with its secrets.
    RunsInCi,
    /// Tells another agent what to do.
    AgentInstructions,
    /// Text that does not look like what it is.
    Deceptive,
    /// Points somewhere else.
    Link,
    /// Runs when the project is built, installed or tested.
    RunsOnBuild,
    /// Changes what is downloaded, or from where.
    Dependencies,
    /// Became a program.
    Executable,
    /// Cannot be read as text.
    Binary,
    /// A test went away.
    TestRemoved,
    /// Part of a submodule's place.
    Submodule,
    /// None of these.
    Ordinary,
}

/// One reason to look twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its kind.
    pub risk: Risk,
    /// A sentence for the reader.
    pub reason: String,
}

/// The rules, compiled once for a review.
#[derive(Debug)]
pub(crate) struct RiskRules(Vec<(Vec<GlobMatcher>, &'static Rule)>);

impl RiskRules {
    pub(crate) fn new() -> Result<Self, globset::Error> {
        let matcher = |pattern: &&str| {
            let anywhere = format!("**/{pattern}");
            // The user's file system may not tell the cases apart.
            GlobBuilder::new(&anywhere)
                .case_insensitive(true)
                .literal_separator(true)
                .build()
                .map(|glob| glob.compile_matcher())
        };
        let compile = |rule: &'static Rule| {
            let matchers = rule.3.iter().map(matcher).collect::<Result<_, _>>()?;
            Ok((matchers, rule))
        };
        RULES
            .iter()
            .map(compile)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The marks that follow from the path, and whether it is held back.
    pub(crate) fn by_path(&self, path: &TreePath) -> (Vec<Mark>, bool) {
        let mut held_back = false;
        let mut marks = Vec::new();
        let text = String::from_utf8_lossy(path.as_bytes());
        // As a tool might read it that ignores what does not show.
        let plain: String = text
            .chars()
            .filter(|c| !stockade_types::visible::is_deceptive(*c))
            .collect();
        for (matchers, (risk, held, reason, _)) in &self.0 {
            if matchers.iter().any(|matcher| matcher.is_match(&plain)) {
                held_back |= held;
                marks.push(Mark {
                    risk: *risk,
                    reason: (*reason).to_owned(),
                });
            }
        }
        if plain != text || std::str::from_utf8(path.as_bytes()).is_err() {
            marks.push(mark(
                Risk::Deceptive,
                "Its name holds characters that do not show.",
            ));
        }
        (marks, held_back)
    }
}

/// Findings that are named one by one.
const FINDINGS_NAMED: usize = 8;

/// The marks that follow from keys that a text holds.
pub(crate) fn by_findings(findings: &[Finding]) -> Vec<Mark> {
    let named = findings.iter().take(FINDINGS_NAMED);
    let mut marks: Vec<_> = named
        .map(|found| {
            let reason = format!("Line {} holds {}.", found.line, found.what);
            mark(
                Risk::Credential,
                stockade_types::visible::line(reason.as_bytes()),
            )
        })
        .collect();
    if let Some(more @ 1..) = findings.len().checked_sub(FINDINGS_NAMED) {
        marks.push(mark(
            Risk::Credential,
            format!("It holds {more} more such values."),
        ));
    }
    marks
}

fn mark(risk: Risk, reason: impl Into<String>) -> Mark {
    Mark {
        risk,
        reason: reason.into(),
    }
}

/// The marks that follow from kinds and modes.
pub(crate) fn by_mode(old: Option<FileMode>, new: Option<FileMode>) -> Option<Mark> {
    match (old, new) {
        (_, Some(FileMode::Symlink)) => Some(mark(
            Risk::Link,
            "It is a link: reading or writing it means another file.",
        )),
        (Some(FileMode::Gitlink), _) | (_, Some(FileMode::Gitlink)) => {
            Some(mark(Risk::Submodule, "It is the place of a submodule."))
        }
        (old, Some(FileMode::Executable)) if old != Some(FileMode::Executable) => Some(mark(
            Risk::Executable,
            "It became a program that can be run.",
        )),
        _ => None,
    }
}

/// The marks that follow from text: only what the new side has and the old
/// side had not.
pub(crate) fn by_text(path: &TreePath, old: &[u8], new: &[u8]) -> Vec<Mark> {
    let mut marks = Vec::new();
    let odd = |text: &[u8]| -> std::collections::BTreeSet<char> {
        let text = String::from_utf8_lossy(text);
        // Line ends are not news; a mark at the very start is an encoding's.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let odd = |c: &char| {
            stockade_types::visible::is_deceptive(*c) && !matches!(c, '\n' | '\r' | '\u{c}')
        };
        text.chars().filter(odd).collect()
    };
    let known = odd(old);
    let fresh: Vec<_> = odd(new)
        .into_iter()
        .filter(|c| !known.contains(c))
        .take(5)
        .collect();
    if !fresh.is_empty() {
        let list: Vec<_> = fresh
            .iter()
            .map(|c| format!("U+{:04X}", u32::from(*c)))
            .collect();
        let reason = format!(
            "It holds characters that do not show, or reorder what does: {}.",
            list.join(", ")
        );
        marks.push(mark(Risk::Deceptive, reason));
    }
    let name = String::from_utf8_lossy(path.name()).to_ascii_lowercase();
    let hosts_of = |text: &[u8]| url_hosts(&String::from_utf8_lossy(text));
    let locks = name.contains("lock")
        || name.starts_with("requirements")
        || name == "go.sum"
        || name.ends_with("rc")
        || name.ends_with("rc.yml")
        || name == "pip.conf";
    if locks {
        let known = hosts_of(old);
        let fresh: Vec<_> = hosts_of(new)
            .into_iter()
            .filter(|h| !known.contains(h))
            .take(5)
            .collect();
        if !fresh.is_empty() {
            let list = stockade_types::visible::line(fresh.join(", ").as_bytes());
            let reason = format!("Packages would now be downloaded from: {list}.");
            marks.push(mark(Risk::Dependencies, reason));
        }
    }
    if name == "package.json" && scripts(old) != scripts(new) {
        marks.push(mark(
            Risk::RunsByItself,
            "Its scripts changed; some of them run by themselves on install.",
        ));
    }
    marks
}

/// The hosts of all URLs in a text.
fn url_hosts(text: &str) -> std::collections::BTreeSet<String> {
    let host = |rest: &str| {
        let end = rest.find(|c: char| c == '/' || c == '"' || c == '\'' || c.is_whitespace());
        let authority = &rest[..end.unwrap_or(rest.len())];
        authority
            .rsplit('@')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    text.split("://")
        .skip(1)
        .map(host)
        .filter(|host| !host.is_empty())
        .collect()
}

fn scripts(text: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice::<serde_json::Value>(text)
        .ok()?
        .get("scripts")
        .cloned()
}

/// Whether a path looks like a test's.
pub(crate) fn is_test(path: &TreePath) -> bool {
    let text = String::from_utf8_lossy(path.as_bytes()).to_ascii_lowercase();
    let name = String::from_utf8_lossy(path.name()).to_ascii_lowercase();
    let stem = name.split('.').next().unwrap_or_default();
    let folders = ["tests/", "test/", "__tests__/", "spec/"];
    folders
        .iter()
        .any(|folder| text.starts_with(folder) || text.contains(&format!("/{folder}")))
        || name.contains(".test.")
        || name.contains(".spec.")
        || ["_test", "_tests", "_spec"]
            .iter()
            .any(|end| stem.ends_with(end))
        || stem.starts_with("test_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(path: &str) -> (Option<Risk>, bool) {
        let rules = RiskRules::new().unwrap();
        let (marks, held) = rules.by_path(&TreePath::new(path).unwrap());
        (marks.iter().map(|mark| mark.risk).min(), held)
    }

    #[test]
    fn what_runs_by_itself_is_held_back_at_any_depth_and_in_any_case() {
        for path in [
            ".husky/pre-commit",
            ".vscode/tasks.json",
            "sub/.envrc",
            ".MCP.json",
            ".claude/settings.json",
            ".cursor/mcp.json",
            ".codex/config.toml",
            ".gitmodules",
            ".gemini/settings.json",
            "a/b/.devcontainer/devcontainer.json",
            ".en\u{200b}vrc",
            "docs/bare/HEAD",
            "fixtures/bare.git/config",
        ] {
            assert!(judged(path).1, "{path}");
        }
        assert_eq!(judged("src/main.rs"), (None, false));
    }

    #[test]
    fn ci_builds_and_instructions_are_marked() {
        assert_eq!(judged(".github/workflows/ci.yml").0, Some(Risk::RunsInCi));
        assert_eq!(judged("crates/x/build.rs").0, Some(Risk::RunsOnBuild));
        assert_eq!(judged("CLAUDE.md").0, Some(Risk::AgentInstructions));
        assert_eq!(judged("Dockerfile").0, Some(Risk::RunsOnBuild));
        assert_eq!(judged("Cargo.lock").0, Some(Risk::Dependencies));
    }

    #[test]
    fn a_new_host_in_a_lock_file_is_named() {
        let path = TreePath::new("package-lock.json").unwrap();
        let old = br#""resolved": "https://registry.npmjs.org/x.tgz""#;
        let new = br#""resolved": "https://user@evil.example/x.tgz""#;
        let marks = by_text(&path, old, new);
        assert!(marks[0].reason.contains("evil.example"), "{marks:?}");
        assert!(by_text(&path, old, old).is_empty());
    }

    #[test]
    fn new_invisible_characters_are_named_and_old_ones_are_not_news() {
        let path = TreePath::new("a.rs").unwrap();
        let marks = by_text(&path, b"", "x \u{202e} y".as_bytes());
        assert!(marks[0].reason.contains("U+202E"), "{marks:?}");
        assert!(by_text(&path, "\u{202e}".as_bytes(), "a\u{202e}".as_bytes()).is_empty());
        assert!(by_text(&path, b"", b"plain\r\n\ttext\n").is_empty());
    }

    #[test]
    fn scripts_of_a_package_are_looked_into() {
        let path = TreePath::new("package.json").unwrap();
        let marks = by_text(&path, b"{}", br#"{"scripts":{"postinstall":"x"}}"#);
        assert_eq!(marks[0].risk, Risk::RunsByItself);
    }
}
