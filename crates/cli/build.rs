//! Has the linker pack the addresses that every process adjusts when it starts.

use std::process::Command;

/// The first glibc whose start code reads packed relocations (its release notes).
const READS_PACKED: (u32, u32) = (2, 36);

#[expect(clippy::disallowed_methods, reason = "a build script asks the system")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let version = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let version = version.map_or_else(|_| Vec::new(), |output| output.stdout);
    if of_glibc(&String::from_utf8_lossy(&version)).is_some_and(|found| found >= READS_PACKED) {
        // Fifteen kilobytes to read at each start, in place of a megabyte.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Of `glibc 2.36`, the numbers.
fn of_glibc(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
