//! Real work passes inside unchanged: builds, tests and debuggers as people
//! have them.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use self::host::{Host, Outcome, PATH, finish_within, has, skip};

/// Longer than a small build takes, even on a busy machine.
const BUILD: Duration = Duration::from_mins(4);

fn finish(mut command: Command) -> Outcome {
    command.stdin(Stdio::null());
    finish_within(command, BUILD).unwrap()
}

/// Makes `folder` with what is in it a repository, in which work then begins.
fn commit_all(host: &Host) {
    host.git(&["add", "-A", "--force"]);
    host.git(&["commit", "-q", "-m", "sources"]);
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Copies a folder of plain files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// Runs a shell script inside, where every step must work; what it prints.
fn work(host: &Host, words: &[&str], script: &str) -> String {
    let words = [&["run"], words, &["--", "bash", "-euc", script]].concat();
    let outcome = finish(host.command(&words));
    assert_eq!(outcome.code, 0, "{script}: {outcome:?}");
    outcome.stdout
}

/// Opens a folder and everything in it, which other users shall read.
fn open(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            open(&entry.path());
        } else if entry.file_type().unwrap().is_file() {
            let mode = entry.metadata().unwrap().permissions().mode() | 0o444;
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

/// The sources of a crate without dependencies that is built for Stockade too.
fn real_crate() -> Result<PathBuf, String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let registries = home.unwrap_or_default().join("registry/src");
    fs::read_dir(&registries)
        .map_err(|error| format!("{}: {error}", registries.display()))?
        .flatten()
        .map(|registry| registry.path().join("fnv-1.0.7"))
        .find(|sources| sources.is_dir())
        .ok_or_else(|| format!("there is no fnv 1.0.7 in {}", registries.display()))
}

#[test]
fn cargo_builds_and_tests_a_real_crate_offline() {
    // The cargo that builds these tests; another user may not be let in there.
    let cargo = Path::new(env!("CARGO"));
    let sources = match real_crate() {
        Ok(_) if !cargo.exists() => Err(format!("{} cannot be reached", cargo.display())),
        other => other,
    };
    let sources = match sources {
        Ok(sources) => sources,
        Err(reason) => return skip("a build by cargo", &reason),
    };
    let mut host = Host::new();
    copy(&sources, &host.repository());
    commit_all(&host);
    let tools = cargo.parent().unwrap().to_str().unwrap();
    host.set("PATH", format!("{tools}:{PATH}"));
    let said = work(
        &host,
        &[],
        "export CARGO_NET_OFFLINE=true
        cargo build --quiet; cargo test 2>&1; ls target/debug/libfnv.rlib
        cargo clippy --version >/dev/null && cargo clippy --quiet; cargo metadata --format-version 1 >/dev/null",
    );
    assert!(said.contains("test result: ok. "), "{said}");
    assert!(said.contains("target/debug/libfnv.rlib"), "{said}");
}

#[test]
fn make_builds_and_programs_can_be_debugged_and_traced() {
    for tool in ["make", "gcc"] {
        if !has(tool) {
            return skip("a build by make", &format!("{tool} is not installed"));
        }
    }
    let host = Host::new();
    let makefile = "all: main\nmain: main.o sum.o\n\t$(CC) -g -o $@ $^\n%.o: %.c sum.h\n\t$(CC) -g -O0 -c $<\n\
                    check: main\n\t./main 2 3 | grep -x 5\n";
    let main = "#include <stdio.h>\n#include <stdlib.h>\n#include \"sum.h\"\n\
                int main(int n, char **w) { printf(\"%d\\n\", sum(atoi(w[1]), atoi(w[2]))); return 0; }\n";
    write(
        &host.repository(),
        &[
            ("Makefile", makefile),
            ("main.c", main),
            (
                "sum.c",
                "#include \"sum.h\"\nint sum(int a, int b) { return a + b; }\n",
            ),
            ("sum.h", "int sum(int a, int b);\n"),
        ],
    );
    commit_all(&host);
    let task = host.start("exec sleep 1000");
    let run = |script: &str| host.exec(&task, script);
    let (exit, said) = run("make -j2 check && touch sum.h && make -q || make -s && ./main 20 22");
    assert_eq!((exit, said.ends_with("42\n")), (0, true), "{said}");
    if has("gdb") {
        let (exit, said) = run("gdb -q -nx -batch -ex 'break sum' -ex 'run' -ex 'print a' \
                 -ex 'set var a = 40' -ex 'bt' -ex 'continue' --args ./main 1 2 2>&1");
        assert_eq!(exit, 0, "{said}");
        for seen in [
            "Breakpoint 1, sum",
            "$1 = 1",
            "main (",
            "42\n",
            "exited normally",
        ] {
            assert!(said.contains(seen), "{seen}: {said}");
        }
        // One that runs already, and is not its own child.
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
        if scope.is_ok_and(|scope| scope.trim() != "0") {
            skip(
                "a debugger of another process",
                "Yama allows only one's own",
            );
        } else {
            let attach = "sleep 1000 & gdb -q -nx -batch -p $! -ex 'info inferiors' 2>&1; kill $!";
            let (exit, said) = run(attach);
            assert_eq!(exit, 0, "{said}");
            assert!(said.contains("process"), "{said}");
        }
    } else {
        skip("a debugger inside", "gdb is not installed");
    }
    if has("strace") {
        let (exit, said) =
            run("strace -f -o trace sh -c './main 1 2; true'; grep -c '^[0-9 ]*execve(' trace");
        assert_eq!((exit, said.as_str()), (0, "3\n2\n"));
    } else {
        skip("a tracer inside", "strace is not installed");
    }
}

/// A registry of one package, on loopback: what npm asks for until it is
/// dropped.
fn registry(package: &Value, archive: Vec<u8>) -> std::io::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (name, version) = (package["name"].clone(), package["version"].clone());
    let tarball = format!("http://{address}/{}", package["filename"].as_str().unwrap());
    let version = version.as_str().unwrap();
    let document = json!({
        "name": name, "dist-tags": { "latest": version },
        "versions": { version: {
            "name": name, "version": version, "bin": { "semver": "bin/semver.js" },
            "dist": { "tarball": tarball, "integrity": package["integrity"], "shasum": package["shasum"] },
        }},
    });
    let document = document.to_string().into_bytes();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap_or_default();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let (kind, body) = if first.contains(".tgz") {
                ("application/octet-stream", &archive)
            } else {
                ("application/json", &document)
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = client
                .write_all(head.as_bytes())
                .and_then(|()| client.write_all(body));
        }
    });
    Ok(address)
}

