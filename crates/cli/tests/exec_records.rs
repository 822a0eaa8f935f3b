//! What the record tells of the programs that start inside.

mod host;

use serde_json::Value;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use self::host::{Host, Task};

const RECORDED: &[&str] = &["--record", "exec"];

/// Runs `script` in bash as a task whose programs are recorded, to its end.
fn run(host: &Host, script: &str) -> Task {
    let words = ["run", "--record", "exec", "--", "bash", "-c", script];
    let outcome = host.stockade(&words);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let task = host.only_task();
    task.wait_until_settled();
    task
}

/// What the record tells of programs.
fn programs(task: &Task) -> Vec<Value> {
    let records = task.record().into_iter();
    let seen = records.filter(|r| r.kind == RecordKind::Event(EventKind::ProgramSeen));
    seen.map(|record| record.body).collect()
}

/// Of those, the ones that were called `name`.
fn called<'a>(programs: &'a [Value], name: &str) -> Vec<&'a Value> {
    let all = programs.iter();
    all.filter(|program| program["argv"][0] == name).collect()
}

#[test]
fn each_program_that_starts_is_recorded_with_its_words_and_what_ran() {
    let host = Host::new();
    // Each waits, to be there when it is looked at, on a busy machine too.
    let script = "ln -s \"$(command -v sleep)\" innocent; ./innocent 0.7; \
                  (exec -a liar sleep 0.7); sleep 0.70";
    let seen = programs(&run(&host, script));
    let innocent = called(&seen, "./innocent");
    assert_eq!(innocent.len(), 1, "{seen:?}");
    assert_eq!(innocent[0]["path"], "./innocent");
    assert_eq!(
        innocent[0]["argv"],
        serde_json::json!(["./innocent", "0.7"])
    );
    for name in ["./innocent", "liar", "sleep"] {
        for program in called(&seen, name) {
            let ran = program["ran"].as_str().unwrap();
            assert!(ran.ends_with("/sleep"), "{program}");
            assert_eq!(program["outcome"], "started", "{program}");
            assert_eq!(program["known"], "as seen, may race", "{program}");
        }
        assert!(!called(&seen, name).is_empty(), "{name}: {seen:?}");
    }
}

#[test]
fn a_call_that_fails_is_told_apart_from_one_that_starts_the_same_program_again() {
    let host = Host::new();
    let script = "shopt -s execfail; exec ./nowhere; echo > text; chmod +x text; \
                  exec bash -c 'sleep 0.7; echo again'";
    let seen = programs(&run(&host, script));
    let nowhere = called(&seen, "./nowhere");
    assert!(
        nowhere.is_empty() || nowhere[0]["outcome"] == "failed",
        "{seen:?}"
    );
    let again = called(&seen, "bash");
    let last = again.last().unwrap();
    assert_eq!(last["outcome"], "started", "{seen:?}");
    assert!(last["ran"].as_str().unwrap().ends_with("/bash"), "{last}");
}

#[test]
fn a_storm_of_short_programs_is_recorded_without_a_gap_and_does_not_stop_the_task() {
    let host = Host::new();
    let script = "for i in $(seq 1 40); do for j in 1 2 3 4 5; do /bin/true $i $j & done; \
                  kill -9 $! 2>/dev/null; wait; done; echo survived > kept";
    let task = run(&host, script);
    let seen = programs(&task);
    // Every fifth was shot, at whatever point.
    let count = called(&seen, "/bin/true").len();
    assert!((160..=200).contains(&count), "{count} of 160 to 200");
    let outcome = host.stockade(&["logs", &task.id, "--programs"]);
    assert!(outcome.stdout.contains("/bin/true 40 1"), "{outcome:?}");
}

#[test]
fn commands_of_clients_are_recorded_in_every_kind_of_sandbox() {
    let host = Host::new();
    let task = host.start_with(RECORDED, "sleep 1000");
    for kind in [&[][..], &["--fresh"], &["--tightened"]] {
        let mut words = vec!["exec", &task.id];
        words.extend(kind);
        words.extend(["--", "/bin/sleep", "0.7"]);
        let outcome = host.stockade(&words);
        assert_eq!(outcome.code, 0, "{kind:?}: {outcome:?}");
    }
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
    task.wait_until_settled();
    let seen = programs(&task);
    let commands = called(&seen, "/bin/sleep");
    assert_eq!(commands.len(), 3, "{seen:?}");
    for command in commands {
        assert_eq!(command["outcome"], "started", "{command}");
    }
}

#[test]
fn a_task_that_goes_on_is_still_recorded_and_one_that_records_less_must_be_agreed_to() {
    let host = Host::new();
    let task = host.start_with(RECORDED, "sleep 1000");
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
    task.wait_until_settled();
    let before = programs(&task).len();
    host.json(&["resume", &task.id, "--detach"]);
    host::eventually("the program is recorded", || programs(&task).len() > before);
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);

    let outcome = host.stockade(&["run", "--", "bash", "-c", "sleep 1000"]);
    assert_ne!(outcome.code, 0, "{outcome:?}");
    let told = "no longer records the programs that start";
    assert!(outcome.stderr.contains(told), "{outcome:?}");
}

#[test]
fn without_the_flag_nothing_of_it_is_recorded_and_the_record_says_so() {
    let host = Host::new();
    let outcome = host.stockade(&["run", "--", "true"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let task = host.only_task();
    task.wait_until_settled();
    assert!(programs(&task).is_empty());
    let records = task.record();
    let mut starts = records.iter();
    let start = starts
        .find(|r| r.kind == RecordKind::Event(EventKind::TaskStarted))
        .unwrap();
    assert_eq!(start.body["contract"]["records_programs"], false);
    let outcome = host.stockade(&["logs", &task.id, "--programs"]);
    assert!(outcome.stderr.contains("--record exec"), "{outcome:?}");
}
