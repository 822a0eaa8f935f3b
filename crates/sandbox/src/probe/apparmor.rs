use std::{fmt::Write, os::unix::ffi::OsStrExt, path::Path};

/// An AppArmor profile that lets the executable at `path`, and no other
/// program, create user namespaces where AppArmor restricts them (Ubuntu
/// 23.10 and later). It restricts nothing else: the walls are Stockade's own.
pub fn apparmor_profile(path: &Path) -> String {
    format!(
        "abi <abi/4.0>,\ninclude <tunables/global>\n\nprofile stockade {} flags=(unconfined) {{\n  \
         userns,\n\n  include if exists <local/stockade>\n}}\n",
        quoted(path)
    )
}

/// `path` as AppArmor's language quotes it: no character of it is a pattern
/// or a variable (apparmor.d(5)).
fn quoted(path: &Path) -> String {
    let mut text = String::from('"');
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'"' | b'\\' | b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'^' | b'@' | b'$' | b',' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\{byte:03o}");
            }
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_names_one_executable_and_grants_user_namespaces_only() {
        assert_eq!(
            apparmor_profile(Path::new("/usr/local/bin/stockade")),
            "abi <abi/4.0>,\n\
             include <tunables/global>\n\
             \n\
             profile stockade \"/usr/local/bin/stockade\" flags=(unconfined) {\n  \
               userns,\n\
             \n  \
               include if exists <local/stockade>\n\
             }\n"
        );
    }

    #[test]
    fn a_path_cannot_end_the_quotes_or_match_other_programs() {
        let path = Path::new("/home/a b/\"{x,y}*\n/stockade");
        assert_eq!(quoted(path), r#""/home/a b/\"\{x\,y\}\*\012/stockade""#);
    }
}
