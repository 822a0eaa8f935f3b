//! The policy of a task, where it is enforced: commands before they start, and
//! requests before they leave.

mod host;

use std::fs;

use serde_json::Value;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use self::host::{
    Host, Outcome, Task,
    failure::{FAILED, REFUSED},
    has,
    rules::{NO_MAKE, host_with_rules},
    server::{REPLY, Server},
    skip,
    terminal::Terminal,
};

/// One that forbids a host.
const NO_HOST: &str = r#"@id("mine.host")
@reason("That host is not asked by agents.")
@match("curl https://web.test/")
@not_match("curl https://other.test/")
forbid (principal, action in [Action::"net.connect", Action::"net.upload"], resource)
when { context.target == "web.test" };
"#;

/// Runs a shell text in a task, judged.
fn shell(host: &Host, task: &Task, text: &str) -> Outcome {
    host.judged(&["exec", &task.id, "--shell", text])
}

/// The bodies of the record's events of a kind.
fn bodies(task: &Task, kind: EventKind) -> Vec<Value> {
    let wanted = |kind_seen: &RecordKind| *kind_seen == RecordKind::Event(kind);
    let records = task.record().into_iter();
    let records = records.filter(|record| wanted(&record.kind));
    records.map(|record| record.body).collect()
}

#[test]
fn g4_a_denied_command_is_not_started_and_its_caller_learns_rule_reason_and_what_else_to_do() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let text = "touch made; git push --force origin main";
    let refused = shell(&host, &task, text);
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    for words in [
        "git.push-force-protected",
        "The history of a branch that others work on is not overridden.",
        "Instead: Push to a new branch.",
        "--no-policy",
    ] {
        assert!(refused.stderr.contains(words), "{words}: {refused:?}");
    }
    let json = host.judged(&["--json", "exec", &task.id, "--shell", text]);
    assert_eq!(json.code, REFUSED, "{json:?}");
    let document: Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!(document["denial"]["rule"], "git.push-force-protected");
    assert_eq!(document["denial"]["instead"], "Push to a new branch.");
    assert_eq!(host.exec(&task, "ls").1, "README.md\n", "nothing ran");
    let denied = bodies(&task, EventKind::Denied);
    assert_eq!(denied.len(), 2);
    assert_eq!(denied[0]["denial"]["rule"], "git.push-force-protected");
    let why = host.stockade(&["why", "--task", &task.id]).stdout;
    assert!(why.contains("instead Push to a new branch."), "{why}");
}

#[test]
fn g4_what_a_person_must_decide_is_not_started_and_says_so() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let refused = host.judged(&["exec", &task.id, "--", "npm", "publish"]);
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    assert!(refused.stderr.contains("packages.publish"), "{refused:?}");
    assert!(
        refused.stderr.contains("A person must decide"),
        "{refused:?}"
    );
}

#[test]
fn what_the_policy_allows_runs_as_before_and_the_record_says_how_it_was_judged() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let done = shell(&host, &task, "echo a > made && cat made");
    assert_eq!((done.code, done.stdout.as_str()), (0, "a\n"), "{done:?}");
    let started = bodies(&task, EventKind::ExecStarted);
    assert_eq!(started.last().unwrap()["policy"]["verdict"], "allow");
}

#[test]
fn a_person_may_set_the_policy_aside_for_one_command_and_the_record_says_so() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let words = ["exec", &task.id, "--no-policy", "--", "sudo", "true"];
    let done = host.judged(&words);
    assert_ne!(done.code, REFUSED, "{done:?}");
    let started = bodies(&task, EventKind::ExecStarted);
    assert_eq!(started.last().unwrap()["policy"]["verdict"], "set aside");
}

