//! Sandboxes: how they start, are found and end.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::{
    Server, exec,
    host::{self, Host, Task, files::state_of},
    standing,
};

/// The contract that a wish meets, and the wish with its digest.
pub(crate) fn agreed(server: &Server, mut wish: Value) -> (Value, Value) {
    let refused = server.post("/v1/sandboxes", &wish);
    let contract = refused.problem(409, "contract")["contract"].clone();
    wish["contract"] = contract["digest"].clone();
    (contract, wish)
}

/// Starts a sandbox; its task.
pub(crate) fn start(host: &Host, server: &Server, wish: Value) -> Task {
    let (_, wish) = agreed(server, wish);
    let started = server.post("/v1/sandboxes", &wish);
    let document = started.done(201);
    let id = document["sandbox"]["id"].as_str().unwrap();
    assert_eq!(started.headers["location"], format!("/v1/sandboxes/{id}"));
    host.task(id)
}

fn listed(server: &Server) -> Vec<String> {
    let list = server.get("/v1/sandboxes").done(200);
    let list = list["sandboxes"].as_array().unwrap().iter();
    list.map(|sandbox| sandbox["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_sandbox_starts_once_its_contract_is_agreed_to_by_its_digest() {
    let host = Host::new();
    let server = Server::start(&host);
    let (contract, wish) = agreed(
        &server,
        json!({ "repository": host.repository(), "name": "served", "memory_bytes": 1_u64 << 30 }),
    );
    let text = contract["text"].as_str().unwrap();
    assert!(text.contains("memory 1 GiB"), "{text}");
    assert!(listed(&server).is_empty());
    let mut other = wish.clone();
    other["contract"] = "sha256:0".into();
    let refused = server.post("/v1/sandboxes", &other);
    let problem = refused.problem(409, "contract");
    assert_eq!(problem["contract"]["digest"], contract["digest"]);

    let started = server.post("/v1/sandboxes", &wish).done(201);
    let id = started["sandbox"]["id"].as_str().unwrap();
    assert_eq!(started["sandbox"]["state"], "running");
    assert_eq!(started["contract"]["digest"], contract["digest"]);
    assert_eq!(listed(&server), [id]);
    let task = host.only_task();
    assert_eq!(task.id, id);
    assert_eq!(host.status(&task)["slug"], "served");
    assert_eq!(server.exec(&task, "cat README.md")["exit"], 0);
}

/// Takes the only base tree of a host's pool away, and locks its place: what wants it
/// waits until the lock is dropped.
fn hold_base(host: &Host) -> File {
    let files = state_of(&host.state().join("pool"));
    let mut files = files.into_keys();
    let lock = files.find(|path| path.extension() == Some("lock".as_ref()));
    let lock = lock.unwrap();
    fs::rename(lock.with_extension(""), host.path("taken")).unwrap();
    let lock = File::open(lock).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    lock
}

/// Whether somebody waits for a lock (`proc_locks(5)`).
fn is_waited_for(lock: &File) -> bool {
    let place = format!(":{} ", lock.metadata().unwrap().ino());
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let mut locks = locks.lines();
    locks.any(|line| line.contains("-> FLOCK") && line.contains(&place))
}

#[test]
fn a_sandbox_whose_client_went_before_it_ran_is_ended_again() {
    let host = Host::new();
    let server = Server::start(&host);
    let wish = json!({ "repository": host.repository() });
    start(&host, &server, wish.clone());
    host.json(&["stop", "--all"]);
    let (_, wish) = agreed(&server, wish);
    let lock = hold_base(&host);
    let client = server.open("/v1/sandboxes", &wish, &[]);
    host::eventually("it begins", || is_waited_for(&lock));
    drop(client);
    drop(lock);
    host::eventually("it was ended", || {
        let tasks = host.json(&["ls"]);
        let mut tasks = tasks.as_array().unwrap().iter();
        tasks.len() == 2 && tasks.all(|task| task["state"]["name"] == "stopped")
    });
    assert!(listed(&server).is_empty());
}

#[test]
fn agreement_does_not_hold_for_what_a_contract_has_become_since() {
    let host = Host::new();
    let server = Server::start(&host);
    let (before, wish) = agreed(&server, json!({ "repository": host.repository() }));
    fs::write(
        host.repository().join("stockade.toml"),
        "[setup]\nrun = [\"echo more\"]\n",
    )
    .unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Setup"]);
    let refused = server.post("/v1/sandboxes", &wish);
    let now = &refused.problem(409, "contract")["contract"];
    assert_ne!(now["digest"], before["digest"]);
    assert_eq!(now["wider"], json!(["runs before the agent: echo more"]));
    assert!(listed(&server).is_empty());
}

#[test]
fn the_digest_is_the_same_for_the_same_wish() {
    let host = Host::new();
    let server = Server::start(&host);
    let wish = json!({ "repository": host.repository(), "allow": ["GET example.com"] });
    let (first, _) = agreed(&server, wish.clone());
    let (second, _) = agreed(&server, wish);
    assert_eq!(first, second);
    let text = first["text"].as_str().unwrap();
    assert!(text.contains("example.com"), "{text}");
}

#[test]
fn whatever_runs_is_served_whoever_started_it() {
    let (host, task, server) = standing();
    assert_eq!(listed(&server), [task.id.as_str()]);
    let shown = server.get(&format!("/v1/sandboxes/{}", task.id)).done(200);
    assert_eq!(
        (&shown["id"], &shown["state"]),
        (&json!(task.id), &json!("running"))
    );
    assert_eq!(shown["repository"], json!(host.repository()));
    assert_eq!(server.exec(&task, "echo here")["output"]["text"], "here\n");
}

#[test]
fn many_sandboxes_are_served_side_by_side() {
    let host = Host::new();
    let server = Server::start(&host);
    let wish = json!({ "repository": host.repository() });
    let tasks: Vec<Task> = (0..3)
        .map(|_| start(&host, &server, wish.clone()))
        .collect();
    assert_eq!(listed(&server).len(), tasks.len());
    for task in &tasks {
        let script = format!("echo {} > own", task.id);
        assert_eq!(server.exec(task, &script)["exit"], 0);
    }
    for task in &tasks {
        let seen = server.exec(task, "cat own");
        assert_eq!(seen["output"]["text"], format!("{}\n", task.id));
    }
}

#[test]
fn work_is_saved_at_the_end_and_comes_back_by_review() {
    let host = Host::new();
    let server = Server::start(&host);
    let task = start(&host, &server, json!({ "repository": host.repository() }));
    assert_eq!(server.exec(&task, "echo made > work.txt")["exit"], 0);
    let path = format!("/v1/sandboxes/{}", task.id);
    let ended = server.delete(&path).done(200);
    assert_eq!(ended["state"], "stopped");
    assert!(listed(&server).is_empty());
    // Once more changes nothing.
    assert_eq!(server.delete(&path).done(200), ended);
    let diff = host.stockade(&["diff", &task.id, "--stat"]);
    assert!(diff.stdout.contains("work.txt"), "{diff:?}");
    assert!(!host.repository().join("work.txt").exists());
}

#[test]
fn a_command_of_its_own_is_the_sandboxes_life() {
    let host = Host::new();
    let server = Server::start(&host);
    let wish = json!({ "repository": host.repository(), "command": ["bash", "-c", "exit 3"] });
    let task = start(&host, &server, wish);
    host.wait_for_state(&task, "done");
    let shown = server.get(&format!("/v1/sandboxes/{}", task.id)).done(200);
    assert_eq!(
        (&shown["state"], &shown["exit"]),
        (&json!("done"), &json!(3))
    );
}

#[test]
fn a_published_port_and_a_lower_level_stand_in_contract_and_answer() {
    let host = Host::new();
    let server = Server::start(&host);
    let (contract, wish) = agreed(
        &server,
        json!({ "repository": host.repository(), "publish": ["0:3000"], "nested": true }),
    );
    let text = contract["text"].as_str().unwrap();
    assert!(text.contains("3000") && text.contains("weaker"), "{text}");
    let started = server.post("/v1/sandboxes", &wish).done(201);
    let published = &started["sandbox"]["published"][0];
    assert_eq!(published["inside"], 3000);
    assert!(published["port"].as_u64().unwrap() > 0);
}

#[test]
fn a_sandbox_that_has_ended_or_never_was_is_told_apart() {
    let (host, task, server) = standing();
    host.json(&["stop", &task.id]);
    let run = json!({ "argv": ["true"] });
    let problem = server.post(&exec(&task), &run).problem(409, "not-running");
    assert_eq!(problem["detail"], "the sandbox is stopped");
    for name in ["t-00000000", "..", "%2e%2e", "nobody"] {
        let path = format!("/v1/sandboxes/{name}");
        server.get(&path).problem(404, "not-found");
        server.delete(&path).problem(404, "not-found");
        let path = format!("{path}/exec");
        server.post(&path, &run).problem(404, "not-found");
    }
}

#[test]
fn a_wish_that_cannot_be_is_refused_with_the_name_of_its_field() {
    let host = Host::new();
    let server = Server::start(&host);
    let repository = host.repository();
    for (field, value) in [
        ("repository", json!("project")),
        ("repository", json!(host.home())),
        ("base", json!("no-such-branch")),
        ("agent", json!("nobody")),
        ("agent", json!("codex")),
        ("prompt", json!("do it")),
        ("allow", json!(["https://"])),
        ("presets", json!(["everything"])),
        ("services", json!(["db"])),
        ("publish", json!(["10.0.0.1:80"])),
        ("max_cost", json!("much")),
        ("memory_bytes", json!(4096)),
        ("processors", json!(0)),
        ("require", json!("total")),
        ("workspace", json!("tape")),
        ("read", json!(["relative"])),
        ("wall_seconds", json!(-1)),
        ("wal_seconds", json!(1)),
    ] {
        let mut wish = json!({ "repository": repository });
        wish[field] = value.clone();
        let answer = server.post("/v1/sandboxes", &wish);
        let problem = answer.problem(400, "invalid");
        let detail = problem["detail"].as_str().unwrap();
        let named = [field, value.as_str().unwrap_or(field)];
        assert!(
            named.iter().any(|name| detail.contains(name)) || detail.contains("expected"),
            "{field}: {detail}"
        );
    }
    assert!(listed(&server).is_empty());
}

#[test]
fn a_key_comes_from_the_servers_environment_and_never_stands_in_what_is_printed() {
    const KEY: &str = "sk-ant-decoy-4f1d9b7a2c8e";
    let mut host = Host::new();
    // It keeps the sandbox alive before any agent would run.
    fs::write(
        host.repository().join("stockade.toml"),
        "[setup]\nrun = [\"sleep 1000\"]\n",
    )
    .unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Setup"]);
    let folder = host.path("bin");
    fs::create_dir(&folder).unwrap();
    fs::copy("/bin/echo", folder.join("claude")).unwrap();
    host.set("PATH", format!("{}:{}", folder.display(), host::PATH));
    let wish = json!({ "repository": host.repository(), "agent": "claude", "prompt": "go" });

    let without = Server::start(&host);
    let (_, agreed_wish) = agreed(&without, wish.clone());
    let refused = without.post("/v1/sandboxes", &agreed_wish);
    let problem = refused.problem(403, "refused");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("ANTHROPIC_API_KEY")
    );
    drop(without);

    host.set("ANTHROPIC_API_KEY", KEY);
    let server = Server::start(&host);
    let task = start(&host, &server, wish);
    let script = format!(
        "printenv ANTHROPIC_API_KEY; echo {KEY} | base64; echo sk-ant'-'decoy-4f1d9b7a2c8e"
    );
    let printed = server.exec(&task, &script)["output"]["text"].clone();
    let printed = printed.as_str().unwrap();
    assert_eq!(
        printed.matches("[removed by stockade]").count(),
        3,
        "{printed}"
    );
    let session = server.session(&task, &json!({}));
    let printed = server.run(&session, &script)["stdout"]["text"].clone();
    let printed = printed.as_str().unwrap();
    assert_eq!(
        printed.matches("[removed by stockade]").count(),
        3,
        "{printed}"
    );
    let stream = server.open(
        &exec(&task),
        &json!({ "shell": script }),
        &[("accept", "application/x-ndjson")],
    );
    let streamed = stream.finish().body;
    assert_eq!(
        streamed.matches("[removed by stockade]").count(),
        3,
        "{streamed}"
    );
    assert!(!streamed.contains(KEY));
}
