//! What is inside, and what comes back: never the value, and nothing once it is
//! taken back.

use std::{fs, process::Stdio};

use stockade_types::EventKind;

use crate::{
    BEARER, REAL, Stage, contains, events, holding,
    host::{
        self, eventually,
        processes::{self, Process},
        skip,
        tls_server::{ECHO, forms},
        wait_for_file, wait_within,
    },
    memory, rule,
};

#[test]
fn g3_the_server_gets_the_secret_and_nothing_inside_ever_holds_it() {
    let Some(stage) = Stage::bound() else {
        return;
    };
    // The shell keeps what an echo brought, for as long as it is looked at.
    let script = format!(
        "reply=$(curl -sS {BEARER} https://api.test/echo); echo \"$reply\" > reply; \
         mv reply echoed; sleep 600; :"
    );
    let task = stage.start(&[], &script);
    wait_for_file(&stage.host, &task, "echoed");
    let printed = stage.curl(&task, &format!("{BEARER} https://api.test/v1/x"));
    assert_eq!(printed, "ok 200");
    let bearer = format!("Bearer {REAL}");
    let seen = stage.server.seen();
    let credentials: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("authorization"))
        .collect();
    assert_eq!(credentials, [Some(&*bearer), Some(&*bearer)]);

    let (_, placeholder) = stage
        .host
        .exec(&task, "printf %s $GH_TOKEN | tr a-zA-Z b-zaB-ZA");
    let turn = |c: char| match c {
        'a' | 'A' => char::from_u32(u32::from(c) + 25).unwrap(),
        c if c.is_ascii_alphabetic() => char::from_u32(u32::from(c) - 1).unwrap(),
        c => c,
    };
    // Turned, since no output holds the placeholder either.
    let placeholder: String = placeholder.chars().map(turn).collect();
    assert_ne!(placeholder, REAL);
    assert!(placeholder.starts_with("ghp_") && placeholder.len() == REAL.len());

    for secret in [REAL, "REAL\"value-0123"] {
        assert_eq!(holding(&stage.host.state(), secret), [""; 0]);
        let (start, end) = secret.split_at(7);
        let search = format!(
            "grep -rlsF -- '{start}'''\"\"'{end}' . ~ /tmp /var/tmp /etc /agent.git /pool.git; \
             grep -lsF -- '{start}'''\"\"'{end}' /dev/shm/* /proc/[0-9]*/environ /proc/[0-9]*/cmdline; true"
        );
        assert_eq!(stage.host.exec(&task, &search).1, "", "{secret}");
    }

    let own = |process: &Process| {
        let environment = fs::read(process.file("environ")).unwrap_or_default();
        contains(&environment, task.id.as_bytes())
    };
    let inside: Vec<_> = processes::all().into_iter().filter(own).collect();
    let memories: Vec<_> = inside.iter().filter_map(memory).collect();
    // The search finds what is there.
    if !memories
        .iter()
        .any(|memory| contains(memory, placeholder.as_bytes()))
    {
        return skip(
            "memory of processes inside",
            "this user may not read the memory of its own processes",
        );
    }
    for memory in &memories {
        assert!(!contains(memory, REAL.as_bytes()));
    }
    let used = events(&task, EventKind::SecretUsed);
    assert_eq!(used.len(), 2);
    assert_eq!(
        (&used[0]["secret"], &used[0]["host"]),
        (&"github".into(), &"api.test".into())
    );
}

#[test]
fn g3_an_echoed_secret_comes_back_as_the_placeholder_in_every_form_and_chunk() {
    let Some(stage) = Stage::bound() else {
        return;
    };
    let task = stage.start(&[], "sleep 600");
    let echo = format!("-i --compressed -H 'Range: bytes=0-9' {BEARER} https://api.test/echo");
    // Files, since what is printed is searched once more on its way out.
    let script = format!(
        "curl -sS {echo} > echo; curl -sS {BEARER} https://api.test/gzip > gzip && \
         printf %s $GH_TOKEN > token; mv echo echoed; mv gzip unpacked"
    );
    assert_eq!(stage.host.exec(&task, &script).0, 0);
    stage.host.json(&["stop", &task.id]);
    for form in forms(REAL) {
        let kept = form.trim_matches(['"', '=']);
        let core = &kept[8..kept.len() - 8];
        assert_eq!(holding(&stage.host.state(), core), [""; 0], "{form}");
    }
    let seen = stage.server.seen();
    assert_eq!(seen[0].header("accept-encoding"), Some("identity"));
    assert_eq!(seen[0].header("range"), None);
    let held = holding(&task.folder, ECHO);
    for file in ["/echoed", "/unpacked"] {
        assert!(held.iter().any(|path| path.ends_with(file)), "{held:?}");
    }
}

#[test]
fn g3_a_reply_that_cannot_be_searched_is_withheld() {
    let Some(stage) = Stage::bound() else {
        return;
    };
    let task = stage.start(&[], "sleep 600");
    let printed = stage.curl(&task, &format!("{BEARER} https://api.test/compress"));
    assert!(
        printed.ends_with(" 502") && printed.contains("cannot be searched"),
        "{printed}"
    );
}

#[test]
fn g3_a_secret_that_is_taken_back_stops_at_the_next_request_and_cuts_the_open_reply() {
    let Some(stage) = Stage::bound() else {
        return;
    };
    let task = stage.start(&[], "sleep 600");
    let slow = format!("curl -sSN {BEARER} https://api.test/slow > slow.txt; echo $? > ended");
    let mut running = stage.host.command(&["exec", &task.id, "--shell", &slow]);
    let open = running
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = "grep -q begun slow.txt";
    eventually("the reply has begun", || {
        stage.host.exec(&task, begun).0 == 0
    });

    let removed = stage.secret(&["rm", "github"]);
    assert_eq!(
        removed["taken_back_from"].as_array().unwrap().len(),
        1,
        "{removed}"
    );
    let ended = wait_within(open, host::LONGEST).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let (_, code) = stage.host.exec(&task, "cat ended");
    assert_ne!(code.trim(), "0", "the reply looked whole");
    let before = stage.server.seen().len();
    let printed = stage.curl(&task, &format!("{BEARER} https://api.test/v1/x"));
    assert_eq!(rule(&printed), "secrets.taken-back", "{printed}");
    assert_eq!(stage.server.seen().len(), before);
    let taken = events(&task, EventKind::SecretTakenBack);
    assert_eq!(taken[0]["secret"], "github");
    // It is gone for tasks to come too.
    let next = stage.start(&[], "sleep 600");
    assert_eq!(stage.host.exec(&next, "echo \"[$GH_TOKEN]\"").1, "[]\n");
}
