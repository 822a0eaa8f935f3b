//! Requests of HTTP: where they lead, and what they carry.

use stockade_types::{
    EffectKind::{self, FsRead, FsWrite, NetConnect, NetUpload},
    Mark,
};

use crate::{
    commands::Line,
    programs::Sink,
    shell::Stream,
    text::{Word, is_unknown},
};

/// Options of curl that take a value.
pub(super) const CURL_VALUES: &[&str] = &[
    "-o",
    "--output",
    "-d",
    "--data",
    "--data-binary",
    "--data-raw",
    "--data-urlencode",
    "--json",
    "-F",
    "--form",
    "-T",
    "--upload-file",
    "-X",
    "--request",
    "-H",
    "--header",
    "-u",
    "--user",
    "-A",
    "--user-agent",
    "-e",
    "--referer",
    "-b",
    "--cookie",
    "-c",
    "--cookie-jar",
    "-K",
    "--config",
    "-x",
    "--proxy",
    "-m",
    "--max-time",
    "--connect-timeout",
    "-w",
    "--write-out",
    "--resolve",
    "--retry",
    "-E",
    "--cert",
    "--key",
    "--cacert",
    "-Q",
    "--quote",
    "-r",
    "--range",
    "-D",
    "--dump-header",
    "--unix-socket",
    "--url",
    "--form-string",
    "--retry-delay",
    "--limit-rate",
    "-C",
    "--interface",
    "--output-dir",
    "-y",
    "-Y",
    "-z",
    "--connect-to",
    "--dns-servers",
    "--doh-url",
];

/// The host part of an address, without name and port.
pub(super) fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let rest = rest.rsplit('@').next().unwrap_or_default();
    match rest.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => rest.split(':').next().unwrap_or_default(),
    }
}

/// What an address tells about where it leads.
pub(crate) fn marks_of(address: &str) -> Vec<Mark> {
    let host = host(address);
    let mut marks = Vec::new();
    let local = matches!(host, "localhost" | "::1" | "0.0.0.0")
        || host.starts_with("127.")
        || host.ends_with(".localhost");
    let private = host.starts_with("10.")
        || host.starts_with("192.168.")
        || host.starts_with("169.254.")
        || (16..32).any(|second| host.starts_with(&format!("172.{second}.")))
        || host.starts_with("fd")  && host.contains(':')
        || host.starts_with("fe80:")
        || host.starts_with("64:ff9b:")
        || matches!(host, "metadata" | "metadata.google.internal" | "instance-data")
        || host.ends_with(".internal")
        // Addresses in forms that only programs read: 0xa9fea9fe, 2852039166.
        || !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_digit())
        || host.starts_with("0x");
    if local {
        marks.push(Mark::Loopback);
    } else if private {
        marks.push(Mark::Private);
    } else if host.split('.').count() == 4 && host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    {
        marks.push(Mark::Url);
    }
    if address
        .split_once("://")
        .is_some_and(|(_, rest)| is_unknown(rest))
        || is_unknown(address)
    {
        marks.push(Mark::Payload);
    }
    let query = address.split_once('?').map_or("", |(_, query)| query);
    if query.len() > 256 {
        marks.push(Mark::Payload);
    }
    marks
}

/// A request: one that sends, or whose address was put together from data, is an
/// upload.
fn request(line: &Line, sink: &mut Sink<'_, '_>, address: &str, sends: bool, method: Option<&str>) {
    let marks = marks_of(address);
    let sends = sends || method.is_some_and(changes);
    sink.effect(line, kind(sends, &marks), host(address), &marks);
}

