//! `[tools]` of `stockade.toml`: commands that an agent runs by name, with arguments that
//! have a type. No shell reads them: each argument is in one word, or is one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stockade_sandbox::Isolation;

use crate::exec::{ExecLimits, ExecRequest};

/// The most tools that a project has, and arguments of one.
const TOOLS_MAX: usize = 64;
const ARGUMENTS_MAX: usize = 16;
/// The longest text of an argument, in characters, where nothing else is said.
const TEXT_MAX: usize = 256;
/// The longest that a tool may run, in seconds.
const SECONDS_MAX: u64 = 24 * 3600;
/// How much of what it prints is told, in bytes, where nothing else is said: some 2,000 of
/// a model's tokens; and the most that can be asked for.
const OUTPUT_BYTES: usize = 6_000;
const OUTPUT_MAX: usize = 64 * 1024;

/// A command of the project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectTool {
    /// What it is for, as a model reads it.
    pub about: String,
    /// Program and arguments. `{name}` is the value of an argument; a word with one that
    /// is not given is left out.
    pub run: Vec<String>,
    /// What may be said of it each time.
    #[serde(default)]
    pub arguments: BTreeMap<String, Argument>,
    /// The folder that it runs in, from the repository's root.
    #[serde(default)]
    pub folder: Option<String>,
    /// Whether it reaches what the task may reach.
    #[serde(default)]
    pub network: bool,
    /// Whether it may only read the repository. Its home is then empty, but for one that
    /// has a network: what that fetches is kept for others there.
    #[serde(default)]
    pub read_only: bool,
    /// After how many seconds it is ended.
    #[serde(default = "seconds")]
    pub seconds: u64,
    /// Caps on each of its processes.
    #[serde(default)]
    pub limits: ExecLimits,
    /// How much of what it prints is told, in bytes.
    #[serde(default = "output_bytes")]
    pub output_bytes: usize,
}

fn seconds() -> u64 {
    600
}

fn output_bytes() -> usize {
    OUTPUT_BYTES
}

/// What may be said of a tool each time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argument {
    /// What it is.
    #[serde(default)]
    pub about: String,
    /// Whether it may be left out.
    #[serde(default)]
    pub optional: bool,
    /// What it can be.
    #[serde(default, rename = "type")]
    pub kind: ArgumentType,
    /// Of a choice: between what.
    #[serde(default)]
    pub of: Vec<String>,
    /// Of a flag: the word that stands for it.
    #[serde(default)]
    pub word: Option<String>,
    /// Of a text: its most characters.
    #[serde(default)]
    pub longest: Option<usize>,
    /// Of a number: the least.
    #[serde(default)]
    pub least: Option<i64>,
    /// Of a number: the most.
    #[serde(default)]
    pub most: Option<i64>,
}

/// What an argument can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArgumentType {
    /// A text of one line that is no option.
    #[default]
    Text,
    /// A whole number.
    Number,
    /// Yes or no; it puts its `word` in.
    Flag,
    /// One of several texts.
    Choice,
    /// A path below the repository's root.
    Path,
}

/// A tool that is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolCall {
    /// Which.
    pub name: String,
    /// The values of its arguments.
    pub arguments: Map<String, Value>,
}

