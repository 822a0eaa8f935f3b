//! What a package manager or a repository says a package is made of: read, or refused; what
//! is read is written as files that read the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_mcp::{Asked, Registry, Resolution};

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let runner = if kind % 2 == 0 { "npx" } else { "uvx" };
    let argv = [runner.to_owned(), "server".to_owned()];
    let asked = Asked::read(&argv).expect("a package").expect("a name");
    let Ok(resolution) = Resolution::read(&asked, bytes) else {
        return;
    };
    let files = resolution.files();
    let (_, written) = files.last().expect("a file");
    let again = Resolution::read(&asked, written).expect("what was written is read");
    assert_eq!(again.digest(), resolution.digest());
    if asked.registry == Registry::Pypi {
        // No line is an option, and each has a hash.
        let text = std::str::from_utf8(written).expect("text");
        let fine = |line: &str| !line.starts_with('-') && line.contains(" --hash=sha256:");
        assert!(text.lines().all(fine), "{text:?}");
    }
});
