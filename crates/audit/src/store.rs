//! A transparency log on disk: opaque entries, one writer.
//!
//! The entries are the truth and are synced. The last, unfinished bundle grows
//! in its file, whose name says how many entries the checkpoint covers.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, OFlags};

use crate::{
    error::LogError,
    files::{self, Bundle},
    hash::Hash,
    layout::{self, CHECKPOINT, WIDTH},
    merkle::{Frontier, TreeHead},
    note::{Checkpoint, Signer},
    tiles::{Tiles, leaves},
};

/// How long to wait between two tries to take a log.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// A log open for writing, by this process alone.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    #[expect(dead_code, reason = "the lock is the open folder")]
    lock: File,
    origin: String,
    tail: Tail,
    tiles: Tiles,
    /// What the checkpoint covers.
    signed: u64,
    /// Whether entries were written that may not be on the disk.
    unsynced: bool,
    poisoned: bool,
}

/// Whether entries are on the disk when they have been written.
#[derive(Clone, Copy, Debug)]
enum Write {
    Synced,
    Unsynced,
}

/// What the writer before this one left behind.
#[derive(Debug, Default)]
pub(crate) struct Leftover {
    /// Bytes of an unfinished entry, which were cut off.
    pub(crate) torn: u64,
    /// The entries that no checkpoint covers, by their hashes.
    pub(crate) unsigned: Vec<Hash>,
}

impl Store {
    /// Opens the log in `folder`, making it if it is not there, and takes it for
    /// this process until it is dropped; waits for another for `patience`.
    ///
    /// What the checkpoint covers must have its root, by the tiles; everything
    /// since then is read.
    pub(crate) fn open(
        folder: &Path,
        origin: &str,
        signer: &Signer,
        patience: Duration,
    ) -> Result<(Self, Leftover), LogError> {
        let failed = LogError::open(folder);
        let lock = lock(folder, patience)?;
        let head = read_head(folder, origin, signer)?;
        let mut tiles = Tiles::open(folder, head.size / WIDTH).map_err(&failed)?;
        let (tail, leftover) = load(folder, &mut tiles, head)?;
        let store = Self {
            folder: folder.to_owned(),
            lock,
            origin: origin.to_owned(),
            tail,
            tiles,
            signed: head.size,
            unsynced: false,
            poisoned: false,
        };
        Ok((store, leftover))
    }

    /// How many entries there are.
    pub(crate) fn size(&self) -> u64 {
        self.tiles.size()
    }

    /// Size and root.
    pub(crate) fn head(&self) -> TreeHead {
        self.tiles.head()
    }

    /// How many entries no checkpoint covers yet.
    pub(crate) fn unsigned(&self) -> u64 {
        self.size() - self.signed
    }

    /// Appends entries, and waits until they are on the disk (`fdatasync`, once
    /// for all that share a bundle; the names of new bundles once for all).
    /// `heads` gets the state that ends with each; on an error, only of those that
    /// are in the log.
    pub(crate) fn append(
        &mut self,
        entries: &[Vec<u8>],
        heads: &mut Vec<TreeHead>,
    ) -> Result<(), LogError> {
        self.write_all(entries, Write::Synced, heads)?;
        self.keep_names()
    }

    /// The same without waiting for the disk, which [`sync`](Self::sync) does.
    pub(crate) fn add(
        &mut self,
        entries: &[Vec<u8>],
        heads: &mut Vec<TreeHead>,
    ) -> Result<(), LogError> {
        self.write_all(entries, Write::Unsynced, heads)
    }

