//! The system calls and sockets that are refused inside, each with the same
//! attempt outside to compare: a call that fails there too proves nothing.

mod host;

use std::{collections::BTreeMap, fmt::Write as _};

use self::host::{Host, finish, skip};

/// Operation not permitted; no such call. What refuses inside.
const REFUSED: [&str; 2] = ["1", "38"];
/// In place of a descriptor.
const NONE: i64 = -1;

/// Name, number, arguments. None does harm where it is allowed: what they
/// point to is nothing, and numbers are invalid.
const CALLS: [(&str, i64, &[i64]); 62] = [
    ("mount", libc::SYS_mount, &[0, 0, 0, 0, 0]),
    ("umount2", libc::SYS_umount2, &[0, 0]),
    ("pivot_root", libc::SYS_pivot_root, &[0, 0]),
    ("chroot", libc::SYS_chroot, &[0]),
    ("open_tree", libc::SYS_open_tree, &[NONE, 0, 0]),
    ("move_mount", libc::SYS_move_mount, &[NONE, 0, NONE, 0, 0]),
    ("fsopen", libc::SYS_fsopen, &[0, 0]),
    ("fsconfig", libc::SYS_fsconfig, &[NONE, 0, 0, 0, 0]),
    ("fsmount", libc::SYS_fsmount, &[NONE, 0, 0]),
    ("fspick", libc::SYS_fspick, &[NONE, 0, 0]),
    (
        "mount_setattr",
        libc::SYS_mount_setattr,
        &[NONE, 0, 0, 0, 0],
    ),
    ("open_tree_attr", 467, &[NONE, 0, 0, 0, 0]),
    ("statmount", 457, &[0, 0, 0, 0]),
    ("listmount", 458, &[0, 0, 0, 0]),
    ("lsm_get_self_attr", 459, &[0, 0, 0, 0]),
    ("file_setattr", 469, &[NONE, 0, 0, 0, 0]),
    ("setns", libc::SYS_setns, &[NONE, 0]),
    ("unshare user", libc::SYS_unshare, &[0x1000_0000]),
    ("unshare mount", libc::SYS_unshare, &[0x0002_0000]),
    ("unshare network", libc::SYS_unshare, &[0x4000_0000]),
    ("unshare pid", libc::SYS_unshare, &[0x2000_0000]),
    ("unshare ipc", libc::SYS_unshare, &[0x0800_0000]),
    ("unshare uts", libc::SYS_unshare, &[0x0400_0000]),
    ("unshare cgroup", libc::SYS_unshare, &[0x0200_0000]),
    ("unshare time", libc::SYS_unshare, &[0x80]),
    (
        "unshare user with high bits",
        libc::SYS_unshare,
        &[0x1_1000_0000],
    ),
    ("clone user", libc::SYS_clone, &[0x1000_0011, 0, 0, 0, 0]),
    ("clone network", libc::SYS_clone, &[0x5000_0011, 0, 0, 0, 0]),
    ("clone3", libc::SYS_clone3, &[0, 0]),
    (
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        &[NONE, 0, 0],
    ),
    ("bpf", libc::SYS_bpf, &[99, 0, 0]),
    (
        "perf_event_open",
        libc::SYS_perf_event_open,
        &[0, 0, NONE, NONE, 0],
    ),
    ("userfaultfd", libc::SYS_userfaultfd, &[1]),
    ("add_key", libc::SYS_add_key, &[0, 0, 0, 0, 0]),
    ("request_key", libc::SYS_request_key, &[0, 0, 0, 0]),
    ("keyctl", libc::SYS_keyctl, &[0, -3, 0]),
    ("io_uring_setup", libc::SYS_io_uring_setup, &[0, 0]),
    (
        "io_uring_enter",
        libc::SYS_io_uring_enter,
        &[NONE, 0, 0, 0, 0, 0],
    ),
    (
        "io_uring_register",
        libc::SYS_io_uring_register,
        &[NONE, 0, 0, 0],
    ),
    ("kcmp", libc::SYS_kcmp, &[1, 1, 99, 0, 0]),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, &[NONE, 0, 0]),
    ("init_module", libc::SYS_init_module, &[0, 0, 0]),
    ("finit_module", libc::SYS_finit_module, &[NONE, 0, 99]),
    ("delete_module", libc::SYS_delete_module, &[0, 0]),
    ("kexec_load", libc::SYS_kexec_load, &[0, 99, 0, 99]),
    ("reboot", libc::SYS_reboot, &[0, 0, 0, 0]),
    ("swapon", libc::SYS_swapon, &[0, 0]),
    ("swapoff", libc::SYS_swapoff, &[0]),
    ("quotactl", libc::SYS_quotactl, &[NONE, 0, 0, 0]),
    ("quotactl_fd", libc::SYS_quotactl_fd, &[NONE, 0, 0, 0]),
    ("settimeofday", libc::SYS_settimeofday, &[1, 0]),
    ("clock_settime", libc::SYS_clock_settime, &[99, 0]),
    ("clock_adjtime", libc::SYS_clock_adjtime, &[99, 0]),
    ("adjtimex", libc::SYS_adjtimex, &[0]),
    ("sethostname", libc::SYS_sethostname, &[1, NONE]),
    ("setdomainname", libc::SYS_setdomainname, &[1, NONE]),
    ("syslog", libc::SYS_syslog, &[10, 0, 0]),
    ("acct", libc::SYS_acct, &[1]),
    ("personality", libc::SYS_personality, &[0x0004_0000]),
    ("a call of tomorrow", 900, &[0]),
    // As programs for another architecture make them on this one.
    ("x32 getpid", 0x4000_0027, &[]),
    (
        "landlock of its own",
        libc::SYS_landlock_create_ruleset,
        &[0, 0, 99],
    ),
];