#[test]
fn g4_what_cannot_be_told_runs_without_a_network_and_says_so() {
    if !has("curl") {
        return skip("requests to allowed hosts", "curl is not installed");
    }
    let server = Server::start("web.test");
    let host = Host::new();
    let words = ["--service", &server.service, "--allow", "web.test", "--yes"];
    let task = host.start_with(&words, "sleep 1000");
    let asks = "curl -sS --max-time 20 https://web.test/a";
    // What is known reaches the host; the same, hidden, does not.
    let open = shell(&host, &task, asks);
    assert_eq!(open.stdout, REPLY, "{open:?}");
    let hidden = format!("echo kept > made; eval \"$(printf '%s' '{asks}')\"; $NOTHING");
    let contained = shell(&host, &task, &hidden);
    assert_ne!(contained.code, REFUSED, "{contained:?}");
    assert!(!contained.stdout.contains(REPLY), "{contained:?}");
    assert!(
        contained.stderr.contains("without a network"),
        "{contained:?}"
    );
    assert!(contained.stderr.contains("exec.opaque"), "{contained:?}");
    assert_eq!(server.lines(), ["GET /a HTTP/1.1"]);
    // It had the workspace, and the task's home.
    assert_eq!(host.exec(&task, "cat made").1, "kept\n");
    let json = host.judged(&["--json", "exec", &task.id, "--shell", &hidden]);
    let result: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(result["contained"]["rule"], "exec.opaque", "{result}");
    let started = bodies(&task, EventKind::ExecStarted);
    assert_eq!(started.last().unwrap()["policy"]["verdict"], "contain");
    assert_eq!(started.last().unwrap()["isolation"], "contained");
}

#[test]
fn g4_variables_of_a_command_are_judged_with_it() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let words = ["exec", &task.id, "--env", "X=git push --force origin main"];
    let refused = host.judged(&[&words[..], &["--shell", "$X"]].concat());
    assert_eq!(refused.code, REFUSED, "{refused:?}");
}

#[test]
fn g4_at_a_terminal_the_policy_counts_for_exec_and_not_for_a_persons_shell() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let command = ["exec", &task.id, "--", "npm", "publish"];
    let refused = Terminal::start(host.judged_command(&command)).finish();
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    assert!(refused.stdout.contains("packages.publish"), "{refused:?}");
    let command = ["exec", &task.id, "--", "echo", "judged"];
    let done = Terminal::start(host.judged_command(&command)).finish();
    assert!(done.code == 0 && done.stdout.contains("judged"), "{done:?}");
}

#[test]
fn g4_a_rule_that_cannot_stand_refuses_the_start_with_its_place_and_leaves_nothing() {
    let (host, file) = host_with_rules(&NO_MAKE.replace("context.program", "context.progrm"));
    let refused = host.stockade(&["run", "--detach", "--", "true"]);
    assert_eq!(refused.code, FAILED, "{refused:?}");
    let place = format!("{}:7:", file.display());
    assert!(refused.stderr.contains(&place), "{refused:?}");
    assert!(refused.stderr.contains("progrm"), "{refused:?}");
    let tasks = host.json(&["ls"]);
    assert_eq!(tasks.as_array().unwrap().len(), 0, "{tasks}");
}

#[test]
fn g4_the_rules_of_user_and_base_commit_judge_and_their_digest_is_in_contract_and_record() {
    let (host, file) = host_with_rules(NO_MAKE);
    let folder = host.repository().join(".stockade/policy");
    fs::create_dir_all(&folder).unwrap();
    let ours = NO_MAKE
        .replace("mine.make", "ours.cargo")
        .replace("make all", "ninja")
        .replace("\"make\"", "\"ninja\"");
    fs::write(folder.join("ours.cedar"), ours).unwrap();
    host.git(&["add", "-A"]);
    host.git(&["commit", "-qm", "rules"]);
    let started = host.json(&["run", "--detach", "--", "sleep", "1000"]);
    let task = host.task(started["task"].as_str().unwrap());
    let policy = &started["contract"]["policy"];
    assert_eq!(policy["people"][0], file.to_str().unwrap());
    assert_eq!(policy["repository"][0], ".stockade/policy/ours.cedar");
    for (command, rule) in [("make all", "mine.make"), ("ninja", "ours.cargo")] {
        let refused = shell(&host, &task, command);
        assert_eq!(refused.code, REFUSED, "{refused:?}");
        assert!(refused.stderr.contains(rule), "{refused:?}");
    }
    // What an agent writes into the tree is no rule.
    let removed = host.exec(&task, "rm -r .stockade && git commit -qam x; echo $?");
    assert!(removed.1.ends_with("0\n"), "{removed:?}");
    assert_eq!(shell(&host, &task, "ninja").code, REFUSED);
    let begun = &bodies(&task, EventKind::TaskStarted)[0];
    assert_eq!(begun["contract"]["policy"]["digest"], policy["digest"]);
    assert!(policy["digest"].as_str().unwrap().starts_with("sha256:"));
}