    /// Waits until all entries are on the disk. If that fails, nothing is signed or
    /// written any more: which of them are there only opening the log again tells.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        self.sync_entries()?;
        self.keep_names()
    }

    /// Whether all entries are on the disk.
    pub(crate) fn is_synced(&self) -> bool {
        !self.unsynced
    }

    fn sync_entries(&mut self) -> Result<(), LogError> {
        if self.unsynced {
            self.refuse_poisoned()?;
            let synced = self.tail.file.sync_data();
            self.poisoned = synced.is_err();
            synced.map_err(LogError::write(&self.folder))?;
            self.unsynced = false;
        }
        Ok(())
    }

    fn write_all(
        &mut self,
        entries: &[Vec<u8>],
        write: Write,
        heads: &mut Vec<TreeHead>,
    ) -> Result<(), LogError> {
        let mut rest = entries;
        while !rest.is_empty() {
            let room = usize::try_from(WIDTH - self.tiles.unfinished()).unwrap_or_default();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.write(now, write)?;
            if now.len() == room {
                // The file of a whole bundle is not looked at again.
                self.sync_entries()?;
            }
            // From here on only opening the log again tells what it holds.
            self.poisoned = true;
            let failed = LogError::write(&self.folder);
            for entry in now {
                self.tiles.push(Hash::of_leaf(entry)).map_err(&failed)?;
                heads.push(self.tiles.head());
            }
            if self.tiles.unfinished() == 0 {
                let next = self.size() / WIDTH;
                self.tail.finish(&self.folder, next - 1).map_err(&failed)?;
                if next.is_multiple_of(layout::IN_FOLDER) {
                    // The next one's folder is another.
                    self.keep_names()?;
                }
                self.tail = Tail::create(&self.folder, next).map_err(&failed)?;
            }
            self.poisoned = false;
            rest = later;
        }
        Ok(())
    }

    fn refuse_poisoned(&self) -> Result<(), LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned {
                path: self.folder.clone(),
            });
        }
        Ok(())
    }

    /// Makes the names of new bundles as durable as what is in them. Until that is
    /// done nobody is told that they are recorded.
    fn keep_names(&mut self) -> Result<(), LogError> {
        let kept = self.tail.keep_name(&self.folder);
        // A second sync of what failed once would prove nothing.
        self.poisoned |= kept.is_err();
        kept.map_err(LogError::write(&self.folder))
    }

    /// Writes whole entries at the end of the last bundle.
    fn write(&mut self, entries: &[Vec<u8>], write: Write) -> Result<(), LogError> {
        let mut bytes = Vec::new();
        for entry in entries {
            layout::push_entry(&mut bytes, entry)
                .ok_or(LogError::TooLarge { bytes: entry.len() })?;
        }
        self.refuse_poisoned()?;
        let failed = LogError::write(&self.folder);
        if let Err(source) = self.tail.file.write_all_at(&bytes, self.tail.length) {
            // A part may have been written; without it the log is as before.
            self.poisoned = self.tail.file.set_len(self.tail.length).is_err();
            return Err(failed(source));
        }
        match write {
            Write::Unsynced => self.unsynced = true,
            Write::Synced => {
                if let Err(source) = self.tail.file.sync_data() {
                    // The kernel reports a lost page once and then forgets it, so a
                    // second sync would prove nothing.
                    self.poisoned = true;
                    // Opening the log again decides what is there; this only tidies up.
                    let _ = self.tail.file.set_len(self.tail.length);
                    return Err(failed(source));
                }
                self.unsynced = false;
            }
        }
        self.tail.length += bytes.len() as u64;
        Ok(())
    }

    /// Signs the log as it is, and publishes its unfinished tiles.
    pub(crate) fn sign(&mut self, signer: &Signer) -> Result<Checkpoint, LogError> {
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            head: self.head(),
        };
        if self.unsigned() > 0 {
            self.sync()?;
            let failed = LogError::write(&self.folder);
            self.tail.name(self.tiles.unfinished()).map_err(&failed)?;
            self.tiles.publish().map_err(&failed)?;
            files::replace(&self.folder.join(CHECKPOINT), &checkpoint.sign(signer))
                .map_err(&failed)?;
            self.signed = checkpoint.head.size;
        }
        Ok(checkpoint)
    }
}

/// Takes the folder of a log, which is made if it is not there.
pub(crate) fn lock(folder: &Path, patience: Duration) -> Result<File, LogError> {
    let failed = LogError::open(folder);
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            let parent = folder.parent().unwrap_or(folder);
            files::sync_folder(parent).map_err(&failed)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let lock = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::DIRECTORY).bits().cast_signed())
        .open(folder)
        .map_err(&failed)?;
    take(lock, folder, patience)
}

/// Takes an open file or folder for this process, as far as others ask too.
pub(crate) fn take(file: File, path: &Path, patience: Duration) -> Result<File, LogError> {
    let deadline = Instant::now() + patience;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LogError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(LogError::open(path)(error.into())),
        }
    }
}

