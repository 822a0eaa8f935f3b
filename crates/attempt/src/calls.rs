//! System calls that would change the walls or the machine.

use std::io;

use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount as mount_file_system, mount_change},
    net::{AddressFamily, SendFlags, SocketType, netlink},
};
use stockade_attempt::{Call, End};

#[cfg(target_arch = "x86_64")]
use crate::raw::call_of_32_bits;
use crate::{
    raw::{Ended, apart, call_apart, error_code, unshare},
    report::Report,
};

pub(crate) fn calls(calls: &[Call], report: &Report) {
    for call in calls {
        let mut arguments = [0; 6];
        for (place, argument) in arguments.iter_mut().zip(&call.arguments) {
            *place = *argument;
        }
        report.ended(call.name.clone(), call_apart(call.number, arguments));
    }
}

/// The number of `getpid` for programs of 32 bits.
#[cfg(target_arch = "x86_64")]
const GETPID_OF_32_BITS: i32 = 20;

/// Makes a call by the way that programs of 32 bits have.
#[cfg(target_arch = "x86_64")]
pub(crate) fn foreign(report: &Report) {
    let ended = apart(|| u8::from(call_of_32_bits(GETPID_OF_32_BITS) <= 0));
    report.ended("getpid of 32 bits", ended);
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn foreign(report: &Report) {
    let reason = "this machine has no such calls".to_owned();
    report.tell("getpid of 32 bits", End::Unable(reason));
}

pub(crate) fn mount(types: &[String], report: &Report) {
    for kind in types {
        // As whoever may make a user namespace, and as whoever has the rights
        // of this one: either alone is enough.
        for (rights, flags) in [("new", libc::CLONE_NEWUSER), ("its own", 0)] {
            let ended = apart(|| {
                let flags = flags | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
                match unshare(flags).and_then(|()| apart(|| mounted(kind))) {
                    Ok(Ended::Code(code)) => code,
                    Ok(Ended::Signal(_)) => u8::MAX,
                    Err(error) => error_code(&error),
                }
            });
            report.ended(format!("mount {kind} with {rights} rights"), ended);
        }
    }
}

/// Mounts where nobody else sees it.
fn mounted(kind: &str) -> u8 {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let mounted = mount_change("/", private)
        .and_then(|()| mount_file_system("stockade", "/tmp", kind, MountFlags::empty(), None));
    match mounted {
        Ok(()) => 0,
        Err(error) => error_code(&error.into()),
    }
}

/// Messages that change something, were there what they name: the kernel asks
/// for the right before it looks for it.
const CHANGES: [(&str, u16, usize); 4] = [
    ("remove an interface", 17, 16),
    ("change an interface", 19, 16),
    ("remove an address", 21, 8),
    ("remove a route", 25, 12),
];

pub(crate) fn netlink(report: &Report) {
    for (name, kind, length) in CHANGES {
        let end = match change(kind, length) {
            Ok(0) => End::Worked,
            // Not found: the right was there.
            Ok(error) if error != libc::EPERM => End::Worked,
            Ok(error) => End::Refused(error),
            Err(error) => End::Refused(i32::from(error_code(&error))),
        };
        report.tell(name, end);
    }
}

/// Sends a message of this kind that names nothing; returns the error in the
/// answer.
fn change(kind: u16, length: usize) -> io::Result<i32> {
    const REQUEST_AND_ANSWER: u16 = 5;
    const HEADER: usize = 16;
    /// No interface has it.
    const INDEX: u32 = 0x7fff_0000;
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    let mut message = Vec::new();
    message.extend(u32::try_from(HEADER + length).unwrap_or(0).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(REQUEST_AND_ANSWER.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.resize(HEADER + length, 0);
    // The family, IPv4; then, but in a route, the index of an interface.
    message[HEADER] = 2;
    if kind == 25 {
        // A host route of a table that no machine has.
        message[HEADER + 1] = 32;
        message[HEADER + 4] = 251;
    } else {
        message[HEADER + 4..HEADER + 8].copy_from_slice(&INDEX.to_ne_bytes());
    }
    let kernel = netlink::SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &message, SendFlags::empty(), &kernel)?;
    let mut answer = [0; 256];
    let (read, _) = rustix::net::recv(&socket, &mut answer, rustix::net::RecvFlags::empty())?;
    let error = answer
        .get(HEADER..HEADER + 4)
        .filter(|_| read >= HEADER + 4);
    let number = error.and_then(|bytes| bytes.try_into().ok());
    Ok(number.map_or(0, |bytes| -i32::from_ne_bytes(bytes)))
}