#[test]
fn g4_rules_are_read_again_as_a_whole_and_broken_ones_leave_the_old_in_force() {
    let (host, file) = host_with_rules(NO_MAKE);
    let task = host.start("sleep 1000");
    let make = || shell(&host, &task, "make --version").code;
    assert_eq!(make(), REFUSED);
    fs::write(&file, NO_MAKE.replace("context.program", "context.progrm")).unwrap();
    let refused = host.stockade(&["policy", "reload", &task.id]);
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    assert!(refused.stderr.contains("mine.cedar:7:"), "{refused:?}");
    assert!(refused.stderr.contains("stay as they were"), "{refused:?}");
    assert_eq!(make(), REFUSED);
    assert!(bodies(&task, EventKind::PolicyChanged).is_empty());
    // A changed file counts once it is read, and not before.
    fs::remove_file(&file).unwrap();
    assert_eq!(make(), REFUSED);
    let reloaded = host.json(&["policy", "reload", &task.id]);
    assert_ne!(make(), REFUSED);
    let changed = &bodies(&task, EventKind::PolicyChanged)[0];
    assert_eq!(changed["policy"]["digest"], reloaded["policy"]["digest"]);
    assert_ne!(changed["before"], changed["policy"]["digest"]);
    // The task keeps them, beyond the end of its supervisor.
    host.stockade(&["stop", &task.id]);
    task.wait_until_settled();
    assert_ne!(make(), REFUSED);
    assert_eq!(shell(&host, &task, "npm publish").code, REFUSED);
}

#[test]
fn g4_a_request_that_a_rule_for_hosts_allows_is_still_refused_by_the_policy() {
    if !has("curl") {
        return skip("requests to allowed hosts", "curl is not installed");
    }
    let server = Server::start("web.test");
    let (host, file) = host_with_rules(NO_HOST);
    let words = [
        "--service",
        &server.service,
        "--allow",
        "ANY web.test",
        "--yes",
    ];
    let task = host.start_with(&words, "sleep 1000");
    // Nobody judged the command's text: it is the request that is refused.
    let ask = |words: &str| {
        host.exec(&task, &format!("curl -sS --max-time 20 {words}"))
            .1
    };
    let refused: Value = serde_json::from_str(&ask("https://web.test/a")).unwrap();
    assert_eq!(refused["rule"], "mine.host", "{refused}");
    assert!(server.lines().is_empty());
    fs::remove_file(&file).unwrap();
    host.json(&["policy", "reload", &task.id]);
    assert_eq!(ask("https://web.test/a"), REPLY);
    assert_eq!(ask("-d x https://web.test/in"), REPLY);
    // A push is known by its path, however that is written.
    for path in ["x.git/git-receive-pack", "x.git/git%2Dreceive-pack"] {
        // In words, since git shows its reader nothing else.
        let refused = ask(&format!("-d x https://web.test/{path}"));
        for words in ["(git.push-unread)", "Instead: "] {
            assert!(refused.contains(words), "{refused}");
        }
    }
    assert_eq!(server.lines(), ["GET /a HTTP/1.1", "POST /in HTTP/1.1"]);
}

#[test]
fn g4_a_task_whose_kept_rules_were_changed_on_disk_does_not_start_again() {
    let host = Host::new();
    let task = host.start("true");
    task.wait_until_settled();
    let kept = task.folder.join("policy.json");
    let text = fs::read_to_string(&kept).unwrap();
    fs::write(&kept, text.replace("forbid", "permit")).unwrap();
    let refused = shell(&host, &task, "true");
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    assert!(
        refused.stderr.contains("not what was agreed to"),
        "{refused:?}"
    );
}
