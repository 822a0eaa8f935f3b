//! What stands for a folder of files, however deep.

use std::{
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
};

use sha2::{Digest, Sha256};

/// SHA-256, in hexadecimal, over names, contents, targets of links and which files may be
/// executed. What is neither file, folder nor link is an error.
pub(super) fn digest(folder: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    walk(folder, &mut hash)?;
    Ok(hex::encode(hash.finalize()))
}

fn walk(folder: &Path, hash: &mut Sha256) -> io::Result<()> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    let mut names: Vec<_> = entries.collect::<io::Result<_>>()?;
    names.sort();
    add(hash, b"folder", &names.len().to_be_bytes());
    for name in names {
        let path = folder.join(&name);
        let found = path.symlink_metadata()?;
        add(hash, b"name", name.as_bytes());
        if found.is_dir() {
            walk(&path, hash)?;
        } else if found.is_symlink() {
            add(hash, b"link", path.read_link()?.as_os_str().as_bytes());
        } else if found.is_file() {
            let mut content = Sha256::new();
            io::copy(&mut File::open(&path)?, &mut content)?;
            let executable = found.permissions().mode() & 0o111 != 0;
            let kind: &[u8] = if executable { b"program" } else { b"file" };
            add(hash, kind, &content.finalize());
        } else {
            return Err(io::Error::other(format!(
                "{} is no file, folder or link",
                path.display()
            )));
        }
    }
    Ok(())
}

fn add(hash: &mut Sha256, kind: &[u8], value: &[u8]) {
    for part in [kind, value] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_changes_in_a_folder_changes_what_stands_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("a")).unwrap();
        fs::write(at("a/b"), "x").unwrap();
        std::os::unix::fs::symlink("a/b", at("l")).unwrap();
        let mut all = vec![digest(folder.path()).unwrap()];
        assert_eq!(digest(folder.path()).unwrap(), all[0]);
        let changes: [&dyn Fn(); 5] = [
            &|| fs::write(at("a/b"), "y").unwrap(),
            &|| fs::set_permissions(at("a/b"), PermissionsExt::from_mode(0o755)).unwrap(),
            &|| fs::rename(at("a/b"), at("a/c")).unwrap(),
            &|| fs::create_dir(at("a/d")).unwrap(),
            &|| {
                fs::remove_file(at("l")).unwrap();
                std::os::unix::fs::symlink("a/c", at("l")).unwrap();
            },
        ];
        for change in changes {
            change();
            let now = digest(folder.path()).unwrap();
            assert!(!all.contains(&now));
            all.push(now);
        }
    }
}
