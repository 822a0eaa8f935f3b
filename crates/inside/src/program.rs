//! Where a program is. Looked up here, a command starts by `posix_spawn` from
//! this small process; with a search by the child it would start by `fork`.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use rustix::{
    fs::{Access, access},
    io::Errno,
};
use stockade_types::wire::Exec;

/// The path of the program `name`, looked up on the `PATH` of the command's
/// environment unless it holds a slash (execvp(3)). A folder of `PATH` that is
/// not absolute is looked for in the command's working directory.
pub(crate) fn find(name: &OsStr, exec: &Exec) -> Result<OsString, Errno> {
    if name.is_empty() {
        return Err(Errno::NOENT);
    }
    if name.as_bytes().contains(&b'/') {
        return Ok(name.to_owned());
    }
    let path = exec
        .env
        .iter()
        .rev()
        .find_map(|variable| variable.strip_prefix(b"PATH="));
    let mut found = Errno::NOENT;
    for folder in path.unwrap_or_default().split(|byte| *byte == b':') {
        let mut program = Vec::new();
        if folder.first() != Some(&b'/') {
            program.extend_from_slice(&exec.cwd);
            program.push(b'/');
        }
        program.extend_from_slice(folder);
        program.push(b'/');
        program.extend_from_slice(name.as_bytes());
        match access(program.as_slice(), Access::EXEC_OK) {
            Ok(()) if is_file(&program) => return Ok(OsString::from_vec(program)),
            Err(Errno::ACCESS) => found = Errno::ACCESS,
            Ok(()) | Err(_) => {}
        }
    }
    Err(found)
}

fn is_file(path: &[u8]) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
    })
}
