//! Secrets that a task uses without holding them, from the command that adds
//! one to the server that gets it.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

#[path = "../host/mod.rs"]
mod host;

mod github_app;
mod hashicorp;
mod inside;
mod recorded;
mod scanning;
mod slots;
mod sources;

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use serde_json::Value;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::host::{Host, Task, has, processes::Process, skip, tls_server::TlsServer};

/// A value as a provider gives them, with characters that encodings differ in.
const REAL: &str = "ghp_decoy/9+REAL\"value-0123456789abcdefg";
/// An age identity of these tests.
const IDENTITY: &str = "AGE-SECRET-KEY-1QYPQXPQ9QCRSSZG2PVXQ6RS0ZQG3YYC5Z5TPWXQERGD3C8G7RUSQGPQYEE";
/// How requests carry it inside.
const BEARER: &str = "-H \"Authorization: Bearer $GH_TOKEN\"";

/// A host with a server that a task knows as `api.test` and as `other.test`.
struct Stage {
    host: Host,
    server: TlsServer,
}

impl Stage {
    /// Nothing where curl is missing.
    fn open() -> Option<Self> {
        if !has("curl") {
            skip("requests with secrets", "curl is not installed");
            return None;
        }
        let mut host = Host::new();
        let certificate = host.path("certificate.pem");
        let server = TlsServer::start(&certificate);
        // Whom the caller's programs believe.
        host.set("SSL_CERT_FILE", certificate);
        host.set("GITHUB", REAL);
        Some(Self { host, server })
    }

    /// The same, with the secret `github` bound to the header of `api.test`.
    fn bound() -> Option<Self> {
        let stage = Self::open()?;
        stage.secret(&["add", "github", "--from", "env:GITHUB"]);
        stage.bind(&["--path", "/v1/**", "--method", "GET,POST"]);
        for path in ["/echo", "/gzip", "/compress", "/slow"] {
            stage.bind(&["--path", path]);
        }
        Some(stage)
    }

    fn bind(&self, more: &[&str]) {
        let words = ["bind", "github", "--host", "api.test", "--env", "GH_TOKEN"];
        let header = ["--header", "Authorization=Bearer {}"];
        self.secret(&[&words[..], &header[..], more].concat());
    }

    /// Runs a verb of `stockade secret`, which must succeed.
    fn secret(&self, words: &[&str]) -> Value {
        self.host.json(&[&["secret"], words].concat())
    }

    /// A task that may reach both names.
    fn start(&self, more: &[&str], script: &str) -> Task {
        let services = ["api.test", "other.test"].map(|name| format!("{name}={}", self.server.url));
        let mut words = vec![
            "--allow",
            "ANY api.test",
            "--allow",
            "ANY other.test",
            "--yes",
        ];
        for service in &services {
            words.extend(["--service", service]);
        }
        words.extend(more);
        self.host.start_with(&words, script)
    }

    /// What curl prints inside of a reply's body and status.
    fn curl(&self, task: &Task, words: &str) -> String {
        let script = format!("curl -sS --max-time 30 -w ' %{{http_code}}' {words}");
        self.host.exec(task, &script).1
    }
}

/// The rule by which a reply of the gateway says that it refused.
fn rule(printed: &str) -> String {
    let text = printed.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
    let document: Value = serde_json::from_str(text.trim()).unwrap_or_default();
    document["rule"].as_str().unwrap_or(printed).to_owned()
}

fn events(task: &Task, kind: EventKind) -> Vec<Value> {
    let records = task.record().into_iter();
    let of_kind = records.filter(|record| record.kind == RecordKind::Event(kind));
    of_kind.map(|record| record.body).collect()
}

/// Whether a file below `folder` holds `text`, and which.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(holding(&entry.path(), text));
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            if contains(&bytes, text.as_bytes()) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|part| part == text)
}

/// All that can be read of a process's memory.
fn memory(process: &Process) -> Option<Vec<u8>> {
    let maps = fs::read_to_string(process.file("maps")).ok()?;
    let mut memory = fs::File::open(process.file("mem")).ok()?;
    let mut all = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let from = u64::from_str_radix(from, 16).ok()?;
        let to = u64::from_str_radix(to, 16).ok()?;
        // What nobody inside wrote holds nothing of theirs.
        if !words.next()?.starts_with("rw") || to - from > 256 << 20 {
            continue;
        }
        let mut part = vec![0; usize::try_from(to - from).ok()?];
        memory.seek(SeekFrom::Start(from)).ok()?;
        if memory.read_exact(&mut part).is_ok() {
            all.extend(part);
        }
    }
    Some(all)
}
