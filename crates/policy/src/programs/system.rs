use stockade_types::{
    EffectKind::{
        EvidenceErase, ExecRun, FsWrite, HostDesktop, InfraApply, NetListen, NetSession,
        PkgPublish, ProcDebug, ProcKill, ProcPersist, ProcPrivilege, ProcSystem, SecretRead,
        SecretUse,
    },
    Mark,
};

use super::{Program, Sink, program, row};
use crate::commands::Line;

pub(super) const PROGRAMS: &[Program] = &[
    program(
        &["crontab", "atq", "atrm", "fcrontab"],
        &[row("", ProcPersist).unless(&["-l", "--list"])],
    )
    .values(&["-u"]),
    program(
        &[
            "systemctl",
            "service",
            "rc-update",
            "update-rc.d",
            "chkconfig",
            "launchctl",
            "initctl",
            "sv",
            "supervisorctl",
            "pm2",
            "loginctl",
        ],
        &[row("", ProcPersist).unless(&[
            "status",
            "list-units",
            "is-active",
            "is-enabled",
            "list",
            "show",
            "cat",
            "--version",
            "list-timers",
            "list-unit-files",
            "ls",
            "logs",
        ])],
    )
    .values(&["-t", "-n"]),
    program(
        &[
            "useradd", "adduser", "usermod", "userdel", "groupadd", "groupmod", "passwd",
            "chpasswd", "visudo", "chsh", "chfn", "gpasswd", "vipw", "newusers",
        ],
        &[row("", ProcPrivilege)],
    ),
    program(
        &["login", "sulogin", "capset", "setuidgid"],
        &[row("", ProcPrivilege)],
    ),
    program(
        &["kill", "pkill", "killall", "xkill", "fuser", "skill"],
        &[],
    )
    .values(&["-s", "--signal", "-u", "-g", "-t"])
    .special(kill),
    program(
        &[
            "gdb", "lldb", "rr", "perf", "bpftrace", "bpftool", "gcore", "ptrace", "uprobe",
            "sysdig", "stap", "py-spy", "rbspy", "dtrace", "reptyr", "criu",
        ],
        &[row("", ProcDebug).unless(&["--version", "--help"])],
    )
    .values(&["-ex", "-x", "-iex", "-c"])
    .special(debugger),
    program(
        &[
            "insmod",
            "modprobe",
            "rmmod",
            "depmod",
            "kexec",
            "dkms",
            "mount",
            "umount",
            "swapon",
            "swapoff",
            "losetup",
            "pivot_root",
            "sysctl",
            "iptables",
            "ip6tables",
            "nft",
            "ufw",
            "firewall-cmd",
            "tc",
            "brctl",
            "ifconfig",
            "route",
            "hwclock",
            "timedatectl",
            "ntpdate",
            "chronyc",
            "hostnamectl",
            "localectl",
            "ldconfig",
            "setenforce",
            "apparmor_parser",
            "aa-disable",
            "auditctl",
            "update-alternatives",
            "update-ca-certificates",
            "trust",
            "dmsetup",
            "nvme",
            "rfkill",
            "update-grub",
            "grub-install",
            "efibootmgr",
            "modinfo-write",
            "adjtimex",
        ],
        &[row("", ProcSystem).unless(&[
            "--version",
            "--help",
            "-a",
            "--list",
            "status",
            "-n",
            "show",
        ])],
    ),
    program(
        &["ip"],
        &[row(
            "link|addr|address|route|rule|netns|tunnel add|set|del|delete|change|replace|flush|exec",
            ProcSystem,
        )],
    ),
    program(
        &["shutdown", "reboot", "poweroff", "halt", "telinit", "init"],
        &[row("", ProcSystem).marks(&[Mark::Whole])],
    ),
    program(
        &[
            "xclip",
            "xsel",
            "wl-copy",
            "wl-paste",
            "pbcopy",
            "pbpaste",
            "scrot",
            "grim",
            "import",
            "gnome-screenshot",
            "xdotool",
            "ydotool",
            "wtype",
            "ffplay",
            "arecord",
            "parecord",
            "fswebcam",
            "xdg-open",
            "open",
            "notify-send",
            "zenity",
            "kdialog",
            "xwd",
            "xinput",
            "x11vnc",
            "xset",
            "gsettings",
            "dconf",
            "dbus-send",
            "gdbus",
            "busctl",
            "qdbus",
        ],
        &[row("", HostDesktop)],
    ),
    program(
        &["journalctl", "logrotate", "wevtutil"],
        &[row("", EvidenceErase)
            .when(&[
                "--vacuum-time",
                "--vacuum-size",
                "--rotate",
                "--force",
                "-f",
                "cl",
            ])
            .unless(&["--follow"])],
    ),
    program(&["auditd", "ausearch"], &[row("", ProcDebug)]),
    program(
        &[
            "docker-proxy",
            "sshd",
            "dropbear",
            "telnetd",
            "vsftpd",
            "rpcbind",
            "smbd",
            "tigervncserver",
            "Xvnc",
        ],
        &[row("", NetListen).marks(&[Mark::Public])],
    ),
    program(
        &[
            "gpg",
            "gpg2",
            "ssh-add",
            "ssh-agent",
            "age",
            "minisign",
            "signify",
        ],
        &[
            row("", SecretRead).when(&["--export-secret-keys", "--export-secret-subkeys", "-L"]),
            row("", SecretUse).unless(&["--version", "--verify", "--list-keys", "-l"]),
        ],
    ),
    program(
        &["ssh-keygen", "ssh-copy-id"],
        &[row("", SecretUse).unless(&["-l", "-F"])],
    )
    .values(&["-f", "-t", "-C", "-N", "-b"])
    .special(keys),
    program(
        &["security", "keyctl", "kwallet-query"],
        &[row("", SecretRead)],
    ),
    program(
        &[
            "make", "gmake", "just", "task", "ninja", "cmake", "meson", "bazel", "bazelisk",
            "buck2", "pants", "scons", "tox", "nox", "invoke", "mage", "rake-run",
        ],
        &[row("", ExecRun)],
    )
    .values(&["-C", "-f", "-j", "-I", "--directory", "--file"])
    .special(build),
];

