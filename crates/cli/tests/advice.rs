//! Tool calls that are told from inside a task before they happen: what is answered,
//! what is recorded, and that nothing follows from it but the answer.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use self::host::{Host, Task, eventually, has, processes, rules::host_with_rules, skip};

/// A command that a task runs for as long as it is looked at.
const WAIT: &str = "sleep 600";
const AGENTS: [&str; 4] = ["claude", "codex", "gemini", "opencode"];
const FORCED: &str = "git push --force origin main";

/// What the hook inside said.
#[derive(Debug)]
struct Said {
    code: i64,
    output: String,
    error: String,
}

/// A task in which the hook can be run.
fn told(host: &Host, words: &[&str]) -> Task {
    host.start_with(&[&["--hooks", "on"], words].concat(), WAIT)
}

/// What the hook says, started with `words`, to what `event` prints in a shell.
fn hook(host: &Host, task: &Task, words: &str, event: &str) -> Said {
    let script = format!(
        "output=$({event} | /opt/stockade/hook {words} 2>/tmp/error); echo $?; echo \"$output\"; \
         cat /tmp/error"
    );
    let (_, text) = host.exec(task, &script);
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap().to_owned();
    Said {
        code: line().parse().unwrap(),
        output: line(),
        error: line(),
    }
}

/// The event of a shell command, printed.
fn runs(text: &str) -> String {
    let event = json!({
        "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": { "command": text },
        "a field of next year": { "whatever": 1 },
    });
    format!("printf %s '{event}'")
}

/// The bodies of the record's events of a kind.
fn bodies(task: &Task, kind: EventKind) -> Vec<Value> {
    let records = task.record().into_iter();
    let of_kind = records.filter(|record| record.kind == RecordKind::Event(kind));
    of_kind.map(|record| record.body).collect()
}

/// What the record has of tool calls, once that is so many; nobody waits for the disk.
fn advice(task: &Task, count: usize) -> Vec<Value> {
    let seen = || bodies(task, EventKind::Advice);
    eventually("every tool call is recorded", || seen().len() >= count);
    let seen = seen();
    assert_eq!(seen.len(), count, "{seen:#?}");
    seen
}

#[test]
fn a_denied_tool_call_is_refused_inside_with_reason_and_what_else_to_do() {
    let host = Host::new();
    let task = told(&host, &[]);
    for agent in AGENTS {
        let denied = hook(&host, &task, agent, &runs(FORCED));
        assert_eq!(denied.code, 2, "{denied:?}");
        let answer: Value = serde_json::from_str(&denied.output).unwrap();
        let answer = match agent {
            "claude" | "codex" => &answer["hookSpecificOutput"]["permissionDecision"],
            _ => &answer["decision"],
        };
        assert_eq!(answer, "deny", "{agent}");
        for words in ["git.push-force-protected", "Push to a new branch."] {
            assert!(denied.output.contains(words), "{agent}: {denied:?}");
            assert!(denied.error.contains(words), "{agent}: {denied:?}");
        }
        let passed = hook(&host, &task, agent, &runs("cargo test"));
        assert_eq!((passed.code, &*passed.output), (0, ""), "{passed:?}");
    }
    let events = advice(&task, 2 * AGENTS.len());
    let (denied, passed) = (&events[0], &events[1]);
    for (name, value) in [
        ("agent", json!("claude")),
        ("tool", json!("Bash")),
        ("argv", json!(["bash", "-c", FORCED])),
        ("verdict", json!("deny")),
        ("refused", json!(true)),
        ("rule", json!("git.push-force-protected")),
        ("instead", json!("Push to a new branch.")),
        ("known", json!("told by the agent")),
    ] {
        assert_eq!(denied[name], value, "{denied}");
    }
    assert_eq!(
        (&passed["verdict"], &passed["refused"]),
        (&json!("allow"), &json!(false))
    );
    let listed = host.json(&["logs", &task.id, "--hooks"]);
    assert_eq!(listed.as_array().unwrap().len(), events.len());
    let lines = host.stockade(&["logs", &task.id, "--hooks"]).stdout;
    let line = lines.lines().next().unwrap();
    for words in ["claude", FORCED, "deny (git.push-force-protected)"] {
        assert!(line.contains(words), "{words}: {lines}");
    }
    // A refusal like any other, to whoever asks why.
    let why = host.stockade(&["why", "--task", &task.id]).stdout;
    for words in [
        "opencode is about to run `git push",
        "instead Push",
        "told by the agent",
    ] {
        assert!(why.contains(words), "{words}: {why}");
    }
}

