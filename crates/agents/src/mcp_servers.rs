//! MCP servers that clients on this machine are configured with, as their files say. Only
//! read: nothing is started and nothing changed.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 16 << 20;

/// A server that a client is configured with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// The client's name.
    pub client: &'static str,
    /// The file that says so.
    pub file: PathBuf,
    /// How the client calls it.
    pub name: String,
    /// Program and arguments, or the URL alone of one that is elsewhere.
    pub argv: Vec<String>,
    /// Variables, or headers of one that is elsewhere, with their values.
    pub given: Vec<(String, String)>,
    /// Whether the client leaves it alone for now.
    pub is_off: bool,
}

/// A file of a client that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Which.
    pub file: PathBuf,
    /// Why.
    pub reason: String,
}

/// Where clients have their servers: the client, the file in the home or in the project
/// if there is one, and the name under which they stand.
const PLACES: [(&str, Option<&str>, Option<&str>, &str); 6] = [
    (
        "Claude Code",
        Some(".claude.json"),
        Some(".mcp.json"),
        "mcpServers",
    ),
    (
        "Codex",
        Some(".codex/config.toml"),
        Some(".codex/config.toml"),
        "mcp_servers",
    ),
    (
        "Gemini CLI",
        Some(".gemini/settings.json"),
        Some(".gemini/settings.json"),
        "mcpServers",
    ),
    (
        "opencode",
        Some(".config/opencode/opencode.json"),
        Some("opencode.json"),
        "mcp",
    ),
    (
        "Cursor",
        Some(".cursor/mcp.json"),
        Some(".cursor/mcp.json"),
        "mcpServers",
    ),
    (
        "VS Code",
        Some(".config/Code/User/mcp.json"),
        Some(".vscode/mcp.json"),
        "servers",
    ),
];

/// Every server that a client of the user with this `home` has in `project`.
pub fn mcp_servers(home: Option<&Path>, project: &Path) -> (Vec<Configured>, Vec<Unread>) {
    let (mut servers, mut unread) = (Vec::new(), Vec::new());
    for (client, in_home, in_project, key) in PLACES {
        let of_home = home.zip(in_home).map(|(home, file)| home.join(file));
        let of_project = in_project.map(|file| project.join(file));
        for file in of_home.into_iter().chain(of_project) {
            match read(&file) {
                Ok(None) => {}
                Ok(Some(settings)) => {
                    // What counts in one project alone stands beneath its path.
                    let own = &settings["projects"][&*project.to_string_lossy()][key];
                    let all = entries(&settings[key]).chain(entries(own));
                    servers.extend(all.map(|(name, entry)| of_entry(client, &file, name, entry)));
                }
                Err(reason) => unread.push(Unread { file, reason }),
            }
        }
    }
    (servers, unread)
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// The settings of `file`, if it is there.
fn read(file: &Path) -> Result<Option<Value>, String> {
    let opened = match fs::File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| error.to_string())?,
    };
    let mut text = String::new();
    let read = opened.take(FILE_MAX).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    if file
        .extension()
        .is_some_and(|extension| extension == "toml")
    {
        return toml::from_str(&text)
            .map(Some)
            .map_err(|error| error.message().to_owned());
    }
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| error.to_string())
}

fn of_entry(client: &'static str, file: &Path, name: &str, entry: &Value) -> Configured {
    let words = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(|word| word.as_str().map(str::to_owned))
            .collect()
    };
    let one = |key: &str| entry[key].as_str().map(str::to_owned);
    let url = ["url", "httpUrl", "serverUrl"].into_iter().find_map(one);
    let is_remote = url.is_some();
    let argv = match url.or_else(|| one("command")) {
        Some(first) if is_remote => vec![first],
        Some(first) => [first].into_iter().chain(words(&entry["args"])).collect(),
        None => words(&entry["command"]),
    };
    let given: &[&str] = if is_remote {
        &["headers", "http_headers"]
    } else {
        &["env", "environment"]
    };
    let given = given.iter().filter_map(|key| entry[*key].as_object());
    Configured {
        client,
        file: file.to_owned(),
        name: name.to_owned(),
        argv,
        given: given.flat_map(texts).collect(),
        is_off: entry["enabled"] == false || entry["disabled"] == true,
    }
}

fn texts(members: &Map<String, Value>) -> impl Iterator<Item = (String, String)> {
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    members.iter().filter_map(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_found_in_the_form_of_each_client() {
        let place = tempfile::tempdir().unwrap();
        let (home, project) = (place.path().join("home"), place.path().join("project"));
        let write = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let of_project = format!(
            r#"{{"mcpServers":{{"a":{{"command":"npx","args":["-y","x"],"env":{{"K":"v"}}}}}},"projects":{{"{}":{{"mcpServers":{{"b":{{"type":"http","url":"https://b.test/mcp","headers":{{"X":"y"}}}}}}}}}}}}"#,
            project.display()
        );
        write(home.join(".claude.json"), &of_project);
        write(
            home.join(".codex/config.toml"),
            "[mcp_servers.c]\ncommand = \"c\"\nargs = [\"1\"]\nenabled = false\n",
        );
        write(
            project.join("opencode.json"),
            r#"{"mcp":{"d":{"type":"local","command":["d","2"],"environment":{"E":"f"}}}}"#,
        );
        write(project.join(".vscode/mcp.json"), "// no JSON\n{}");
        let (found, unread) = mcp_servers(Some(&home), &project);
        let short: Vec<_> = found
            .iter()
            .map(|one| {
                (
                    one.client,
                    &*one.name,
                    one.argv.join(" "),
                    one.given.len(),
                    one.is_off,
                )
            })
            .collect();
        assert_eq!(
            short,
            [
                ("Claude Code", "a", "npx -y x".to_owned(), 1, false),
                (
                    "Claude Code",
                    "b",
                    "https://b.test/mcp".to_owned(),
                    1,
                    false
                ),
                ("Codex", "c", "c 1".to_owned(), 0, true),
                ("opencode", "d", "d 2".to_owned(), 1, false),
            ]
        );
        assert_eq!(unread.len(), 1);
        assert_eq!(unread[0].file, project.join(".vscode/mcp.json"));
    }
}
