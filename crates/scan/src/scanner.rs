use aho_corasick::BuildError;
use serde::{Deserialize, Serialize};

use crate::{formats::Formats, known::KnownValues};

/// Findings in one text that are told; more say nothing new.
const FINDINGS_MAX: usize = 64;

/// Finds known values and keys in texts that somebody is about to take over.
#[derive(Debug)]
pub struct Scanner {
    formats: Formats,
    known: KnownValues<String>,
}

/// Something in a text that should not be there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The line, from 1.
    pub line: usize,
    /// What it is, never its characters: `what looks like a GitHub token`.
    pub what: String,
}

impl Scanner {
    /// One that knows these values, each by what it is called.
    ///
    /// # Errors
    /// If there are more than can be searched for at once.
    pub fn new<'a>(known: impl IntoIterator<Item = (String, &'a str)>) -> Result<Self, BuildError> {
        Ok(Self {
            formats: Formats::new()?,
            known: KnownValues::new(known)?,
        })
    }

    /// What `new` holds and `old` does not, in order.
    pub fn find_new(&self, old: &[u8], new: &[u8]) -> Vec<Finding> {
        let mut found = Vec::new();
        let known: Vec<_> = self.known.find_all(old).map(|(_, name)| name).collect();
        let fresh = self.known.find_all(new);
        for (at, name) in fresh.filter(|(_, name)| !known.contains(name)) {
            found.push((at, format!("the value of {name}")));
        }
        let fresh = self.formats.find(new);
        let known = if fresh.is_empty() {
            Vec::new()
        } else {
            self.formats.find(old)
        };
        for key in fresh {
            if known.iter().all(|known| !known.is_same_key(&key)) {
                let at = usize::try_from(key.at).unwrap_or(usize::MAX);
                found.push((at, format!("what looks like {}", key.kind)));
            }
        }
        found.truncate(FINDINGS_MAX);
        let line = |at: usize| new.iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        let finding = |(at, what)| Finding {
            line: line(at),
            what,
        };
        let mut findings: Vec<_> = found.into_iter().map(finding).collect();
        findings.sort();
        findings.dedup();
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told_with_its_line() {
        let known = [("DB of .env".to_owned(), "pa55word-of-the-db")];
        let scanner = Scanner::new(known).unwrap();
        let key = ["ghp_zQWBuTSOoRi4A9spHc", "VY5ncnsDkxkJ0mLq17"].concat();
        let new = format!("one\n{key}\n\nurl = pa55word-of-the-db\n");
        let found = scanner.find_new(b"", new.as_bytes());
        let told: Vec<_> = found
            .iter()
            .map(|found| (found.line, &*found.what))
            .collect();
        let expected = [
            (2, "what looks like a GitHub token"),
            (4, "the value of DB of .env"),
        ];
        assert_eq!(told, expected);
        let moved = format!("\n\n{new}");
        assert_eq!(scanner.find_new(new.as_bytes(), moved.as_bytes()), []);
    }
}
