use stockade_types::{
    EffectKind::{
        FsDelete, FsRead, FsWrite, NetConnect, NetListen, NetSession, NetUpload, ProcDebug,
    },
    Mark,
};

use super::{Program, Sink, Target, program, row};
use crate::{
    commands::Line,
    shell::Stream,
    text::{Word, is_unknown},
};

const CURL_VALUES: &[&str] = &[
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

pub(super) const PROGRAMS: &[Program] = &[
    program(&["curl", "curlie"], &[])
        .values(CURL_VALUES)
        .fetches()
        .special(curl),
    program(&["wget", "wget2", "aria2c", "axel"], &[])
        .values(&[
            "-O",
            "--output-document",
            "-P",
            "--directory-prefix",
            "--post-data",
            "--post-file",
            "--body-data",
            "--body-file",
            "--method",
            "--header",
            "-U",
            "-o",
            "-a",
            "-e",
            "--user",
            "--password",
            "-i",
            "--input-file",
            "-t",
            "-T",
            "-d",
        ])
        .runs(&["--use-askpass"])
        .fetches()
        .special(wget),
    program(&["http", "https", "xh", "xhs", "httpie"], &[])
        .values(&["-a", "--auth", "-o", "--output", "--session", "--verify"])
        .fetches()
        .special(httpie),
    program(
        &[
            "nc",
            "ncat",
            "netcat",
            "nc.openbsd",
            "nc.traditional",
            "socat",
            "telnet",
            "cryptcat",
            "websocat",
            "wscat",
            "rlogin",
            "rsh",
        ],
        &[row("", NetSession)
            .unless(&["-l", "--listen", "-z"])
            .on(Target::First)],
    )
    .values(&[
        "-w",
        "-p",
        "-s",
        "-e",
        "-c",
        "--exec",
        "--sh-exec",
        "-i",
        "-q",
        "-x",
        "-X",
    ])
    .special(raw),
    program(
        &["ssh", "mosh", "autossh", "sshpass", "slogin", "et"],
        &[row("", NetSession).unless(&["-V"]).on(Target::First)],
    )
    .values(&[
        "-i", "-p", "-l", "-o", "-F", "-J", "-L", "-R", "-D", "-W", "-b", "-c", "-m", "-E", "-S",
    ])
    .special(ssh),
    program(
        &[
            "scp",
            "sftp",
            "lftp",
            "ftp",
            "ncftp",
            "tftp",
            "rcp",
            "croc",
            "magic-wormhole",
            "wormhole",
            "magic",
            "transfer",
        ],
        &[row("", NetUpload).on(Target::Last)],
    )
    .values(&["-i", "-P", "-o", "-F", "-J", "-S", "-b", "-c", "-l"])
    .special(ssh),
    program(
        &["rsync", "rclone", "unison", "restic", "borg", "duplicity"],
        &[],
    )
    .values(&[
        "-e",
        "--rsh",
        "--exclude",
        "--include",
        "--files-from",
        "--rsync-path",
        "-f",
        "--filter",
        "-r",
        "--repo",
        "--password-file",
    ])
    .runs(&["-e", "--rsh"])
    .special(rsync),
    program(
        &[
            "dig",
            "nslookup",
            "host",
            "drill",
            "kdig",
            "resolvectl",
            "getent",
            "whois",
        ],
        &[row("", NetConnect).on(Target::First)],
    )
    .special(lookup),
    program(
        &[
            "ping",
            "ping6",
            "traceroute",
            "tracepath",
            "mtr",
            "arping",
            "hping3",
            "fping",
        ],
        &[row("", NetConnect).on(Target::Last)],
    )
    .values(&["-c", "-i", "-w", "-W", "-s", "-t", "-p"])
    .special(ping),
    program(
        &[
            "nmap", "masscan", "zmap", "nikto", "sqlmap", "hydra", "gobuster", "ffuf", "nuclei",
            "zgrab2",
        ],
        &[row("", NetSession).on(Target::Last)],
    ),
    program(
        &[
            "ngrok",
            "cloudflared",
            "localtunnel",
            "lt",
            "bore",
            "frpc",
            "chisel",
            "tailscale",
            "zrok",
            "serveo",
            "openvpn",
            "wg",
            "wg-quick",
            "tor",
            "i2prouter",
            "sshuttle",
            "gost",
        ],
        &[row("", NetSession)
            .marks(&[Mark::Public])
            .unless(&["--version", "version", "status"])],
    ),
    program(
        &[
            "tcpdump",
            "tshark",
            "wireshark",
            "dumpcap",
            "mitmproxy",
            "mitmdump",
            "bettercap",
            "ettercap",
        ],
        &[row("", ProcDebug)],
    ),
    program(
        &["openssl"],
        &[
            row("s_client", NetSession).on(Target::Option(&["-connect"])),
            row("s_server", NetListen).marks(&[Mark::Public]),
            row("enc|rsa|pkcs12|pkey|ec", FsRead).on(Target::Option(&["-in"])),
        ],
    )
    .values(&[
        "-connect",
        "-in",
        "-out",
        "-host",
        "-port",
        "-servername",
        "-k",
        "-pass",
    ]),
    program(
        &[
            "serve",
            "http-server",
            "live-server",
            "miniserve",
            "darkhttpd",
            "webfsd",
            "python-http",
        ],
        &[row("", NetListen)],
    )
    .special(listens),
    program(&["git-upload", "transfer.sh", "0x0"], &[row("", NetUpload)]),
    program(
        &[
            "yt-dlp",
            "youtube-dl",
            "gallery-dl",
            "lynx",
            "w3m",
            "links",
            "elinks",
        ],
        &[row("", NetConnect).on(Target::First)],
    )
    .runs(&["--exec"])
    .fetches(),
];

/// The host part of an address, without name and port.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let rest = rest.rsplit('@').next().unwrap_or_default();
    match rest.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => rest.split(':').next().unwrap_or_default(),
    }
}

