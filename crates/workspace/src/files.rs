use std::{
    io,
    path::{Path, PathBuf},
};

/// A step on the file system that failed, with the path it was about.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} `{}`: {source}", path.display())]
pub struct FileError {
    /// The step, as a verb phrase: `create the folder`.
    pub action: &'static str,
    /// What it was done to.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Gives an `io::Error` its step and its path; for `map_err`.
pub(crate) fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Writes `bytes` to `path` so that a reader, or a crash, sees the old file or
/// the new one and never a part of either.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    use std::io::Write;

    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let beside = path.with_file_name(name);
    let write = || {
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(failed("write", path))
}

/// Reads a JSON document that Stockade wrote itself.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let bytes = std::fs::read(path).map_err(failed("read", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|source| failed("understand", path)(io::Error::from(source)))
}

/// Writes a JSON document by rename.
pub(crate) fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), FileError> {
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| failed("write", path)(io::Error::from(source)))?;
    replace(path, &bytes)
}
