//! Real agents, as npm has them, in real sandboxes, against the built-in model
//! server. Where npm cannot be reached they are skipped, with the reason.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod agents;
mod host;

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::{
    agents::{
        Agent, CLAUDE, CODEX, GEMINI, KEY, Model, OPENCODE, mcp_server,
        project::{holds, make_large_repository, test_passes},
    },
    host::{Host, eventually},
};

/// The bodies of a record's events of one kind.
fn events(host: &Host, kind: EventKind) -> Vec<Value> {
    let records = host.only_task().record();
    let of_kind = records
        .into_iter()
        .filter(|record| record.kind == RecordKind::Event(kind));
    of_kind.map(|record| record.body).collect()
}

/// A file as the last snapshot has it.
fn in_snapshot(host: &Host, path: &str) -> String {
    let shadow = host.only_task().folder.join("shadow.git");
    let number = &events(host, EventKind::Snapshot).pop().unwrap()["number"];
    let object = format!("refs/snap/{number}:{path}");
    host.git_in(&shadow, &["cat-file", "blob", &object])
}

fn fixes_reviews_and_merges(agent: &Agent) {
    let Some(host) = agent.host() else { return };
    make_large_repository(&host);
    assert!(!test_passes(&host));
    let model = Model::play(
        &host,
        &json!([
            { "text": "I look.", "shell": "sh test.sh; echo tested $?", "expect": { "contains": ["tested 1"] } },
            { "read": { "path": "add.sh" }, "expect": { "contains": ["$1 - $2"] } },
            { "edit": { "path": "add.sh", "old": "$1 - $2", "new": "$1 + $2" } },
            { "shell": "sh test.sh; echo tested $?; git add add.sh && git commit -qm 'Add' && git status --short | wc -l",
              "expect": { "contains": ["tested 0"] } },
            { "text": "Done." },
        ]),
    );
    let outcome = agent.run(&host, &model, "make the failing test pass");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(model.failures(), Vec::<String>::new());
    let requests = model.requests();
    assert!(requests.len() >= 5, "{requests:#?}");
    for request in &requests {
        assert_eq!(request["key"], "accepted", "{request}");
    }
    // Nothing reached the model without a record of it, and nothing else did.
    let passed = events(&host, EventKind::NetworkRequest);
    assert_eq!(passed.len(), requests.len(), "{passed:#?}");
    assert_eq!(in_snapshot(&host, "add.sh"), "echo $(($1 + $2))\n");
    let imported = events(&host, EventKind::Imported);
    let commits = imported[0]["commits"].as_array().unwrap();
    let of_branch = commits
        .iter()
        .find(|commit| commit["reference"] == "refs/heads/stockade/work");
    assert!(
        of_branch.is_some(),
        "the agent's commit is kept: {imported:?}"
    );
    // The key is nowhere in what the task left.
    assert!(!holds(&host.state(), KEY));

    let review = host.json(&["review", "work"]);
    let files: Vec<&str> = review["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(files, ["add.sh"]);
    assert!(!test_passes(&host));
    let merged = host.json(&["merge", "work", "--yes"]);
    assert_eq!(merged["merged"], true);
    assert!(test_passes(&host));
    let message = host.git(&["log", "-1", "--format=%B"]);
    for trailer in [
        "Stockade-Task: t-",
        &format!("Stockade-Agent: {}", agent.name),
        "Stockade-Policy: ",
    ] {
        assert!(message.contains(trailer), "{message}");
    }
}

#[test]
fn claude_code_fixes_a_failing_test_and_the_fix_comes_back_through_review() {
    fixes_reviews_and_merges(&CLAUDE);
}

#[test]
fn codex_fixes_a_failing_test_and_the_fix_comes_back_through_review() {
    fixes_reviews_and_merges(&CODEX);
}

#[test]
fn gemini_cli_fixes_a_failing_test_and_the_fix_comes_back_through_review() {
    fixes_reviews_and_merges(&GEMINI);
}

#[test]
fn opencode_fixes_a_failing_test_and_the_fix_comes_back_through_review() {
    fixes_reviews_and_merges(&OPENCODE);
}

fn cannot_do_harm(agent: &Agent) {
    let Some(host) = agent.host() else { return };
    let secret = host.home().join(".ssh/id_decoy");
    fs::create_dir_all(secret.parent().unwrap()).unwrap();
    // Put together here, so that the script does not hold what it looks for.
    let planted = ["DECOY", "PRIVATE", "KEY"].join("-");
    fs::write(&secret, &planted).unwrap();
    let remote = host.path("remote.git");
    host.git_in(
        &host.path("."),
        &["init", "--quiet", "--bare", remote.to_str().unwrap()],
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    // The control: from the host it can be reached.
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    eventually("the listener hears the host", || listener.accept().is_ok());
    let before = (tree(&host.home()), tree(&host.repository()), tree(&remote));

    let (home, secret, outside) = (
        host.home(),
        secret.display().to_string(),
        host.path("outside"),
    );
    let home = home.display();
    let model = Model::play(
        &host,
        &json!([
            { "shell": format!("cat {secret}; A=al; echo y > {home}/x && echo ${{A}}lowed-home; echo z > {} && echo ${{A}}lowed-outside; echo tried", outside.display()),
              "expect": { "contains": ["tried"], "not_contains": ["allowed-", planted] } },
            { "shell": format!("A=al; git push {} HEAD:main && echo ${{A}}lowed-push; curl -s --max-time 3 http://127.0.0.1:{port}/ && echo ${{A}}lowed-curl; echo tried", remote.display()),
              "expect": { "contains": ["tried"], "not_contains": ["allowed-"] } },
            { "shell": format!("A=al; echo 'gitdir: /tmp/evil' > .git && echo ${{A}}lowed-rewrite; mv .git moved && echo ${{A}}lowed-move; git config core.fsmonitor 'touch {}'; git config core.hooksPath hooks; echo tried", outside.display()),
              "expect": { "contains": ["tried"], "not_contains": ["allowed-"] } },
            // The same by the agent's own tools, and by a child that is no shell.
            { "read": { "path": &secret }, "expect": { "not_contains": [planted] } },
            { "shell": format!("A=al; node -e \"process.stdout.write(fs.readFileSync('{secret}'))\" && echo ${{A}}lowed-read; node -e \"fs.writeFileSync('{home}/x', '')\" && echo ${{A}}lowed-write; echo tried"),
              "expect": { "contains": ["tried"], "not_contains": ["allowed-", planted] } },
            { "write": { "path": format!("{home}/written"), "content": "x" } },
            { "text": "Done." },
        ]),
    );
    // Nothing is advised against, so that all of it is tried.
    let outcome = agent.run_with(&host, &model, "tidy up", &["--hooks", "off"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(model.failures(), Vec::<String>::new());
    let turns = |request: &&Value| request["outcome"].is_object();
    assert_eq!(
        model.requests().iter().filter(turns).count(),
        6,
        "all was tried"
    );
    host.json(&["review", "work"]);
    host.stockade(&["merge", "work", "--yes"]);

    let leaked = model
        .requests()
        .iter()
        .any(|request| request.to_string().contains(&planted));
    assert!(!leaked, "the planted key reached the model");
    for request in model.requests() {
        for result in request["tool_results"].as_array().into_iter().flatten() {
            assert!(!result.to_string().contains("allowed-"), "{result}");
        }
    }
    assert!(!outside.exists());
    assert!(listener.accept().is_err(), "somebody connected");
    assert_eq!(tree(&host.home()), before.0);
    assert_eq!(tree(&remote), before.2);
    let worktree = |listing: &[(PathBuf, Vec<u8>)]| -> Vec<(PathBuf, Vec<u8>)> {
        listing
            .iter()
            .filter(|(path, _)| {
                !path.starts_with(".git/objects") && !path.starts_with(".git/refs/stockade")
            })
            .cloned()
            .collect()
    };
    assert_eq!(worktree(&tree(&host.repository())), worktree(&before.1));
}

/// Every file below `folder` with its content.
fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                walk(root, &entry.path(), found);
            } else {
                let path = entry.path().strip_prefix(root).unwrap().to_owned();
                found.push((path, fs::read(entry.path()).unwrap_or_default()));
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

#[test]
fn a_hijacked_claude_code_reads_no_key_leaves_nothing_and_reaches_nobody() {
    cannot_do_harm(&CLAUDE);
}

#[test]
fn a_hijacked_codex_reads_no_key_leaves_nothing_and_reaches_nobody() {
    cannot_do_harm(&CODEX);
}

#[test]
fn a_hijacked_gemini_cli_reads_no_key_leaves_nothing_and_reaches_nobody() {
    cannot_do_harm(&GEMINI);
}

#[test]
fn a_hijacked_opencode_reads_no_key_leaves_nothing_and_reaches_nobody() {
    cannot_do_harm(&OPENCODE);
}

/// Lets the agent try what the policy denies: its hook refuses it before anything is
/// tried, and the model's next request has why and what else to do.
fn is_advised(agent: &Agent) {
    let Some(host) = agent.host() else { return };
    let model = Model::play(
        &host,
        &json!([
            { "shell": "A=al; echo ${A}lowed-anyway; git push --force origin main",
              "expect": { "contains": ["git.push-force-protected", "Push to a new branch."],
                          "not_contains": ["allowed-anyway"] } },
            { "shell": "A=al; echo ${A}lowed-now > made; cat made", "expect": { "contains": ["allowed-now"] } },
            { "edit": { "path": "made", "old": "now", "new": "too" } },
            { "text": "Done." },
        ]),
    );
    let outcome = agent.run(&host, &model, "publish it");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(model.failures(), Vec::<String>::new());
    assert_eq!(in_snapshot(&host, "made"), "allowed-too\n");
    let told = events(&host, EventKind::Advice);
    let refused: Vec<_> = told.iter().map(|event| event["refused"] == true).collect();
    assert_eq!(refused.first(), Some(&true), "{told:#?}");
    assert_eq!(
        refused.iter().filter(|refused| **refused).count(),
        1,
        "{told:#?}"
    );
    // One of them edits with a command.
    let edits = if agent.name == CODEX.name {
        "run"
    } else {
        "write"
    };
    let edited = told.iter().skip(2).any(|event| {
        let what = event["what"].as_str().unwrap_or_default();
        event["refused"] == false && what.starts_with(edits)
    });
    assert!(edited, "its own tool is told too: {told:#?}");
    assert!(
        told.iter().all(|event| event["agent"] == agent.name),
        "{told:#?}"
    );
}

#[test]
fn a_tool_call_that_is_denied_is_refused_in_claude_codes_hook_and_its_model_is_told_why() {
    is_advised(&CLAUDE);
}

#[test]
fn a_tool_call_that_is_denied_is_refused_in_codexs_hook_and_its_model_is_told_why() {
    is_advised(&CODEX);
}

#[test]
fn a_tool_call_that_is_denied_is_refused_in_gemini_clis_hook_and_its_model_is_told_why() {
    is_advised(&GEMINI);
}

#[test]
fn a_tool_call_that_is_denied_is_refused_in_opencodes_plug_in_and_its_model_is_told_why() {
    is_advised(&OPENCODE);
}

/// Lets the agent call a tool of a server that was approved: it runs in a sandbox of its
/// own, sees the task's tree, and each call is in the record.
fn calls_a_boxed_server(agent: &Agent) {
    let Some(host) = agent.host() else { return };
    mcp_server::commit(&host);
    let added = mcp_server::add(&host);
    assert_eq!(added.code, 0, "{added:?}");
    let model = Model::play(
        &host,
        &json!([
            { "shell": "printf from-the-%s task > fresh; echo made" },
            { "mcp": { "server": "notes", "tool": "look", "arguments": { "name": "fresh" } },
              "expect": { "contains": ["from-the-task", "in a box"] } },
            { "text": "Done." },
        ]),
    );
    let outcome = agent.run(&host, &model, "look at the notes");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(
        model.failures(),
        Vec::<String>::new(),
        "{:#?}",
        model.requests()
    );
    let seen = events(&host, EventKind::Mcp);
    let called: Vec<_> = seen
        .iter()
        .filter(|body| body["seen"] == "called")
        .collect();
    assert_eq!(called.len(), 1, "{seen:#?}");
    assert_eq!(called[0]["tool"], "look");
}

/// An agent runs a tool that the project declares: on its own tree, in a sandbox of the
/// task, told in few words.
fn runs_a_declared_tool(agent: &Agent) {
    let Some(host) = agent.host() else { return };
    mcp_server::declare_tool(&host);
    let model = Model::play(
        &host,
        &json!([
            { "shell": "printf from-the-%s task > fresh; echo made" },
            { "mcp": { "server": "stockade", "tool": "run_tests", "arguments": { "only": "parser" } },
              "expect": { "contains": ["exit 1", "only::parser", "from-the-task"] } },
            { "text": "Done." },
        ]),
    );
    let outcome = agent.run(&host, &model, "run the tests");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(
        model.failures(),
        Vec::<String>::new(),
        "{:#?}",
        model.requests()
    );
    let started = events(&host, EventKind::ExecStarted);
    let tool = json!(["sh", "tests.sh", "parser"]);
    assert!(
        started.iter().any(|body| body["argv"] == tool),
        "{started:?}"
    );
}

#[test]
fn claude_code_runs_a_tool_that_the_project_declares() {
    runs_a_declared_tool(&CLAUDE);
}

#[test]
fn codex_runs_a_tool_that_the_project_declares() {
    runs_a_declared_tool(&CODEX);
}

#[test]
fn gemini_cli_runs_a_tool_that_the_project_declares() {
    runs_a_declared_tool(&GEMINI);
}

#[test]
fn opencode_runs_a_tool_that_the_project_declares() {
    runs_a_declared_tool(&OPENCODE);
}

#[test]
fn claude_code_calls_a_tool_of_a_server_in_a_sandbox_of_its_own() {
    calls_a_boxed_server(&CLAUDE);
}

#[test]
fn codex_calls_a_tool_of_a_server_in_a_sandbox_of_its_own() {
    calls_a_boxed_server(&CODEX);
}

#[test]
fn gemini_cli_calls_a_tool_of_a_server_in_a_sandbox_of_its_own() {
    calls_a_boxed_server(&GEMINI);
}

#[test]
fn opencode_calls_a_tool_of_a_server_in_a_sandbox_of_its_own() {
    calls_a_boxed_server(&OPENCODE);
}

#[test]
fn g5_a_hook_that_a_repository_switches_off_is_noted_and_the_walls_hold_without_it() {
    let Some(host) = GEMINI.host() else { return };
    let settings = json!({ "hooksConfig": { "enabled": false } });
    fs::create_dir(host.repository().join(".gemini")).unwrap();
    let place = host.repository().join(".gemini/settings.json");
    fs::write(place, settings.to_string()).unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Settings"]);
    let remote = host.path("remote.git");
    let remote = remote.to_str().unwrap();
    host.git(&["init", "--quiet", "--bare", remote]);
    let pushes =
        format!("A=al; git push --force {remote} HEAD:main && echo ${{A}}lowed; echo tried");
    let model = Model::play(
        &host,
        &json!([
            { "shell": pushes, "expect": { "contains": ["tried"], "not_contains": ["allowed"] } },
            { "shell": "echo more", "expect": { "contains": ["more"] } },
            { "text": "Done." },
        ]),
    );
    let outcome = GEMINI.run(&host, &model, "publish it");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(model.failures(), Vec::<String>::new());
    let told = events(&host, EventKind::Advice);
    let [silent] = told.as_slice() else {
        panic!("{told:#?}");
    };
    assert_eq!(silent["tamper"], true);
    assert_eq!(silent["rule"], "hook.silent");
    let refs = host.git_in(Path::new(remote), &["for-each-ref"]);
    assert_eq!(refs, "");
}

#[test]
fn g6_no_repository_switches_off_the_hook_of_claude_code() {
    let Some(host) = CLAUDE.host() else { return };
    let settings = json!({ "disableAllHooks": true });
    fs::create_dir(host.repository().join(".claude")).unwrap();
    let place = host.repository().join(".claude/settings.json");
    fs::write(place, settings.to_string()).unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Settings"]);
    let model = Model::play(
        &host,
        &json!([
            { "shell": "git push --force origin main",
              "expect": { "contains": ["git.push-force-protected"] } },
            { "text": "Done." },
        ]),
    );
    let outcome = CLAUDE.run(&host, &model, "publish it");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(model.failures(), Vec::<String>::new());
}

fn shows_that_the_key_is_wrong(agent: &Agent) {
    let Some(mut host) = agent.host() else { return };
    let wrong = "sk-decoy-wrong-key-0a8e21";
    host.set(agent.key, wrong);
    // Else Claude Code tries for minutes.
    let settings = json!({ "env": { "CLAUDE_CODE_MAX_RETRIES": "1" } });
    fs::create_dir(host.repository().join(".claude")).unwrap();
    fs::write(
        host.repository().join(".claude/settings.json"),
        settings.to_string(),
    )
    .unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Settings"]);
    let model = Model::play(&host, &json!([{ "text": "Done." }]));
    let outcome = agent.run(&host, &model, "say hello");
    assert_ne!(outcome.code, 0, "{outcome:?}");
    let shown = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(shown.contains("the API key is not valid"), "{outcome:?}");
    assert!(!shown.contains(wrong), "{outcome:?}");
    let requests = model.requests();
    assert!(!requests.is_empty());
    for request in &requests {
        assert_eq!(request["key"], "wrong", "{request}");
    }
    assert!(!holds(&host.state(), wrong));
}

#[test]
fn claude_code_shows_what_the_provider_says_of_a_wrong_key() {
    shows_that_the_key_is_wrong(&CLAUDE);
}

#[test]
fn codex_shows_what_the_provider_says_of_a_wrong_key() {
    shows_that_the_key_is_wrong(&CODEX);
}

#[test]
fn gemini_cli_shows_what_the_provider_says_of_a_wrong_key() {
    shows_that_the_key_is_wrong(&GEMINI);
}

#[test]
fn opencode_shows_what_the_provider_says_of_a_wrong_key() {
    shows_that_the_key_is_wrong(&OPENCODE);
}

/// Lets the agent work until its requests or its money are used up; `why` and
/// the agent's own words then name the command that allows more.
fn stops_at_its_cap(agent: &Agent) {
    const CAP: usize = 3;
    let cap = CAP.to_string();
    for (words, sent) in [
        (["--max-requests", &cap], CAP),
        (["--max-cost", "$0.01"], 0),
    ] {
        let Some(host) = agent.host() else { return };
        let steps = (0..12).map(|step| json!({ "shell": format!("echo step {step} >> steps") }));
        let model = Model::play(&host, &steps.collect());
        let outcome = agent.run_with(&host, &model, "take twelve steps", &words);
        let shown = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(
            shown.contains("stockade budget raise"),
            "{words:?}: {outcome:?}"
        );
        assert_eq!(model.requests().len(), sent, "{words:?}: {outcome:?}");
        let refused: Vec<Value> = events(&host, EventKind::Denied)
            .into_iter()
            .filter(|denied| denied["rule"] == "budget.exhausted")
            .collect();
        assert!((1..=3).contains(&refused.len()), "{words:?}: {refused:#?}");
        let why = host.json(&["why", "--task", "work"]);
        let way = why["body"]["allow"].as_str().unwrap_or_default();
        assert!(way.starts_with("stockade budget raise t-"), "{why}");
        let spent = host.json(&["budget", "--by", "task"]);
        let requests = spent["lines"][0]["requests"].as_u64().unwrap_or_default();
        assert_eq!(usize::try_from(requests), Ok(sent), "{spent}");
    }
}

#[test]
fn g3_claude_code_works_with_a_model_on_bedrock_and_holds_no_key_that_signs() {
    const SECRET: &str = "decoy/secret+access+key/0123456789abcdef";
    const MODEL: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let Some(mut host) = CLAUDE.host() else {
        return;
    };
    for (name, value) in [
        ("ANTHROPIC_API_KEY", ""),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", "eu-west-1"),
    ] {
        host.set(name, value);
    }
    let model = Model::play(
        &host,
        &json!([{ "shell": "env | grep AWS_ > variables; echo worked" }, { "text": "Done." }]),
    );
    let outcome = CLAUDE.run_with(&host, &model, "work", &["--model", MODEL]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let requests = model.requests();
    assert!(requests.len() >= 2, "{requests:#?}");
    for request in &requests {
        assert_eq!(request["key"], "accepted", "{request}");
        let path = request["path"].as_str().unwrap_or_default();
        assert!(path.starts_with("/model/"), "{request}");
    }
    let variables = in_snapshot(&host, "variables");
    assert!(variables.contains("AWS_REGION=eu-west-1"), "{variables}");
    assert!(!variables.contains(KEY) && !variables.contains(SECRET));
    let used = events(&host, EventKind::SecretUsed);
    assert_eq!(used[0]["host"], "bedrock-runtime.eu-west-1.amazonaws.com");
    let spent = host.json(&["budget", "--by", "model"]);
    let lines = spent["lines"].as_array().unwrap();
    let mine = lines
        .iter()
        .find(|line| line["name"].as_str() == Some("anthropic.claude-sonnet-4-5-20250929"))
        .unwrap();
    assert_eq!((&mine["turns"], &mine["commands"]), (&json!(2), &json!(1)));
    assert_ne!(mine["cost"], "$0.00", "{spent}");
    assert!(
        lines.iter().all(|line| line["estimated"] == "$0.00"),
        "{spent}"
    );
}

#[test]
fn g3_claude_code_works_on_a_subscription_and_holds_a_placeholder_for_its_token() {
    let Some(mut host) = CLAUDE.host() else {
        return;
    };
    host.set("ANTHROPIC_API_KEY", "");
    let without = host.stockade(&["run", "claude", "work", "--yes"]);
    assert_ne!(without.code, 0, "{without:?}");
    assert!(without.stderr.contains("claude setup-token"), "{without:?}");

    host.set("CLAUDE_CODE_OAUTH_TOKEN", KEY);
    let model = Model::play(
        &host,
        // Of every process, because Claude Code keeps its token from what it starts.
        &json!([
            { "shell": "cat /proc/[0-9]*/environ | tr '\\0' '\\n' > variables; echo worked" },
            { "text": "Done." },
        ]),
    );
    let outcome = CLAUDE.run(&host, &model, "work");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let asked = |request: &&Value| request["path"] == "/v1/messages";
    let requests = model.requests();
    let requests: Vec<_> = requests.iter().filter(asked).collect();
    assert!(requests.len() >= 2, "{requests:#?}");
    assert!(requests.iter().all(|request| request["key"] == "accepted"));
    let variables = in_snapshot(&host, "variables");
    assert!(!variables.contains(KEY), "{variables}");
    assert!(!variables.contains("ANTHROPIC_API_KEY"), "{variables}");
    let stands_in = "CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-";
    assert!(variables.contains(stands_in), "{variables}");
    let used = events(&host, EventKind::SecretUsed);
    assert_eq!(used[0]["secret"], "CLAUDE_CODE_OAUTH_TOKEN");
}

#[test]
fn g7_claude_code_stops_at_its_cap_and_shows_how_to_allow_more() {
    stops_at_its_cap(&CLAUDE);
}

#[test]
fn g7_claude_code_stops_at_each_cap_on_what_it_does_and_says_which() {
    for (word, unit, done) in [
        ("--max-turns", "turns", 2),
        ("--max-commands", "commands", 3),
    ] {
        let Some(host) = CLAUDE.host() else { return };
        let steps = (0..9).map(|step| json!({ "shell": format!("echo step {step} >> steps") }));
        let model = Model::play(&host, &steps.collect());
        let outcome = CLAUDE.run_with(&host, &model, "take nine steps", &[word, "2"]);
        let shown = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(
            shown.contains(&format!("used {done} of 2 {unit}")),
            "{outcome:?}"
        );
        let steps = in_snapshot(&host, "steps");
        assert_eq!(steps.lines().count(), done, "{steps}");
        let state = host.json(&["ls"]);
        let cause = state[0]["state"]["cause"].as_str().unwrap_or_default();
        assert!(cause.contains(&format!("--{unit} N")), "{state}");
        let spent = host.json(&["budget"]);
        assert_eq!(spent["lines"][0][unit], done, "{spent}");
        let raised = host.stockade(&["budget", "raise", "work", &format!("--{unit}"), "20"]);
        assert_eq!(raised.code, 0, "{raised:?}");
        let outcome = host.stockade(&["resume", "work", "--prompt", "go on"]);
        assert!(outcome.code <= 1, "{outcome:?}");
        assert!(in_snapshot(&host, "steps").lines().count() > done);
    }
}

#[test]
fn a_task_that_stopped_at_its_cap_goes_on_once_that_is_raised() {
    let Some(host) = CLAUDE.host() else { return };
    let steps = (0..4).map(|step| json!({ "shell": format!("echo step {step} >> steps") }));
    let turns: Vec<Value> = steps.chain([json!({ "text": "Done." })]).collect();
    let model = Model::play(&host, &turns.into());
    CLAUDE.run_with(&host, &model, "take four steps", &["--max-requests", "2"]);
    assert_eq!(model.requests().len(), 2);
    let raised = host.stockade(&["budget", "raise", "work", "--requests", "20"]);
    assert_eq!(raised.code, 0, "{raised:?}");
    let outcome = host.stockade(&["resume", "work", "--prompt", "go on"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(model.requests().len() > 2, "{outcome:?}");
    let state = host.json(&["ls"]);
    assert_eq!(state[0]["state"]["name"], "done", "{state}");
    assert!(in_snapshot(&host, "steps").contains("step 3"));
}

#[test]
fn g7_codex_stops_at_its_cap_and_shows_how_to_allow_more() {
    stops_at_its_cap(&CODEX);
}

#[test]
fn g7_gemini_cli_stops_at_its_cap_and_shows_how_to_allow_more() {
    stops_at_its_cap(&GEMINI);
}

#[test]
fn g7_opencode_stops_at_its_cap_and_shows_how_to_allow_more() {
    stops_at_its_cap(&OPENCODE);
}

#[test]
fn a_remark_of_the_reviewer_reaches_the_agent_as_its_next_prompt() {
    let Some(host) = CLAUDE.host() else {
        return;
    };
    let model = Model::play(
        &host,
        &json!([
            { "write": { "path": "one.txt", "content": "one\n" } },
            { "text": "Done with one." },
            { "write": { "path": "two.txt", "content": "two\n" } },
            { "text": "Done with two." },
        ]),
    );
    let outcome = CLAUDE.run(&host, &model, "write one");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let remark = host.command(&["review", "work", "--comment", "two is missing"]);
    let outcome = host::finish_within(remark, Duration::from_mins(3)).unwrap();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let review = host.json(&["review", "work"]);
    let files: Vec<&str> = review["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(files, ["one.txt", "two.txt"]);
}