/// Calls that programs need and that stay.
const ALLOWED: [&str; 1] = ["landlock of its own"];
/// Calls that may also end the process that makes them.
const DEADLY: [&str; 1] = ["x32 getpid"];

/// Each call in a process of its own, so that none changes the next.
fn attempts() -> String {
    let mut perl = String::from("$| = 1; my @calls = (");
    for (name, number, arguments) in CALLS {
        let arguments: Vec<String> = arguments.iter().map(i64::to_string).collect();
        let _ = write!(perl, "[\"{name}\", {number}, {}],", arguments.join(","));
    }
    let exit = libc::SYS_exit_group;
    let _ = write!(
        perl,
        "); for my $call (@calls) {{ my ($name, $number, @arguments) = @$call; \
         my $child = fork; if ($child) {{ waitpid $child, 0; next }} \
         $! = 0; my $r = syscall($number, map {{ $_ + 0 }} @arguments); my $e = $! + 0; \
         syscall({exit}, 0) if $name =~ /^clone/ && $r == 0; \
         print \"$name=\", ($r == -1 ? $e : \"done\"), \"\\n\"; syscall({exit}, 0) }}"
    );
    perl
}

fn answers(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, answer)| (name.to_owned(), answer.to_owned()))
        .collect()
}

fn has_perl(host: &Host) -> bool {
    let mut perl = host.other_command("sh");
    perl.args(["-c", "command -v perl"]);
    let there = finish(perl).code == 0;
    if !there {
        skip("everything here", "there is no perl to make the calls with");
    }
    there
}

/// What `perl` prints outside and inside.
fn outside_and_inside(host: &Host, perl: &str) -> [BTreeMap<String, String>; 2] {
    let mut outside = host.other_command("perl");
    outside.args(["-e", perl]);
    let outside = finish(outside);
    let inside = host.stockade(&["run", "--", "perl", "-e", perl]);
    assert_eq!(inside.code, 0, "{inside:?}");
    [answers(&outside.stdout), answers(&inside.stdout)]
}

#[test]
fn g1_calls_that_could_change_the_walls_or_the_machine_are_refused() {
    let host = Host::new();
    if !has_perl(&host) {
        return;
    }
    let [outside, inside] = outside_and_inside(&host, &attempts());
    let mut compared = 0;
    for (name, _, _) in CALLS {
        let answer = inside.get(name).map_or("nothing", String::as_str);
        let control = outside.get(name).map_or("nothing", String::as_str);
        if ALLOWED.contains(&name) {
            assert_eq!(answer, control, "{name}");
            continue;
        }
        let died = answer == "nothing" && DEADLY.contains(&name);
        assert!(died || REFUSED.contains(&answer), "{name} inside: {answer}");
        if REFUSED.contains(&control) {
            skip(
                name,
                "it is refused outside too, so that there is nothing to compare",
            );
        } else {
            compared += 1;
        }
    }
    assert!(compared >= 20, "only {compared} calls could be compared");
}

