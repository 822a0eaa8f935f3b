//! The JSON form of a script.

use serde::Deserialize;

use super::{
    Action, Expectation, FileContent, FilePath, McpCall, PageUrl, Replacement, TURNS_MAX, Turn,
    UsageFigures,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScriptFields {
    pub(super) name: String,
    #[serde(default)]
    pub(super) variables: Vec<String>,
    pub(super) turns: Vec<RepeatedTurn>,
    #[serde(default = "default_ending")]
    pub(super) ending: String,
}

fn default_ending() -> String {
    "The rehearsal is over.".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnFields {
    label: Option<String>,
    #[serde(default)]
    text: String,
    shell: Option<String>,
    write: Option<FileContent>,
    edit: Option<Replacement>,
    read: Option<FilePath>,
    fetch: Option<PageUrl>,
    mcp: Option<McpCall>,
    #[serde(default)]
    expect: Expectation,
    #[serde(default)]
    usage: UsageFigures,
    #[serde(default = "one")]
    repeat: usize,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(try_from = "TurnFields")]
pub(super) struct RepeatedTurn {
    pub(super) turn: Turn,
    pub(super) times: usize,
}

impl TryFrom<TurnFields> for RepeatedTurn {
    type Error = String;

    fn try_from(fields: TurnFields) -> Result<Self, String> {
        let mut actions = [
            fields.shell.map(Action::Shell),
            fields.write.map(Action::Write),
            fields.edit.map(Action::Edit),
            fields.read.map(Action::Read),
            fields.fetch.map(Action::Fetch),
            fields.mcp.map(Action::Mcp),
        ]
        .into_iter()
        .flatten();
        let action = actions.next();
        if actions.next().is_some() {
            return Err(
                "a turn has at most one of shell, write, edit, read, fetch, mcp".to_owned(),
            );
        }
        if action.is_none() && fields.text.is_empty() {
            return Err("a turn needs text or an action".to_owned());
        }
        if action.is_none() && !fields.expect.is_empty() {
            return Err("`expect` is about an action's result; this turn has none".to_owned());
        }
        if !(1..=TURNS_MAX).contains(&fields.repeat) {
            return Err(format!("`repeat` is 1 to {TURNS_MAX}"));
        }
        let turn = Turn {
            label: fields.label,
            text: fields.text,
            action,
            expect: fields.expect,
            usage: fields.usage,
        };
        Ok(Self {
            turn,
            times: fields.repeat,
        })
    }
}
