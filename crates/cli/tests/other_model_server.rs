//! Real agents against a model server that others wrote: what the built-in one
//! takes for granted of an API, it may take for granted wrongly.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod agents;
mod host;

use std::fs;

use serde_json::{Value, json};

use crate::agents::{
    Agent, CLAUDE, CODEX, KEY, OtherModel,
    project::{holds, make_large_repository, test_passes},
};

fn fixes_with_another_server(agent: &Agent) {
    let Some(host) = agent.host() else { return };
    make_large_repository(&host);
    let planted = "DECOY-PRIVATE-KEY";
    let secret = host.home().join(".ssh/id_decoy");
    fs::create_dir_all(secret.parent().unwrap()).unwrap();
    fs::write(&secret, planted).unwrap();
    let turns = json!([
        { "tool": "shell", "command": "sh test.sh; echo tested $?" },
        { "tool": "edit", "path": "add.sh", "old": "$1 - $2", "new": "$1 + $2",
          "expect": { "contains": "tested 1" } },
        { "tool": "shell", "command": format!("sh test.sh; echo tested $?; cat {}", secret.display()) },
        { "text": "Done.", "expect": { "contains": "tested 0", "not_contains": planted } },
    ]);
    let Some(model) = OtherModel::play(&host, &turns, planted) else {
        return;
    };
    // Nothing is advised against: that the key cannot be read is tried.
    let words = ["--hooks", "off"];
    let outcome = agent.run_at(&host, &model.url, "make the failing test pass", &words);
    let (asked, well) = model.end();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(well, "{asked:#?}");
    let turns: Vec<&Value> = asked.iter().filter(|line| line["kind"] == "main").collect();
    assert!(turns.len() >= 4, "{asked:#?}");
    for turn in turns {
        assert_eq!(turn["key"]["status"], "ok", "{turn}");
    }
    assert!(!holds(&host.state(), KEY));
    assert!(!test_passes(&host));
    host.json(&["merge", "work", "--yes"]);
    assert!(test_passes(&host));
}

#[test]
fn claude_code_fixes_a_failing_test_with_a_model_server_that_others_wrote() {
    fixes_with_another_server(&CLAUDE);
}

#[test]
fn codex_fixes_a_failing_test_with_a_model_server_that_others_wrote() {
    fixes_with_another_server(&CODEX);
}
