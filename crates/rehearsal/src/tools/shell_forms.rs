//! File actions by shell, for clients that have no file tools.

use crate::script::{FileContent, Replacement};

pub(super) fn write_command(file: &FileContent) -> String {
    let path = quoted(&file.path);
    let parent = match file.path.rsplit_once('/') {
        Some((parent, _)) if !parent.is_empty() => format!("mkdir -p {} && ", quoted(parent)),
        _ => String::new(),
    };
    format!("{parent}printf %s {} > {path}", quoted(&file.content))
}

/// An edit with nothing but a POSIX shell and awk. The `x` keeps the file's
/// last newlines, which command substitution would drop.
pub(super) fn edit_command(edit: &Replacement) -> String {
    const PROGRAM: &str = r#"BEGIN { RS = "\001" } { at = index($0, ENVIRON["OLD"]); if (!at) { print "the text to replace is not there"; exit 1 } printf "%s%s%s", substr($0, 1, at - 1), ENVIRON["NEW"], substr($0, at + length(ENVIRON["OLD"])) }"#;
    let path = quoted(&edit.path);
    format!(
        "if changed=$(OLD={} NEW={} awk {} {path} && echo x); then printf %s \"${{changed%x}}\" > {path}; \
         else printf '%s\\n' \"$changed\"; exit 1; fi",
        quoted(&edit.old),
        quoted(&edit.new),
        quoted(PROGRAM),
    )
}

/// `text` as one word of a POSIX shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[test]
    fn the_shell_forms_of_write_and_edit_do_what_they_say() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/file.txt");
        let path = path.to_str().unwrap().to_owned();
        let run = |command: &str| {
            process::command("sh")
                .args(["-c", command])
                .output()
                .unwrap()
        };
        let content = "it's 100%\nold \\n text\n\n".to_owned();
        assert!(
            run(&write_command(&FileContent {
                path: path.clone(),
                content
            }))
            .status
            .success()
        );
        let replacement = Replacement {
            path: path.clone(),
            old: "old \\n".into(),
            new: "'new'".into(),
        };
        assert!(run(&edit_command(&replacement)).status.success());
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "it's 100%\n'new' text\n\n"
        );
        let again = run(&edit_command(&replacement));
        assert!(!again.status.success());
        assert!(String::from_utf8_lossy(&again.stdout).contains("not there"));
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "it's 100%\n'new' text\n\n"
        );
    }
}
