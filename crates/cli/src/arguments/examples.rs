//! Every command shows how it is used, in words that it understands.

use clap::{Command, CommandFactory, Parser};

use super::Arguments;

/// What the help of `command` gives as examples, one a line.
fn examples(command: &Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string);
    let help = help.unwrap_or_default().replace("\\\n", "");
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    lines
        .take_while(|line| line.starts_with("  "))
        .map(|line| line.trim().to_owned())
        .collect()
}

/// The words of a line of shell text, up to where its output goes elsewhere.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), letter) if open == letter => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '|' | '>' | '<' | '&') => break,
            (None, ' ') => words.push(String::new()),
            (_, letter) => {
                if let Some(word) = words.last_mut() {
                    word.push(letter);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Checks `command`, which is typed as `path`, and all below it.
fn check(command: &Command, path: &str, faults: &mut Vec<String>) {
    let all = examples(command);
    if !all.iter().any(|line| line.starts_with(path)) {
        faults.push(format!("{path}: no example"));
    }
    for line in all.iter().filter(|line| line.starts_with("stockade ")) {
        if let Err(error) = Arguments::try_parse_from(words(line)) {
            faults.push(format!("{path}: {line}: {error}"));
        }
    }
    let below = command.get_subcommands();
    for verb in below.filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        check(verb, &format!("{path} {}", verb.get_name()), faults);
    }
}

#[test]
fn the_help_of_every_command_shows_examples_and_each_of_them_parses() {
    let mut command = Arguments::command();
    command.build();
    let mut faults = Vec::new();
    check(&command, "stockade", &mut faults);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_example_that_is_missing_or_wrong_is_found() {
    for (help, fault) in [
        ("", "no example"),
        ("Examples:\n  stockade other", "no example"),
        ("Examples:\n  stockade ls --nonsense", "--nonsense"),
        ("Examples:\n  stockade ls 'a b'", "'a b'"),
    ] {
        let command = Command::new("ls").after_help(help.to_owned());
        let mut faults = Vec::new();
        check(&command, "stockade ls", &mut faults);
        assert!(faults.join("\n").contains(fault), "{help}: {faults:?}");
    }
}
