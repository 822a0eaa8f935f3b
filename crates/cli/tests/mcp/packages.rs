//! Servers that are packages of npm's or PyPI's: pinned, installed without running any of
//! them, and started as they were approved.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use super::registry::Registry;
use crate::{
    CHANGED, LOCK, SERVER, calls, client,
    host::{
        self, Host, Outcome, cache,
        failure::{FAILED, USAGE},
        has, skip,
    },
    lists, mcp, names, of_task, text,
};

const NAME: &str = "@own/notes";

/// A server with one tool, which tells a version and what else it is told to.
fn script(version: &str) -> String {
    let tools = json!([{ "name": "list", "description": format!("Lists, {version}.") }]);
    let server = SERVER.replace("$(cat tools.json)", &tools.to_string().replace('"', "\\\""));
    let server = server.replace("sh ./tool", &format!("{{ echo {version}; ls; }}"));
    format!("#!/bin/sh\n{server}")
}

/// A host with a registry that has version 1.2.3 of the package.
fn stage() -> Option<(Host, Registry)> {
    if !has("npm") || !has("node") {
        skip("packages of npm's", "npm or node is not on PATH");
        return None;
    }
    let host = Host::new();
    host.repository();
    let registry = Registry::start();
    registry.publish(&host, NAME, "1.2.3", &script("1.2.3"));
    Some((host, registry))
}

fn add(host: &Host, registry: &Registry, more: &[&str], command: &[&str]) -> Outcome {
    let service = format!("registry.npmjs.org={}", registry.url);
    let words = ["add", "notes", "--yes", "--service", &service];
    mcp(host, &[&words[..], more, &["--"], command].concat())
}

