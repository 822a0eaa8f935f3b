//! What the model server plays: a list of turns, written as JSON.
//!
//! ```json
//! {
//!   "name": "greet",
//!   "variables": ["home"],
//!   "turns": [
//!     { "label": "look around", "text": "I look.", "shell": "ls '${home}'",
//!       "expect": { "contains": ["src"], "not_contains": ["id_ed25519"] } },
//!     { "write": { "path": "a.txt", "content": "hello\n" } },
//!     { "text": "Done." }
//!   ]
//! }
//! ```
//!
//! A turn has `text`, one action, or both; a turn without an action ends the
//! agent's run. `expect` speaks about the result of the turn's own action and
//! is checked when the client sends that result.

mod form;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::form::{RepeatedTurn, ScriptFields};

/// The most bytes that a script may have.
pub const SCRIPT_BYTES_MAX: usize = 1 << 20;
/// The most turns that a script may have, repetitions included.
pub const TURNS_MAX: usize = 10_000;

/// Why a script cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// Longer than [`SCRIPT_BYTES_MAX`].
    #[error("{origin}: a script has at most {SCRIPT_BYTES_MAX} bytes, this one has {bytes}")]
    TooLong {
        /// The file, or the name of the built-in script.
        origin: String,
        /// Its length.
        bytes: usize,
    },
    /// Not JSON, an unknown key, or a turn that makes no sense; the message
    /// names the line.
    #[error("{origin}: {source}")]
    Syntax {
        /// The file, or the name of the built-in script.
        origin: String,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// A script without turns would leave the agent without an answer.
    #[error("{origin}: a script has 1 to {TURNS_MAX} turns, this one has {turns}")]
    TurnCount {
        /// The file, or the name of the built-in script.
        origin: String,
        /// How many it has.
        turns: usize,
    },
    /// A declared variable was not given.
    #[error("the script `{script}` needs a value for the variable `{variable}`")]
    MissingVariable {
        /// The script.
        script: String,
        /// The variable.
        variable: String,
    },
    /// The value would break out of the quotes that scripts put around it.
    #[error(
        "the value of the variable `{variable}` has a quote, a backslash or a control \
         character; scripts put values into shell text, so choose another"
    )]
    UnquotableValue {
        /// The variable.
        variable: String,
    },
}

/// A play: what the model says and does, turn by turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    name: String,
    variables: Vec<String>,
    turns: Vec<Turn>,
    ending: String,
}

/// One turn of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What the turn is for, in a few words, for reports.
    pub label: Option<String>,
    /// What the model says.
    pub text: String,
    /// What the model does; without an action, the agent's run ends.
    pub action: Option<Action>,
    /// What must be true of the action's result.
    pub expect: Expectation,
    /// What the server says the turn cost; absent figures are estimated.
    pub usage: UsageFigures,
}

/// Something that an agent can be told to do, whatever its tools are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run a command in a POSIX shell.
    Shell(String),
    /// Create or replace a file.
    Write(FileContent),
    /// Replace the first occurrence of a text in a file.
    Edit(Replacement),
    /// Read a file.
    Read(FilePath),
    /// Fetch a web page.
    Fetch(PageUrl),
    /// Call a tool of an MCP server.
    Mcp(McpCall),
}

/// A file and what it shall hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileContent {
    /// Relative to the working directory, or absolute.
    pub path: String,
    /// The whole content.
    pub content: String,
}

/// A file and the text to replace in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// Relative to the working directory, or absolute.
    pub path: String,
    /// The text that is there.
    pub old: String,
    /// The text that shall be there.
    pub new: String,
}

/// A file to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilePath {
    /// Relative to the working directory, or absolute.
    pub path: String,
}

/// A page to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageUrl {
    /// The whole URL.
    pub url: String,
}

/// A call of an MCP server's tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpCall {
    /// How the client calls the server.
    pub server: String,
    /// The tool.
    pub tool: String,
    /// What it is given.
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

/// What must be true of the result of an action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Texts that must occur in it.
    #[serde(default)]
    pub contains: Vec<String>,
    /// Texts that must not occur in it. Clients may echo a refused command,
    /// so a text that proves success must not be spelled in the command.
    #[serde(default)]
    pub not_contains: Vec<String>,
}

impl Expectation {
    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        self.contains.is_empty() && self.not_contains.is_empty()
    }

    /// What is not as expected in `result`, one sentence each.
    pub fn failures(&self, result: &str) -> Vec<String> {
        let missing = self
            .contains
            .iter()
            .filter(|text| !result.contains(text.as_str()));
        let unwanted = self
            .not_contains
            .iter()
            .filter(|text| result.contains(text.as_str()));
        missing
            .map(|text| format!("the result lacks `{text}`"))
            .chain(unwanted.map(|text| format!("the result has `{text}`")))
            .collect()
    }
}

/// Token counts as a script gives them; what is absent is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageFigures {
    /// Input tokens, without those of the cache.
    pub input: Option<u64>,
    /// Input tokens read from the cache.
    pub cache_read: Option<u64>,
    /// Input tokens written to the cache.
    pub cache_write: Option<u64>,
    /// Output tokens, without reasoning.
    pub output: Option<u64>,
    /// Reasoning tokens.
    pub reasoning: Option<u64>,
}

