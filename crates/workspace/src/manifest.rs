use std::{collections::HashMap, fmt::Write, path::Path};

use rustix::fs::Stat;

use crate::{
    files::{FileError, failed},
    object::{FileMode, ObjectId},
    path::TreePath,
};

/// A file or link of a base tree.
#[derive(Clone, Debug)]
pub(crate) struct Tracked {
    pub(crate) path: TreePath,
    pub(crate) mode: FileMode,
    pub(crate) id: ObjectId,
    /// Bytes.
    pub(crate) size: u64,
}

/// All files and links of a base tree, as the commit has them. On disk: one
/// record each, `mode id size path`, ended by a zero byte.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    files: Vec<Tracked>,
}

impl Manifest {
    pub(crate) fn new(files: Vec<Tracked>) -> Self {
        Self { files }
    }

    pub(crate) fn files(&self) -> &[Tracked] {
        &self.files
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), FileError> {
        let mut bytes = Vec::new();
        for file in &self.files {
            let head = format!("{} {} {} ", file.mode.octal(), file.id, file.size);
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(file.path.as_bytes());
            bytes.push(0);
        }
        std::fs::write(path, bytes).map_err(failed("write", path))
    }

    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let bytes = std::fs::read(path).map_err(failed("read", path))?;
        let parse = |record: &[u8]| {
            let mut fields = record.splitn(4, |byte| *byte == b' ');
            Some(Tracked {
                mode: FileMode::parse(fields.next()?)?,
                id: ObjectId::from_bytes(fields.next()?).ok()?,
                size: std::str::from_utf8(fields.next()?).ok()?.parse().ok()?,
                path: TreePath::new(fields.next()?).ok()?,
            })
        };
        let records = bytes
            .split(|byte| *byte == 0)
            .filter(|record| !record.is_empty());
        let files = records.map(parse).collect::<Option<Vec<_>>>();
        let files = files.ok_or_else(|| {
            failed("understand", path)(std::io::Error::other("a record is malformed"))
        })?;
        Ok(Self { files })
    }
}

/// What changes when a file does: any write moves `ctime`, which no program
/// can set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    mode: u32,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
}

impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Self {
        let nanoseconds = |value| i64::try_from(value).unwrap_or_default();
        Self {
            mode: stat.st_mode,
            size: stat.st_size,
            modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
            inode: stat.st_ino,
        }
    }

    /// Whether size, mode and time of writing are those of `other`.
    pub(crate) fn is_copy_of(&self, other: &Self) -> bool {
        (self.mode, self.size, self.modified) == (other.mode, other.size, other.modified)
    }

    fn fields(self) -> [i128; 7] {
        let (modified, changed) = (self.modified, self.changed);
        let numbers = [modified.0, modified.1, changed.0, changed.1].map(i128::from);
        let [a, b, c, d] = numbers;
        [
            self.mode.into(),
            self.size.into(),
            a,
            b,
            c,
            d,
            self.inode.into(),
        ]
    }

    fn from_fields(fields: [i128; 7]) -> Option<Self> {
        let number = |index: usize| i64::try_from(fields[index]).ok();
        Some(Self {
            mode: u32::try_from(fields[0]).ok()?,
            size: number(1)?,
            modified: (number(2)?, number(3)?),
            changed: (number(4)?, number(5)?),
            inode: u64::try_from(fields[6]).ok()?,
        })
    }
}

/// The stamps of a checked-out copy, as Stockade left it.
#[derive(Debug, Default)]
pub(crate) struct Stamps(HashMap<TreePath, Stamp>);

impl Stamps {
    pub(crate) fn insert(&mut self, path: TreePath, stamp: Stamp) {
        self.0.insert(path, stamp);
    }

    pub(crate) fn get(&self, path: &TreePath) -> Option<&Stamp> {
        self.0.get(path)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &TreePath> {
        self.0.keys()
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), FileError> {
        let mut bytes = Vec::new();
        for (name, stamp) in &self.0 {
            let mut head = String::new();
            for field in stamp.fields() {
                // Writing to a `String` cannot fail.
                let _ = write!(head, "{field} ");
            }
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(0);
        }
        crate::files::replace(path, &bytes)
    }

    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let bytes = std::fs::read(path).map_err(failed("read", path))?;
        let parse = |record: &[u8]| {
            let mut fields = record.splitn(8, |byte| *byte == b' ');
            let mut numbers = [0_i128; 7];
            for number in &mut numbers {
                *number = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
            }
            Some((
                TreePath::new(fields.next()?).ok()?,
                Stamp::from_fields(numbers)?,
            ))
        };
        let records = bytes
            .split(|byte| *byte == 0)
            .filter(|record| !record.is_empty());
        let stamps = records.map(parse).collect::<Option<HashMap<_, _>>>();
        stamps.map(Self).ok_or_else(|| {
            failed("understand", path)(std::io::Error::other("a record is malformed"))
        })
    }
}