/// A package that npm itself is made of.
const PACKAGE: &str = "/usr/lib/node_modules/npm/node_modules/semver";

#[test]
fn npm_installs_what_is_locked_from_a_cache_and_node_runs_it() {
    if !has("npm") || !Path::new(PACKAGE).is_dir() {
        return skip(
            "npm ci from a cache",
            &format!("there is no npm with {PACKAGE}"),
        );
    }
    let host = Host::new();
    let cache = host.path("cache");
    let npm = |words: &[&str]| {
        let mut npm = host.other_command("npm");
        npm.args(words).arg("--cache").arg(&cache);
        npm.args(["--no-audit", "--no-fund", "--no-update-notifier"]);
        let outcome = finish(npm);
        assert_eq!(outcome.code, 0, "{words:?}: {outcome:?}");
        outcome.stdout
    };
    let packed = host.path("");
    let packed = packed.to_str().unwrap();
    let packed = npm(&[
        "pack",
        PACKAGE,
        "--json",
        "--ignore-scripts",
        "--pack-destination",
        packed,
    ]);
    let package: Value = serde_json::from_str::<Vec<Value>>(&packed)
        .unwrap()
        .remove(0);
    let archive = fs::read(host.path(package["filename"].as_str().unwrap())).unwrap();
    let address = registry(&package, archive).unwrap();
    let test = "const s = require('semver'); const t = require('node:test'); const a = require('node:assert');\n\
                t('order', () => a.ok(s.gt('2.0.0', '1.9.9'))); t('range', () => a.ok(s.satisfies('1.2.3', '^1.2')));\n";
    let manifest = r#"{"name":"project","version":"1.0.0","scripts":{"test":"node --test"}}"#;
    write(
        &host.repository(),
        &[("package.json", manifest), ("order.test.js", test)],
    );
    npm(&[
        "install",
        "semver",
        "--ignore-scripts",
        "--registry",
        &format!("http://{address}/"),
    ]);
    fs::remove_dir_all(host.repository().join("node_modules")).unwrap();
    commit_all(&host);
    let mut host = host;
    host.set("npm_config_cache", cache);
    let said = work(
        &host,
        &["--cache", "npm"],
        "npm ci --offline --no-audit --no-fund 2>&1; ls node_modules/.bin; npm test 2>&1; \
         node_modules/.bin/semver 1.2.3 -i minor",
    );
    for seen in ["added 1 package", "semver\n", "pass 2", "fail 0", "1.3.0\n"] {
        assert!(said.contains(seen), "{seen}: {said}");
    }
}