#[test]
fn g8_what_cannot_be_judged_inside_is_refused() {
    let host = Host::new();
    let task = told(&host, &[]);
    let long = |bytes: usize| {
        format!(
            "{{ printf '{{\"tool_name\":\"Bash\",\"tool_input\":{{\"command\":\"'; \
             head -c {bytes} /dev/zero | tr '\\0' x; printf '\"}}}}'; }}"
        )
    };
    for (what, words, event, reason) in [
        ("no JSON", "claude", "echo no json".to_owned(), "hook.event"),
        ("nothing", "claude", "true".to_owned(), "hook.event"),
        ("no tool", "codex", "echo '{}'".to_owned(), "hook.event"),
        (
            "no command",
            "gemini",
            "echo '{\"tool_name\":\"Bash\"}'".to_owned(),
            "hook.event",
        ),
        ("much", "gemini", long(200_000), "it is too long"),
        ("too much", "codex", long(2_000_000), "too large"),
        ("an agent of next year", "aider", runs("true"), "hook.agent"),
        ("no agent", "", runs("true"), "without the agent's name"),
    ] {
        let said = hook(&host, &task, words, &event);
        assert_eq!(said.code, 2, "{what}: {said:?}");
        assert!(said.error.contains(reason), "{what}: {said:?}");
    }
    // Nothing of it stays in the way.
    let passed = hook(&host, &task, "claude", &runs("true"));
    assert_eq!(passed.code, 0, "{passed:?}");
}

#[test]
fn g8_where_nobody_answers_the_hook_says_no_in_time() {
    let host = Host::new();
    let task = told(&host, &[]);
    let said = |words: &[&str]| {
        let script = format!("{} | /opt/stockade/hook claude 2>&1; echo $?", runs("true"));
        let before = ["--json", "exec", &task.id];
        let words = [&before[..], words, &["--", "bash", "-c", &script]].concat();
        let clock = Instant::now();
        let document: Value = serde_json::from_str(&host.stockade(&words).stdout).unwrap();
        let output = document["output"].as_str().unwrap().to_owned();
        (output, clock.elapsed())
    };
    // Without a way to the gateway, at once; with one that stands still, in time.
    let (output, _) = said(&["--tightened"]);
    assert!(output.contains("nobody outside answers"), "{output}");
    assert!(output.ends_with("2\n"), "{output}");

    let tree = processes::tree(&task.folder);
    let gateway = tree.iter().find(|part| part.is_part("__gateway")).unwrap();
    let gateway = Pid::from_raw(gateway.id).unwrap();
    kill_process(gateway, Signal::STOP).unwrap();
    let (output, took) = said(&[]);
    kill_process(gateway, Signal::CONT).unwrap();
    assert!(output.contains("no answer came in time"), "{output}");
    assert!(output.ends_with("2\n"), "{output}");
    assert!(took < Duration::from_secs(25), "{took:?}");
    assert_eq!(said(&[]).0, "0\n");
}

