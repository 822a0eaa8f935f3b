//! What programs do, as tables: one file for each family.
//!
//! A row says under which verb and options a program has which effect. All rows
//! that fit count. What a table cannot say, a program's own function does.

mod agents;
mod cloud;
mod containers;
mod databases;
mod files;
mod git;
mod hosting;
mod messages;
mod network;
mod packages;
mod rows;
mod sink;
mod system;

use std::{collections::HashMap, sync::LazyLock};

use crate::commands::Line;

pub(crate) use self::{
    network::{changes, kind, marks_of},
    rows::{Program, Target, program, row},
    sink::Sink,
};

const FAMILIES: [&[Program]; 11] = [
    files::PROGRAMS,
    git::PROGRAMS,
    hosting::PROGRAMS,
    packages::PROGRAMS,
    network::PROGRAMS,
    cloud::PROGRAMS,
    containers::PROGRAMS,
    databases::PROGRAMS,
    system::PROGRAMS,
    messages::PROGRAMS,
    agents::PROGRAMS,
];

static BY_NAME: LazyLock<HashMap<&'static str, &'static Program>> = LazyLock::new(|| {
    let programs = FAMILIES.iter().flat_map(|family| family.iter());
    programs
        .flat_map(|program| program.names.iter().map(move |name| (*name, program)))
        .collect()
});

/// What is known of the program `name`.
pub(crate) fn find(name: &str) -> Option<&'static Program> {
    BY_NAME.get(name).copied()
}

/// Whether a table has a row for the verb of `line`.
pub(crate) fn has_verb(name: &str, line: &Line) -> bool {
    find(name).is_some_and(|program| {
        let verbs = program.rows.iter().filter(|row| !row.verb.is_empty());
        verbs
            .filter_map(|row| line.begins_with(row.verb))
            .any(|words| words > 0)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_program_is_in_two_tables() {
        let mut seen = BTreeSet::new();
        for program in FAMILIES.iter().flat_map(|family| family.iter()) {
            for name in program.names {
                assert!(seen.insert(*name), "{name} is listed twice");
            }
        }
        assert!(seen.len() > 250, "only {} programs are listed", seen.len());
    }
}