impl Script {
    /// Reads a script. `origin` is the file or name that errors begin with.
    pub fn parse(origin: &str, text: &str) -> Result<Self, ScriptError> {
        let origin = origin.to_owned();
        if text.len() > SCRIPT_BYTES_MAX {
            return Err(ScriptError::TooLong {
                origin,
                bytes: text.len(),
            });
        }
        let fields: ScriptFields = match serde_json::from_str(text) {
            Ok(fields) => fields,
            Err(source) => return Err(ScriptError::Syntax { origin, source }),
        };
        let count = fields
            .turns
            .iter()
            .fold(0, |sum: usize, turn| sum.saturating_add(turn.times));
        if !(1..=TURNS_MAX).contains(&count) {
            return Err(ScriptError::TurnCount {
                origin,
                turns: count,
            });
        }
        let repeated = |entry: RepeatedTurn| std::iter::repeat_n(entry.turn, entry.times);
        Ok(Self {
            name: fields.name,
            variables: fields.variables,
            turns: fields.turns.into_iter().flat_map(repeated).collect(),
            ending: fields.ending,
        })
    }

    /// The script's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The variables that still need values.
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// The turns, repetitions written out.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// What the model says when the turns are used up.
    pub fn ending(&self) -> &str {
        &self.ending
    }

    /// The script with `${name}` replaced for each variable that it declares;
    /// any other `${…}` is left for the shell.
    pub fn with_variables(&self, values: &BTreeMap<String, String>) -> Result<Self, ScriptError> {
        let mut script = self.clone();
        for variable in std::mem::take(&mut script.variables) {
            let Some(value) = values.get(&variable) else {
                return Err(ScriptError::MissingVariable {
                    script: script.name,
                    variable,
                });
            };
            if value
                .chars()
                .any(|c| matches!(c, '\'' | '"' | '\\' | '`' | '$') || c.is_control())
            {
                return Err(ScriptError::UnquotableValue { variable });
            }
            let reference = format!("${{{variable}}}");
            for turn in &mut script.turns {
                for text in turn.texts_mut() {
                    if text.contains(&reference) {
                        *text = text.replace(&reference, value);
                    }
                }
            }
        }
        Ok(script)
    }
}

impl Turn {
    fn texts_mut(&mut self) -> Vec<&mut String> {
        let mut texts = vec![&mut self.text];
        texts.extend(&mut self.expect.contains);
        texts.extend(&mut self.expect.not_contains);
        match &mut self.action {
            Some(Action::Shell(command)) => texts.push(command),
            Some(Action::Write(file)) => texts.extend([&mut file.path, &mut file.content]),
            Some(Action::Edit(edit)) => {
                texts.extend([&mut edit.path, &mut edit.old, &mut edit.new]);
            }
            Some(Action::Read(file)) => texts.push(&mut file.path),
            Some(Action::Fetch(page)) => texts.push(&mut page.url),
            Some(Action::Mcp(call)) => {
                let given = call.arguments.values_mut();
                texts.extend(given.filter_map(|value| match value {
                    Value::String(text) => Some(text),
                    _ => None,
                }));
            }
            None => {}
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(turns: &str) -> Result<Script, ScriptError> {
        Script::parse(
            "here.json",
            &format!("{{\"name\":\"n\",\"variables\":[\"a\"],\n\"turns\":[{turns}]}}"),
        )
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_file_line_and_key() {
        let error = parse("{\"text\":\"x\"},\n{\"shel\":\"ls\"}")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("here.json: unknown field `shel`"),
            "{error}"
        );
        assert!(error.contains("line 3"), "{error}");
    }

    #[test]
    fn a_turn_that_makes_no_sense_is_refused_with_its_line() {
        for (turn, reason) in [
            ("{}", "needs text or an action"),
            (
                "{\"shell\":\"a\",\"read\":{\"path\":\"b\"}}",
                "at most one of",
            ),
            (
                "{\"text\":\"x\",\"expect\":{\"contains\":[\"y\"]}}",
                "this turn has none",
            ),
            ("{\"text\":\"x\",\"repeat\":0}", "`repeat` is"),
        ] {
            let error = parse(turn).unwrap_err().to_string();
            assert!(
                error.contains(reason) && error.contains("line 2"),
                "{turn}: {error}"
            );
        }
    }

    #[test]
    fn a_script_without_turns_or_with_too_many_is_refused() {
        assert!(matches!(
            parse(""),
            Err(ScriptError::TurnCount { turns: 0, .. })
        ));
        let turn = "{\"text\":\"x\",\"repeat\":9999}";
        let error = parse(&format!("{turn},{turn}")).unwrap_err();
        assert!(matches!(
            error,
            ScriptError::TurnCount { turns: 19_998, .. }
        ));
    }

    #[test]
    fn only_declared_variables_are_replaced_and_each_must_be_given() {
        let script = parse("{\"shell\":\"echo ${a} ${b}\",\"repeat\":2}").unwrap();
        let values = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let filled = script.with_variables(&values).unwrap();
        assert_eq!(filled.turns().len(), 2);
        assert_eq!(
            filled.turns()[1].action,
            Some(Action::Shell("echo 1 ${b}".to_owned()))
        );
        assert!(filled.variables().is_empty());
        let error = script.with_variables(&BTreeMap::new()).unwrap_err();
        assert!(matches!(error, ScriptError::MissingVariable { .. }));
    }

    #[test]
    fn a_value_that_could_leave_its_quotes_is_refused() {
        let script = parse("{\"shell\":\"echo '${a}'\"}").unwrap();
        for value in ["'; id; '", "a\nb", "$(id)", "a\\", "`id`"] {
            let values = BTreeMap::from([("a".to_owned(), value.to_owned())]);
            let error = script.with_variables(&values).unwrap_err();
            assert!(
                matches!(error, ScriptError::UnquotableValue { .. }),
                "{value}"
            );
        }
    }

    #[test]
    fn an_expectation_names_what_is_missing_and_what_is_unwanted() {
        let expect = Expectation {
            contains: vec!["a".into(), "b".into()],
            not_contains: vec!["c".into()],
        };
        assert_eq!(
            expect.failures("a c"),
            ["the result lacks `b`", "the result has `c`"]
        );
        assert!(expect.failures("ab").is_empty());
    }
}