#[test]
fn g1_other_processes_inside_cannot_be_traced_by_way_of_process_1() {
    let host = Host::new();
    if !has_perl(&host) {
        return;
    }
    let perl = format!(
        "my $bytes = 'x' x 8; my $iovec = pack('QQ', unpack('Q', pack('p', $bytes)), 8); \
         my %calls = (attach => [{ptrace}, 16, 1, 0, 0], seize => [{ptrace}, 0x4206, 1, 0, 0], \
         read => [{read}, 1, $iovec, 1, $iovec, 1, 0], write => [{write}, 1, $iovec, 1, $iovec, 1, 0]); \
         for my $name (sort keys %calls) {{ my ($number, @arguments) = @{{$calls{{$name}}}}; $! = 0; my $r = syscall($number, @arguments); \
         print \"$name=\", ($r == -1 ? $!+0 : \"done\"), \"\\n\" }} \
         for my $path (qw(/proc/1/mem /proc/1/environ /proc/1/exe)) {{ print \"$path=\", (open(my $f, '+<', $path) ? 'open' : $!+0), \"\\n\" }} \
         my $killed = kill 9, 1; print \"kill=\", (kill(0, 1) ? 'lives' : 'gone'), \"\\n\"; \
         my $child = fork; if (!$child) {{ sleep 100 }} \
         for my $name (qw(read write)) {{ my ($number, $other, @arguments) = @{{$calls{{$name}}}}; \
         print \"$name own child=\", syscall($number, $child, @arguments), \"\\n\" }} \
         print \"own child=\", syscall({ptrace}, 16, $child, 0, 0), \"\\n\"; kill 9, $child",
        ptrace = libc::SYS_ptrace,
        read = libc::SYS_process_vm_readv,
        write = libc::SYS_process_vm_writev,
    );
    let inside = host.stockade(&["run", "--", "perl", "-e", &perl]);
    let answers = answers(&inside.stdout);
    for name in ["attach", "seize", "read", "write"] {
        assert_eq!(answers[name], "1", "{name}: {inside:?}");
    }
    for path in ["/proc/1/mem", "/proc/1/environ", "/proc/1/exe"] {
        assert_eq!(answers[path], "13", "{path}: {inside:?}");
    }
    assert_eq!(answers["kill"], "lives", "{inside:?}");
    // Debuggers need these, and they show that the calls were well made.
    assert_eq!(answers["read own child"], "8", "{inside:?}");
    assert_eq!(answers["write own child"], "8", "{inside:?}");
    assert_eq!(answers["own child"], "0", "{inside:?}");
}

/// Family, type, protocol, and whether it is allowed.
const SOCKETS: [(&str, i32, i32, i32, bool); 32] = [
    ("unix stream", libc::AF_UNIX, libc::SOCK_STREAM, 0, true),
    ("unix datagram", libc::AF_UNIX, libc::SOCK_DGRAM, 0, true),
    (
        "unix seqpacket",
        libc::AF_UNIX,
        libc::SOCK_SEQPACKET,
        0,
        true,
    ),
    ("tcp", libc::AF_INET, libc::SOCK_STREAM, 0, true),
    (
        "tcp by number",
        libc::AF_INET,
        libc::SOCK_STREAM,
        libc::IPPROTO_TCP,
        true,
    ),
    (
        "tcp that does not block",
        libc::AF_INET,
        libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        0,
        true,
    ),
    ("tcp6", libc::AF_INET6, libc::SOCK_STREAM, 0, true),
    ("udp", libc::AF_INET, libc::SOCK_DGRAM, 0, true),
    (
        "udp by number",
        libc::AF_INET,
        libc::SOCK_DGRAM,
        libc::IPPROTO_UDP,
        true,
    ),
    ("udp6", libc::AF_INET6, libc::SOCK_DGRAM, 0, true),
    (
        "netlink route",
        libc::AF_NETLINK,
        libc::SOCK_RAW,
        libc::NETLINK_ROUTE,
        true,
    ),
    (
        "mptcp",
        libc::AF_INET,
        libc::SOCK_STREAM,
        libc::IPPROTO_MPTCP,
        false,
    ),
    (
        "mptcp6",
        libc::AF_INET6,
        libc::SOCK_STREAM,
        libc::IPPROTO_MPTCP,
        false,
    ),
    (
        "sctp",
        libc::AF_INET,
        libc::SOCK_STREAM,
        libc::IPPROTO_SCTP,
        false,
    ),
    (
        "sctp seqpacket",
        libc::AF_INET,
        libc::SOCK_SEQPACKET,
        libc::IPPROTO_SCTP,
        false,
    ),
    ("dccp", libc::AF_INET, 6, libc::IPPROTO_DCCP, false),
    (
        "udplite",
        libc::AF_INET,
        libc::SOCK_DGRAM,
        libc::IPPROTO_UDPLITE,
        false,
    ),
    (
        "ping",
        libc::AF_INET,
        libc::SOCK_DGRAM,
        libc::IPPROTO_ICMP,
        false,
    ),
    (
        "ping6",
        libc::AF_INET6,
        libc::SOCK_DGRAM,
        libc::IPPROTO_ICMPV6,
        false,
    ),
    (
        "raw icmp",
        libc::AF_INET,
        libc::SOCK_RAW,
        libc::IPPROTO_ICMP,
        false,
    ),
    (
        "raw ip",
        libc::AF_INET,
        libc::SOCK_RAW,
        libc::IPPROTO_RAW,
        false,
    ),
    (
        "raw tcp6",
        libc::AF_INET6,
        libc::SOCK_RAW,
        libc::IPPROTO_TCP,
        false,
    ),
    ("packet", libc::AF_PACKET, libc::SOCK_RAW, 768, false),
    (
        "packet datagram",
        libc::AF_PACKET,
        libc::SOCK_DGRAM,
        768,
        false,
    ),
    (
        "netlink audit",
        libc::AF_NETLINK,
        libc::SOCK_RAW,
        libc::NETLINK_AUDIT,
        false,
    ),
    (
        "netlink netfilter",
        libc::AF_NETLINK,
        libc::SOCK_RAW,
        libc::NETLINK_NETFILTER,
        false,
    ),
    (
        "netlink uevent",
        libc::AF_NETLINK,
        libc::SOCK_RAW,
        libc::NETLINK_KOBJECT_UEVENT,
        false,
    ),
    ("crypto", libc::AF_ALG, libc::SOCK_SEQPACKET, 0, false),
    ("xdp", libc::AF_XDP, libc::SOCK_RAW, 0, false),
    ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM, 0, false),
    ("bluetooth", libc::AF_BLUETOOTH, libc::SOCK_RAW, 1, false),
    ("qipcrtr", 42, libc::SOCK_DGRAM, 0, false),
];