/// One's own processes are a task's own affair; everybody's are not.
fn kill(line: &Line, sink: &mut Sink<'_, '_>) {
    for word in &line.operands {
        let everybody = matches!(word.text.as_str(), "-1" | "1" | "0");
        let marks: &[Mark] = if everybody { &[Mark::Whole] } else { &[] };
        sink.effect(line, ProcKill, &word.text, marks);
    }
    if line.words.iter().any(|word| word.text == "-1") && line.program == "kill" {
        sink.effect(line, ProcKill, "-1", &[Mark::Whole]);
    }
}

fn debugger(line: &Line, sink: &mut Sink<'_, '_>) {
    for command in line.values(&["-ex", "-iex"]) {
        if let Some(shell) = command
            .text
            .strip_prefix("shell ")
            .or(command.text.strip_prefix('!'))
        {
            sink.script(shell);
        }
    }
}

fn keys(line: &Line, sink: &mut Sink<'_, '_>) {
    if line.program == "ssh-copy-id" {
        sink.effect(line, NetSession, line.operand(0), &[]);
    }
    if let Some(file) = line.value(&["-f"]) {
        sink.on(line, FsWrite, file, &[]);
    }
}

/// `make publish`: a target's name is all that is known, and some are clear.
fn build(line: &Line, sink: &mut Sink<'_, '_>) {
    for word in &line.operands {
        let name = word.text.as_str();
        if matches!(name, "publish" | "release" | "upload") {
            sink.effect(line, PkgPublish, name, &[]);
        } else if matches!(name, "deploy" | "deploy-prod" | "apply") {
            sink.effect(line, InfraApply, name, &[]);
        } else if name == "install"
            && line.program.ends_with("make")
            && !line.words.iter().any(|w| {
                w.text.starts_with("DESTDIR=")
                    || w.text.starts_with("PREFIX=")
                    || w.text.starts_with("prefix=")
            })
        {
            sink.path(line, FsWrite, "/usr/local", &[]);
        }
    }
    if matches!(line.program.as_str(), "bazel" | "bazelisk")
        && line.operand(0) == "run"
        && line.operand(1).contains("push")
    {
        sink.effect(line, PkgPublish, line.operand(1), &[]);
    }
    // `--eval` and variables that make runs as text.
    if line
        .words
        .iter()
        .any(|word| word.text.starts_with("--eval") || word.text.starts_with("SHELL="))
    {
        sink.opaque("make");
    }
}