/// Refuses declarations that cannot be meant.
pub(super) fn check(tools: &BTreeMap<String, ProjectTool>) -> Result<(), String> {
    if tools.len() > TOOLS_MAX {
        return Err(format!("[tools] has more than {TOOLS_MAX}"));
    }
    for (name, tool) in tools {
        if !is_name(name) {
            return Err(format!(
                "[tools.{name}]: names are lower-case letters, digits, `-` and `_`"
            ));
        }
        let problem = tool.problem();
        problem.map_or(Ok(()), |problem| Err(format!("[tools.{name}]: {problem}")))?;
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    !name.is_empty() && name.len() <= 48 && name.chars().all(plain)
}

impl ProjectTool {
    fn problem(&self) -> Option<String> {
        let mut used = BTreeSet::new();
        for (place, word) in self.run.iter().enumerate() {
            match names(word) {
                Err(problem) => return Some(format!("`{word}` {problem}")),
                Ok(names) if place == 0 && !names.is_empty() => {
                    return Some("the program itself cannot be an argument".to_owned());
                }
                Ok(names) => used.extend(names),
            }
        }
        let declared: BTreeSet<_> = self.arguments.keys().cloned().collect();
        if let Some(name) = used.difference(&declared).next() {
            return Some(format!("`{{{name}}}` is no argument that it declares"));
        }
        if let Some(name) = declared.difference(&used).next() {
            return Some(format!("its argument `{name}` is not used in `run`"));
        }
        let wrong = |problem: &str| Some(problem.to_owned());
        match self {
            _ if self.run.iter().all(String::is_empty) => wrong("it runs nothing"),
            _ if self.about.trim().is_empty() => wrong("`about` says nothing"),
            _ if self.arguments.len() > ARGUMENTS_MAX => {
                Some(format!("it has more than {ARGUMENTS_MAX} arguments"))
            }
            _ if !(1..=SECONDS_MAX).contains(&self.seconds) => {
                Some(format!("`seconds` is 1 to {SECONDS_MAX}"))
            }
            _ if !(500..=OUTPUT_MAX).contains(&self.output_bytes) => {
                Some(format!("`output_bytes` is 500 to {OUTPUT_MAX}"))
            }
            _ if self
                .folder
                .as_deref()
                .is_some_and(|folder| !is_below(folder)) =>
            {
                wrong("`folder` is no folder below the repository's root")
            }
            _ => self.arguments.iter().find_map(|(name, argument)| {
                let problem = argument.problem()?;
                Some(format!("its argument `{name}` {problem}"))
            }),
        }
    }

    /// What its arguments are, as JSON Schema (2020-12).
    pub fn schema(&self) -> Value {
        let each = self.arguments.iter();
        let properties: Map<_, _> = each
            .map(|(name, argument)| (name.clone(), argument.schema()))
            .collect();
        let wanted = self
            .arguments
            .iter()
            .filter(|(_, argument)| !argument.optional);
        let required: Vec<_> = wanted.map(|(name, _)| name).collect();
        json!({
            "type": "object", "properties": properties, "required": required,
            "additionalProperties": false,
        })
    }

    /// The words that run it with these arguments.
    pub(crate) fn words(&self, given: &Map<String, Value>) -> Result<Vec<String>, String> {
        if let Some(other) = given
            .keys()
            .find(|name| !self.arguments.contains_key(*name))
        {
            let other = stockade_types::visible::beginning(other, 64);
            return Err(format!("it has no argument `{other}`"));
        }
        let mut values = BTreeMap::new();
        for (name, argument) in &self.arguments {
            let value = match given.get(name).filter(|value| !value.is_null()) {
                Some(value) => argument.word(value),
                None if argument.optional => Ok(None),
                None => Err("is missing".to_owned()),
            };
            let value = value.map_err(|problem| format!("the argument `{name}` {problem}"))?;
            values.insert(name.as_str(), value);
        }
        Ok(self
            .run
            .iter()
            .filter_map(|word| filled(word, &values))
            .collect())
    }

    /// The command that it is with these arguments; `of` says what else is wanted of it.
    pub(crate) fn request(
        &self,
        given: &Map<String, Value>,
        of: &ExecRequest,
    ) -> Result<ExecRequest, String> {
        Ok(ExecRequest {
            argv: self.words(given)?,
            cwd: self.folder.clone(),
            isolation: Some(self.isolation()),
            report: of.report,
            merged: of.merged,
            limits: self.limits,
            timeout_ms: Some(self.seconds.saturating_mul(1000)),
            files: of.files,
            leashed: of.leashed,
            no_policy: of.no_policy,
            ..ExecRequest::default()
        })
    }

    /// What it runs in.
    pub(crate) fn isolation(&self) -> Isolation {
        match (self.read_only, self.network) {
            (true, true) => Isolation::Fetching,
            (true, false) => Isolation::Reading,
            (false, true) => Isolation::Fresh,
            (false, false) => Isolation::Contained,
        }
    }

    /// What it runs and may do, for the contract.
    pub fn in_words(&self, name: &str) -> String {
        let argv = stockade_types::visible::line(self.run.join(" ").as_bytes());
        let tree = if self.read_only {
            "reads"
        } else {
            "reads and changes"
        };
        let network = if self.network {
            "reaches what the task does"
        } else {
            "no network"
        };
        format!("{name} (`{argv}`) {tree} the task's tree; {network}")
    }
}

impl Argument {
    fn problem(&self) -> Option<&'static str> {
        let of_choice = !self.of.is_empty();
        let of_number = self.least.is_some() || self.most.is_some();
        match self.kind {
            ArgumentType::Choice if !of_choice => Some("is a choice, and `of` has nothing"),
            ArgumentType::Flag if self.word.is_none() => Some("is a flag, and has no `word`"),
            kind if of_choice && kind != ArgumentType::Choice => Some("has `of` and is no choice"),
            kind if self.word.is_some() && kind != ArgumentType::Flag => {
                Some("has `word` and is no flag")
            }
            kind if of_number && kind != ArgumentType::Number => {
                Some("has `least` or `most` and is no number")
            }
            kind if self.longest.is_some() && kind != ArgumentType::Text => {
                Some("has `longest` and is no text")
            }
            _ => None,
        }
    }

    fn schema(&self) -> Value {
        let mut schema = match self.kind {
            ArgumentType::Text => json!({ "type": "string", "maxLength": self.longest() }),
            ArgumentType::Path => json!({ "type": "string", "maxLength": 4096 }),
            ArgumentType::Flag => json!({ "type": "boolean" }),
            ArgumentType::Choice => json!({ "type": "string", "enum": self.of }),
            ArgumentType::Number => {
                let mut schema = json!({ "type": "integer" });
                for (name, bound) in [("minimum", self.least), ("maximum", self.most)] {
                    if let Some(bound) = bound {
                        schema[name] = json!(bound);
                    }
                }
                schema
            }
        };
        if !self.about.is_empty() {
            schema["description"] = json!(self.about);
        }
        schema
    }

    fn longest(&self) -> usize {
        self.longest.unwrap_or(TEXT_MAX)
    }

    /// What stands for `value`; nothing for a flag that is off.
    fn word(&self, value: &Value) -> Result<Option<String>, String> {
        let text = value.as_str();
        let found = match self.kind {
            ArgumentType::Number => value
                .as_i64()
                .filter(|number| {
                    self.least.is_none_or(|least| *number >= least)
                        && self.most.is_none_or(|most| *number <= most)
                })
                .map(|number| number.to_string()),
            ArgumentType::Flag => match value.as_bool() {
                Some(true) => self.word.clone(),
                Some(false) => return Ok(None),
                None => None,
            },
            ArgumentType::Choice => text
                .filter(|text| self.of.iter().any(|one| one == text))
                .map(str::to_owned),
            ArgumentType::Path => text.filter(|text| is_below(text)).map(str::to_owned),
            ArgumentType::Text => text.filter(|text| self.is_text(text)).map(str::to_owned),
        };
        found
            .map(Some)
            .ok_or_else(|| format!("is not {}", self.expected()))
    }

    fn is_text(&self, text: &str) -> bool {
        let short = text.chars().count() <= self.longest();
        short && !text.starts_with('-') && !text.chars().any(char::is_control)
    }

    fn expected(&self) -> String {
        match self.kind {
            ArgumentType::Text => format!(
                "a text of one line and at most {} characters that begins with no `-`",
                self.longest()
            ),
            ArgumentType::Path => "a path below the repository's root".to_owned(),
            ArgumentType::Flag => "true or false".to_owned(),
            ArgumentType::Choice => format!("one of {}", self.of.join(", ")),
            ArgumentType::Number => {
                let bound =
                    |bound: Option<i64>| bound.map_or_else(String::new, |bound| bound.to_string());
                format!(
                    "a whole number in {}..{}",
                    bound(self.least),
                    bound(self.most)
                )
            }
        }
    }
}

