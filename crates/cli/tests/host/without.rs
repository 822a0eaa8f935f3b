//! Programs on a machine that lacks something: system calls that fail, a
//! Landlock of an older kernel, or a folder on another machine, for them and for
//! whatever they start.

use std::{
    fmt::Write,
    path::Path,
    process::{Command, Stdio},
};

use super::{Host, Outcome, finish, has, skip};

/// A system call that fails.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// Its number.
    pub call: libc::c_long,
    /// Only with this value of the argument at this index, from 0.
    pub only: Option<(u32, u32)>,
    /// The error's number.
    pub error: i32,
}

/// The call, whatever it is given.
pub fn always(call: libc::c_long, error: i32) -> Refusal {
    Refusal {
        call,
        only: None,
        error,
    }
}

/// The call with this value of an argument.
pub fn when(call: libc::c_long, index: u32, value: u32, error: i32) -> Refusal {
    Refusal {
        call,
        only: Some((index, value)),
        error,
    }
}

/// Whether calls can be taken away here; says so if not.
pub fn takes_away() -> bool {
    let perl = has("perl");
    if !perl {
        skip("taking layers away", "there is no perl to do it with");
    }
    perl
}

/// Runs `words` to their end where these calls fail.
pub fn lacking(host: &Host, refusals: &[Refusal], words: &[&str]) -> Outcome {
    let mut command = without(host, refusals, words);
    command.stdin(Stdio::null());
    finish(command)
}

/// Instructions of `linux/bpf_common.h` and results of `linux/seccomp.h`.
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const ASK: u32 = 0x7fc0_0000;
/// Where the arguments are in `struct seccomp_data`, and the size of each.
const ARGUMENTS: u32 = 16;
const ARGUMENT: u32 = 8;

/// Installs a filter and becomes the program: seccomp(2) by numbers.
const REFUSE: &str = r"
my ($prctl, $seccomp, $filter) = splice(@ARGV, 0, 3); $filter = pack('H*', $filter);
my $program = pack('S x![P] P', length($filter) / 8, $filter);
syscall($prctl, 38, 1, 0, 0, 0) == 0 and syscall($seccomp, 1, 0, $program) == 0 or die $!;
exec @ARGV or die $!;";

/// The same in a child, whose questions it answers until nobody is left who
/// could ask (seccomp_unotify(2)). The answer is a number; or, for a call that
/// names a path, what shall be in the memory to which its second argument leads.
const ANSWER: &str = r"
my ($prctl, $seccomp, $filter, $ioctl, $poll, $pidfd_open, $getfd, $answer, $path) = splice(@ARGV, 0, 9);
$filter = pack('H*', $filter); my $program = pack('S x![P] P', length($filter) / 8, $filter);
pipe(my $told, my $tell); pipe(my $wait, my $go); my $child = fork;
if (!$child) {
    close $go; syscall($prctl, 38, 1, 0, 0, 0) == 0 or die $!;
    my $own = syscall($seccomp, 1, 8, $program); syswrite($tell, pack('l', $own)); sysread($wait, my $x, 1);
    exec @ARGV or die $!;
}
close $wait; sysread($told, my $own, 4);
my $of = syscall($pidfd_open, $child, 0); my $asked = syscall($getfd, $of, unpack('l', $own), 0); die $! if $asked < 0;
close $go;
while (1) {
    my $events = pack('i s s', $asked, 1, 0); syscall($poll, $events, 1, -1);
    my (undef, undef, $seen) = unpack('i s s', $events);
    last unless $seen & 1;
    my $question = chr(0) x 80; next if syscall($ioctl, $asked, 0xc0502100, $question) < 0;
    my ($id, $pid, $names, $at) = unpack('Q L x20 Q Q', $question);
    my ($value, $let_it) = $path eq '' ? ($answer, 0) : (0, 1);
    # Memory that is closed to others belongs to a part that asks only after the first.
    if ($path ne '' && open(my $memory, '+<', qq(/proc/$pid/mem))) {
        sysseek($memory, $names, 0); sysread($memory, my $named, length($path) + 1);
        if ($named eq $path . chr(0)) {
            sysseek($memory, $at, 0); syswrite($memory, pack('H*', $answer)); $let_it = 0;
        }
    }
    my $reply = pack('Q q l L', $id, $value, 0, $let_it); syscall($ioctl, $asked, 0xc0182101, $reply);
}
waitpid($child, 0); exit($? & 127 ? 128 + ($? & 127) : $? >> 8);";

/// `words` where these calls fail.
pub fn without(host: &Host, refusals: &[Refusal], words: &[&str]) -> Command {
    let mut filter = Filter::default();
    for refusal in refusals {
        filter.when(
            refusal.call,
            refusal.only,
            ERRNO | refusal.error.unsigned_abs(),
        );
    }
    let mut perl = host.other_command("perl");
    perl.args(["-e", REFUSE]);
    perl.args([libc::SYS_prctl, libc::SYS_seccomp].map(|call| call.to_string()));
    perl.arg(filter.end()).args(words);
    perl
}

/// `words` where the kernel says that its Landlock is of this ABI.
pub fn with_landlock(host: &Host, abi: u32, words: &[&str]) -> Command {
    const VERSION: u32 = 1;
    let call = libc::SYS_landlock_create_ruleset;
    answered(
        host,
        call,
        Some((2, VERSION)),
        &abi.to_string(),
        Path::new(""),
        words,
    )
}

/// `words` where statfs(2) says that `folder` is on a file system with this magic
/// number.
pub fn on_file_system(host: &Host, magic: u32, folder: &Path, words: &[&str]) -> Command {
    /// The size of `struct statfs`; the number comes first, in 8 bytes.
    const SIZE: usize = 120;
    let mut told = u64::from(magic).to_ne_bytes().to_vec();
    told.resize(SIZE, 0);
    answered(
        host,
        libc::SYS_statfs,
        None,
        &hex::encode(told),
        folder,
        words,
    )
}

/// `words` where this call gets an answer.
fn answered(
    host: &Host,
    call: libc::c_long,
    only: Option<(u32, u32)>,
    answer: &str,
    path: &Path,
    words: &[&str],
) -> Command {
    let mut filter = Filter::default();
    filter.when(call, only, ASK);
    let mut perl = host.other_command("perl");
    perl.args(["-e", ANSWER]);
    perl.args([libc::SYS_prctl, libc::SYS_seccomp].map(|call| call.to_string()));
    perl.arg(filter.end());
    let calls = [
        libc::SYS_ioctl,
        libc::SYS_poll,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
    ];
    perl.args(calls.map(|call| call.to_string()));
    perl.arg(answer).arg(path).args(words);
    perl
}

/// A filter as hexadecimal digits of its instructions.
#[derive(Default)]
struct Filter(String);

impl Filter {
    fn add(&mut self, code: u16, jump_false: u8, value: u32) {
        let [code, value] = [u32::from(code.swap_bytes()), value.swap_bytes()];
        let _ = write!(self.0, "{code:04x}00{jump_false:02x}{value:08x}");
    }

    fn when(&mut self, call: libc::c_long, only: Option<(u32, u32)>, result: u32) {
        self.add(LOAD, 0, 0);
        let over = if only.is_some() { 3 } else { 1 };
        self.add(JUMP_EQUAL, over, call.try_into().unwrap());
        if let Some((index, value)) = only {
            self.add(LOAD, 0, ARGUMENTS + ARGUMENT * index);
            self.add(JUMP_EQUAL, 1, value);
        }
        self.add(RETURN, 0, result);
    }

    fn end(mut self) -> String {
        self.add(RETURN, 0, ALLOW);
        self.0
    }
}
