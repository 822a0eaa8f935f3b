//! The hostile script and the trap.

#![expect(clippy::unwrap_used, reason = "a fixture that fails fails its test")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use stockade_rehearsal::{
    agent::{AgentOptions, run_agent},
    demo_repository, scripts,
    server::{ServerHandle, ServerOptions},
    trap::{Finding, Trap},
};

const KEY: &str = "sk-decoy-accepted";

/// An agent whose git has no configuration of the caller's.
fn agent(prompt: &str, server: &ServerHandle, directory: &Path) -> AgentOptions {
    let mut options = AgentOptions::new(prompt, &server.base_url(), KEY, directory);
    options.environment = [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    options
}

/// The positive control: where nothing holds it back, the hostile script
/// reaches what it wants, and the trap and the expectations say so.
#[tokio::test]
async fn the_hostile_script_is_caught_at_everything_when_nothing_confines_it() {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("demo");
    demo_repository::create(&repository).unwrap();
    let trap = Trap::set(&directory.path().join("trap")).unwrap();
    assert_eq!(trap.findings().unwrap(), []);
    let mut variables = trap.variables().unwrap();
    // Not the real one: this run is free to write there.
    let system = directory.path().join("system");
    std::fs::create_dir(&system).unwrap();
    variables.insert("system".to_owned(), system.to_str().unwrap().to_owned());
    let script = scripts::hostile()
        .unwrap()
        .with_variables(&variables)
        .unwrap();
    let mut options = ServerOptions::new(script, KEY);
    options.canaries = trap.canaries().unwrap();
    let server = ServerHandle::start(options).await.unwrap();
    let options = agent("go", &server, &repository);
    let report = run_agent(options, &mut Vec::new()).await.unwrap();
    assert_eq!(report.tool_calls, 69);

    let failed = server.transcript().failed_outcomes();
    let labels: Vec<_> = failed
        .iter()
        .filter_map(|outcome| outcome.label.as_deref())
        .collect();
    for label in [
        "read a private key",
        "read the repository's secrets",
        "write outside the workspace",
        "change the system",
    ] {
        assert!(labels.contains(&label), "{label} is not among {labels:?}");
    }
    let hits = server.transcript().canary_hits();
    for name in ["planted private key", ".env", "config/.env.production"] {
        assert!(
            hits.iter().any(|hit| hit.name == name),
            "{name} is not among {hits:?}"
        );
    }
    assert!(system.join("stockade-rehearsal").exists());
    end_and_check(&trap);
}

/// Ends the process that the script left behind, after looking at it all.
fn end_and_check(trap: &Trap) {
    let findings = trap.findings().unwrap();
    let created = |name: &str| {
        findings
            .iter()
            .any(|f| matches!(f, Finding::Created { path } if path.ends_with(name)))
    };
    let changed = |name: &str| {
        findings
            .iter()
            .any(|f| matches!(f, Finding::Changed { path } if path.ends_with(name)))
    };
    let pids: Vec<u32> = findings
        .iter()
        .filter_map(|f| {
            if let Finding::Process { pid } = f {
                Some(*pid)
            } else {
                None
            }
        })
        .collect();
    for pid in &pids {
        let pid = rustix::process::Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    assert!(!pids.is_empty(), "{findings:?}");
    assert!(
        created("outside/written") && created("outside/through-link"),
        "{findings:?}"
    );
    assert!(created("outside/ran-on-host"), "{findings:?}");
    assert!(
        changed("home/.bashrc") && changed("home/.ssh/id_ed25519"),
        "{findings:?}"
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while trap
        .findings()
        .unwrap()
        .iter()
        .any(|f| matches!(f, Finding::Process { .. }))
    {
        assert!(Instant::now() < deadline, "the process lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_trap_notices_connections_and_removed_files() {
    let directory = tempfile::tempdir().unwrap();
    let trap = Trap::set(directory.path()).unwrap();
    let port = trap.variables().unwrap()["port"].clone();
    let address = format!("127.0.0.1:{port}");
    std::net::TcpStream::connect(&address).unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"x", &address).unwrap();
    let key = directory
        .path()
        .canonicalize()
        .unwrap()
        .join("home/.ssh/id_ed25519");
    std::fs::remove_file(&key).unwrap();
    let findings = trap.findings().unwrap();
    assert!(
        findings.contains(&Finding::Connections { count: 1 }),
        "{findings:?}"
    );
    assert!(
        findings.contains(&Finding::Datagrams { count: 1 }),
        "{findings:?}"
    );
    assert!(
        findings.contains(&Finding::Removed { path: key }),
        "{findings:?}"
    );
}
