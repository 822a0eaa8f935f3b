//! What an answer allows.

use std::fs;

use stockade_types::EventKind;

use crate::{
    asking, curl, events,
    host::{
        Host, eventually, finish, has,
        server::{REPLY, Server},
        skip,
    },
    question, refusal, server,
};

const URL: &str = "https://web.test/a";

#[test]
fn g4_a_request_waits_for_a_person_and_passes_once_when_approved() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let task = asking(&host, &server);
    let id = question(&host, &task, URL);
    // It is asked once, however often the agent tries; all else goes on.
    assert_eq!(question(&host, &task, URL), id);
    assert_eq!(
        curl(&host, &task, "https://ruled.test/"),
        format!("{REPLY} 200")
    );
    let waiting = host.json(&["inbox"]);
    assert_eq!(waiting.as_array().unwrap().len(), 1, "{waiting}");
    assert_eq!(waiting[0]["question"]["action"]["host"], "web.test");
    assert_eq!(waiting[0]["outward"], false);

    let approved = host.json(&["approve", &id, "--reason", "docs"]);
    assert_eq!(
        (&approved["by"], &approved["needs"]),
        (&"local process".into(), &0.into())
    );
    assert_eq!(curl(&host, &task, URL), format!("{REPLY} 200"));
    let next = question(&host, &task, URL);
    assert_ne!(next, id, "an approval for one use is used up");
    assert_eq!(server.lines(), ["GET / HTTP/1.1", "GET /a HTTP/1.1"]);
    let again = host.stockade(&["approve", &id]);
    assert_eq!(again.code, 3, "{again:?}");

    assert_eq!(events(&task, EventKind::Asked).len(), 2);
    let answered = events(&task, EventKind::Answered);
    assert_eq!(answered[0]["answer"]["statement"]["reason"], "docs");
    let used = events(&task, EventKind::ApprovalUsed);
    assert_eq!(used[0]["ask"], waiting[0]["ask"]);
    let sent = events(&task, EventKind::NetworkRequest);
    assert_eq!(sent[1]["approval"], waiting[0]["ask"]);
    host.stockade(&["stop", &task.id]);
    task.wait_until_settled();
    let expired = events(&task, EventKind::AskExpired);
    assert_eq!(expired[0]["reason"], "the task ended");
    let verified = host.stockade(&["audit", "verify", &task.id]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let verified = verified.stdout;
    assert!(
        verified.contains("1 approvals and 0 refusals"),
        "{verified}"
    );
}

#[test]
fn g4_a_held_request_goes_through_when_the_answer_comes_while_it_waits() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let task = asking(&host, &server);
    // Each port is a question of its own; on a busy machine one may be too late.
    let held = [443, 8443, 9443].iter().any(|port| {
        let words = format!("-o /dev/null https://web.test:{port}/");
        std::thread::scope(|scope| {
            let client = scope.spawn(|| curl(&host, &task, &words));
            eventually("the question waits", || {
                let waiting = host.json(&["inbox"]);
                let asked = |one: &serde_json::Value| one["question"]["action"]["port"] == *port;
                let waiting = waiting.as_array().unwrap();
                let id = waiting
                    .iter()
                    .find(|one| asked(one))
                    .map(|one| one["ask"].clone());
                id.is_some_and(|id| host.stockade(&["approve", id.as_str().unwrap()]).code == 0)
            });
            client.join().unwrap().trim() == "200"
        })
    });
    assert!(held, "no request outlived the time for its answer");
}

#[test]
fn g4_three_uses_are_granted_and_the_fourth_is_refused() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let task = asking(&host, &server);
    let id = question(&host, &task, URL);
    host.json(&["approve", &id, "--uses", "3"]);
    for _ in 0..3 {
        assert_eq!(curl(&host, &task, URL), format!("{REPLY} 200"));
    }
    question(&host, &task, URL);
    assert_eq!(server.lines().len(), 3);
    assert_eq!(events(&task, EventKind::ApprovalUsed).len(), 3);
}