#[test]
fn g2_only_unix_tcp_udp_and_route_sockets_can_be_made() {
    let host = Host::new();
    if !has_perl(&host) {
        return;
    }
    let mut perl = String::new();
    for (name, family, kind, protocol, _) in SOCKETS {
        let _ = write!(
            perl,
            "print \"{name}=\", (socket(my $s, {family}, {kind}, {protocol}) ? 'made' : $!+0), \"\\n\";"
        );
    }
    // Every family that the kernel may know, and pairs of the others.
    perl.push_str("for my $f (0..63) { print \"family $f=\", (socket(my $s, $f, 3, 0) || socket($s, $f, 5, 0) || socket($s, $f, 2, 0) || socket($s, $f, 1, 0) ? 'made' : $!+0), \"\\n\" }");
    perl.push_str("for my $f (2, 10, 16, 17, 38, 40) { print \"pair $f=\", (socketpair(my $s, my $t, $f, 1, 0) ? 'made' : $!+0), \"\\n\" }");
    let [outside, inside] = outside_and_inside(&host, &perl);
    for (name, _, _, _, allowed) in SOCKETS {
        let made = inside[name] == "made";
        assert_eq!(made, allowed, "{name}: {}", inside[name]);
        if !allowed && outside[name] != "made" {
            skip(name, "it cannot be made outside either");
        }
    }
    let families: Vec<&str> = inside
        .iter()
        .filter(|(name, answer)| name.starts_with("family ") && *answer == "made")
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(families, ["family 1", "family 10", "family 16", "family 2"]);
    let pairs = inside
        .iter()
        .filter(|(name, answer)| name.starts_with("pair ") && *answer == "made");
    assert_eq!(pairs.count(), 0);
}

#[test]
fn g2_routes_addresses_and_interfaces_cannot_be_changed() {
    let host = Host::new();
    if !has_perl(&host) {
        return;
    }
    // RTM_NEWLINK of a dummy interface, RTM_NEWROUTE, RTM_NEWADDR, RTM_DELROUTE:
    // a header, a body of nothing, and a wish for an answer.
    let perl = "for my $kind (16, 24, 20, 25) { socket(my $s, 16, 3, 0) or die; \
         my $body = \"\\0\" x 32; my $m = pack(\"LSSLL\", 16 + length $body, $kind, 0x605, 1, 0) . $body; \
         send($s, $m, 0) or die; recv($s, my $answer, 4096, 0); my (undef, $type, undef, undef, undef, $error) = unpack(\"LSSLLl\", $answer); \
         print \"$kind=\", ($type == 2 ? -$error : 'other'), \"\\n\" }";
    let inside = host.stockade(&["run", "--", "perl", "-e", perl]);
    let answers = answers(&inside.stdout);
    for kind in ["16", "20", "24", "25"] {
        assert_eq!(answers[kind], "1", "{kind}: {inside:?}");
    }
}
