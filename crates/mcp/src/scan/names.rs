//! Names that pass for others.

use unicode_security::confusable_detection::skeleton;

use super::Finding;
use crate::item::Item;

/// Names with fewer characters differ by one from many.
const COMPARED_FROM: usize = 6;

/// Finds letters in the names of `item` that are there to be misread.
pub(super) fn check(item: &Item, findings: &mut Vec<Finding>) {
    if is_misread(&item.name) && !item.name.contains("://") {
        findings.push(Finding::new("P04", "/name", super::quoted(&item.name)));
    }
    let parameters = item.body["inputSchema"]["properties"].as_object();
    for name in parameters.into_iter().flatten().map(|(name, _)| name) {
        if is_misread(name) {
            let place = format!("/inputSchema/properties/{name}");
            findings.push(Finding::new("P04", &place, super::quoted(name)));
        }
    }
}

/// Whether a program's name has letters of another script, or a capital I where an l
/// would stand.
fn is_misread(name: &str) -> bool {
    let foreign = !name.is_ascii() && name.chars().any(|c| c.is_ascii_alphabetic());
    let wide = name.chars().any(|c| ('\u{ff01}'..='\u{ff5e}').contains(&c));
    let lookalike = name.chars().all(|c| !c.is_ascii_alphabetic()) && latin(name).is_some();
    let is_small = |c: Option<&char>| c.is_some_and(char::is_ascii_lowercase);
    let letters: Vec<char> = name.chars().collect();
    let mut inner = letters.windows(3);
    let capital_i = inner
        .any(|three| three[1] == 'I' && is_small(three.first()) && is_small(three.last()))
        && letters.contains(&'_')
        && letters.iter().filter(|c| c.is_ascii_uppercase()).count() == 1;
    foreign || wide || lookalike || capital_i
}

/// `name` in Latin letters, if it looks as if it stood in such.
fn latin(name: &str) -> Option<String> {
    let like: String = skeleton(name).collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c);
    (!name.is_ascii() && like.chars().all(plain)).then_some(like)
}

/// Whether one of the names can be taken for the other, though they differ.
pub fn look_alike(one: &str, other: &str) -> bool {
    if one == other {
        return false;
    }
    let folded = |name: &str| -> String {
        let name = name.replace(['-', '.', ' '], "_");
        skeleton(&name).flat_map(char::to_lowercase).collect()
    };
    let (left, right) = (folded(one), folded(other));
    left == right || one.len().min(other.len()) >= COMPARED_FROM && one_apart(&left, &right)
}

/// Whether the names differ by one letter that is there, missing or another, and not by
/// a number or the end of a plural.
fn one_apart(one: &str, other: &str) -> bool {
    let (short, long) = if one.chars().count() <= other.chars().count() {
        (one, other)
    } else {
        (other, one)
    };
    let short: Vec<char> = short.chars().collect();
    let long: Vec<char> = long.chars().collect();
    if long.len() - short.len() > 1 {
        return false;
    }
    let same = short.iter().zip(&long).take_while(|(a, b)| a == b).count();
    let skipped = usize::from(short.len() == long.len());
    let rest = short.get(same + skipped..).unwrap_or_default();
    let differs = long.get(same).copied().unwrap_or_default();
    let plural = same + 1 == long.len() && differs == 's' && skipped == 0;
    rest == &long[same + 1..] && !differs.is_ascii_digit() && !plural
}

/// The words of a name, in lower case: `deleteFile`, `delete_file` and `delete-file`
/// have the same.
pub(crate) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for character in name.chars() {
        let begins = character.is_uppercase() && before.is_lowercase();
        if (begins || !character.is_alphanumeric())
            && words.last().is_some_and(|word| !word.is_empty())
        {
            words.push(String::new());
        }
        if character.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(character.to_lowercase());
        }
        before = character;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_pass_for_others_are_found_in_names() {
        for name in ["rеad_file", "read_fiIe", "ｒead", "саре"] {
            assert!(is_misread(name), "{name}");
        }
        for name in [
            "read_file",
            "readFile",
            "getAPI",
            "list_IDs",
            "b64",
            "日本語",
        ] {
            assert!(!is_misread(name), "{name}");
        }
    }

    #[test]
    fn names_one_letter_apart_are_taken_for_each_other() {
        assert!(look_alike("read_file", "read-file"));
        assert!(look_alike("read_file", "rеad_file"));
        assert!(look_alike("read_file", "reed_file"));
        assert!(look_alike("read_file", "read_fil"));
        assert!(look_alike("github", "githubb"));
        assert!(!look_alike("read_file", "read_file"));
        assert!(!look_alike("read_file", "read_files"));
        assert!(!look_alike("read_v1", "read_v2"));
        assert!(!look_alike("get", "set"));
        assert!(!look_alike("read_file", "write_file"));
    }

    #[test]
    fn names_have_words() {
        assert_eq!(words("deleteFile"), ["delete", "file"]);
        assert_eq!(words("delete-all__files"), ["delete", "all", "files"]);
        assert_eq!(words("_x"), ["x"]);
    }
}
