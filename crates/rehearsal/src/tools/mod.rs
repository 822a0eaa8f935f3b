//! From an action of the script to a call of a tool that the client offers,
//! its arguments filled in by the tool's own JSON schema.

mod schema;
mod shell_forms;

use std::collections::BTreeMap;

use serde_json::Value;

pub(crate) use self::schema::made_up;
use self::{
    schema::arguments,
    shell_forms::{edit_command, quoted, write_command},
};
use crate::{
    conversation::ToolCall,
    script::{Action, McpCall},
};

const SHELL_TOOLS: &[&str] = &[
    "Bash",
    "exec_command",
    "shell_command",
    "shell",
    "run_shell_command",
    "bash",
    "execute_command",
    "run_commands",
    "execute_bash",
    "terminal",
    "run_terminal_cmd",
];
const WRITE_TOOLS: &[&str] = &[
    "Write",
    "write_file",
    "write",
    "write_to_file",
    "create",
    "create_file",
];
const EDIT_TOOLS: &[&str] = &[
    "Edit",
    "replace",
    "edit",
    "replace_in_file",
    "search_replace",
    "str_replace",
];
const READ_TOOLS: &[&str] = &["Read", "read_file", "read", "view", "view_file"];
const FETCH_TOOLS: &[&str] = &["WebFetch", "web_fetch", "webfetch", "fetch"];

const COMMAND: &[&str] = &["command", "cmd", "commands", "script"];
const PATH: &[&str] = &[
    "file_path",
    "filePath",
    "path",
    "absolute_path",
    "target_file",
    "filename",
];
const CONTENT: &[&str] = &["content", "file_text", "contents", "text"];
const OLD: &[&str] = &[
    "old_string",
    "oldString",
    "old_str",
    "oldText",
    "old_text",
    "old",
];
const NEW: &[&str] = &[
    "new_string",
    "newString",
    "new_str",
    "newText",
    "new_text",
    "new",
];
const URL: &[&str] = &["url", "urls"];

/// How long a working directory found in a prompt may be.
const DIRECTORY_BYTES_MAX: usize = 4096;

/// Whether the client offers a way to act; a request that does not is a side
/// request (a title, a summary, a classifier).
pub(crate) fn can_act(tools: &BTreeMap<String, Value>) -> bool {
    [SHELL_TOOLS, WRITE_TOOLS, EDIT_TOOLS]
        .iter()
        .any(|names| offered(tools, names).is_some())
}

/// The call that carries `action` out, if the client offers any that can.
/// Relative paths are made absolute where `directory` is known, because some
/// clients demand it of their file tools.
pub(crate) fn call_for(
    action: &Action,
    tools: &BTreeMap<String, Value>,
    directory: Option<&str>,
) -> Option<ToolCall> {
    let absolute = |path: &str| match directory {
        Some(directory) if !path.starts_with(['/', '~']) => {
            format!("{}/{path}", directory.trim_end_matches('/'))
        }
        _ => path.to_owned(),
    };
    match action {
        Action::Shell(command) => shell(tools, command),
        Action::Write(file) => call(
            tools,
            WRITE_TOOLS,
            &[
                (PATH, absolute(&file.path)),
                (CONTENT, file.content.clone()),
            ],
        )
        .or_else(|| shell(tools, &write_command(file))),
        Action::Edit(edit) => {
            let wanted = [
                (PATH, absolute(&edit.path)),
                (OLD, edit.old.clone()),
                (NEW, edit.new.clone()),
            ];
            call(tools, EDIT_TOOLS, &wanted).or_else(|| shell(tools, &edit_command(edit)))
        }
        Action::Read(file) => call(tools, READ_TOOLS, &[(PATH, absolute(&file.path))])
            .or_else(|| shell(tools, &format!("cat {}", quoted(&file.path)))),
        Action::Mcp(call) => mcp(tools, call),
        Action::Fetch(page) => fetch(tools, &page.url).or_else(|| {
            shell(
                tools,
                &format!(
                    "curl --silent --show-error --max-time 10 {}",
                    quoted(&page.url)
                ),
            )
        }),
    }
}

fn offered<'a>(
    tools: &'a BTreeMap<String, Value>,
    names: &[&'static str],
) -> Option<(&'static str, &'a Value)> {
    names
        .iter()
        .find_map(|name| tools.get(*name).map(|schema| (*name, schema)))
}

