//! Where a program is.

use rustix::{
    fs::{Access, access},
    io::Errno,
};
use stockade_types::wire::Exec;

/// The path of the program `name`, looked up on the `PATH` of the command's
/// environment unless it holds a slash (execvp(3)). A folder of `PATH` that is
/// not absolute is looked for in the command's working directory.
pub(crate) fn find(name: &[u8], exec: &Exec) -> Result<Vec<u8>, Errno> {
    if name.is_empty() {
        return Err(Errno::NOENT);
    }
    if name.contains(&b'/') {
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
        program.extend_from_slice(name);
        match access(program.as_slice(), Access::EXEC_OK) {
            Ok(()) if is_file(&program) => return Ok(program),
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
