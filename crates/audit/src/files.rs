//! The files of a log: read with a cap, written whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::{
    hash::Hash,
    layout::{self, CHECKPOINT, MAX_BUNDLE_BYTES, WIDTH},
    note::MAX_NOTE_BYTES,
};

/// How often a bundle is looked for that a writer renames meanwhile.
const LOOKS: u32 = 64;

/// A bundle as it lies there.
#[derive(Debug)]
pub(crate) enum Bundle {
    /// With all its entries.
    Whole(Vec<u8>),
    /// The last one, and its file.
    Partial(PathBuf, Vec<u8>),
    /// There is none of this number.
    Missing,
}

/// Reads a whole file without following a link; `None` if it is not there.
fn read(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(found.len().min(most)).unwrap_or_default());
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Some(bytes))
}

/// Reads a text such as a note or a key; `None` if it is not there.
pub(crate) fn read_text(path: &Path) -> io::Result<Option<String>> {
    let Some(bytes) = read(path, MAX_NOTE_BYTES)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Some(text))
}

/// The log's checkpoint, as it lies there.
pub(crate) fn read_checkpoint(log: &Path) -> io::Result<Option<String>> {
    read_text(&log.join(CHECKPOINT))
}

/// The bundle of this number. It may be written and renamed meanwhile.
pub(crate) fn read_bundle(log: &Path, index: u64) -> io::Result<Bundle> {
    let whole = layout::bundle(log, index);
    for _ in 0..LOOKS {
        if let Some(bytes) = read(&whole, MAX_BUNDLE_BYTES)? {
            return Ok(Bundle::Whole(bytes));
        }
        let Some(path) = newest_partial(&whole)? else {
            // It may have become whole between the two looks.
            if whole.symlink_metadata().is_ok() {
                continue;
            }
            return Ok(Bundle::Missing);
        };
        if let Some(bytes) = read(&path, MAX_BUNDLE_BYTES)? {
            return Ok(Bundle::Partial(path, bytes));
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// The partial form with the most entries by its name.
fn newest_partial(whole: &Path) -> io::Result<Option<PathBuf>> {
    let folder = layout::partial(whole);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let widths = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    Ok(widths.max().map(|width| folder.join(width.to_string())))
}

/// The hashes of a whole tile. One that is cut short counts as not there: tiles
/// are not synced, and made again from the entries.
pub(crate) fn read_tile(log: &Path, level: usize, index: u64) -> io::Result<Option<Vec<Hash>>> {
    read_hashes(&layout::tile(log, level, index), WIDTH)
}

/// The hashes of the last tile of a level, of which it holds `width`.
pub(crate) fn read_partial_tile(
    log: &Path,
    level: usize,
    index: u64,
    width: u64,
) -> io::Result<Option<Vec<Hash>>> {
    let folder = layout::partial(&layout::tile(log, level, index));
    read_hashes(&folder.join(width.to_string()), width)
}

/// The hashes of the last tile of level 0, whatever its width.
pub(crate) fn read_newest_tile(log: &Path, index: u64) -> io::Result<Vec<Hash>> {
    let path = newest_partial(&layout::tile(log, 0, index))?;
    let bytes = path.map(|path| read(&path, WIDTH * Hash::LENGTH as u64));
    let bytes = bytes.transpose()?.flatten().unwrap_or_default();
    Ok(layout::hashes(&bytes).unwrap_or_default())
}

fn read_hashes(path: &Path, width: u64) -> io::Result<Option<Vec<Hash>>> {
    let bytes = read(path, WIDTH * Hash::LENGTH as u64)?;
    let hashes = bytes.and_then(|bytes| layout::hashes(&bytes));
    Ok(hashes.filter(|hashes| hashes.len() as u64 == width))
}

/// Writes a tile: wholly or not at all, but not synced.
pub(crate) fn write_tile(path: &Path, hashes: &[Hash]) -> io::Result<()> {
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension("new");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

/// Removes every partial form of `whole` but that of `width`.
pub(crate) fn remove_partials(whole: &Path, but: Option<u64>) -> io::Result<()> {
    let folder = layout::partial(whole);
    let Ok(entries) = fs::read_dir(&folder) else {
        return Ok(());
    };
    let kept = but.map(|width| width.to_string().into());
    for entry in entries {
        let entry = entry?;
        if Some(entry.file_name()) != kept {
            fs::remove_file(entry.path())?;
        }
    }
    if kept.is_none() {
        fs::remove_dir(&folder)?;
    }
    Ok(())
}

/// Writes a file for its owner alone, synced: wholly or not at all.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    // What a crash left there.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// A new file for its owner alone.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Makes what a folder lists as durable as the files.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
