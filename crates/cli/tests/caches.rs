//! Package managers inside find what they have downloaded outside, and what
//! they write goes nowhere.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use self::host::{Host, Outcome, PATH, finish, skip};

/// A host whose npm has downloaded something.
fn with_npm_cache() -> (Host, PathBuf) {
    let host = Host::new();
    let entry = host.home().join(".npm/_cacache/content-v2/entry");
    fs::create_dir_all(entry.parent().unwrap()).unwrap();
    fs::write(&entry, "whole").unwrap();
    fs::write(host.home().join(".npm/decoy"), "not a part of the cache").unwrap();
    (host, entry)
}

fn run(host: &Host, words: &[&str], script: &str) -> Outcome {
    let words = [&["run"], words, &["--", "bash", "-euc", script]].concat();
    host.stockade(&words)
}

#[test]
fn what_a_task_writes_into_a_cache_no_other_task_and_nobody_outside_sees() {
    let (host, entry) = with_npm_cache();
    let poison = "cd $npm_config_cache/_cacache; cat content-v2/entry; ls -A ..; \
                  echo poison > content-v2/entry; echo more > content-v2/more; \
                  cat content-v2/entry";
    let first = run(&host, &["--cache", "npm"], poison);
    assert_eq!(
        (first.code, &*first.stdout),
        (0, "whole_cacache\npoison\n"),
        "{first:?}"
    );
    assert_eq!(fs::read_to_string(&entry).unwrap(), "whole");
    assert!(!entry.with_file_name("more").exists());
    // Remembered for the repository.
    let second = run(
        &host,
        &[],
        "cd $npm_config_cache/_cacache/content-v2; cat *",
    );
    assert_eq!((second.code, &*second.stdout), (0, "whole"), "{second:?}");
    // What has come since is in the next task, and not in one that stands.
    let standing = host.start("exec sleep 1000");
    fs::write(entry.with_file_name("later"), " later").unwrap();
    let seen = "cat $npm_config_cache/_cacache/content-v2/*";
    assert_eq!(host.exec(&standing, seen).1, "whole");
    assert_eq!(run(&host, &[], seen).stdout, "whole later");
}

#[test]
fn what_a_task_wrote_into_its_cache_is_there_when_it_goes_on() {
    let (host, _) = with_npm_cache();
    let first = run(
        &host,
        &["--name", "work", "--cache", "npm"],
        "echo own > $npm_config_cache/own",
    );
    assert_eq!(first.code, 0, "{first:?}");
    let task = host.task(host.json(&["ls"])[0]["id"].as_str().unwrap());
    let seen = "cat $npm_config_cache/own $npm_config_cache/_cacache/content-v2/entry";
    assert_eq!(host.exec(&task, seen).1, "own\nwhole");
}

#[test]
fn a_cache_stands_in_the_contract_until_it_is_let_go_and_mistakes_are_told() {
    let (host, _) = with_npm_cache();
    let first = run(&host, &["--cache", "npm"], "true");
    let line = "/var/cache/npm (a copy of your cache; what is written stays in the task)";
    assert!(first.stderr.contains(line), "{first:?}");
    let plain = run(&host, &["--backend", "checkout"], "true");
    assert_eq!(plain.code, 4, "{plain:?}");
    assert!(plain.stderr.contains("--forget-paths"), "{plain:?}");
    let gone = run(&host, &["--forget-paths"], "echo ${npm_config_cache-none}");
    assert_eq!((gone.code, &*gone.stdout), (0, "none\n"), "{gone:?}");
    let missing = run(&host, &["--cache", "uv"], "true");
    assert_ne!(missing.code, 0);
    let said = "there is no cache of uv in";
    assert!(
        missing.stderr.contains(said) && missing.stderr.contains("UV_CACHE_DIR"),
        "{missing:?}"
    );
}

/// A sparse registry of crates with one crate, `twice` 1.0.0.
fn registry(archive: Vec<u8>, checksum: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut head = BufReader::new(&stream).lines();
            let first = head.next().and_then(Result::ok).unwrap_or_default();
            head.map_while(Result::ok).find(String::is_empty);
            let (status, body) = match first.split(' ').nth(1) {
                Some("/config.json") => {
                    let config = format!(r#"{{"dl":"http://{address}/dl"}}"#);
                    ("200 OK", config.into_bytes())
                }
                Some("/tw/ic/twice") => {
                    let entry = format!(
                        r#"{{"name":"twice","vers":"1.0.0","deps":[],"cksum":"{checksum}","features":{{}},"yanked":false}}"#
                    );
                    ("200 OK", entry.into_bytes())
                }
                Some("/dl/twice/1.0.0/download") => ("200 OK", archive.clone()),
                _ => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = (&stream).write_all(&[head.into_bytes(), body].concat());
        }
    });
    address
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn done(mut command: Command) -> Outcome {
    command.stdin(Stdio::null());
    let outcome = finish(command);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome
}

#[test]
fn cargo_builds_offline_with_what_it_has_downloaded_outside() {
    // The cargo that builds these tests; another user may not be let in there.
    let cargo = Path::new(env!("CARGO"));
    if !cargo.exists() {
        return skip(
            "a cache of cargo",
            &format!("{} cannot be reached", cargo.display()),
        );
    }
    let mut host = Host::new();
    let sources = host.path("twice-1.0.0");
    write(
        &sources.join("Cargo.toml"),
        "[package]\nname = \"twice\"\nversion = \"1.0.0\"\nedition = \"2021\"\n",
    );
    write(
        &sources.join("src/lib.rs"),
        "pub fn twice(n: u32) -> u32 { 2 * n }\n",
    );
    let archive = host.path("twice.crate");
    let mut pack = host.other_command("tar");
    pack.arg("-czf")
        .arg(&archive)
        .arg("-C")
        .arg(host.path(""))
        .arg("twice-1.0.0");
    done(pack);
    let mut sum = host.other_command("sha256sum");
    sum.arg(&archive);
    let checksum = done(sum).stdout.split(' ').next().unwrap().to_owned();
    let address = registry(fs::read(&archive).unwrap(), checksum);
    let project = host.repository();
    write(
        &project.join("Cargo.toml"),
        "[package]\nname = \"project\"\nversion = \"1.0.0\"\nedition = \"2021\"\n[dependencies]\ntwice = \"1\"\n",
    );
    write(
        &project.join("src/main.rs"),
        "fn main() { println!(\"{}\", twice::twice(21)); }\n",
    );
    write(
        &project.join(".cargo/config.toml"),
        &format!(
            "[source.crates-io]\nreplace-with = \"own\"\n[source.own]\nregistry = \"sparse+http://{address}/\"\n"
        ),
    );
    host.set(
        "CARGO_HOME",
        host.path("cargo").to_str().unwrap().to_owned(),
    );
    let tools = cargo.parent().unwrap().to_str().unwrap();
    host.set("PATH", format!("{tools}:{PATH}"));
    let mut fetch = host.other_command(cargo.to_str().unwrap());
    fetch.arg("fetch").current_dir(&project);
    done(fetch);
    host.git(&["add", "-A"]);
    host.git(&["commit", "-q", "-m", "sources"]);
    let built = run(&host, &["--cache", "cargo"], "cargo run --quiet --offline");
    assert_eq!((built.code, &*built.stdout), (0, "42\n"), "{built:?}");
}
