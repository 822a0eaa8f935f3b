//! Twelve ways to change the tool from inside: each fails, and each try stands
//! in the record that the tool keeps outside, also if the agent itself makes it.

mod host;

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use self::host::{Host, Task, has, processes, skip};

/// What is tried, in bash, with the paths and processes of the real tool; it
/// ends with 0 only if something worked.
fn ways(host: &Host, task: &Task) -> Vec<(&'static str, String)> {
    let tool = env!("CARGO_BIN_EXE_stockade");
    let (id, folder) = (&task.id, task.folder.display());
    let state = host.state();
    let state = state.display();
    let parts: Vec<String> = processes::tree(&task.folder)
        .iter()
        .map(|process| process.id.to_string())
        .collect();
    let parts = parts.join(" ");
    let socket = format!(
        "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) && connect(S, sockaddr_un(\"{folder}/control/socket\")) or die $!'"
    );
    [
        ("edit", format!("for f in plan.json status.json record/checkpoint ../../audit/key ../../audit/log/checkpoint; do echo x >> {folder}/$f && exit; done; false")),
        ("environment", format!("export STOCKADE_STATE_DIR={state} HOME={state}; {tool} allow '**' --task {id}")),
        ("signal", format!("for p in {parts}; do kill -STOP $p && exit; done; false")),
        ("socket", socket),
        ("kill", format!("kill -9 1; for p in {parts}; do kill -9 $p && exit; done; false")),
        ("replace", format!("cp /bin/true {tool} || cat /bin/true > /proc/1/exe")),
        ("path", "for d in ${PATH//:/ } /usr/local/bin; do cp /bin/true $d/git && exit; done; false".to_owned()),
        ("preload", "echo /tmp/x.so > /etc/ld.so.preload".to_owned()),
        ("ptrace", format!("for p in 1 {parts}; do head -c1 /proc/$p/environ && exit; : > /proc/$p/mem && exit; done; false")),
        ("core", "echo '|/tmp/x' > /proc/sys/kernel/core_pattern".to_owned()),
        ("group", "mount -t cgroup2 none /tmp || echo max > /sys/fs/cgroup/memory.max || echo 0 > /sys/fs/cgroup/cgroup.procs".to_owned()),
        ("settings", "umount .git || rm -f .git || mv .git other".to_owned()),
    ]
    .into()
}

/// What must be as it was: the tool, its files, its processes, the machine.
fn kept(task: &Task) -> (Vec<(PathBuf, Vec<u8>)>, Vec<i32>) {
    let tool = PathBuf::from(env!("CARGO_BIN_EXE_stockade"));
    let files = [
        task.folder.join("plan.json"),
        "/proc/sys/kernel/core_pattern".into(),
        "/etc/ld.so.preload".into(),
        tool,
    ];
    let files = files.map(|path| (path.clone(), fs::read(path).unwrap_or_default()));
    let parts = processes::tree(&task.folder);
    let parts = parts.iter().filter(|process| process.runs());
    (files.into(), parts.map(|process| process.id).collect())
}

/// The commands that ended, as the record tells them: words and exit code.
fn recorded(task: &Task) -> Vec<(String, Value)> {
    let mut started = BTreeMap::new();
    let mut ended = Vec::new();
    for record in task.record() {
        let exec = record.body["exec"].as_u64();
        match record.kind {
            RecordKind::Event(EventKind::ExecStarted) => {
                started.insert(exec, record.body["argv"].to_string());
            }
            RecordKind::Event(EventKind::ExecEnded) => {
                let words = started.remove(&exec).unwrap_or_default();
                ended.push((words, record.body["exit"].clone()));
            }
            _ => {}
        }
    }
    ended
}

#[test]
fn g8_the_tool_cannot_be_changed_from_inside_and_each_try_stands_in_the_record() {
    if !has("perl") {
        return skip(
            "ways to change the tool",
            "there is no perl to speak to a socket",
        );
    }
    let host = Host::new();
    let task = host.start("exec sleep 1000");
    let before = kept(&task);
    let ways = ways(&host, &task);
    assert_eq!(ways.len(), 12);
    for (way, script) in &ways {
        let (exit, said) = host.exec(&task, &format!(": way-{way}; {script}"));
        assert_ne!(exit, 0, "{way}: {said}");
    }
    assert_eq!(kept(&task), before);
    // What the workspace says to the next task is written, and held back.
    let widen = "printf '[network]\\nallow = [\"**\"]\\n' > stockade.toml";
    assert_eq!(host.exec(&task, widen).0, 0);
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
    task.wait_until_settled();

    let recorded = recorded(&task);
    for (way, _) in &ways {
        let mark = format!(": way-{way};");
        let found = recorded.iter().find(|(words, _)| words.contains(&mark));
        let (words, exit) = found.unwrap();
        assert_ne!(*exit, 0, "{words}");
    }
    let shown = host.json(&["review", &task.id, "--accept-all"]);
    let files = shown["files"].as_array().unwrap();
    let settings = files.iter().find(|file| file["path"] == "stockade.toml");
    assert_eq!(settings.unwrap()["held_back"], true, "{shown}");
    assert_eq!(settings.unwrap()["choice"], Value::Null, "{shown}");
}

/// What the main command tries is known by the programs that it starts, which the
/// record has with their words if it is asked to.
#[test]
fn g8_what_the_agent_itself_tries_stands_in_the_record_by_the_programs_that_it_starts() {
    if !has("perl") {
        return skip(
            "ways to change the tool",
            "there is no perl to speak to a socket",
        );
    }
    let host = Host::new();
    // The ways are those of a task that runs: they are given to it while it does.
    let wait = "mkfifo go; read -r _ < go; . ./ways; exec sleep 1000";
    let task = host.start_with(&["--record", "exec"], wait);
    host::eventually("the agent waits", || host.exec(&task, "test -p go").0 == 0);
    let before = kept(&task);
    let ways = ways(&host, &task);
    let line = |(way, script): &(&str, String)| {
        let script = format!(": way-{way}; {script}").replace('\'', "'\\''");
        format!("bash -c '{script}'; echo {way} $? >> ended\n")
    };
    let lines: String = ways.iter().map(line).collect();
    let give = format!(
        "cat > given <<'END OF WAYS'\n{lines}touch all\nEND OF WAYS\nmv given ways; echo > go"
    );
    assert_eq!(host.exec(&task, &give).0, 0);
    host::eventually("all ways were tried", || {
        host.exec(&task, "test -e all").0 == 0
    });
    assert_eq!(kept(&task), before);
    let (_, ended) = host.exec(&task, "cat ended");
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
    task.wait_until_settled();

    let records = task.record().into_iter();
    let seen = records.filter(|r| r.kind == RecordKind::Event(EventKind::ProgramSeen));
    let seen: Vec<Value> = seen.map(|record| record.body).collect();
    for (way, _) in &ways {
        let exit = ended
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{way} ")));
        assert!(exit.is_some_and(|exit| exit != "0"), "{way}: {ended}");
        let mark = format!(": way-{way};");
        let tried = seen.iter().find(|program| {
            program["argv"][2]
                .as_str()
                .is_some_and(|word| word.starts_with(&mark))
        });
        let tried = tried.unwrap_or_else(|| panic!("{way} does not stand in the record"));
        assert_eq!(tried["known"], "as seen, may race", "{tried}");
    }
}