#[test]
fn g8_a_flood_of_tool_calls_is_bounded_and_the_task_goes_on() {
    const CALLS: usize = 1500;
    let host = Host::new();
    let task = told(&host, &[]);
    // Eight at once, as fast as they can be started.
    let script = format!(
        "{} > /tmp/event; seq {CALLS} | xargs -P 8 -n 1 sh -c \
         '/opt/stockade/hook claude < /tmp/event 2>&1 || echo no' > /tmp/said; \
         grep -c ^no /tmp/said; grep -c hook.rate /tmp/said",
        runs("ls")
    );
    let clock = Instant::now();
    let (_, text) = host.exec(&task, &script);
    let seconds = usize::try_from(clock.elapsed().as_secs()).unwrap() + 1;
    let counts: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    let heard = CALLS - counts[0];
    assert!(heard >= 200, "{text}");
    assert!(heard <= 200 + 20 * seconds, "{heard} in {seconds} s");
    assert_eq!(counts[0], counts[1], "whoever is refused is told why");
    advice(&task, heard);
    assert_eq!(host.exec(&task, "echo on").1, "on\n");
}

/// A rule that wants a person's word for a program.
const ASKS: &str = r#"@id("mine.release")
@verdict("ask")
@reason("Releases are decided by people.")
@match("./release")
@not_match("ls")
forbid (principal, action == Action::"exec.run", resource)
when { context.program == "release" };
"#;

#[test]
fn g4_a_person_is_asked_about_a_tool_call_and_it_is_told_yes_once() {
    let (host, _rules) = host_with_rules(ASKS);
    let task = told(&host, &["--ask", "--yes"]);
    let call = || hook(&host, &task, "codex", &runs("./release 1.0"));
    let asked = call();
    assert_eq!(asked.code, 2, "{asked:?}");
    assert!(asked.error.contains("mine.release"), "{asked:?}");
    let waiting = host.json(&["inbox"]);
    let id = waiting[0]["ask"].as_str().unwrap();
    assert!(asked.error.contains(&id[..4]), "{asked:?}, {waiting}");
    host.json(&["approve", id]);
    let passed = call();
    assert_eq!((passed.code, &*passed.output), (0, ""), "{passed:?}");
    assert_eq!(call().code, 2, "it is used up");
    let events = advice(&task, 3);
    let refused: Vec<_> = events.iter().map(|event| &event["refused"]).collect();
    assert_eq!(refused, [true, false, true]);
    assert!(
        events.iter().all(|event| event["verdict"] == "ask"),
        "{events:?}"
    );
}

#[test]
fn g4_a_tool_call_that_was_told_yes_may_do_no_more_than_before() {
    if !has("curl") {
        return skip(
            "a request that a hook had no objection to",
            "curl is not installed",
        );
    }
    let host = Host::new();
    let task = told(&host, &[]);
    let asks = "curl -sS --max-time 20 -o /dev/null https://web.test/";
    let passed = hook(&host, &task, "claude", &runs(asks));
    assert_eq!(passed.code, 0, "{passed:?}");
    host.exec(&task, asks);
    assert_eq!(
        bodies(&task, EventKind::NetworkRequest),
        Vec::<Value>::new()
    );
    let denied = bodies(&task, EventKind::Denied);
    assert_eq!(denied[0]["host"], "web.test", "{denied:?}");
}

#[test]
fn g1_the_program_that_tells_tool_calls_cannot_be_changed_and_is_there_only_if_wanted() {
    const CLIENT: &str = "/opt/stockade/hook";
    let host = Host::new();
    let absent = host.look(&format!("test -e {CLIENT} || echo absent"));
    assert_eq!(absent, "absent\n");
    let task = told(&host, &[]);
    let attempts = format!(
        "exec 2>/dev/null; echo x > {CLIENT} && echo wrote; chmod 777 {CLIENT} && echo changed; \
         rm -f {CLIENT} && echo removed; mv /opt/stockade /opt/other && echo moved; \
         ln -f /bin/true {CLIENT} && echo linked; {} | {CLIENT} claude; echo $?",
        runs(FORCED)
    );
    let (_, text) = host.exec(&task, &attempts);
    assert!(text.ends_with("2\n"), "{text}");
    for word in ["wrote", "changed", "removed", "moved", "linked"] {
        assert!(!text.contains(word), "{text}");
    }
    let (_, mode) = host.exec(&task, &format!("stat -c %a {CLIENT}"));
    assert_eq!(mode, "555\n");
}
