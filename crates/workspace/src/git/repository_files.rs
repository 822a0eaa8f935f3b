use std::path::{Path, PathBuf};

use crate::{
    files::{FileError, failed},
    object::{ObjectFormat, ObjectId},
};

/// Switches off, with the highest precedence and on every version of git,
/// whatever an attribute in a tree could ask for.
const ATTRIBUTES: &str = "* !filter !diff !merge !text !eol !crlf !ident !working-tree-encoding \
                          !whitespace !conflict-marker-size !export-ignore !export-subst !delta\n";

/// A repository that Stockade may run git on: its folder, its object format,
/// and what git reads beside it: the object folders that it borrows from, the
/// files that its settings include.
#[derive(Clone, Debug)]
pub(crate) struct GitDir {
    path: PathBuf,
    format: ObjectFormat,
    borrows: Vec<PathBuf>,
}

impl GitDir {
    /// A repository that exists.
    pub(crate) fn existing(path: PathBuf, format: ObjectFormat, borrows: Vec<PathBuf>) -> Self {
        Self {
            path,
            format,
            borrows,
        }
    }

    /// Makes a bare repository without running git: no template, no hooks.
    /// It borrows objects from `borrows`, folders named `objects`.
    pub(crate) fn create(
        path: &Path,
        format: ObjectFormat,
        borrows: &[&Path],
    ) -> Result<Self, FileError> {
        write_skeleton(path, format, true, "refs/heads/none", "")?;
        let alternates = path.join("objects/info/alternates");
        let mut list = Vec::new();
        for folder in borrows {
            list.extend_from_slice(alternate_line(folder)?.as_slice());
        }
        if !list.is_empty() {
            std::fs::write(&alternates, list).map_err(failed("write", &alternates))?;
        }
        let attributes = path.join("info/attributes");
        std::fs::write(&attributes, ATTRIBUTES).map_err(failed("write", &attributes))?;
        let borrows = borrows.iter().map(|folder| (*folder).to_owned()).collect();
        Ok(Self::existing(path.to_owned(), format, borrows))
    }

    /// What git has to read beside what it was made with.
    pub(crate) fn also_read(&mut self, files: &[PathBuf]) {
        self.borrows.extend_from_slice(files);
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn format(&self) -> ObjectFormat {
        self.format
    }

    pub(crate) fn borrows(&self) -> &[PathBuf] {
        &self.borrows
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// Says that the parents of `commits` are not here, on purpose.
    pub(crate) fn set_shallow(&self, commits: &[&ObjectId]) -> Result<(), FileError> {
        let list = super::objects::lines(commits.iter().copied());
        let path = self.path.join("shallow");
        std::fs::write(&path, list).map_err(failed("write", &path))
    }
}

/// The files that make a folder a git repository.
pub(crate) fn write_skeleton(
    path: &Path,
    format: ObjectFormat,
    bare: bool,
    head: &str,
    extra_config: &str,
) -> Result<(), FileError> {
    for folder in ["objects/info", "objects/pack", "refs/heads", "info"] {
        let folder = path.join(folder);
        std::fs::create_dir_all(&folder).map_err(failed("create the folder", &folder))?;
    }
    let (version, extension) = match format {
        ObjectFormat::Sha1 => (0, String::new()),
        ObjectFormat::Sha256 => (
            1,
            format!("[extensions]\n\tobjectFormat = {}\n", format.as_str()),
        ),
    };
    let config = format!(
        "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = {bare}\n\
         {extension}{extra_config}"
    );
    for (name, text) in [("HEAD", format!("ref: {head}\n")), ("config", config)] {
        let file = path.join(name);
        std::fs::write(&file, text).map_err(failed("write", &file))?;
    }
    Ok(())
}

/// One line of `objects/info/alternates`. Its paths end at a line break, and
/// one that begins with `"` or `#` means something else; ours are absolute.
fn alternate_line(folder: &Path) -> Result<Vec<u8>, FileError> {
    use std::os::unix::ffi::OsStrExt;

    let bytes = folder.as_os_str().as_bytes();
    if bytes.contains(&b'\n') || !folder.is_absolute() {
        let reason = "git cannot borrow objects from a path that is relative or has a line break";
        return Err(failed("borrow objects from", folder)(
            std::io::Error::other(reason),
        ));
    }
    Ok([bytes, b"\n"].concat())
}
