use stockade_types::{EffectKind, Mark};

use super::Sink;
use crate::commands::Line;

/// A program, or several that are used alike.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) names: &'static [&'static str],
    /// Options that take the next word as their value.
    pub(crate) values: &'static [&'static str],
    pub(crate) rows: &'static [Row],
    /// Options whose value is a text for a shell.
    pub(crate) runs: &'static [&'static str],
    /// Its effects depend on its verb, so that an unknown one is opaque.
    pub(crate) by_verb: bool,
    /// What it prints came from elsewhere.
    pub(crate) fetches: bool,
    /// What a table cannot say.
    pub(crate) special: Option<fn(&Line, &mut Sink<'_, '_>)>,
}

/// Under which verb and options a program has which effect.
#[derive(Debug)]
pub(crate) struct Row {
    /// The first operands; `a|b` is either.
    pub(crate) verb: &'static str,
    when: &'static [&'static str],
    unless: &'static [&'static str],
    kind: EffectKind,
    marks: &'static [Mark],
    target: Target,
}

/// To which of its words a program does something.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// To none of them.
    None,
    /// To each operand after the verb.
    Each,
    /// To the first operand after the verb.
    First,
    /// To each operand but the first.
    Rest,
    /// To the last operand.
    Last,
    /// To each operand but the last.
    AllButLast,
    /// To the value of an option.
    Option(&'static [&'static str]),
}

/// A program called `names`.
pub(crate) const fn program(names: &'static [&'static str], rows: &'static [Row]) -> Program {
    Program {
        names,
        values: &[],
        rows,
        runs: &[],
        by_verb: false,
        fetches: false,
        special: None,
    }
}

impl Program {
    pub(crate) const fn values(mut self, values: &'static [&'static str]) -> Self {
        self.values = values;
        self
    }

    pub(crate) const fn runs(mut self, options: &'static [&'static str]) -> Self {
        self.runs = options;
        self
    }

    pub(crate) const fn by_verb(mut self) -> Self {
        self.by_verb = true;
        self
    }

    pub(crate) const fn fetches(mut self) -> Self {
        self.fetches = true;
        self
    }

    pub(crate) const fn special(mut self, special: fn(&Line, &mut Sink<'_, '_>)) -> Self {
        self.special = Some(special);
        self
    }

    /// Gives `sink` what `line` would do.
    pub(crate) fn judge(&self, line: &Line, sink: &mut Sink<'_, '_>) {
        if self.by_verb && line.verb_is_unknown() {
            sink.opaque(&line.program);
        }
        for text in line.values(self.runs) {
            sink.script(&text.text);
        }
        for row in self.rows {
            row.judge(line, sink);
        }
        if let Some(special) = self.special {
            special(line, sink);
        }
        sink.end(line);
    }
}

/// A row for `verb`, which is empty if the program has none.
pub(crate) const fn row(verb: &'static str, kind: EffectKind) -> Row {
    Row {
        verb,
        when: &[],
        unless: &[],
        kind,
        marks: &[],
        target: Target::None,
    }
}

impl Row {
    /// Only with one of `options`; one without a dash is an operand.
    pub(crate) const fn when(mut self, options: &'static [&'static str]) -> Self {
        self.when = options;
        self
    }

    /// Only without all of `options`.
    pub(crate) const fn unless(mut self, options: &'static [&'static str]) -> Self {
        self.unless = options;
        self
    }

    pub(crate) const fn marks(mut self, marks: &'static [Mark]) -> Self {
        self.marks = marks;
        self
    }

    pub(crate) const fn on(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    fn judge(&self, line: &Line, sink: &mut Sink<'_, '_>) {
        let Some(verb) = line.begins_with(self.verb) else {
            return;
        };
        let wanted = self.when.is_empty() || line.has_any(self.when);
        if !wanted || line.has_any(self.unless) {
            return;
        }
        let operands = line.operands.get(verb..).unwrap_or_default();
        let targets = match self.target {
            Target::None => return sink.effect(line, self.kind, "", self.marks),
            Target::Each => operands,
            Target::First => operands.get(..1).unwrap_or_default(),
            Target::Rest => operands.get(1..).unwrap_or_default(),
            Target::Last => operands
                .split_last()
                .map_or(operands, |_| &operands[operands.len() - 1..]),
            Target::AllButLast => operands.split_last().map_or(operands, |(_, rest)| rest),
            Target::Option(names) => {
                for value in line.values(names) {
                    sink.on(line, self.kind, value, self.marks);
                }
                return;
            }
        };
        if targets.is_empty() && !sink::is_of_files(self.kind) {
            sink.effect(line, self.kind, "", self.marks);
        }
        for target in targets {
            sink.on(line, self.kind, target, self.marks);
        }
    }
}

use super::sink;
