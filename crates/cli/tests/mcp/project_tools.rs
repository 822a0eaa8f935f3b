//! Tools that a project declares: what an agent runs by name, and nothing else by that.

use std::{
    fs,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use serde_json::{Value, json};
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::{
    host::{
        Host, Outcome, Task, eventually,
        failure::{REFUSED, USAGE},
        processes,
        server::Server,
    },
    mcp, names, of_task, text,
};

const DECLARED: &str = r#"
[tools.say]
about = "Says a text."
run = ["printf", "%s|", "{text}"]
arguments.text = { longest = 4000 }

[tools.run_tests]
about = "Runs the tests."
run = ["sh", "tests.sh", "{quiet}", "{only}"]
arguments.only = { optional = true }
arguments.quiet = { type = "flag", word = "-q", optional = true }

[tools.look]
about = "Looks around."
run = ["sh", "-c", "ls; ls -A ~; touch new || echo cannot write"]
read_only = true

[tools.fetch]
about = "Fetches."
run = ["sh", "-c", "curl -sS http://known.example/page; touch new || echo cannot write; ls -A ~"]
read_only = true
network = true

[tools.wait]
about = "Waits."
run = ["sleep", "4711"]

[tools.in_time]
about = "Takes too long."
run = ["sleep", "4712"]
seconds = 1
"#;

/// More lines than are told, failures in the middle of them.
const TESTS: &str = "echo with \"$@\"; touch ran; i=0
while [ $i -lt 5000 ]; do echo \"noise $i of a test\"; i=$((i+1)); [ $i = 2500 ] && echo 'test a::b ... FAILED'; done
exit 3
";

fn stage(more: &[&str]) -> (Host, Task) {
    let host = Host::new();
    let folder = host.repository();
    fs::write(folder.join("stockade.toml"), DECLARED).unwrap();
    fs::write(folder.join("tests.sh"), TESTS).unwrap();
    host.git_in(&folder, &["add", "-A"]);
    host.git_in(&folder, &["commit", "-qm", "tools"]);
    let task = host.start_with(more, "sleep 600");
    (host, task)
}

fn calls(tool: &str, arguments: &Value) -> Value {
    json!({ "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
}

/// What a client in the task hears of the project's tools.
fn client(host: &Host, task: &Task, requests: &[Value]) -> Vec<Value> {
    let (heard, error) = of_task::client_of(host, task, "stockade", requests);
    assert_eq!(error, "", "{heard:?}");
    heard
}

#[test]
fn declared_tools_are_listed_run_and_told_in_few_words() {
    let (host, task) = stage(&[]);
    let lists = json!({ "method": "tools/list" });
    let heard = client(
        &host,
        &task,
        &[
            lists,
            calls("run_tests", &json!({ "only": "x y", "quiet": true })),
        ],
    );
    assert_eq!(
        names(&heard[0]),
        [
            "fetch",
            "in_time",
            "look",
            "run_tests",
            "say",
            "wait",
            "tool_output"
        ]
    );
    let said = text(&heard[1]);
    assert!(said.starts_with("exit 3\n[of: "), "{said}");
    for part in [
        "[1 failed]\na::b\n",
        "with -q x y\n",
        "noise 4999 of a test",
        "tool_output",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.len() < 6500, "{}", said.len());
    assert_eq!(heard[1]["result"]["isError"], true);
    // What it changed is in the task's tree, and both are in the record.
    assert!(host.exec(&task, "ls ran").1.contains("ran"));
    assert!(
        of_task::bodies(&task, EventKind::Mcp)
            .iter()
            .any(|body| body["tool"] == "run_tests")
    );
    let started = of_task::bodies(&task, EventKind::ExecStarted);
    assert!(
        started
            .iter()
            .any(|body| body["argv"] == json!(["sh", "tests.sh", "-q", "x y"])),
        "{started:?}"
    );
}

/// A client outside that is joined to the task's tools.
struct Outside {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    asked: u64,
}

impl Outside {
    fn of(host: &Host, task: &Task) -> Self {
        let mut command = host.command(&["mcp", "serve", &task.id]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut outside = Self {
            child,
            stdin,
            lines,
            asked: 0,
        };
        let hello = json!({ "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
        outside.ask(&hello);
        outside
    }

    fn say(&mut self, request: &Value) -> u64 {
        let mut request = request.clone();
        self.asked += 1;
        (request["jsonrpc"], request["id"]) = (json!("2.0"), json!(self.asked));
        writeln!(self.stdin, "{request}").unwrap();
        self.asked
    }

    fn ask(&mut self, request: &Value) -> Value {
        let id = self.say(request);
        loop {
            let line: Value = serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap();
            if line["id"] == id {
                return line;
            }
        }
    }

    fn leave(mut self) -> bool {
        drop(self.stdin);
        self.child.wait().unwrap().success()
    }
}

#[test]
fn what_was_left_out_can_be_asked_for() {
    let (host, task) = stage(&[]);
    let mut client = Outside::of(&host, &task);
    let said = client.ask(&calls("run_tests", &json!({})));
    let of = text(&said)
        .split("[of: ")
        .nth(1)
        .unwrap()
        .split(']')
        .next()
        .unwrap();
    let arguments = json!({ "of": of.parse::<u64>().unwrap(), "from": 2502, "lines": 2 });
    let more = client.ask(&calls("tool_output", &arguments));
    assert!(
        text(&more).contains("test a::b ... FAILED\nnoise 2500 of a test"),
        "{more}"
    );
    assert!(
        text(&more).starts_with("[lines 2502 to 2503 of 5002]"),
        "{more}"
    );
    assert!(client.leave());
}

/// Texts by which commands are put into commands.
fn corpus() -> Vec<String> {
    let commands = [
        "touch pwned",
        "id",
        "sh -c 'touch pwned'",
        "cat /etc/passwd",
        "sleep 1",
    ];
    let forms = [
        "; {}",
        "&& {}",
        "|| {}",
        "| {}",
        "& {}",
        "$({})",
        "`{}`",
        "\"; {}; \"",
        "'; {}; '",
        "{{}}; {}",
        "%s%n {}",
        "${IFS}{}",
        "a b; {} #",
        "> pwned; {}",
        "<({})",
        "$(({}))",
        "\\\"; {}",
        "x' || {} '",
        "!({})",
        "@({})",
        "{}",
        "*; {}",
    ];
    let each = forms
        .iter()
        .flat_map(|form| commands.map(|command| form.replace("{}", command)));
    each.collect()
}

#[test]
fn g5_arguments_start_nothing_whatever_stands_in_them() {
    let (host, task) = stage(&["--record", "exec"]);
    let texts = corpus();
    assert!(texts.len() >= 100, "{}", texts.len());
    let mut client = Outside::of(&host, &task);
    let mut said = 0;
    for one in &texts {
        let heard = client.ask(&calls("say", &json!({ "text": one })));
        let refused = heard["result"]["isError"] == true
            && text(&heard).starts_with("Stockade refused this (C05)");
        if !refused {
            assert!(
                text(&heard).ends_with(&format!("\n{one}|")),
                "{one}: {heard}"
            );
            said += 1;
        }
    }
    assert!(client.leave());
    assert!(said > 0);
    let printed = |programs: &[Value]| {
        let argv = programs.iter().filter(|body| body["argv"][0] == "printf");
        argv.count()
    };
    // What is seen of programs is written without anybody waiting for it.
    eventually("all that ran is recorded", || {
        printed(&of_task::bodies(&task, EventKind::ProgramSeen)) >= said
    });
    let programs = of_task::bodies(&task, EventKind::ProgramSeen);
    let ran = |name: &str| {
        let paths = programs.iter().filter_map(|body| body["path"].as_str());
        paths.filter(|path| path.ends_with(name)).count()
    };
    assert_eq!(ran("/printf"), said, "{programs:?}");
    // Beside them the task's own command ran, and the client.
    for other in ["/touch", "/id", "/cat", "/sh", "/dash"] {
        assert_eq!(ran(other), 0, "{other}: {programs:?}");
    }
    assert_eq!(ran("/bash"), 1, "{programs:?}");
    assert_eq!(ran("/sleep"), 1, "{programs:?}");
    assert!(!host.exec(&task, "ls").1.contains("pwned"));
}

#[test]
fn g1_a_tool_that_only_reads_changes_nothing_and_one_has_no_more_than_its_time() {
    let (host, task) = stage(&[]);
    let heard = client(
        &host,
        &task,
        &[
            calls("look", &json!({})),
            calls("in_time", &json!({})),
            calls("nope", &json!({})),
        ],
    );
    assert!(
        text(&heard[0]).contains("tests.sh") && text(&heard[0]).contains("cannot write"),
        "{heard:?}"
    );
    assert!(
        text(&heard[1]).contains("because its time was up"),
        "{heard:?}"
    );
    let refused = heard[2].to_string();
    assert!(refused.contains("Unknown tool: nope"), "{heard:?}");
}

#[test]
fn g2_a_tool_with_a_network_reaches_what_the_task_may_and_others_reach_nothing() {
    let known = Server::start("known.example");
    let words = [
        "--allow",
        "GET http://known.example",
        "--service",
        &known.service,
    ];
    let (host, task) = stage(&words);
    let heard = client(
        &host,
        &task,
        &[calls("fetch", &json!({})), calls("look", &json!({}))],
    );
    let said = text(&heard[0]);
    assert!(
        said.contains("from outside") && said.contains("cannot write"),
        "{said}"
    );
    assert_eq!(known.lines(), ["GET /page HTTP/1.1"]);
    // It has the agent's home, and one that only reads has none of it.
    assert!(said.contains(".config"), "{said}");
    assert!(!text(&heard[1]).contains(".config"), "{heard:?}");
    // What the agent writes into stockade.toml declares nothing.
    host.exec(
        &task,
        "sed -i 's/read_only = true//; s#touch new#touch sneaked#' stockade.toml",
    );
    client(&host, &task, &[calls("fetch", &json!({}))]);
    assert!(!host.exec(&task, "ls").1.contains("sneaked"));
}

#[test]
fn a_client_that_goes_ends_the_tools_that_it_called() {
    let (host, task) = stage(&[]);
    let mut client = Outside::of(&host, &task);
    client.say(&calls("wait", &json!({})));
    let waits = || {
        let tree = processes::tree(&task.folder);
        tree.iter()
            .any(|process| process.words.iter().any(|word| word == "4711"))
    };
    eventually("the tool runs", waits);
    client.child.kill().unwrap();
    client.child.wait().unwrap();
    eventually("the tool has ended", || !waits());
}

fn exec(host: &Host, task: &Task, words: &[&str]) -> Outcome {
    host.stockade(&[&["exec", &task.id, "--tool"], words].concat())
}

#[test]
fn a_person_runs_a_tool_by_its_name_and_hears_what_is_wrong() {
    let (host, task) = stage(&[]);
    let said = exec(&host, &task, &["say", "--", "text=a b"]);
    assert_eq!((said.code, &*said.stdout), (0, "a b|"), "{said:?}");
    let ran = exec(&host, &task, &["run_tests", "--", "quiet:=true"]);
    assert_eq!(ran.code, 3);
    assert!(
        ran.stdout.starts_with("with -q\n") && ran.stdout.contains("noise 2000 of"),
        "{}",
        ran.stdout.len()
    );
    for (words, code, why) in [
        (
            &["nope"][..],
            REFUSED,
            "there is no tool `nope`; there are: fetch, in_time, look",
        ),
        (&["say"], REFUSED, "the argument `text` is missing"),
        (&["say", "--", "text:=5"], REFUSED, "is not a text"),
        (
            &["say", "--", "other=5", "text=x"],
            REFUSED,
            "no argument `other`",
        ),
        (&["say", "--", "text"], USAGE, "is no argument of a tool"),
        (&["say", "--", "text:=x"], USAGE, "expected value"),
    ] {
        let outcome = exec(&host, &task, words);
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(outcome.stderr.contains(why), "{why}: {outcome:?}");
    }
}

#[test]
fn tools_that_cannot_be_meant_start_no_task() {
    let host = Host::new();
    let folder = host.repository();
    fs::write(
        folder.join("stockade.toml"),
        "[tools.x]\nabout = \"x\"\nrun = [\"a\", \"{b}\"]\n",
    )
    .unwrap();
    host.git_in(&folder, &["add", "-A"]);
    host.git_in(&folder, &["commit", "-qm", "tools"]);
    let outcome = host.stockade(&["run", "--yes", "--", "true"]);
    assert_eq!(outcome.code, REFUSED, "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("stockade.toml: [tools.x]: `{b}` is no argument that it declares"),
        "{outcome:?}"
    );
}

#[test]
fn tools_are_listed_and_proposed() {
    let host = Host::new();
    let folder = host.repository();
    fs::write(folder.join("Makefile"), "all:\ntest:\n").unwrap();
    let proposed = mcp(&host, &["tools"]);
    assert!(
        proposed.stdout.contains("of = [\"all\", \"test\"]"),
        "{proposed:?}"
    );
    fs::write(folder.join("stockade.toml"), &proposed.stdout).unwrap();
    let declared = mcp(&host, &["tools"]);
    assert!(
        declared
            .stdout
            .contains("make (`make {target}`) reads and changes the task's tree; no network"),
        "{declared:?}"
    );
    let document: Value = serde_json::from_str(&mcp(&host, &["tools", "--json"]).stdout).unwrap();
    assert_eq!(
        document["tools"][0]["arguments"]["properties"]["target"]["enum"],
        json!(["all", "test"])
    );
}

#[test]
fn the_contract_names_the_tools_and_a_task_without_them_has_no_such_server() {
    let (_host, task) = stage(&[]);
    let plan: Value =
        serde_json::from_slice(&fs::read(task.folder.join("plan.json")).unwrap()).unwrap();
    let tools = plan["contract"]["tools"].to_string();
    assert!(
        tools.contains("look (`sh -c ls; ls -A ~;")
            && tools.contains("reads the task's tree; no network"),
        "{tools}"
    );
    let host = Host::new();
    host.repository();
    let task = host.start_with(&[], "sleep 600");
    let outcome = host.stockade(&["mcp", "serve", &task.id]);
    assert_ne!(outcome.code, 0, "{outcome:?}");
    let ran = task
        .record()
        .into_iter()
        .any(|record| record.kind == RecordKind::Event(EventKind::Mcp));
    assert!(!ran);
}