/// pytest and a package that brings its tests, installed where the build keeps
/// such things.
fn python_packages(host: &Host) -> Result<PathBuf, String> {
    let place = host.path("site-packages");
    let mut pip = host.other_command("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-warn-script-location",
        "--target",
    ])
    .arg(&place)
    .args(["pytest", "toolz==0.12.1"])
    // pip is configured by the machine: its index, its certificates.
    .env_clear()
    .envs(std::env::vars_os())
    .env("PATH", PATH)
    .stdin(Stdio::null());
    let outcome = finish_within(pip, BUILD).ok_or("pip took too long")?;
    if outcome.code == 0 {
        Ok(place)
    } else {
        Err(outcome.stderr.lines().last().unwrap_or_default().to_owned())
    }
}

#[test]
fn pytest_runs_the_tests_of_a_real_package_with_what_is_installed_elsewhere() {
    if !has("python3") {
        return skip("pytest", "python3 is not installed");
    }
    let host = Host::new();
    let packages = match python_packages(&host) {
        Ok(packages) => packages,
        Err(reason) => return skip("pytest of a real package", &reason),
    };
    fs::rename(packages.join("toolz"), host.repository().join("toolz")).unwrap();
    commit_all(&host);
    open(&packages);
    let packages = packages.to_str().unwrap();
    let script = "PYTHONPATH=$0 python3 -m pytest -q toolz 2>&1 | tail -5; exit ${PIPESTATUS[0]}";
    let words = [
        "run", "--ro", packages, "--", "bash", "-c", script, packages,
    ];
    let outcome = finish(host.command(&words));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let passed = outcome.stdout.split(" passed").next().unwrap();
    let passed = passed.rsplit([' ', '\n']).next().unwrap();
    let passed: u32 = passed.parse().unwrap();
    assert!(passed > 100, "{outcome:?}");
}

#[test]
fn a_browser_without_a_window_shows_a_page_of_a_server_inside() {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let Some(browser) = names.into_iter().find(|name| has(name)) else {
        return skip(
            "a browser inside",
            "neither Chromium nor Chrome is installed",
        );
    };
    let host = Host::new();
    let page = "<p id=x></p><script>x.textContent = 6 * 7</script>";
    write(&host.repository(), &[("page.html", page)]);
    commit_all(&host);
    let said = work(
        &host,
        &[],
        &format!(
            "python3 -m http.server -b 127.0.0.1 8000 >/dev/null 2>&1 & \
             until curl -sf http://127.0.0.1:8000/page.html >/dev/null; do sleep 0.1; done; \
             {browser} --headless --no-sandbox --disable-gpu --dump-dom http://127.0.0.1:8000/page.html 2>/dev/null"
        ),
    );
    assert!(said.contains(">42</p>"), "{said}");
}