#[test]
fn g4_an_approval_by_time_ends_by_its_bytes_and_by_its_time() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let task = asking(&host, &server);
    let id = question(&host, &task, URL);
    host.json(&["approve", &id, "--for", "10m", "--bytes", "1K"]);
    let padded = format!("-H 'x-padding: {}' {URL}", "x".repeat(500));
    assert_eq!(curl(&host, &task, &padded), format!("{REPLY} 200"));
    let next = question(&host, &task, &padded);
    host.json(&["approve", &next, "--for", "2s"]);
    assert_eq!(host.json(&["inbox"]).as_array().unwrap().len(), 1);
    eventually("the time is up", || {
        host.json(&["inbox"]).as_array().unwrap().is_empty()
    });
    question(&host, &task, URL);
    let expired = events(&task, EventKind::AskExpired);
    assert!(
        expired[0]["reason"]
            .as_str()
            .unwrap()
            .contains("not all used in time")
    );
}

#[test]
fn g4_a_no_tells_the_agent_why_lasts_and_takes_back_what_was_approved() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let task = asking(&host, &server);
    let id = question(&host, &task, URL);
    host.json(&["approve", &id, "--uses", "5"]);
    assert_eq!(curl(&host, &task, URL), format!("{REPLY} 200"));
    host.json(&["deny", &id, "--reason", "use the mirror"]);
    for _ in 0..2 {
        let refused = refusal(&curl(&host, &task, URL));
        assert_eq!(refused["rule"], "approval.refused");
        assert!(
            refused["reason"]
                .as_str()
                .unwrap()
                .contains("use the mirror")
        );
    }
    assert_eq!(host.stockade(&["approve", &id]).code, 3);
    assert_eq!(
        events(&task, EventKind::Asked).len(),
        1,
        "nobody is asked again"
    );
    assert_eq!(server.lines().len(), 1);
}

#[test]
fn g4_without_being_told_to_ask_a_task_is_refused_and_nobody_is_bothered() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let task = host.start_with(&["--service", &server.service], crate::WAIT);
    let refused = refusal(&curl(&host, &task, URL));
    assert_eq!(refused["rule"], "network.default-deny");
    assert_eq!(host.json(&["inbox"]), serde_json::json!([]));
}

#[test]
fn g4_of_many_answers_at_once_one_counts_and_of_many_uses_at_once_one_passes() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let task = asking(&host, &server);
    let id = question(&host, &task, URL);
    let accepted = std::thread::scope(|scope| {
        let people: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| host.stockade(&["approve", &id]).code == 0))
            .collect();
        people
            .into_iter()
            .map(|one| usize::from(one.join().unwrap()))
            .sum::<usize>()
    });
    assert_eq!(accepted, 1);
    // All at once, from one shell; those that are not served wait and are told so.
    let script = format!(
        "for i in 1 2 3 4 5 6; do curl -sS --max-time 20 -o /dev/null -w '%{{http_code}}\\n' {URL} & \
         done; wait"
    );
    let printed = host.exec(&task, &script).1;
    let passed = printed.lines().filter(|line| *line == "200").count();
    assert_eq!((passed, printed.lines().count()), (1, 6), "{printed}");
    assert_eq!(server.lines().len(), 1);
}

#[test]
fn a_question_that_nobody_answers_is_refused_after_the_time_that_was_configured() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let folder = host.home().join(".config/stockade");
    fs::create_dir_all(&folder).unwrap();
    let config = |text: &str| fs::write(folder.join("config.toml"), text).unwrap();
    config("[approvals]\nwait_seconds = 1\n");
    let refused = host.stockade(&["run", "--", "true"]);
    assert!(refused.stderr.contains("from 10 to"), "{refused:?}");
    config("[network]\nask = true\n[approvals]\nwait_seconds = 10\n");
    let task = host.start_with(&["--service", &server.service, "--yes"], crate::WAIT);
    let id = question(&host, &task, URL);
    eventually("its time is up", || {
        host.json(&["inbox"]).as_array().unwrap().is_empty()
    });
    assert_eq!(host.stockade(&["approve", &id]).code, 3);
    let expired = events(&task, EventKind::AskExpired);
    assert_eq!(expired[0]["reason"], "nobody answered in time");
}