/// What the checkpoint of the log says. A new log gets one that says that it is
/// empty, before anything else, so that one without has lost it.
fn read_head(folder: &Path, origin: &str, signer: &Signer) -> Result<TreeHead, LogError> {
    let failed = LogError::open(folder);
    let path = folder.join(CHECKPOINT);
    if let Some(note) = files::read_text(&path).map_err(&failed)? {
        let opened = Checkpoint::open(&note, signer.key());
        let checkpoint = opened.map_err(|source| LogError::Checkpoint { path, source })?;
        if checkpoint.origin != origin {
            return Err(LogError::damaged(folder, "its checkpoint is another log's"));
        }
        return Ok(checkpoint.head);
    }
    if folder.join("tile").exists() {
        return Err(LogError::damaged(folder, "its checkpoint is missing"));
    }
    let empty = Checkpoint {
        origin: origin.to_owned(),
        head: Frontier::default().head(),
    };
    files::replace(&path, &empty.sign(signer))
        .and_then(|()| files::sync_folder(folder))
        .map_err(&failed)?;
    Ok(empty.head)
}

/// Reads the entries that the tiles do not hold yet.
fn load(folder: &Path, tiles: &mut Tiles, head: TreeHead) -> Result<(Tail, Leftover), LogError> {
    let failed = LogError::open(folder);
    let fits = |tiles: &Tiles| {
        if tiles.size() != head.size || tiles.head() == head {
            return Ok(());
        }
        let reason = "its records are not those of its checkpoint";
        Err(LogError::damaged(folder, reason))
    };
    fits(tiles)?;
    let mut leftover = Leftover::default();
    loop {
        let index = tiles.size() / WIDTH;
        let (file, bytes) = match files::read_bundle(folder, index).map_err(&failed)? {
            Bundle::Whole(bytes) => (None, bytes),
            Bundle::Partial(path, bytes) => (Some(path), bytes),
            Bundle::Missing => (None, Vec::new()),
        };
        let (found, length) = leaves(&bytes);
        let is_full = found.len() as u64 == WIDTH;
        if found.len() as u64 > WIDTH || (file.is_none() && !is_full && !bytes.is_empty()) {
            return Err(LogError::damaged(folder, "a bundle is not of 256 records"));
        }
        for leaf in found {
            if tiles.size() >= head.size {
                leftover.unsigned.push(leaf);
            }
            tiles.push(leaf).map_err(&failed)?;
            fits(tiles)?;
        }
        let mut tail = match file {
            Some(path) => Tail::open(path, length).map_err(&failed)?,
            None if is_full => continue,
            None => Tail::create(folder, index).map_err(&failed)?,
        };
        leftover.torn += bytes.len() as u64 - length;
        tail.cut().map_err(&failed)?;
        if is_full {
            tail.finish(folder, index).map_err(&failed)?;
            continue;
        }
        if tiles.size() < head.size {
            let reason = "it ends before its checkpoint: records were cut off";
            return Err(LogError::damaged(folder, reason));
        }
        return Ok((tail, leftover));
    }
}

/// The file of the last bundle.
#[derive(Debug)]
struct Tail {
    file: File,
    path: PathBuf,
    /// Its length up to the last whole entry.
    length: u64,
    /// Whether its name, and those of whole bundles before it, may be lost.
    may_lose_name: bool,
}

impl Tail {
    /// The file of a new, empty bundle.
    fn create(folder: &Path, index: u64) -> io::Result<Self> {
        let whole = layout::bundle(folder, index);
        let parts = layout::partial(&whole);
        fs::create_dir_all(&parts)?;
        let path = parts.join("0");
        Ok(Self {
            file: files::create(&path)?,
            path,
            length: 0,
            may_lose_name: true,
        })
    }

    /// Syncs the folders that name it.
    fn keep_name(&mut self, log: &Path) -> io::Result<()> {
        if self.may_lose_name {
            let above = self.path.ancestors().skip(1);
            for folder in above.take_while(|above| above.starts_with(log)) {
                files::sync_folder(folder)?;
            }
            self.may_lose_name = false;
        }
        Ok(())
    }

    fn open(path: PathBuf, length: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)?;
        Ok(Self {
            file,
            path,
            length,
            may_lose_name: true,
        })
    }

    /// Cuts off what follows the last whole entry.
    fn cut(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() > self.length {
            self.file.set_len(self.length)?;
        }
        Ok(())
    }

    /// Gives the file the name that says how many entries are signed.
    fn name(&mut self, width: u64) -> io::Result<()> {
        let named = self.path.with_file_name(width.to_string());
        fs::rename(&self.path, &named)?;
        self.path = named;
        Ok(())
    }

    /// Gives the file of a full bundle its last name.
    fn finish(&mut self, folder: &Path, index: u64) -> io::Result<()> {
        let whole = layout::bundle(folder, index);
        fs::rename(&self.path, &whole)?;
        files::remove_partials(&whole, None)?;
        self.path = whole;
        self.may_lose_name = true;
        Ok(())
    }
}
