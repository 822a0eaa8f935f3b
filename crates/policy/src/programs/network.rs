mod requests;

use stockade_types::{
    EffectKind::{
        FsDelete, FsRead, FsWrite, NetConnect, NetListen, NetSession, NetUpload, ProcDebug,
    },
    Mark,
};

use self::requests::{CURL_VALUES, curl, host, httpie, wget};
pub(crate) use self::requests::{changes, kind, marks_of};
use super::{Program, Sink, Target, program, row};
use crate::{
    commands::Line,
    text::{Word, is_unknown},
};

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
