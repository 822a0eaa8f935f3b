//! Rules of a user, for commands.

use std::{fs, path::PathBuf};

use super::Host;

/// One that forbids a program.
pub const NO_MAKE: &str = r#"@id("mine.make")
@reason("Use just.")
@instead("just build")
@match("make all")
@not_match("just build")
forbid (principal, action == Action::"exec.run", resource)
when { context.program == "make" };
"#;

/// A host whose user may have rules, and the file with them.
pub fn host_with_rules(rules: &str) -> (Host, PathBuf) {
    let mut host = Host::new();
    let folder = host.path("config/stockade/policy");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("mine.cedar");
    fs::write(&file, rules).unwrap();
    host.set("XDG_CONFIG_HOME", host.path("config"));
    (host, file)
}
