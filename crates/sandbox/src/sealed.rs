//! Executables in memory that nobody can change.

use std::{fs::File, io, io::Write};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
};

/// What keeps a memory file as it is, as nobody has mapped it for writing.
/// With `WRITE` in the place of `FUTURE_WRITE` the kernel would first wait for
/// whoever still looks at its pages, and on a busy machine give up (EBUSY).
const UNCHANGEABLE: SealFlags = SealFlags::FUTURE_WRITE
    .union(SealFlags::GROW)
    .union(SealFlags::SHRINK)
    .union(SealFlags::SEAL);

/// A memory file that holds `program` for good. An executable started from a
/// file of the host could be opened for writing through `/proc/self/exe`.
pub(crate) fn executable(name: &str, program: &[u8]) -> io::Result<File> {
    // Where the system makes memory files inert by default (sysctl
    // `vm.memfd_noexec`), one that is to run must say so; kernels before 6.3
    // do not know the flag.
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create(name, flags | MemfdFlags::EXEC).or_else(|error| match error {
        Errno::INVAL => memfd_create(name, flags),
        other => Err(other),
    })?;
    let mut file = File::from(file);
    file.write_all(program)?;
    fcntl_add_seals(&file, UNCHANGEABLE)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_sealed_file_can_be_neither_written_nor_resized_nor_unsealed() {
        let file = executable("test", b"#!/bin/true\n").unwrap();
        assert!(file.write_at(b"x", 0).is_err());
        assert!(file.set_len(0).is_err());
        assert!(file.set_len(100).is_err());
        assert!(fcntl_add_seals(&file, SealFlags::WRITE).is_err());
        let mut read = [0; 11];
        file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(&read, b"#!/bin/true");
    }
}
