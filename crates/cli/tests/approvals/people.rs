//! Who answers, and how a person does.

use std::{process::Stdio, sync::atomic::Ordering};

use stockade_types::EventKind;

use crate::{
    agent::Agent,
    asking, curl, events,
    host::{Host, has, server::REPLY, skip, terminal::Terminal},
    question, server,
};

const POST: &str = "-d x https://web.test/in";

#[test]
fn g4_what_cannot_be_taken_back_is_approved_by_a_touched_security_key_and_by_nothing_less() {
    let Some(server) = server() else {
        return;
    };
    if !has("ssh-keygen") {
        return skip("approvals by security keys", "ssh-keygen is not installed");
    }
    let mut host = Host::new();
    let task = asking(&host, &server);
    let id = question(&host, &task, POST);
    let by_process = host.stockade(&["approve", &id]);
    assert_eq!(by_process.code, 4, "{by_process:?}");
    assert!(
        by_process.stderr.contains("counts as a local process"),
        "{by_process:?}"
    );

    let agent = Agent::start(&host.path(""), 3);
    host.set("SSH_AUTH_SOCK", agent.socket.as_os_str());
    host.json(&["approver", "add", "ann", agent.public.to_str().unwrap()]);
    agent.touched.store(false, Ordering::Release);
    let untouched = host.stockade(&["approve", &id]);
    assert_eq!(untouched.code, 4, "{untouched:?}");
    assert!(server.lines().is_empty());
    agent.touched.store(true, Ordering::Release);
    let approved = host.json(&["approve", &id]);
    assert_eq!(approved["by"], "ann");
    assert_eq!(curl(&host, &task, POST), format!("{REPLY} 200"));
    let answered = events(&task, EventKind::Answered);
    assert_eq!(answered[0]["by"]["presence"], true);

    // With somebody enrolled, this machine's key approves nothing any more.
    let id = question(&host, &task, "https://web.test/");
    host.unset("SSH_AUTH_SOCK");
    let without = host.stockade(&["approve", &id]);
    assert_ne!(without.code, 0, "{without:?}");
    host.json(&["approver", "rm", "ann"]);
    assert_eq!(host.stockade(&["approve", &id]).code, 0);
    let verified = host.json(&["audit", "verify", &task.id]);
    let found = verified["found"].as_array().unwrap();
    let answers = found.iter().find_map(|one| one.get("answers")).unwrap();
    assert_eq!(
        (&answers[0]["by"], &answers[0]["presence"]),
        (&"ann".into(), &true.into())
    );
}

#[test]
fn g4_two_people_are_asked_where_two_are_wanted_and_one_with_two_keys_is_one() {
    let Some(server) = server() else {
        return;
    };
    if !has("ssh-keygen") {
        return skip("approvals by two people", "ssh-keygen is not installed");
    }
    let mut host = Host::new();
    let folder = host.home().join(".config/stockade");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), "[approvals]\npeople = 2\n").unwrap();
    let agents = [1, 2, 3].map(|seed| Agent::start(&host.path(""), seed));
    for (agent, name) in agents.iter().zip(["ann", "ann", "bob"]) {
        host.json(&["approver", "add", name, agent.public.to_str().unwrap()]);
    }
    let task = asking(&host, &server);
    let id = question(&host, &task, POST);
    host.set("SSH_AUTH_SOCK", agents[0].socket.as_os_str());
    assert_eq!(host.json(&["approve", &id, "--key", "ann"])["needs"], 1);
    let again = host.stockade(&["approve", &id, "--key", "ann"]);
    assert_eq!(again.code, 4, "{again:?}");
    assert_eq!(question(&host, &task, POST), id);
    host.set("SSH_AUTH_SOCK", agents[2].socket.as_os_str());
    assert_eq!(host.json(&["approve", &id, "--key", "bob"])["needs"], 0);
    assert_eq!(curl(&host, &task, POST), format!("{REPLY} 200"));
}

/// `stockade inbox` at a terminal of its own.
fn inbox(host: &Host) -> Terminal {
    let mut command = host.other_command("setsid");
    command.args(["--ctty", env!("CARGO_BIN_EXE_stockade"), "inbox"]);
    Terminal::start(command)
}

#[test]
fn g4_only_the_word_of_the_card_typed_after_the_question_approves() {
    let Some(server) = server() else {
        return;
    };
    if !has("setsid") {
        return skip("answers at a terminal", "setsid is not installed");
    }
    let host = Host::new();
    let task = asking(&host, &server);
    let id = question(&host, &task, "https://web.test/");
    // Typed ahead, before the question is there: it answers nothing.
    let mut terminal = inbox(&host);
    terminal.send("web.test\n");
    terminal.wait_for("asks for something");
    terminal.send("web.test\nweb.test\n");
    terminal.wait_for("Type `web.test`");
    assert_eq!(question(&host, &task, "https://web.test/"), id);
    // Neither a key nor another word does.
    terminal.send("y\n");
    let shown = terminal.finish();
    assert_eq!(shown.code, 0, "{shown:?}");
    assert_eq!(question(&host, &task, "https://web.test/"), id);

    let mut terminal = inbox(&host);
    terminal.wait_for("Type `web.test`");
    terminal.send("web.test\n");
    let shown = terminal.finish();
    assert!(shown.stdout.contains("approved"), "{shown:?}");
    assert_eq!(
        curl(&host, &task, "https://web.test/"),
        format!("{REPLY} 200")
    );

    question(&host, &task, "https://web.test/");
    let mut terminal = inbox(&host);
    terminal.wait_for("Type `web.test`");
    terminal.send("no not this one\n");
    terminal.finish();
    let printed = curl(&host, &task, "https://web.test/");
    assert!(printed.contains("not this one"), "{printed}");
}

#[test]
fn g4_without_a_terminal_nothing_is_typed_and_nothing_is_approved() {
    let Some(server) = server() else {
        return;
    };
    if !has("setsid") {
        return skip("answers without a terminal", "setsid is not installed");
    }
    let host = Host::new();
    let task = asking(&host, &server);
    let id = question(&host, &task, "https://web.test/");
    let mut command = host.other_command("setsid");
    command.args(["--wait", env!("CARGO_BIN_EXE_stockade"), "inbox"]);
    command.stdin(Stdio::null());
    let refused = crate::host::finish(command);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("stockade approve"), "{refused:?}");
    assert_eq!(question(&host, &task, "https://web.test/"), id);
}

#[test]
fn tasks_that_ask_the_same_are_answered_in_one_step_and_each_records_its_own() {
    let Some(server) = server() else {
        return;
    };
    if !has("setsid") {
        return skip("answers at a terminal", "setsid is not installed");
    }
    let host = Host::new();
    let tasks = [(); 3].map(|()| asking(&host, &server));
    for task in &tasks {
        question(&host, task, "https://web.test/");
    }
    let mut terminal = inbox(&host);
    terminal.wait_for("for all 3 tasks");
    terminal.send("web.test\n");
    let shown = terminal.finish();
    assert_eq!(shown.stdout.matches("approved").count(), 3, "{shown:?}");
    for task in &tasks {
        assert_eq!(
            curl(&host, task, "https://web.test/"),
            format!("{REPLY} 200")
        );
        assert_eq!(events(task, EventKind::Answered).len(), 1);
    }
}
