use std::{fs::File, io::Read, path::Path};

use crate::error::AgentError;

/// What the first bytes of a program say about how it runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// An ELF file.
    Native,
    /// A script for node, with these options of its first line.
    Node(Vec<String>),
    /// Anything else.
    Other,
}

impl Start {
    pub(crate) fn of(path: &Path) -> Result<Self, AgentError> {
        let mut first = Vec::new();
        File::open(path)
            .and_then(|file| file.take(256).read_to_end(&mut first))
            .map_err(|source| AgentError::Read {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self::from_bytes(&first))
    }

    fn from_bytes(first: &[u8]) -> Self {
        if first.starts_with(b"\x7fELF") {
            return Self::Native;
        }
        let line = first
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let Some(line) = line
            .strip_prefix(b"#!")
            .and_then(|line| std::str::from_utf8(line).ok())
        else {
            return Self::Other;
        };
        let mut words = line.split_whitespace().peekable();
        let base = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
        if words.peek().is_some_and(|word| base(word) == "env") {
            words.next();
            words.next_if_eq(&"-S");
        }
        match words.next().map(base).as_deref() {
            Some("node" | "nodejs") => Self::Node(
                words
                    .take_while(|word| word.starts_with("--"))
                    .map(str::to_owned)
                    .collect(),
            ),
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_understood_as_the_kernel_and_env_do() {
        let node = |options: &[&str]| {
            Start::Node(options.iter().map(|option| (*option).to_owned()).collect())
        };
        let cases: [(&[u8], Start); 8] = [
            (b"\x7fELF\x02\x01", Start::Native),
            (b"#!/usr/bin/env node\nx", node(&[])),
            (
                b"#!/usr/bin/env -S node --no-warnings=DEP0040\n",
                node(&["--no-warnings=DEP0040"]),
            ),
            (b"#! /opt/x/bin/node --harmony\r\n", node(&["--harmony"])),
            (b"#!/bin/sh\nexec node x", Start::Other),
            (b"#!/usr/bin/env nodemon\n", Start::Other),
            (b"", Start::Other),
            (b"#!\xff\n", Start::Other),
        ];
        for (bytes, start) in cases {
            assert_eq!(Start::from_bytes(bytes), start, "{}", bytes.escape_ascii());
        }
    }
}