fn lock(host: &Host) -> Value {
    let text = fs::read(host.repository().join(LOCK)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn store(host: &Host) -> PathBuf {
    host.state().join("packages")
}

#[test]
fn g8_a_package_is_pinned_and_nothing_of_it_runs_before_it_is_approved() {
    let Some((host, registry)) = stage() else {
        return;
    };
    let added = add(&host, &registry, &[], &["npx", "-y", NAME, "--flag"]);
    assert_eq!(added.code, 0, "{added:?}");
    let launch = &lock(&host)["servers"]["notes"]["launch"];
    assert_eq!(launch["argv"], json!(["run", "--flag"]));
    assert_eq!(launch["package"]["version"], "1.2.3");
    let resolved = launch["package"]["resolved"].as_str().unwrap();
    assert!(
        host.repository()
            .join(format!(".stockade/mcp/{resolved}.json"))
            .exists()
    );
    // Its scripts would have asked for this.
    let seen = registry.seen();
    assert!(!seen.contains(&"/ran".to_owned()), "{seen:?}");
    // Another version is published, and the registry is not even asked.
    registry.publish(&host, NAME, "1.3.0", &script("1.3.0"));
    let (heard, outcome) = client(&host, &["notes"], &[lists(), calls("list", &json!({}))]);
    assert_eq!(names(&heard[0]), ["list"], "{outcome:?}");
    assert!(text(&heard[1]).contains("1.2.3"), "{heard:?} {outcome:?}");
    assert_eq!(registry.seen(), Vec::<String>::new());
    let verified = mcp(&host, &["verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[test]
fn g8_a_package_that_is_not_there_is_installed_exactly_as_it_was_approved() {
    let Some((host, registry)) = stage() else {
        return;
    };
    assert_eq!(add(&host, &registry, &[], &["npx", NAME]).code, 0);
    registry.publish(&host, NAME, "1.3.0", &script("1.3.0"));
    fs::remove_dir_all(store(&host)).unwrap();
    let (heard, outcome) = client(&host, &["notes"], &[calls("list", &json!({}))]);
    assert!(text(&heard[0]).contains("1.2.3"), "{outcome:?}");
    assert!(
        outcome.stderr.contains("installing npm @own/notes 1.2.3"),
        "{outcome:?}"
    );
    // The registry has something else under the same version.
    fs::remove_dir_all(store(&host)).unwrap();
    registry.publish(&host, NAME, "1.2.3", &script("evil"));
    let (_, outcome) = client(&host, &["notes"], &[]);
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    assert!(outcome.stderr.contains("EINTEGRITY"), "{outcome:?}");
}

#[test]
fn g8_a_package_that_was_changed_where_it_lies_or_in_the_repository_is_noticed() {
    let Some((host, registry)) = stage() else {
        return;
    };
    assert_eq!(add(&host, &registry, &[], &["npx", NAME]).code, 0);
    let launch = &lock(&host)["servers"]["notes"]["launch"];
    let resolved = launch["package"]["resolved"].as_str().unwrap();
    let tree = store(&host).join(resolved).join("tree");
    let program = tree.join("node_modules").join(NAME).join("run.sh");
    let was = fs::read(&program).unwrap();
    fs::write(&program, "#!/bin/sh\necho evil").unwrap();
    let verified = mcp(&host, &["verify", "--offline"]);
    assert_eq!(verified.code, CHANGED, "{verified:?}");
    assert!(
        verified.stdout.contains("not as it was installed"),
        "{verified:?}"
    );
    fs::write(&program, was).unwrap();
    assert_eq!(mcp(&host, &["verify", "--offline"]).code, 0);
    // What is kept beside the lock leads elsewhere.
    fs::remove_dir_all(store(&host)).unwrap();
    let kept = host
        .repository()
        .join(format!(".stockade/mcp/{resolved}.json"));
    let text = fs::read_to_string(&kept).unwrap().replace("1.2.3", "1.3.0");
    fs::write(&kept, text).unwrap();
    assert_eq!(mcp(&host, &["verify", "--offline"]).code, CHANGED);
    let (_, outcome) = client(&host, &["notes"], &[]);
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    assert!(
        outcome.stderr.contains("is not what was approved"),
        "{outcome:?}"
    );
}

#[test]
fn g3_a_package_that_is_shown_the_repository_sees_the_tasks_tree() {
    let Some((host, registry)) = stage() else {
        return;
    };
    let added = add(&host, &registry, &["--ro", "."], &["npx", NAME]);
    assert_eq!(added.code, 0, "{added:?}");
    let task = host.start_with(&["--mcp", "notes"], "touch of-task; sleep 600");
    host::eventually("the task has begun", || {
        host.exec(&task, "test -e of-task && echo begun")
            .1
            .contains("begun")
    });
    let (heard, error) = of_task::client(&host, &task, &[of_task::calls("list")]);
    let said = text(&heard[0]);
    assert!(
        said.contains("of-task") && said.contains("1.2.3"),
        "{said} {error}"
    );
}

#[test]
fn what_runs_packages_in_ways_that_cannot_be_pinned_is_told() {
    let host = Host::new();
    host.repository();
    for (command, why) in [
        (
            &["npx", "git+https://host.test/x"][..],
            "is no package of a registry",
        ),
        (&["npx", "-c", "run"], "`-c` of `npx` is not understood"),
        (
            &["uvx", "--with", "more", "server"],
            "`--with` of `uvx` is not understood",
        ),
        (&["npx", "-y"], "`npx` is told no package"),
    ] {
        let words = [&["add", "notes", "--yes", "--"], command].concat();
        let outcome = mcp(&host, &words);
        assert_eq!(outcome.code, USAGE, "{outcome:?}");
        assert!(outcome.stderr.contains(why), "{outcome:?}");
    }
}

#[test]
fn a_package_that_the_registry_does_not_have_is_told_in_a_sentence() {
    let Some((host, registry)) = stage() else {
        return;
    };
    let outcome = add(&host, &registry, &[], &["npx", "absent"]);
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    assert!(
        outcome.stderr.contains("npm failed") && outcome.stderr.contains("absent"),
        "{outcome:?}"
    );
    let outcome = add(&host, &registry, &[], &["npx", "-p", NAME, "other"]);
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("has no program `other`; it has: run"),
        "{outcome:?}"
    );
}

/// A wheel whose program `notes` is a server, and the page that leads to it.
fn wheel(host: &Host, registry: &Registry) {
    let script = host.path("wheel.py");
    let code = r"
import sys, zipfile, hashlib, base64
module = '''import os, sys
def main():
    os.execv('/bin/sh', ['sh', os.path.join(os.path.dirname(__file__), 'server.sh')])
'''
files = {
    'notes/__init__.py': module, 'notes/server.sh': open(sys.argv[1]).read(),
    'notes-1.2.3.dist-info/METADATA': 'Metadata-Version: 2.1\nName: notes\nVersion: 1.2.3\n',
    'notes-1.2.3.dist-info/WHEEL': 'Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    'notes-1.2.3.dist-info/entry_points.txt': '[console_scripts]\nnotes = notes:main\n',
}
lines = []
for name, text in files.items():
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()
    lines.append(f'{name},sha256={digest},{len(text.encode())}')
lines.append('notes-1.2.3.dist-info/RECORD,,')
with zipfile.ZipFile(sys.argv[2], 'w') as wheel:
    for name, text in files.items(): wheel.writestr(name, text)
    wheel.writestr('notes-1.2.3.dist-info/RECORD', '\n'.join(lines) + '\n')
print(hashlib.sha256(open(sys.argv[2], 'rb').read()).hexdigest())
";
    fs::write(&script, code).unwrap();
    fs::write(host.path("server.sh"), self::script("1.2.3")).unwrap();
    let made = host.path("notes-1.2.3-py3-none-any.whl");
    let mut python = host.other_command("/usr/bin/python3");
    let python = python.arg(&script).arg(host.path("server.sh")).arg(&made);
    let output = python.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let hash = String::from_utf8(output.stdout).unwrap();
    let file = "/files/notes-1.2.3-py3-none-any.whl";
    registry.set(file, fs::read(&made).unwrap());
    let page = format!(
        "<!DOCTYPE html><html><body><a href=\"{file}#sha256={}\">notes-1.2.3-py3-none-any.whl</a></body></html>",
        hash.trim()
    );
    registry.set("/simple/notes/", page);
}

/// Where uv is, which is installed from PyPI if it can be.
fn uv(host: &Host) -> Result<PathBuf, String> {
    let folder = cache::kept("tools", "uv", |folder| {
        cache::install(host, folder, "/usr/bin/python3", &["-m", "venv", "."])?;
        let pip = folder.join("bin/pip");
        cache::install(
            host,
            folder,
            pip.to_str().unwrap_or_default(),
            &["install", "-q", "uv"],
        )?;
        // What pip left names the folder in which it was made.
        let programs = folder.join("programs");
        fs::create_dir(&programs).map_err(|error| error.to_string())?;
        fs::rename(folder.join("bin/uv"), programs.join("uv")).map_err(|error| error.to_string())
    })?;
    Ok(folder.join("programs"))
}

#[test]
fn g8_a_package_of_pypi_is_pinned_and_started_as_it_was_approved() {
    let mut host = Host::new();
    host.repository();
    let folder = match uv(&host) {
        Ok(folder) => folder,
        Err(reason) => return skip("packages of PyPI's", &reason),
    };
    host.set("PATH", format!("{}:{}", folder.display(), host::PATH));
    let registry = Registry::start();
    wheel(&host, &registry);
    let service = format!("pypi.org={}", registry.url);
    let words = [
        "add",
        "notes",
        "--yes",
        "--service",
        &service,
        "--",
        "uvx",
        "notes",
    ];
    let added = mcp(&host, &words);
    assert_eq!(added.code, 0, "{added:?} {:?}", registry.seen());
    let launch = &lock(&host)["servers"]["notes"]["launch"];
    assert_eq!(launch["package"]["version"], "1.2.3");
    registry.seen();
    let (heard, outcome) = client(&host, &["notes"], &[calls("list", &json!({}))]);
    assert!(text(&heard[0]).contains("1.2.3"), "{heard:?} {outcome:?}");
    assert_eq!(registry.seen(), Vec::<String>::new());
    // Installed again, only what was approved passes.
    fs::remove_dir_all(store(&host)).unwrap();
    registry.set("/files/notes-1.2.3-py3-none-any.whl", "another");
    let (_, outcome) = client(&host, &["notes"], &[]);
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    assert!(outcome.stderr.contains("uv failed"), "{outcome:?}");
}