#[test]
fn what_people_always_approve_is_proposed_as_a_rule_and_what_they_deny_is_not() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let task = asking(&host, &server);
    for _ in 0..3 {
        let id = question(&host, &task, URL);
        host.json(&["approve", &id]);
        assert_eq!(curl(&host, &task, URL), format!("{REPLY} 200"));
    }
    let denied = question(&host, &task, "https://web.test:8443/");
    host.json(&["deny", &denied]);
    let stats = host.json(&["inbox", "--stats"]);
    assert_eq!(
        (&stats["asked"], &stats["approved"], &stats["denied"]),
        (&4.into(), &3.into(), &1.into())
    );
    let proposals = stats["proposals"].as_array().unwrap();
    assert_eq!(proposals.len(), 1, "{stats}");
    assert_eq!(
        (&proposals[0]["questions"], &proposals[0]["uses"]),
        (&3.into(), &3.into())
    );
    // The rule is one that answers.
    let rule = proposals[0]["rule"].as_str().unwrap();
    assert_eq!(host.stockade(&["allow", rule, "--task", &task.id]).code, 0);
    assert_eq!(curl(&host, &task, URL), format!("{REPLY} 200"));
    assert!(
        host.stockade(&["inbox", "--stats"])
            .stdout
            .contains("always approved")
    );
}

#[test]
fn a_program_of_the_users_is_told_of_a_question_and_can_send_it_on() {
    let Some(server) = server() else {
        return;
    };
    let hook = Server::start("hook.test");
    let host = Host::new();
    let url = hook.service.split_once('=').unwrap().1;
    let config = format!(
        "[approvals]\nnotify = \"tee $HOME/notice | curl -s --data-binary @- {url}/hook\"\n"
    );
    let folder = host.home().join(".config/stockade");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), config).unwrap();
    let task = asking(&host, &server);
    let id = question(&host, &task, &format!("-H 'x-stockade-why: SAID' {URL}"));
    eventually("the hook is called", || {
        hook.lines() == ["POST /hook HTTP/1.1"]
    });
    let told = fs::read_to_string(host.home().join("notice")).unwrap();
    assert!(!told.contains("SAID"), "{told}");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let notice = told["notice"].as_str().unwrap();
    let document: serde_json::Value = serde_json::from_str(notice).unwrap();
    assert_eq!(document["answer"], format!("stockade approve {id}"));
    assert_eq!(document["action"]["host"], "web.test");
    // The same question is told once.
    question(&host, &task, URL);
    assert_eq!(hook.lines().len(), 1);
    if !has("ssh-keygen") {
        return skip("the signature of a notice", "ssh-keygen is not installed");
    }
    fs::write(host.path("signature"), told["signature"].as_str().unwrap()).unwrap();
    let allowed = format!("me {}\n", told["key"].as_str().unwrap());
    fs::write(host.path("allowed"), allowed).unwrap();
    fs::write(host.path("text"), notice).unwrap();
    let check = |text: &str| {
        let mut command = host.other_command("bash");
        let words = "ssh-keygen -Y verify -f ../allowed -I me -n notice@stockade -s ../signature";
        command.args(["-c", &format!("{words} < {text}")]);
        finish(command).code
    };
    assert_eq!(check("../text"), 0);
    assert_ne!(check("../allowed"), 0);
}

#[test]
fn g4_an_approval_ends_with_the_run_of_the_task_that_it_was_for() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let task = asking(&host, &server);
    let id = question(&host, &task, URL);
    host.json(&["approve", &id, "--uses", "5", "--for", "1h"]);
    assert_eq!(curl(&host, &task, URL), format!("{REPLY} 200"));
    host.stockade(&["stop", &task.id]);
    task.wait_until_settled();
    assert_eq!(host.stockade(&["deny", &id]).code, 3);
    assert_eq!(host.json(&["inbox"]), serde_json::json!([]));
    let resumed = host.stockade(&["resume", &task.id, "--detach"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_ne!(question(&host, &task, URL), id);
    assert_eq!(server.lines().len(), 1);
}

#[test]
fn g5_a_merged_commit_tells_who_answered_what_its_task_asked() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let task = asking(&host, &server);
    let id = question(&host, &task, URL);
    host.json(&["approve", &id]);
    assert_eq!(
        host.exec(&task, &format!("curl -sS {URL} > fetched.txt")).0,
        0
    );
    host.stockade(&["stop", &task.id]);
    task.wait_until_settled();
    let merged = host.stockade(&["merge", &task.id, "--yes"]);
    assert_eq!(merged.code, 0, "{merged:?}");
    let origin = host.json(&["verify-commit"]);
    let answers = serde_json::json!(["approve by local process"]);
    assert_eq!(origin["answers"], answers, "{origin}");
}
