use stockade_types::Redacted;

/// The variables of a text as `.env` files have them, in order: `NAME=VALUE` a
/// line, `export` before it, quotes around the value, comments and empty lines
/// between. What is none of these is left out.
pub fn variables(text: &str) -> Vec<(&str, Redacted<String>)> {
    text.lines().filter_map(variable).collect()
}

fn variable(line: &str) -> Option<(&str, Redacted<String>)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let value = value.trim();
    let quoted = ['"', '\''].into_iter().find_map(|quote| {
        let (inner, after) = value.strip_prefix(quote)?.rsplit_once(quote)?;
        let after = after.trim_start();
        (after.is_empty() || after.starts_with('#')).then_some(inner)
    });
    // A comment may follow.
    let value = quoted.unwrap_or_else(|| value.split(" #").next().unwrap_or_default().trim());
    Some((name.trim(), Redacted::new(value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_as_programs_read_them() {
        let text = "# of the project\n\nexport A=one\nB = \"two # 2\"\nC='three'\nD=four # 4\nE=\"five\" # 5\nnothing\n";
        let read = variables(text);
        let read: Vec<_> = read
            .iter()
            .map(|(name, value)| (*name, value.expose().as_str()))
            .collect();
        assert_eq!(
            read,
            [
                ("A", "one"),
                ("B", "two # 2"),
                ("C", "three"),
                ("D", "four"),
                ("E", "five")
            ]
        );
    }
}
