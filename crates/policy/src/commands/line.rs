//! A program's words, told apart: options, their values, and operands.

use crate::text::{Word, is_unknown};

/// The shortest beginning of a long option that stands for it, dashes counted.
const SHORTEST_LONG: usize = 5;

/// The words of a program after its name.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) program: String,
    pub(crate) words: Vec<Word>,
    /// Where in `words` each option is, by the name it was written with.
    options: Vec<(String, Option<Word>)>,
    /// What is no option and no option's value.
    pub(crate) operands: Vec<Word>,
    /// Words that are not known may be options.
    pub(crate) unresolved: bool,
}

impl Line {
    /// `values` are the options that take the next word as their value.
    pub(crate) fn new(program: &str, words: &[Word], values: &[&str]) -> Self {
        let mut line = Self {
            program: program.to_owned(),
            words: words.to_vec(),
            options: Vec::new(),
            operands: Vec::new(),
            unresolved: words.iter().any(|word| word.several),
        };
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let text = word.text.as_str();
            if text == "--" {
                line.operands.extend(rest.cloned());
                break;
            }
            if text.len() < 2 || !text.starts_with('-') {
                line.operands.push(word.clone());
                continue;
            }
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (
                    name,
                    Some(Word {
                        text: value.to_owned(),
                        ..word.clone()
                    }),
                ),
                None => (text, None),
            };
            let value = match value {
                Some(value) => Some(value),
                None if values.contains(&name) => rest.next().cloned(),
                None => None,
            };
            if value.is_none()
                && let Some((option, glued)) = last_of_cluster(text, values)
            {
                // `-so FILE` and `-soFILE`.
                let value = match glued {
                    "" => rest.next().cloned(),
                    glued => Some(Word {
                        text: glued.to_owned(),
                        ..word.clone()
                    }),
                };
                line.options.push((option, value));
            }
            line.options.push((name.to_owned(), value));
        }
        line
    }

    /// Whether `option` was given: as such, in a cluster of letters, or by a
    /// beginning of its name.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options
            .iter()
            .any(|(name, _)| stands_for(name, option))
    }

    /// Whether one of `options` was given, as an option or as a word.
    pub(crate) fn has_any(&self, options: &[&str]) -> bool {
        options.iter().any(|option| {
            if option.starts_with('-') {
                self.has(option)
            } else {
                self.operands.iter().any(|operand| operand.text == *option)
            }
        })
    }

    /// The values that were given to any of `options`.
    pub(crate) fn values<'l>(&'l self, options: &'l [&str]) -> impl Iterator<Item = &'l Word> {
        self.options
            .iter()
            .filter(|(name, _)| {
                options.iter().any(|option| {
                    name == option || option.starts_with("--") && stands_for(name, option)
                })
            })
            .filter_map(|(_, value)| value.as_ref())
    }

    /// The first value of any of `options`.
    pub(crate) fn value<'l>(&'l self, options: &'l [&str]) -> Option<&'l Word> {
        self.values(options).next()
    }

    /// The text of the operand at `place`, empty if there is none.
    pub(crate) fn operand(&self, place: usize) -> &str {
        self.operands
            .get(place)
            .map_or("", |word| word.text.as_str())
    }

    /// Whether the verb of the program, its first operand, is known.
    pub(crate) fn verb_is_unknown(&self) -> bool {
        self.operands
            .first()
            .is_some_and(|word| is_unknown(&word.text) || word.pattern)
    }

    /// How many words of `verb` the operands begin with, if all of them.
    pub(crate) fn begins_with(&self, verb: &str) -> Option<usize> {
        let mut wanted = verb.split(' ').filter(|word| !word.is_empty());
        let mut place = 0;
        let all = wanted.all(|word| {
            place += 1;
            word.split('|').any(|word| word == self.operand(place - 1))
        });
        all.then_some(place)
    }
}

/// The option of a cluster of letters that takes a value, and what of it is
/// written right after.
fn last_of_cluster<'t>(text: &'t str, values: &[&str]) -> Option<(String, &'t str)> {
    if text.starts_with("--") {
        return None;
    }
    let mut letters = text.char_indices().skip(1);
    letters.find_map(|(place, letter)| {
        let option = format!("-{letter}");
        let after = place + letter.len_utf8();
        values
            .contains(&option.as_str())
            .then(|| (option, &text[after..]))
    })
}

/// Whether an option written as `name` is `option`.
fn stands_for(name: &str, option: &str) -> bool {
    if name == option {
        return true;
    }
    match (name.starts_with("--"), option.starts_with("--")) {
        (true, true) => name.len() >= SHORTEST_LONG && option.starts_with(name),
        // `-f` in `-rf`.
        (false, false) if option.len() == 2 => {
            !name.contains(char::is_whitespace) && name[1..].contains(&option[1..])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, values: &[&str]) -> Line {
        let words: Vec<_> = text.split(' ').map(Word::literal).collect();
        Line::new("program", &words, values)
    }

    #[test]
    fn options_are_found_however_they_are_written() {
        let options = line("-rf --dep=3 -ofile -C dir --forc name -- -x", &["-o", "-C"]);
        assert!(options.has("-r") && options.has("-f") && options.has("--force"));
        assert!(!options.has("-x") && !options.has("--fork"));
        assert_eq!(options.value(&["-o"]).unwrap().text, "file");
        assert_eq!(options.value(&["-C"]).unwrap().text, "dir");
        let clustered = line("-so file -xyC/dir", &["-o", "-C"]);
        assert_eq!(clustered.value(&["-o"]).unwrap().text, "file");
        assert_eq!(clustered.value(&["-C"]).unwrap().text, "/dir");
        assert_eq!(options.value(&["--depth"]).unwrap().text, "3");
        let operands: Vec<_> = options.operands.iter().map(|word| &word.text).collect();
        assert_eq!(operands, ["name", "-x"]);
    }

    #[test]
    fn a_verb_of_several_words_is_compared_word_by_word() {
        let remote = line("remote add origin", &[]);
        assert_eq!(remote.begins_with("remote add|set-url"), Some(2));
        assert_eq!(remote.begins_with("remote remove"), None);
        assert_eq!(remote.begins_with(""), Some(0));
    }
}
