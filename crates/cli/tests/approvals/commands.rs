//! Commands, and requests to hosts that a rule names, of which the policy wants a
//! person to decide.

use stockade_types::EventKind;

use crate::{
    WAIT, curl, events,
    host::{
        Host, Outcome, Task, eventually, failure::REFUSED, rules::host_with_rules, server::REPLY,
    },
    question, server,
};

/// A rule that wants a person's word for a program, and one for a host.
const ASKS: &str = r#"@id("mine.release")
@verdict("ask")
@reason("Releases are decided by people.")
@match("./release")
@not_match("ls")
forbid (principal, action == Action::"exec.run", resource)
when { context.program == "release" };

@id("mine.web")
@verdict("ask")
@reason("People want to know what goes there.")
@match("curl -d x https://web.test/")
@not_match("curl https://web.test/")
forbid (principal, action == Action::"net.upload", resource)
when { context.target == "web.test" };
"#;

const SCRIPT: &str = "printf '#!/bin/sh\\necho released $1 >> made\\n' > release; chmod +x release";

fn release(host: &Host, task: &Task, version: &str) -> Outcome {
    host.judged(&["--json", "exec", &task.id, "--", "./release", version])
}

/// The number of the question that a refused command waits for.
fn asked(outcome: &Outcome) -> String {
    assert_eq!(outcome.code, REFUSED, "{outcome:?}");
    let text = format!("{}{}", outcome.stdout, outcome.stderr);
    let (_, rest) = text.split_once("has been asked (#").unwrap();
    rest.split(')').next().unwrap().to_owned()
}

#[test]
fn g4_a_command_runs_once_for_each_approval_and_only_with_the_words_that_were_approved() {
    let (host, _rules) = host_with_rules(ASKS);
    let task = host.start_with(&["--ask", "--yes"], WAIT);
    assert_eq!(host.exec(&task, SCRIPT).0, 0);
    let id = asked(&release(&host, &task, "1.0"));
    assert_eq!(asked(&release(&host, &task, "1.0")), id, "it is asked once");
    let other = asked(&release(&host, &task, "2.0"));
    assert_ne!(other, id);

    let card = host.stockade(&["inbox", "--list"]);
    let card = card.stdout;
    for words in [
        "./release 1.0",
        "mine.release: Releases are decided by people.",
        "exec.run",
    ] {
        assert!(card.contains(words), "{words}: {card}");
    }
    // What would run is outward or not as its effects are; this is not.
    let approved = host.stockade(&["approve", &id]);
    assert_eq!(approved.code, 0, "{approved:?}");
    let ran = release(&host, &task, "1.0");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_ne!(asked(&release(&host, &task, "1.0")), id, "it is used up");
    let denied = host.stockade(&["deny", &other, "--reason", "not on a Friday"]);
    assert_eq!(denied.code, 0, "{denied:?}");
    let refused = release(&host, &task, "2.0");
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    assert!(
        format!("{refused:?}").contains("not on a Friday"),
        "{refused:?}"
    );
    assert_eq!(host.exec(&task, "cat made").1, "released 1.0\n");
    let used = events(&task, EventKind::ApprovalUsed);
    assert_eq!(used.len(), 1, "{used:?}");
}

#[test]
fn g4_a_command_that_is_held_starts_when_the_answer_comes_while_it_waits() {
    let (host, _rules) = host_with_rules(ASKS);
    let task = host.start_with(&["--ask", "--yes"], WAIT);
    assert_eq!(host.exec(&task, SCRIPT).0, 0);
    // On a busy machine one answer may come too late.
    let held = (0..5).any(|try_| {
        let version = format!("1.{try_}");
        std::thread::scope(|scope| {
            let run = scope.spawn(|| release(&host, &task, &version));
            let mut id = String::new();
            eventually("it is asked", || {
                let waiting = host.json(&["inbox"]);
                id = waiting[0]["ask"].as_str().unwrap_or_default().to_owned();
                !id.is_empty()
            });
            host.stockade(&["approve", &id]);
            run.join().unwrap().code == 0
        })
    });
    assert!(held);
}

#[test]
fn g4_a_task_that_asks_nobody_refuses_what_a_person_should_decide_and_says_how_to_be_asked() {
    let (host, _rules) = host_with_rules(ASKS);
    let task = host.start(WAIT);
    assert_eq!(host.exec(&task, SCRIPT).0, 0);
    let refused = release(&host, &task, "1.0");
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("started without `--ask`"), "{said}");
    assert!(events(&task, EventKind::Asked).is_empty());
}

#[test]
fn g4_the_policy_asks_about_one_path_of_a_host_that_a_rule_allows() {
    let Some(server) = server() else {
        return;
    };
    let (host, _rules) = host_with_rules(ASKS);
    let words = ["--service", &server.service];
    let rules = [
        "--allow",
        "web.test",
        "--allow",
        "POST web.test",
        "--ask",
        "--yes",
    ];
    let task = host.start_with(&[&words[..], &rules].concat(), WAIT);
    let get = curl(&host, &task, "https://web.test/a");
    assert_eq!(get, format!("{REPLY} 200"));
    let id = question(&host, &task, "-d x https://web.test/a");
    let waiting = host.json(&["inbox"]);
    assert_eq!(waiting[0]["question"]["action"]["path"], "/a");
    assert_eq!(waiting[0]["question"]["because"]["rule"], "mine.web");
    // A POST leaves the machine and cannot be taken back: no local key will do.
    let refused = host.stockade(&["approve", &id]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains("security key"), "{refused:?}");
    assert_eq!(server.lines(), ["GET /a HTTP/1.1"]);
}

#[test]
fn g3_nobody_is_asked_about_words_that_must_not_stand_in_the_record() {
    let (host, _rules) = host_with_rules(ASKS);
    let task = host.start_with(&["--ask", "--yes"], WAIT);
    assert_eq!(host.exec(&task, SCRIPT).0, 0);
    // Its issuer has long taken it back.
    let key = ["ghp_zQWBuTSOoRi4A9spHc", "VY5ncnsDkxkJ0mLq17"].concat();
    let refused = release(&host, &task, &key);
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    let told = format!("{}{}", refused.stdout, refused.stderr);
    assert!(
        told.contains("the action holds what looks like a GitHub token"),
        "{told}"
    );
    // Nor is an answer taken that says one: it is signed as it is.
    let id = asked(&release(&host, &task, "1.0"));
    let reason = format!("use {key} instead");
    let denied = host.stockade(&["deny", &id, "--reason", &reason]);
    assert_ne!(denied.code, 0, "{denied:?}");
    assert_eq!(host.stockade(&["deny", &id, "--reason", "no"]).code, 0);
    let record = serde_json::to_string(&task.record()).unwrap();
    assert!(!record.contains(&key), "{record}");
    let verified = host.stockade(&["audit", "verify", &task.id]);
    assert_eq!(verified.code, 0, "{verified:?}");
}