fn call(
    tools: &BTreeMap<String, Value>,
    names: &[&'static str],
    wanted: &[(&[&str], String)],
) -> Option<ToolCall> {
    let (name, schema) = offered(tools, names)?;
    let arguments = arguments(schema, wanted)?;
    Some(ToolCall {
        name: name.to_owned(),
        arguments,
    })
}

/// Clients name such a tool after its server, each in its own way.
fn mcp(tools: &BTreeMap<String, Value>, call: &McpCall) -> Option<ToolCall> {
    let McpCall { server, tool, .. } = call;
    let names = [
        format!("mcp__{server}__{tool}"),
        format!("mcp_{server}_{tool}"),
        format!("{server}_{tool}"),
    ];
    let name = names.into_iter().find(|name| tools.contains_key(name))?;
    Some(ToolCall {
        name,
        arguments: Value::Object(call.arguments.clone()),
    })
}

fn shell(tools: &BTreeMap<String, Value>, command: &str) -> Option<ToolCall> {
    call(tools, SHELL_TOOLS, &[(COMMAND, command.to_owned())])
}

/// A fetch tool may take only a prompt that names the page (Gemini CLI).
fn fetch(tools: &BTreeMap<String, Value>, url: &str) -> Option<ToolCall> {
    let (name, schema) = offered(tools, FETCH_TOOLS)?;
    let arguments = arguments(schema, &[(URL, url.to_owned())]).or_else(|| {
        arguments(
            schema,
            &[(&["prompt"], format!("Fetch {url} and summarise it."))],
        )
    })?;
    Some(ToolCall {
        name: name.to_owned(),
        arguments,
    })
}

/// The working directory that a client names in its prompt.
pub(crate) fn working_directory(prompt: &str) -> Option<&str> {
    let tagged = prompt.split_once("<cwd>").map(|(_, rest)| rest);
    let lowered = prompt.to_ascii_lowercase();
    let named = [
        "working directory",
        "workspace directories",
        "working in the directory",
    ]
    .iter()
    .flat_map(|words| {
        lowered
            .match_indices(words)
            .map(|(at, found)| at + found.len())
    })
    .filter_map(|after| prompt.get(after..));
    tagged.into_iter().chain(named).find_map(leading_path)
}

/// The absolute path that `text` begins with, after at most some punctuation
/// and one short word.
fn leading_path(text: &str) -> Option<&str> {
    const LEAD: &[char] = &[':', ' ', '`', '*', '\n', '-', '(', '"', '\''];
    let trimmed = text.trim_start_matches(LEAD);
    let trimmed = trimmed
        .strip_prefix("is")
        .map_or(trimmed, |rest| rest.trim_start_matches(LEAD));
    let end = trimmed
        .find(|c: char| matches!(c, '\n' | '<' | '`' | ')' | '"' | '\'') || c.is_control())
        .unwrap_or(trimmed.len());
    let path = trimmed
        .get(..end)?
        .trim_end()
        .trim_end_matches(['.', ',', ';']);
    (path.starts_with('/') && path.len() <= DIRECTORY_BYTES_MAX).then_some(path)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::script::{FilePath, PageUrl, Replacement};

    fn tools(entries: &[(&str, Value)]) -> BTreeMap<String, Value> {
        entries
            .iter()
            .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
            .collect()
    }

    fn schema(properties: &[&str], required: &[&str]) -> Value {
        let map: Map<_, _> = properties
            .iter()
            .map(|p| ((*p).to_owned(), json!({"type": "string"})))
            .collect();
        json!({"type": "object", "properties": map, "required": required})
    }

    fn edit() -> Action {
        Action::Edit(Replacement {
            path: "a.txt".into(),
            old: "x".into(),
            new: "y".into(),
        })
    }

    #[test]
    fn each_clients_own_tool_is_chosen_and_its_own_names_are_filled() {
        let claude = tools(&[
            (
                "Bash",
                schema(&["command", "description"], &["command", "description"]),
            ),
            (
                "Edit",
                schema(&["file_path", "old_string", "new_string"], &["file_path"]),
            ),
        ]);
        let bash = call_for(&Action::Shell("ls".into()), &claude, None).unwrap();
        assert_eq!(bash.name, "Bash");
        assert_eq!(bash.arguments["command"], "ls");
        assert!(bash.arguments["description"].is_string());
        let call = call_for(&edit(), &claude, Some("/repo")).unwrap();
        assert_eq!(
            call.arguments,
            json!({"file_path": "/repo/a.txt", "old_string": "x", "new_string": "y"})
        );

        let opencode = tools(&[("edit", schema(&["filePath", "oldString", "newString"], &[]))]);
        let call = call_for(&edit(), &opencode, None).unwrap();
        assert_eq!(
            call.arguments,
            json!({"filePath": "a.txt", "oldString": "x", "newString": "y"})
        );

        let gemini = tools(&[("web_fetch", schema(&["prompt"], &["prompt"]))]);
        let page = Action::Fetch(PageUrl {
            url: "https://a.test/".into(),
        });
        let call = call_for(&page, &gemini, None).unwrap();
        assert!(
            call.arguments["prompt"]
                .as_str()
                .unwrap()
                .contains("https://a.test/")
        );
    }

    #[test]
    fn an_argument_vector_is_made_where_the_schema_asks_for_one() {
        let codex = tools(&[(
            "shell",
            json!({"properties": {"command": {"type": "array", "items": {"type": "string"}}}}),
        )]);
        let call = call_for(&Action::Shell("ls".into()), &codex, None).unwrap();
        assert_eq!(call.arguments["command"], json!(["sh", "-c", "ls"]));
    }

    #[test]
    fn without_a_file_tool_the_shell_does_it_and_without_a_shell_nothing_does() {
        let codex = tools(&[("exec_command", schema(&["cmd"], &["cmd"]))]);
        let read = Action::Read(FilePath {
            path: "it's".into(),
        });
        let call = call_for(&read, &codex, Some("/repo")).unwrap();
        assert_eq!(call.arguments["cmd"], r"cat 'it'\''s'");
        let reader = tools(&[("Read", schema(&["file_path"], &[]))]);
        assert!(call_for(&edit(), &reader, None).is_none());
        assert!(!can_act(&reader) && can_act(&codex));
    }

    #[test]
    fn the_working_directory_is_found_where_clients_write_it() {
        for (prompt, expected) in [
            (
                " - Primary working directory: /a/b c\n - Is git",
                Some("/a/b c"),
            ),
            ("x\n  <cwd>/w</cwd>\n", Some("/w")),
            (
                "I'm currently working in the directory: /srv/x\n",
                Some("/srv/x"),
            ),
            ("- **Workspace Directories:**\n  - /ws\n", Some("/ws")),
            ("Your current working directory is `/q`.", Some("/q")),
            ("the working directory of the user", None),
            ("Working directory: relative/x", None),
        ] {
            assert_eq!(working_directory(prompt), expected, "{prompt}");
        }
    }
}
