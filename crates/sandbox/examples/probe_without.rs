//! Probes the machine for a folder, the first argument, without the system
//! calls that the others name: for tests of what is said when a layer is
//! missing.
//!
//! `CALL=ERROR` makes the call with that number fail with that error number;
//! `CALL@INDEX:VALUE=ERROR` only when the argument at that index, from 0, has
//! that value.

#![expect(
    unsafe_code,
    clippy::unwrap_used,
    reason = "a fixture: it takes calls away as a container would, and a failure fails its test"
)]

use std::path::Path;

/// Instructions of `linux/bpf_common.h` and `linux/seccomp.h`.
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
/// Where the arguments are in `struct seccomp_data`, and the size of each.
const ARGUMENTS: u32 = 16;
const ARGUMENT: u32 = 8;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let state = arguments.next().unwrap();
    for refusal in arguments {
        install(&refusal);
    }
    stockade_sandbox::probe::run(Path::new(&state)).unwrap();
}

fn install(refusal: &str) {
    let (call, error) = refusal.split_once('=').unwrap();
    let (call, test) = match call.split_once('@') {
        Some((call, test)) => (call, test.split_once(':')),
        None => (call, None),
    };
    let instruction = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let mut program = vec![instruction(LOAD, 0, 0)];
    if let Some((index, value)) = test {
        let argument = ARGUMENTS + ARGUMENT * index.parse::<u32>().unwrap();
        program.push(instruction(JUMP_EQUAL, 3, call.parse().unwrap()));
        program.push(instruction(LOAD, 0, argument));
        program.push(instruction(JUMP_EQUAL, 1, value.parse().unwrap()));
    } else {
        program.push(instruction(JUMP_EQUAL, 1, call.parse().unwrap()));
    }
    program.push(instruction(
        RETURN,
        0,
        ERRNO | error.parse::<u32>().unwrap(),
    ));
    program.push(instruction(RETURN, 0, ALLOW));
    let filter = libc::sock_fprog {
        len: program.len().try_into().unwrap(),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: plain numbers, and a program that lives across the call, which
    // only reads it (seccomp(2)).
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    assert_eq!(installed, 0, "{}", std::io::Error::last_os_error());
}
