use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use brush_parser::ast;

use crate::{Surroundings, text::UNKNOWN};

/// How many folders a script may be in before it is in an unknown one.
const MOST_FOLDERS: usize = 4;

/// A function's body, or the text of an alias.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// A function.
    Function(Rc<ast::FunctionBody>),
    /// An alias stands for this text.
    Alias(Rc<str>),
}

/// What a shell knows while it runs.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Variables that were set. A value may hold parts that are not known.
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) functions: BTreeMap<String, Body>,
    /// Where it may be; `None` is anywhere.
    pub(crate) folders: Vec<Option<String>>,
    /// Files that came from elsewhere.
    pub(crate) fetched: BTreeSet<String>,
    /// `$1` and on, where they are known.
    pub(crate) positional: Option<Vec<String>>,
}

impl State {
    pub(crate) fn new(around: &Surroundings) -> Self {
        let variables = [
            ("HOME", around.home.as_str()),
            ("PWD", around.folder.as_str()),
            ("IFS", " \t\n"),
            ("TMPDIR", "/tmp"),
        ];
        Self {
            variables: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            functions: BTreeMap::new(),
            folders: vec![Some(around.folder.clone())],
            fetched: BTreeSet::new(),
            positional: None,
        }
    }

    /// Takes in what holds if the shell went another way and came to `other`.
    pub(crate) fn or(&mut self, other: Self) {
        for (name, value) in &mut self.variables {
            if other.variables.get(name) != Some(value) {
                *value = UNKNOWN.to_string();
            }
        }
        for name in other.variables.into_keys() {
            self.variables.entry(name).or_insert(UNKNOWN.to_string());
        }
        for (name, body) in other.functions {
            self.functions.entry(name).or_insert(body);
        }
        self.fetched.extend(other.fetched);
        for folder in other.folders {
            if !self.folders.contains(&folder) {
                self.folders.push(folder);
            }
        }
        if self.folders.len() > MOST_FOLDERS {
            self.folders = vec![None];
        }
        if self.positional != other.positional {
            self.positional = None;
        }
    }

    /// Goes to the folder that `find` tells for each folder it may be in.
    pub(crate) fn enter(&mut self, find: impl Fn(Option<&str>) -> Option<String>) {
        let mut folders: Vec<_> = self
            .folders
            .iter()
            .map(|folder| find(folder.as_deref()))
            .collect();
        folders.dedup();
        let known = match folders.as_slice() {
            [Some(folder)] => folder.clone(),
            _ => UNKNOWN.to_string(),
        };
        self.folders = folders;
        self.variables.insert("PWD".to_owned(), known);
    }
}
