//! Rules, read from texts of Cedar.

use std::str::FromStr;

use cedar_policy::{Effect as CedarEffect, Policy as CedarPolicy, PolicyId, PolicySet};
use miette::Diagnostic;
use stockade_types::Verdict;

use super::{Layer, Problem, Source};

/// Annotations that a rule may have.
const ANNOTATIONS: [&str; 8] = [
    "id",
    "verdict",
    "reason",
    "instead",
    "incident",
    "match",
    "not_match",
    "lifts",
];

/// The longest text of an annotation.
const LONGEST: usize = 4096;

/// A rule, and what people are told of it.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, of which there is one.
    pub id: String,
    /// Who wrote it.
    pub layer: Layer,
    /// Where it stands.
    pub file: String,
    /// On which line.
    pub line: usize,
    /// What it decides where it applies.
    pub verdict: Verdict,
    /// Why it is there.
    pub reason: String,
    /// What to do instead.
    pub instead: Option<String>,
    /// What happened to somebody.
    pub incident: Option<String>,
    /// Commands to which it applies.
    pub matches: Vec<String>,
    /// Commands to which it does not.
    pub not_matches: Vec<String>,
    /// Rules of lower layers that do not count where this one applies.
    pub lifts: Vec<String>,
    pub(super) policy: CedarPolicy,
}

impl Rule {
    /// Its text.
    pub fn text(&self) -> String {
        self.policy.to_string()
    }
}

/// The rules of `source`, and what is wrong with it.
pub(super) fn read(source: &Source, problems: &mut Vec<Problem>) -> Vec<Rule> {
    let set = match PolicySet::from_str(&source.text) {
        Ok(set) => set,
        Err(errors) => {
            for error in errors.iter() {
                problems.push(of_syntax(source, error));
            }
            return Vec::new();
        }
    };
    if let Some(template) = set.templates().next() {
        problems.push(problem(
            source,
            1,
            format!("{} is a template", template.id()),
            "write the principal and resource out",
        ));
    }
    let mut rules = Vec::new();
    for policy in set.policies() {
        match of_policy(source, policy) {
            Ok(rule) => rules.push(rule),
            Err(problem) => problems.push(problem),
        }
    }
    rules.sort_by_key(|rule| rule.line);
    rules
}

fn of_policy(source: &Source, policy: &CedarPolicy) -> Result<Rule, Problem> {
    let Some(id) = policy.annotation("id").filter(|id| is_name(id)) else {
        let line = policy.annotation("id").map_or(1, |id| line_of(source, id));
        return Err(problem(
            source,
            line,
            "a rule has no name, or one that is none".to_owned(),
            "begin it with @id(\"family.what-it-does\"), of small letters, digits, dots and dashes",
        ));
    };
    let line = line_of(source, id);
    let wrong = |what: String, fix: &str| problem(source, line, format!("{id}: {what}"), fix);
    for (key, value) in policy.annotations() {
        if !ANNOTATIONS.contains(&key) {
            let known = format!("use one of {}", ANNOTATIONS.join(", "));
            return Err(wrong(format!("`@{key}` means nothing here"), &known));
        }
        if value.len() > LONGEST {
            return Err(wrong(
                format!("`@{key}` is too long"),
                "use at most 4096 bytes",
            ));
        }
    }
    let permits = policy.effect() == CedarEffect::Permit;
    if permits && source.layer == Layer::Repository {
        return Err(wrong(
            "a repository may only forbid".to_owned(),
            "remove it, or have the user add it to their own policy",
        ));
    }
    let verdict = match policy.annotation("verdict") {
        None if permits => Verdict::Allow,
        None => Verdict::Deny,
        Some(_) if permits => {
            return Err(wrong(
                "a permit has no verdict but to allow".to_owned(),
                "remove @verdict, or write forbid",
            ));
        }
        Some(word) => match word.parse() {
            Ok(Verdict::Allow) | Err(_) => {
                return Err(wrong(
                    format!("the verdict `{word}` is none of a forbid"),
                    "use contain, ask or deny",
                ));
            }
            Ok(verdict) => verdict,
        },
    };
    let Some(reason) = policy
        .annotation("reason")
        .filter(|text| !text.trim().is_empty())
    else {
        return Err(wrong(
            "it gives no reason".to_owned(),
            "add @reason(\"…\"), a sentence for people",
        ));
    };
    let lines = |key: &str| -> Vec<String> {
        let text = policy.annotation(key).unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    };
    let lifts: Vec<String> = lines("lifts")
        .iter()
        .flat_map(|line| line.split(' '))
        .map(str::to_owned)
        .collect();
    if !lifts.is_empty() && !permits {
        return Err(wrong(
            "a forbid lifts nothing".to_owned(),
            "write permit, or remove @lifts",
        ));
    }
    Ok(Rule {
        id: id.to_owned(),
        layer: source.layer,
        file: source.name.clone(),
        line,
        verdict,
        reason: reason.to_owned(),
        instead: policy.annotation("instead").map(str::to_owned),
        incident: policy.annotation("incident").map(str::to_owned),
        matches: lines("match"),
        not_matches: lines("not_match"),
        lifts,
        policy: policy.new_id(PolicyId::new(id)),
    })
}

fn is_name(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 64
        && id
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte))
}

/// The line on which the rule `id` begins.
fn line_of(source: &Source, id: &str) -> usize {
    let name = format!("\"{id}\"");
    let named = |line: &str| line.contains("@id") && line.contains(&name);
    source
        .text
        .lines()
        .position(named)
        .map_or(1, |place| place + 1)
}

pub(super) fn problem(source: &Source, line: usize, what: String, fix: &str) -> Problem {
    Problem {
        file: source.name.clone(),
        line,
        what,
        fix: fix.to_owned(),
    }
}

/// What Cedar says of a text, with the line that it points to.
fn of_syntax(source: &Source, error: &(impl Diagnostic + std::fmt::Display)) -> Problem {
    let help = error.help().map(|help| help.to_string());
    Problem {
        file: source.name.clone(),
        line: place_of(source, error).unwrap_or(1),
        what: error.to_string(),
        fix: help.unwrap_or_else(|| "see docs/policy.md for the form of a rule".to_owned()),
    }
}

/// The line that an error points to.
pub(super) fn place_of(source: &Source, error: &impl Diagnostic) -> Option<usize> {
    let offset = error.labels()?.next()?.offset();
    let before = source.text.get(..offset)?;
    Some(before.matches('\n').count() + 1)
}