/// Whether `path` stays below the folder that it counts from, as it is written. Links lead
/// nowhere that the sandbox does not show.
fn is_below(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    let plain = path.len() <= 4096 && !path.starts_with('-') && !path.chars().any(char::is_control);
    plain
        && !path.is_empty()
        && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// The names of the arguments that are in `word`.
fn names(word: &str) -> Result<Vec<String>, &'static str> {
    let mut names = Vec::new();
    for piece in pieces(word) {
        match piece {
            Piece::Name(name) => names.push(name.to_owned()),
            Piece::Open => return Err("has a `{` without its `}`; write `{{` for one"),
            Piece::Text(_) => {}
        }
    }
    Ok(names)
}

/// `word` with its arguments filled in; nothing if one of them is not given.
fn filled(word: &str, values: &BTreeMap<&str, Option<String>>) -> Option<String> {
    let mut filled = String::new();
    for piece in pieces(word) {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Name(name) => filled.push_str(values.get(name)?.as_deref()?),
            Piece::Open => return None,
        }
    }
    Some(filled)
}

enum Piece<'w> {
    Text(&'w str),
    Name(&'w str),
    /// A brace that is never closed.
    Open,
}

/// `word` cut where `{name}` begins and ends; `{{` is a brace.
fn pieces(word: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        pieces.push(Piece::Text(before));
        if let Some(after) = from.strip_prefix("{{") {
            pieces.push(Piece::Text("{"));
            rest = after;
        } else if let Some((name, after)) = from[1..].split_once('}') {
            pieces.push(Piece::Name(name));
            rest = after;
        } else {
            pieces.push(Piece::Open);
            return pieces;
        }
    }
    pieces.push(Piece::Text(rest));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(text: &str) -> Result<ProjectTool, String> {
        let tool: ProjectTool = toml::from_str(text).map_err(|error| error.to_string())?;
        tool.problem().map_or(Ok(tool), Err)
    }

    const TESTS: &str = r#"
        about = "Runs tests"
        run = ["cargo", "test", "{quiet}", "-p={package}", "--jobs", "{jobs}", "{only}", "in/{file}", "{{x}"]
        [arguments]
        quiet = { type = "flag", word = "-q", optional = true }
        package = { type = "choice", of = ["a", "b"] }
        jobs = { type = "number", least = 1, most = 4 }
        only = { optional = true, longest = 10 }
        file = { type = "path", optional = true }
    "#;

    #[test]
    fn arguments_become_words_and_those_left_out_none() {
        let tool = tool(TESTS).unwrap();
        let words = |given: Value| tool.words(given.as_object().unwrap());
        assert_eq!(
            words(json!({ "package": "a", "jobs": 2 })).unwrap(),
            ["cargo", "test", "-p=a", "--jobs", "2", "{x}"]
        );
        assert_eq!(
            words(
                json!({ "package": "b", "jobs": 4, "quiet": true, "only": "x y", "file": "a/b.rs" })
            )
            .unwrap(),
            [
                "cargo",
                "test",
                "-q",
                "-p=b",
                "--jobs",
                "4",
                "x y",
                "in/a/b.rs",
                "{x}"
            ]
        );
    }

    #[test]
    fn arguments_of_another_type_are_refused_with_what_they_should_be() {
        let tool = tool(TESTS).unwrap();
        for (more, why) in [
            (json!({ "package": "c" }), "is not one of a, b"),
            (json!({ "jobs": 0 }), "a whole number in 1..4"),
            (json!({ "jobs": "2" }), "a whole number"),
            (json!({ "jobs": null }), "is missing"),
            (json!({ "only": "--evil" }), "begins with no `-`"),
            (json!({ "only": "12345678901" }), "at most 10"),
            (json!({ "only": "a\nb" }), "one line"),
            (json!({ "only": "a\0b" }), "one line"),
            (json!({ "file": "../x" }), "below the repository"),
            (json!({ "file": "/etc/x" }), "below the repository"),
            (json!({ "file": "-x" }), "below the repository"),
            (json!({ "quiet": "yes" }), "true or false"),
            (json!({ "other": 1 }), "no argument `other`"),
        ] {
            let mut given = json!({ "package": "a", "jobs": 2 });
            for (name, value) in more.as_object().unwrap() {
                given[name] = value.clone();
            }
            let error = tool.words(given.as_object().unwrap()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn declarations_that_cannot_be_meant_are_refused() {
        for (text, why) in [
            ("about = \"x\"\nrun = []", "runs nothing"),
            ("about = \" \"\nrun = [\"a\"]", "says nothing"),
            (
                "about = \"x\"\nrun = [\"{a}\"]\n[arguments.a]",
                "the program itself",
            ),
            (
                "about = \"x\"\nrun = [\"a\", \"{b}\"]",
                "no argument that it declares",
            ),
            ("about = \"x\"\nrun = [\"a\", \"{b\"]", "without its `}`"),
            ("about = \"x\"\nrun = [\"a\"]\n[arguments.b]", "is not used"),
            (
                "about = \"x\"\nrun = [\"a\"]\nfolder = \"../x\"",
                "no folder below",
            ),
            ("about = \"x\"\nrun = [\"a\"]\nseconds = 0", "`seconds` is"),
            (
                "about = \"x\"\nrun = [\"a\", \"{b}\"]\n[arguments.b]\ntype = \"flag\"",
                "has no `word`",
            ),
            (
                "about = \"x\"\nrun = [\"a\", \"{b}\"]\n[arguments.b]\nof = [\"x\"]",
                "is no choice",
            ),
            (
                "about = \"x\"\nrun = [\"a\"]\nshell = true",
                "unknown field",
            ),
        ] {
            let error = tool(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let named = BTreeMap::from([("Run It".to_owned(), tool(TESTS).unwrap())]);
        assert!(check(&named).unwrap_err().contains("[tools.Run It]"));
    }

    #[test]
    fn the_schema_says_what_the_arguments_are() {
        let schema = tool(TESTS).unwrap().schema();
        assert_eq!(schema["required"], json!(["jobs", "package"]));
        assert_eq!(
            schema["properties"]["jobs"],
            json!({ "type": "integer", "minimum": 1, "maximum": 4 })
        );
        assert_eq!(schema["additionalProperties"], false);
    }
}
