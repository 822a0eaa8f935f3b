use std::fmt;

/// The paths that a rule is for: segments in which one `*` stands for any text
/// without `/`, and at most one `**` for one or more whole segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePath(String);

/// What stands for one or more segments.
const MANY: &str = "**";

impl RulePath {
    /// Reads a pattern, or says what is wrong with it and how to mend it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let plain = text.replace('*', "x");
        match crate::path::comparable(&plain) {
            Ok(form) if form == plain => {}
            Ok(form) => {
                return Err(format!(
                    "paths are compared decoded: write `{}`",
                    if text.contains('*') {
                        "it without escapes of plain characters"
                    } else {
                        &form
                    }
                ));
            }
            Err(refusal) => return Err(refusal.reason().trim_end_matches('.').to_owned()),
        }
        let segments = || text.split('/').skip(1);
        if segments().filter(|segment| *segment == MANY).count() > 1 {
            return Err("at most one `**` is allowed in a path".to_owned());
        }
        if segments().any(|segment| segment != MANY && segment.matches('*').count() > 1) {
            return Err("a segment has at most one `*`; `**` stands alone between `/`".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether `path`, in the form in which paths are compared, is meant.
    pub fn matches(&self, path: &str) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let path: Vec<&str> = path.split('/').collect();
        let Some(many) = pattern.iter().position(|segment| *segment == MANY) else {
            return pattern.len() == path.len() && all_match(&pattern, &path);
        };
        let (before, after) = (&pattern[..many], &pattern[many + 1..]);
        if path.len() < before.len() + after.len() + 1 {
            return false;
        }
        all_match(before, &path[..before.len()])
            && all_match(after, &path[path.len() - after.len()..])
    }

    /// The same for a rule that denies: servers that read paths without regard
    /// to case or to a slash at the end must not find a way around it.
    pub(crate) fn denies(&self, path: &str) -> bool {
        let pattern = Self(self.0.to_ascii_lowercase());
        let path = path.to_ascii_lowercase();
        pattern.matches(&path) || pattern.matches(path.trim_end_matches('/'))
    }
}

fn all_match(pattern: &[&str], path: &[&str]) -> bool {
    pattern
        .iter()
        .zip(path)
        .all(|(pattern, segment)| match pattern.split_once('*') {
            None => pattern == segment,
            // A whole segment is never empty: `/a/*` is not `/a/`.
            Some(("", "")) => !segment.is_empty(),
            Some((before, after)) => segment
                .strip_prefix(before)
                .is_some_and(|rest| rest.ends_with(after)),
        })
}

impl fmt::Display for RulePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_what_is_written() {
        for (pattern, path, matches) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/", false),
            ("/a/*", "/a/b/c", false),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a", false),
            ("/a/**", "/ab/c", false),
            ("/**", "/", true),
            ("/**/info/refs", "/g/s/p.git/info/refs", true),
            ("/**/info/refs", "/info/refs", false),
            ("/simple/*.whl", "/simple/a.whl", true),
            ("/simple/*.whl", "/simple/a.whl.exe", false),
            ("/x*x", "/x", false),
        ] {
            let parsed = RulePath::parse(pattern).unwrap();
            assert_eq!(parsed.matches(path), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_that_could_be_read_in_two_ways_is_refused() {
        for pattern in [
            "/a/../b", "//a", "/a%2fb", "/a;b", "/**/**", "/a**", "/*a*", "/%61", "a",
        ] {
            assert!(RulePath::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_denied_path_has_no_other_spelling() {
        let denied = RulePath::parse("/Admin").unwrap();
        for path in ["/admin", "/ADMIN", "/Admin/"] {
            assert!(denied.denies(path), "{path}");
        }
        assert!(!denied.denies("/admin2"));
    }
}