/// What an address tells about where it leads.
fn marks_of(address: &str) -> Vec<Mark> {
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
    let host = host(address);
    let changes = method.is_some_and(|method| !matches!(method, "GET" | "HEAD" | "OPTIONS"));
    let talks_to_itself = marks.contains(&Mark::Loopback);
    let tells = marks.contains(&Mark::Payload);
    let kind = if (sends || changes || tells) && !talks_to_itself {
        NetUpload
    } else {
        NetConnect
    };
    sink.effect(line, kind, host, &marks);
}

fn curl(line: &Line, sink: &mut Sink<'_, '_>) {
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

fn wget(line: &Line, sink: &mut Sink<'_, '_>) {
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

fn httpie(line: &Line, sink: &mut Sink<'_, '_>) {
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

/// Programs that give a connection to another program, or wait for one.
fn raw(line: &Line, sink: &mut Sink<'_, '_>) {
    let hands_over = line.value(&["-e", "-c", "--exec", "--sh-exec"]).is_some()
        || line.words.iter().any(|word| {
            let text = word.text.to_ascii_lowercase();
            text.contains("exec:") || text.contains("system:")
        });
    if hands_over {
        sink.effect(line, NetSession, line.operand(0), &[Mark::ReverseShell]);
    }
    let listens = line.has("-l")
        || line.has("--listen")
        || line
            .words
            .iter()
            .any(|word| word.text.to_ascii_uppercase().contains("LISTEN"));
    if listens && line.program != "telnet" {
        sink.effect(line, NetListen, line.operand(0), &[Mark::Public]);
    }
}

/// Options of ssh that start programs here.
fn ssh(line: &Line, sink: &mut Sink<'_, '_>) {
    for option in line.values(&["-o"]) {
        let lower = option.text.to_ascii_lowercase();
        if lower.starts_with("proxycommand")
            || lower.starts_with("localcommand")
            || lower.starts_with("knownhostscommand")
        {
            let command = option
                .text
                .split_once(['=', ' '])
                .map_or("", |(_, command)| command);
            sink.script(command);
        }
    }
    if let Some(file) = line.value(&["-i"]) {
        sink.on(line, FsRead, file, &[]);
    }
    if line.value(&["-R"]).is_some() && line.program == "ssh" {
        sink.effect(line, NetSession, line.operand(0), &[Mark::Public]);
    }
    for file in &line.operands {
        if line.program == "scp" && !file.text.contains(':') {
            sink.on(line, FsRead, file, &[]);
        }
    }
}

fn rsync(line: &Line, sink: &mut Sink<'_, '_>) {
    let is_remote = |word: &Word| word.text.contains(':') || is_unknown(&word.text);
    if let Some((to, from)) = line.operands.split_last() {
        if is_remote(to) {
            sink.effect(line, NetUpload, host(&to.text), &[]);
        } else if from.iter().any(is_remote) {
            sink.effect(line, NetSession, host(&from[0].text), &[]);
        } else if line.program == "rsync" {
            sink.on(line, FsWrite, to, &[]);
        } else {
            sink.effect(line, NetUpload, &to.text, &[]);
        }
        for file in from.iter().filter(|file| !is_remote(file)) {
            sink.on(line, FsRead, file, &[]);
        }
        if line.has("--delete") && !is_remote(to) {
            sink.on(line, FsDelete, to, &[Mark::Recursive]);
        }
    }
}

/// A name that was put together, or is very long, may carry data.
fn lookup(line: &Line, sink: &mut Sink<'_, '_>) {
    for word in &line.operands {
        if is_unknown(&word.text) || word.text.len() > 80 {
            sink.effect(line, NetUpload, &word.text, &[Mark::Payload]);
        }
    }
}

fn ping(line: &Line, sink: &mut Sink<'_, '_>) {
    if line
        .value(&["-p"])
        .is_some_and(|word| is_unknown(&word.text))
        || line.operands.iter().any(|word| is_unknown(&word.text))
    {
        sink.effect(line, NetUpload, line.operand(0), &[Mark::Payload]);
    }
}

fn listens(line: &Line, sink: &mut Sink<'_, '_>) {
    if line.words.iter().any(|word| word.text.contains("0.0.0.0")) {
        sink.effect(line, NetListen, "0.0.0.0", &[Mark::Public]);
    }
}
