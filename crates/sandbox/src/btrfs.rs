//! Subvolumes of btrfs and their snapshots (btrfs-ioctl(2)). Both may be made
//! by an ordinary user who owns what they are made from and where.

#![expect(
    unsafe_code,
    reason = "two ioctls without a safe binding; the block says why it is sound"
)]

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// `struct btrfs_ioctl_vol_args_v2` of `linux/btrfs.h`.
#[repr(C)]
struct VolumeArguments {
    source: i64,
    transaction: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

const _: () = assert!(size_of::<VolumeArguments>() == 4096);

/// `_IOW(0x94, 23, struct btrfs_ioctl_vol_args_v2)`.
const SNAP_CREATE_V2: libc::Ioctl = 0x5000_9417;
/// `_IOW(0x94, 24, struct btrfs_ioctl_vol_args_v2)`.
const SUBVOL_CREATE_V2: libc::Ioctl = 0x5000_9418;
/// The type of the file system, as statfs(2) tells it.
const MAGIC: u64 = 0x9123_683e;

/// Whether `path` is on btrfs.
pub fn holds(path: &Path) -> bool {
    // The kernel's type of the field differs between machines.
    rustix::fs::statfs(path)
        .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| kind == MAGIC))
}

/// Makes an empty subvolume `name` in the folder `parent`.
pub fn create(parent: &Path, name: &str) -> io::Result<()> {
    make(parent, name, SUBVOL_CREATE_V2, 0)
}

/// Makes a writable snapshot `name` of the subvolume `source` in the folder
/// `parent`: what it takes does not depend on how much there is.
pub fn snapshot(source: &Path, parent: &Path, name: &str) -> io::Result<()> {
    let source = File::open(source)?;
    make(parent, name, SNAP_CREATE_V2, source.as_raw_fd())
}

fn make(parent: &Path, name: &str, request: libc::Ioctl, source: RawFd) -> io::Result<()> {
    let parent = File::open(parent)?;
    let mut arguments = VolumeArguments {
        source: source.into(),
        transaction: 0,
        flags: 0,
        unused: [0; 4],
        name: [0; 4040],
    };
    let name = OsStr::new(name).as_bytes();
    // One byte stays, so that the name ends.
    let place = arguments.name[..4039].get_mut(..name.len());
    place
        .ok_or(io::ErrorKind::InvalidFilename)?
        .copy_from_slice(name);
    // SAFETY: the request reads, and may write, the 4096 bytes of the struct,
    // which has the kernel's layout and outlives the call; both descriptors are
    // open files of this function and its caller.
    let result = unsafe { libc::ioctl(parent.as_raw_fd(), request, &raw mut arguments) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elsewhere_there_are_no_subvolumes_and_no_name_is_too_long_to_refuse() {
        let folder = tempfile::tempdir().unwrap();
        if !holds(folder.path()) {
            assert!(create(folder.path(), "volume").is_err());
            assert!(!folder.path().join("volume").exists());
        }
        let error = create(folder.path(), &"x".repeat(5000)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidFilename);
    }
}
