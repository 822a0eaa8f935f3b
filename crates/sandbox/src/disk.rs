//! Disks of a fixed size, each a file with a file system in it: the kernel
//! keeps what is on one from growing. Only root may mount them.

#![expect(
    unsafe_code,
    reason = "the ioctls of loop devices have no safe binding"
)]

use std::{
    fs::{self, File, Permissions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    mount::{MountFlags, UnmountFlags, mount, unmount},
    thread::UnshareFlags,
};

use crate::{kernel, root};

/// The smallest disk that is of any use.
pub const SMALLEST: u64 = 64 << 20;
/// Who makes the file system.
const MAKER: &str = "mkfs.ext4";
/// The folders in which distributions keep it; `PATH` may lack them.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];
/// How long those who used a disk before may take to let go of it.
const LET_GO: Duration = Duration::from_secs(10);

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// This machine or user has none.
    #[error("a disk of its own for a task needs {0}")]
    Unavailable(&'static str),
    /// It cannot be so small.
    #[error("a disk of its own has at least 64 MiB")]
    TooSmall,
    /// The file system could not be made.
    #[error("`mkfs.ext4` failed: {0}")]
    Make(String),
    /// Somebody else has it mounted.
    #[error("{} is in use", .0.display())]
    InUse(PathBuf),
    /// A call failed.
    #[error("could not {step}: {source}")]
    Failed {
        /// What was done.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A disk that is mounted; nobody else can mount it until this is dropped and
/// the mount is gone.
#[derive(Debug)]
pub struct Mounted {
    image: File,
    /// Its root: the folders above may get other names.
    root: OwnedFd,
}

fn failed(step: &'static str) -> impl FnOnce(io::Error) -> DiskError {
    move |source| DiskError::Failed { step, source }
}

/// Says what is missing for disks of their own, if anything is.
///
/// # Errors
/// Names it.
pub fn available() -> Result<(), DiskError> {
    if !rustix::process::geteuid().is_root() {
        return Err(DiskError::Unavailable("root, who alone may mount one"));
    }
    if !Path::new("/dev/loop-control").exists() {
        return Err(DiskError::Unavailable("loop devices (`modprobe loop`)"));
    }
    maker().map(|_| ())
}

fn maker() -> Result<PathBuf, DiskError> {
    let mut places = FOLDERS.iter().map(|folder| Path::new(folder).join(MAKER));
    places
        .find(|place| place.is_file())
        .ok_or(DiskError::Unavailable("`mkfs.ext4` (install e2fsprogs)"))
}

/// Makes the file `image`, which must not exist, a disk of `bytes` with an
/// empty file system. It takes room only as it is filled.
pub fn make(image: &Path, bytes: u64) -> Result<(), DiskError> {
    if bytes < SMALLEST {
        return Err(DiskError::TooSmall);
    }
    available()?;
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(image);
    let sized = file.and_then(|file| file.set_len(bytes));
    sized.map_err(failed("make the file of the disk"))?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the one program that makes a file system"
    )]
    let mut command = Command::new(maker()?);
    // Tables are written as they are needed, and nothing is kept for root.
    command
        .args(["-q", "-F", "-m", "0", "-J", "size=4"])
        .args(["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"])
        .arg(image)
        .env_clear()
        .stdin(Stdio::null());
    let output = command.output().map_err(failed("start `mkfs.ext4`"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().next().unwrap_or("no reason given");
    Err(DiskError::Make(line.chars().take(200).collect()))
}

/// Has this thread, and what it starts, see mounts that nobody else sees.
pub fn enter_private_mounts() -> Result<(), DiskError> {
    kernel::unshare(UnshareFlags::NEWNS).map_err(failed("make a mount namespace"))?;
    root::make_private().map_err(|error| DiskError::Failed {
        step: "make mounts private",
        source: io::Error::other(error.to_string()),
    })
}

/// Mounts the disk `image` at the folder `at`. Call
/// [`enter_private_mounts`] before, or the whole machine sees it.
///
/// # Errors
/// Also if somebody has it mounted, after a wait for those who are ending: two
/// mounts of one disk would destroy what is on it.
pub fn mount_at(image: &Path, at: &Path) -> Result<Mounted, DiskError> {
    let mut options = File::options();
    let file = options.read(true).write(true).open(image);
    let file = file.map_err(failed("open the disk"))?;
    wait_until_free(image, &file)?;
    let (device, path) = attach(&file).map_err(failed("attach the disk to a loop device"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let mounted = mount(&path, at, "ext4", flags, None).map_err(io::Error::from);
    // From here on the mount alone holds the device, which goes with it.
    drop(device);
    mounted.map_err(failed("mount the disk"))?;
    let entered = fs::set_permissions(at, Permissions::from_mode(0o711));
    let root = entered.and_then(|()| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(at, flags, Mode::empty())?)
    });
    Ok(Mounted {
        image: file,
        root: root.map_err(failed("enter the disk"))?,
    })
}

/// Waits until nobody else means to mount the disk, and nobody has.
fn wait_until_free(image: &Path, file: &File) -> Result<(), DiskError> {
    let deadline = Instant::now() + LET_GO;
    let name = fs::canonicalize(image).map_err(failed("find the disk"))?;
    loop {
        let locked = flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if locked && !is_attached(&name) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(DiskError::InUse(image.to_owned()));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a loop device holds the file `image`.
fn is_attached(image: &Path) -> bool {
    let Ok(devices) = fs::read_dir("/sys/block") else {
        return false;
    };
    let held = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("loop/backing_file"));
    let mut held = devices.filter_map(|entry| held(entry.ok()?).ok());
    held.any(|file| Path::new(file.trim_end_matches('\n')) == image)
}

/// `LOOP_CTL_GET_FREE` of `linux/loop.h`.
const GET_FREE: libc::Ioctl = 0x4c82;
/// `LOOP_CONFIGURE` of `linux/loop.h` (Linux 5.8).
const CONFIGURE: libc::Ioctl = 0x4c0a;
/// `LO_FLAGS_AUTOCLEAR`: the device is free once nobody has it open.
const AUTOCLEAR: u32 = 4;
/// How often somebody else may take the device that was free.
const ATTEMPTS: usize = 64;

/// `struct loop_config` of `linux/loop.h`, with `struct loop_info64` in it.
#[repr(C)]
struct Configuration {
    file: u32,
    block_size: u32,
    numbers: [u64; 5],
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    names: [u8; 160],
    init: [u64; 2],
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Configuration>() == 304);

/// A loop device that holds `file` until it is closed.
fn attach(file: &File) -> io::Result<(File, PathBuf)> {
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    let configuration = Configuration {
        file: u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?,
        block_size: 0,
        numbers: [0; 5],
        number: 0,
        encryption: [0; 2],
        flags: AUTOCLEAR,
        names: [0; 160],
        init: [0; 2],
        reserved: [0; 8],
    };
    for _ in 0..ATTEMPTS {
        // SAFETY: the request takes no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = File::options().read(true).write(true).open(&path)?;
        // SAFETY: the pointer is to a live value of the type that the request
        // reads.
        let taken = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const configuration) };
        if taken == 0 {
            return Ok((device, path));
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EBUSY) {
            return Err(error);
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

impl Mounted {
    /// Takes it off: what was written is on the disk, and nobody holds it.
    pub fn unmount(self) -> Result<(), DiskError> {
        let Self { image, root } = self;
        let at = fs::read_link(format!("/proc/self/fd/{}", root.as_raw_fd()));
        // Whoever has a folder of it open keeps it mounted.
        drop(root);
        let unmounted = at.and_then(|at| Ok(unmount(at, UnmountFlags::empty())?));
        drop(image);
        unmounted.map_err(failed("unmount the disk"))
    }
}