/// Whether `method` is for more than asking.
pub(crate) fn changes(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// What a request is that sends something, or does not, to an address with `marks`.
pub(crate) fn kind(sends: bool, marks: &[Mark]) -> EffectKind {
    let talks_to_itself = marks.contains(&Mark::Loopback);
    let tells = marks.contains(&Mark::Payload);
    if (sends || tells) && !talks_to_itself {
        NetUpload
    } else {
        NetConnect
    }
}

pub(super) fn curl(line: &Line, sink: &mut Sink<'_, '_>) {
    const BODY: &[&str] = &[
        "-d",
        "--data",
        "--data-binary",
        "--data-raw",
        "--data-ascii",
        "--data-urlencode",
        "--json",
        "-F",
        "--form",
        "--form-string",
        "-T",
        "--upload-file",
    ];
    let mut sends = false;
    for value in line.values(BODY) {
        sends = true;
        let after = value.text.rsplit_once('@').map(|(_, file)| file);
        let file = match after {
            Some(file) => Some(file),
            None if line.value(&["-T", "--upload-file"]) == Some(value) => {
                Some(value.text.as_str())
            }
            None => value.text.split_once("=<").map(|(_, file)| file),
        };
        if let Some(file) = file.filter(|file| *file != "-" && *file != ".") {
            sink.path(line, FsRead, file.split(';').next().unwrap_or(file), &[]);
        }
    }
    // Headers and names can carry data as well.
    let carries = line
        .values(&[
            "-H", "--header", "-u", "--user", "-b", "--cookie", "-A", "-e",
        ])
        .any(|word| is_unknown(&word.text));
    if line.value(&["-K", "--config"]).is_some() {
        sink.opaque("curl");
    }
    let method = line
        .value(&["-X", "--request"])
        .map(|word| word.text.to_ascii_uppercase());
    let given: Vec<&Word> = line.values(&["--url"]).chain(&line.operands).collect();
    if let Some(socket) = line.value(&["--unix-socket"]) {
        sink.on(line, FsWrite, socket, &[Mark::Socket]);
    }
    for address in &given {
        if let Some(file) = address.text.strip_prefix("file://") {
            sink.path(line, FsRead, file, &[]);
        }
        request(line, sink, &address.text, sends, method.as_deref());
        if carries && !marks_of(&address.text).contains(&Mark::Loopback) {
            sink.effect(line, NetUpload, host(&address.text), &[Mark::Payload]);
        }
        if line.has("-O") || line.has("--remote-name") {
            sink.fetched(address.text.rsplit('/').next().unwrap_or_default());
        }
    }
    if given.is_empty() && line.unresolved {
        sink.effect(line, NetUpload, "", &[Mark::Payload]);
    }
    if let Some(file) = line.value(&["-o", "--output"]) {
        sink.on(line, FsWrite, file, &[]);
        sink.fetched(&file.text);
    }
}

pub(super) fn wget(line: &Line, sink: &mut Sink<'_, '_>) {
    let posts: Vec<_> = line
        .values(&["--post-data", "--post-file", "--body-data", "--body-file"])
        .collect();
    for file in line.values(&["--post-file", "--body-file"]) {
        sink.on(line, FsRead, file, &[]);
    }
    let method = line
        .value(&["--method"])
        .map(|word| word.text.to_ascii_uppercase());
    for address in &line.operands {
        request(
            line,
            sink,
            &address.text,
            !posts.is_empty(),
            method.as_deref(),
        );
        match line.value(&["-O", "--output-document"]) {
            Some(file) => {
                sink.on(line, FsWrite, file, &[]);
                sink.fetched(&file.text);
            }
            None => sink.fetched(address.text.rsplit('/').next().unwrap_or_default()),
        }
    }
}

pub(super) fn httpie(line: &Line, sink: &mut Sink<'_, '_>) {
    let method = line.operand(0).to_ascii_uppercase();
    let known =
        ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str());
    let address = line.operand(usize::from(known));
    let rest = line.operands.iter().skip(usize::from(known) + 1);
    let sends = rest
        .clone()
        .any(|word| word.text.contains('=') || word.text.contains('@'))
        || *sink.input() != Stream::Nothing;
    for word in rest {
        if let Some((_, file)) = word.text.split_once('@') {
            sink.path(line, FsRead, file, &[]);
        }
    }
    request(line, sink, address, sends, known.then_some(method.as_str()));
}
