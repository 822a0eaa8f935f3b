//! Browsers and containers work in a task by the scripts of
//! `docs/browsers-and-containers.md`, which are run here as they stand there.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use self::host::{
    Host, Outcome, finish_within, has,
    server::{REPLY, Server},
    skip,
};

/// Longer than a browser or a few containers take, even on a busy machine.
const LONGEST: Duration = Duration::from_mins(4);

const DOCUMENT: &str = include_str!("../../../docs/browsers-and-containers.md");

/// A page whose script the browser must run.
const PAGE: &str = "<p id=x></p><script>x.textContent = 6 * 7</script>";

/// Chromium as the document starts it.
const CHROMIUM: &str = "chromium --headless --disable-gpu --no-first-run \
    --disable-background-networking --disable-component-update";

/// A script of the document.
fn documented(name: &str) -> &'static str {
    let begin = format!("<!-- {name}:begin -->\n```sh\n");
    let (_, rest) = DOCUMENT.split_once(&begin).unwrap();
    let end = format!("```\n<!-- {name}:end -->");
    rest.split_once(&end).unwrap().0
}

/// Runs `script` in a task of its own, every step of which must work.
fn run(host: &Host, words: &[&str], script: &str) -> Outcome {
    let words = [
        &["run", "--yes"],
        words,
        &["--", "bash", "-euo", "pipefail", "-c", script],
    ]
    .concat();
    let mut command: Command = host.command(&words);
    command.stdin(Stdio::null());
    finish_within(command, LONGEST).unwrap()
}

#[test]
fn a_browser_has_its_own_sandbox_only_in_a_task_that_may_nest() {
    if !has("chromium") {
        return skip("Chromium's own sandbox", "chromium is not installed");
    }
    let host = Host::new();
    fs::write(host.repository().join("page.html"), PAGE).unwrap();
    host.git(&["add", "page.html"]);
    host.git(&["commit", "-q", "-m", "a page"]);
    let shows =
        |flags: &str| format!("{CHROMIUM} {flags} --dump-dom \"file://$PWD/page.html\" 2>&1");

    // It starts no renderer without walls around it.
    let plain = run(&host, &[], &shows(""));
    assert_ne!(plain.code, 0, "{plain:?}");
    assert!(plain.stdout.contains("sandbox"), "{plain:?}");
    let nested = run(&host, &["--nested"], &shows(""));
    assert_eq!(nested.code, 0, "{nested:?}");
    assert!(nested.stdout.contains(">42</p>"), "{nested:?}");

    let without = shows("--no-sandbox --screenshot=page.png");
    let picture = format!("{without}; head -c 4 page.png | tail -c 3");
    let without = run(&host, &[], &picture);
    assert_eq!(without.code, 0, "{without:?}");
    assert!(without.stdout.ends_with("PNG"), "{without:?}");
}

#[test]
fn a_browser_shows_pages_of_an_allowed_host_once_it_trusts_the_task() {
    for program in ["chromium", "certutil"] {
        if !has(program) {
            let reason = format!("{program} is not installed");
            return skip("a browser and the gateway", &reason);
        }
    }
    let host = Host::new();
    let server = Server::start("web.test");
    let asks = format!("{CHROMIUM} --no-sandbox --dump-dom https://web.test/page 2>/dev/null");
    // It ends well even if all that it has to show is an error.
    let before = format!("({asks} || true) >before; ! grep -q '{REPLY}' before");
    // A task that is resumed runs it once more.
    let trust = documented("trust");
    let script = format!("{before}\n{trust}\n{trust}\n{asks}");
    let words = ["--service", &server.service, "--allow", "web.test"];
    let shown = run(&host, &words, &script);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains(REPLY), "{shown:?}");
    let asked = server.lines();
    let pages = asked.iter().filter(|line| line.starts_with("GET /page "));
    assert_eq!(pages.count(), 1, "{asked:?}");
}

/// The document's script for podman, as an executable in a folder of the host.
fn podman(host: &Host) -> PathBuf {
    let folder = host.path("tools");
    fs::create_dir(&folder).unwrap();
    let script = folder.join("podman");
    fs::write(&script, documented("podman")).unwrap();
    for path in [&host.path(""), &folder, &script] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// What containers do in a task. The image has no file of its own: programs are
/// the task's.
const CONTAINERS: &str = r#"
mkdir -p /tmp/base/usr /tmp/made
for name in bin lib lib64; do ln -s "usr/$name" "/tmp/base/$name"; done
tar -C /tmp/base -cf /tmp/base.tar .
podman import -q /tmp/base.tar base >/dev/null
podman run --rm -v /usr:/usr:ro -v "$PWD:/work" -w /work base sh -c '
    id -u; cat README.md; echo made >made
    touch /usr/x 2>/dev/null || echo kept
    ls -d /agent.git /home/agent 2>/dev/null || echo hidden'
cat made

printf 'FROM localhost/base\nRUN echo built >/made\n' >/tmp/made/Dockerfile
podman build -q -v /usr:/usr:ro -t made /tmp/made >/dev/null
podman run --rm -v /usr:/usr:ro made cat /made

podman run -d --name long -v /usr:/usr:ro base sleep 1000 >/dev/null
podman exec long true 2>/dev/null || echo "no exec"
podman rm -f -t 0 long >/dev/null
podman ps -q

asks='curl -sS https://web.test/from-a-container'
podman run --rm -v /usr:/usr:ro -v /etc/stockade:/etc/stockade:ro -e SSL_CERT_FILE base $asks; echo
podman run --rm --network none -v /usr:/usr:ro base $asks 2>/dev/null || echo alone
podman pull -q web.test/image >/dev/null 2>&1 || echo "no image"
"#;

#[test]
fn podman_runs_containers_by_the_documented_script_only_in_a_task_that_may_nest() {
    for program in ["podman", "crun", "bwrap", "curl"] {
        if !has(program) {
            let reason = format!("{program} is not installed");
            return skip("podman inside", &reason);
        }
    }
    let host = Host::new();
    let tools = podman(&host);
    let tools = tools.to_str().unwrap();
    let script = format!("PATH={tools}:$PATH\n{CONTAINERS}");

    let refused = run(&host, &["--ro", tools], &script);
    assert_eq!(refused.code, 125, "{refused:?}");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("`stockade run --nested`"), "{refused:?}");

    let server = Server::start("web.test");
    let words = [
        "--nested",
        "--ro",
        tools,
        "--service",
        &server.service,
        "--allow",
        "web.test",
    ];
    let outcome = run(&host, &words, &script);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let expected =
        format!("0\na project\nkept\nhidden\nmade\nbuilt\nno exec\n{REPLY}\nalone\nno image\n");
    assert_eq!(outcome.stdout, expected, "{outcome:?}");
    let asked = server.lines();
    for path in ["GET /from-a-container ", "GET /v2/"] {
        let seen = asked.iter().filter(|line| line.starts_with(path)).count();
        assert!(seen > 0, "{path}: {asked:?}");
    }
}
