//! An MCP server of the legacy era, as a shell script in the repository.

use std::fs;

use serde_json::json;

use crate::host::{Host, Outcome};

/// Its one tool shows a file of the folder that it is started in.
const SERVER: &str = r#"
while IFS= read -r line; do
    id=${line#*'"id":'}; id=${id%%,*}
    case $line in
        *'"method":"initialize"'*) result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"notes","version":"1"}}' ;;
        *'"method":"tools/list"'*) result='{"tools":[{"name":"look","description":"Shows a note.","inputSchema":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}}]}' ;;
        *'"method":"tools/call"'*)
            name=${line#*'"name":"'}; name=${line##*'"name":"'}; name=${name%%'"'*}
            box="in a box"; [ -e "$HOME/.claude.json" ] && box="in the agent's home"
            result="{\"content\":[{\"type\":\"text\",\"text\":\"$(cat fresh) $box\"}]}" ;;
        *'"id":'*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id"; continue ;;
        *) continue ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
"#;

/// Puts it into the repository, and settings by which Claude Code offers its tool at
/// once.
pub fn commit(host: &Host) {
    let folder = host.repository();
    fs::write(folder.join("server.sh"), SERVER).unwrap();
    fs::create_dir(folder.join(".claude")).unwrap();
    let settings = json!({ "env": { "ENABLE_TOOL_SEARCH": "false" } });
    fs::write(folder.join(".claude/settings.json"), settings.to_string()).unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "A server"]);
}

/// Puts a tool into the repository that the project declares, and the same settings.
pub fn declare_tool(host: &Host) {
    let folder = host.repository();
    let declared = "[tools.run_tests]\nabout = \"Runs the tests.\"\nrun = [\"sh\", \"tests.sh\", \"{only}\"]\narguments.only = { optional = true }\n";
    fs::write(folder.join("stockade.toml"), declared).unwrap();
    let tests = "echo \"test only::$1 ... FAILED\"; cat fresh; exit 1\n";
    fs::write(folder.join("tests.sh"), tests).unwrap();
    commit(host);
}

/// Approves it.
pub fn add(host: &Host) -> Outcome {
    let folder = host.repository();
    let words = ["mcp", "--lock", folder.to_str().unwrap()];
    let more = ["add", "notes", "--yes", "--ro", folder.to_str().unwrap()];
    let server = ["--", "/bin/sh", "server.sh"];
    host.stockade(&[&words[..], &more, &server].concat())
}
