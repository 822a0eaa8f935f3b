//! The tree of a script, in the order of execution.

use std::rc::Rc;

use brush_parser::ast::{
    self, AndOr, AssignmentName, AssignmentValue, Command, CommandPrefixOrSuffixItem as Item,
    CompoundCommand, ExtendedTestExpr, IoRedirect,
};

use super::{Reader, State, Stream, state::Body};
use crate::text::{REMOTE, UNKNOWN, Word, is_unknown};

/// How many values of a loop's variable are tried one by one.
const MOST_VALUES: usize = 16;

impl Reader<'_> {
    pub(super) fn program(
        &mut self,
        program: &ast::Program,
        state: &mut State,
        input: &Stream,
    ) -> Stream {
        let mut output = Stream::Nothing;
        for list in &program.complete_commands {
            output = output.then(self.list(list, state, input));
        }
        output
    }

    pub(super) fn list(
        &mut self,
        list: &ast::CompoundList,
        state: &mut State,
        input: &Stream,
    ) -> Stream {
        let mut output = Stream::Nothing;
        for ast::CompoundListItem(item, separator) in &list.0 {
            let stream = if matches!(separator, ast::SeparatorOperator::Async) {
                self.and_or(item, &mut state.clone(), input)
            } else {
                self.and_or(item, state, input)
            };
            output = output.then(stream);
        }
        output
    }

    /// What comes after `&&` or `||` sees what went before as done, and what
    /// follows the list sees both that it ran and that it did not.
    fn and_or(&mut self, list: &ast::AndOrList, state: &mut State, input: &Stream) -> Stream {
        let mut output = self.pipeline(&list.first, state, input);
        let mut skipped = Vec::new();
        for next in &list.additional {
            skipped.push(state.clone());
            let (AndOr::And(pipeline) | AndOr::Or(pipeline)) = next;
            output = output.then(self.pipeline(pipeline, state, input));
        }
        for other in skipped {
            state.or(other);
        }
        output
    }

    fn pipeline(&mut self, pipeline: &ast::Pipeline, state: &mut State, input: &Stream) -> Stream {
        if let [only] = pipeline.seq.as_slice() {
            return self.command(only, state, input);
        }
        let mut stream = input.clone();
        for command in &pipeline.seq {
            stream = self.command(command, &mut state.clone(), &stream);
        }
        stream
    }

    fn command(&mut self, command: &Command, state: &mut State, input: &Stream) -> Stream {
        self.deeper("sh", |reader| match command {
            Command::Simple(simple) => reader.simple(simple, state, input),
            Command::Compound(compound, redirects) => {
                let list = redirects.iter().flat_map(|list| &list.0);
                let redirected = reader.redirects(list, state, input);
                reader.compound(compound, state, &redirected.input)
            }
            Command::Function(function) => {
                let body = Rc::new(function.body.clone());
                let name = function.fname.value.clone();
                // Followed now, too, since somebody may call it later.
                let mut inside = state.clone();
                inside.positional = None;
                reader.body(&body, &mut inside, &Stream::Unknown);
                state.functions.insert(name, Body::Function(body));
                Stream::Nothing
            }
            Command::ExtendedTest(test, redirects) => {
                let list = redirects.iter().flat_map(|list| &list.0);
                reader.redirects(list, state, input);
                reader.test(&test.expr, state);
                Stream::Nothing
            }
        })
    }

    /// Follows a function's body.
    pub(crate) fn body(
        &mut self,
        body: &ast::FunctionBody,
        state: &mut State,
        input: &Stream,
    ) -> Stream {
        let ast::FunctionBody(compound, redirects) = body;
        let list = redirects.iter().flat_map(|list| &list.0);
        let redirected = self.redirects(list, state, input);
        self.compound(compound, state, &redirected.input)
    }

    fn test(&mut self, test: &ExtendedTestExpr, state: &mut State) {
        match test {
            ExtendedTestExpr::And(left, right) | ExtendedTestExpr::Or(left, right) => {
                self.test(left, state);
                self.test(right, state);
            }
            ExtendedTestExpr::Not(inner) | ExtendedTestExpr::Parenthesized(inner) => {
                self.test(inner, state);
            }
            ExtendedTestExpr::UnaryTest(_, word) => {
                let text = self.value(&word.value, state);
                self.runs_inside(&text, state);
            }
            // Comparing numbers reads both sides as arithmetic.
            ExtendedTestExpr::BinaryTest(_, left, right) => {
                for word in [left, right] {
                    let text = self.value(&word.value, state);
                    self.runs_inside(&text, state);
                }
            }
        }
    }

    fn compound(
        &mut self,
        compound: &CompoundCommand,
        state: &mut State,
        input: &Stream,
    ) -> Stream {
        match compound {
            CompoundCommand::Arithmetic(command) => {
                self.arithmetic(&command.expr, state);
                Stream::Nothing
            }
            CompoundCommand::BraceGroup(group) => self.list(&group.list, state, input),
            CompoundCommand::Subshell(subshell) => {
                self.list(&subshell.list, &mut state.clone(), input)
            }
            CompoundCommand::Coprocess(coprocess) => {
                self.command(&coprocess.body, &mut state.clone(), input);
                Stream::Nothing
            }
            CompoundCommand::IfClause(clause) => self.branches(clause, state, input),
            CompoundCommand::CaseClause(clause) => {
                self.value(&clause.value.value, state);
                let mut output = Stream::Nothing;
                let before = state.clone();
                for case in &clause.cases {
                    for pattern in &case.patterns {
                        self.value(&pattern.value, state);
                    }
                    // A branch may be entered from the one before it, too.
                    if let Some(list) = &case.cmd {
                        output = output.then(self.list(list, state, input));
                    }
                    state.or(before.clone());
                }
                output
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => {
                let ast::WhileOrUntilClauseCommand(condition, body, _) = clause;
                self.repeated(state, |reader, state| {
                    reader.list(condition, state, input);
                    reader.list(&body.list, state, input)
                })
            }
            CompoundCommand::ForClause(clause) => self.each(clause, state, input),
            CompoundCommand::ArithmeticForClause(clause) => {
                let parts = [&clause.initializer, &clause.condition, &clause.updater];
                for part in parts.into_iter().flatten() {
                    self.arithmetic(part, state);
                }
                self.repeated(state, |reader, state| {
                    reader.list(&clause.body.list, state, input)
                })
            }
        }
    }

    fn branches(
        &mut self,
        clause: &ast::IfClauseCommand,
        state: &mut State,
        input: &Stream,
    ) -> Stream {
        let mut output = self.list(&clause.condition, state, input);
        let mut other = state.clone();
        output = output.then(self.list(&clause.then, state, input));
        for branch in clause.elses.iter().flatten() {
            if let Some(condition) = &branch.condition {
                output = output.then(self.list(condition, &mut other, input));
            }
            let mut taken = other.clone();
            output = output.then(self.list(&branch.body, &mut taken, input));
            state.or(taken);
        }
        state.or(other);
        output
    }

    /// Follows a body twice: as at first, and with what it may have changed.
    fn repeated(
        &mut self,
        state: &mut State,
        mut body: impl FnMut(&mut Self, &mut State) -> Stream,
    ) -> Stream {
        let before = state.clone();
        let first = body(self, state);
        state.or(before.clone());
        let again = body(self, state);
        state.or(before);
        first.then(again)
    }

    fn each(
        &mut self,
        clause: &ast::ForClauseCommand,
        state: &mut State,
        input: &Stream,
    ) -> Stream {
        let mut values = Vec::new();
        for word in clause.values.iter().flatten() {
            values.extend(self.words(&word.value, state));
        }
        let unclear = |word: &Word| word.several || word.pattern;
        let tried = clause.values.is_some() && values.len() <= MOST_VALUES;
        if !tried || values.iter().any(unclear) {
            values = vec![Word::anything()];
        }
        let before = state.clone();
        let mut output = Stream::Nothing;
        for value in values {
            let name = clause.variable_name.clone();
            state.variables.insert(name.clone(), value.text.clone());
            output = output.then(self.list(&clause.body.list, state, input));
            // What a round changed may hold in the next, or may not.
            state.or(before.clone());
            state.variables.insert(name, value.text);
        }
        state.or(before);
        output
    }

    fn simple(&mut self, simple: &ast::SimpleCommand, state: &mut State, input: &Stream) -> Stream {
        let prefix = simple.prefix.iter().flat_map(|prefix| &prefix.0);
        let suffix = simple.suffix.iter().flat_map(|suffix| &suffix.0);
        let mut words = Vec::new();
        if let Some(name) = &simple.word_or_name {
            words.extend(self.words(&name.value, state));
        }
        let mut redirects: Vec<&IoRedirect> = Vec::new();
        let mut set = Vec::new();
        for item in prefix {
            match item {
                Item::AssignmentWord(assignment, _) => {
                    set.push(self.assignment(assignment, state));
                }
                other => self.item(other, state, &mut words, &mut redirects),
            }
        }
        for item in suffix {
            self.item(item, state, &mut words, &mut redirects);
        }
        let redirected = self.redirects(redirects, state, input);
        for (name, value) in &set {
            self.variable(name, value, state);
        }
        if words.is_empty() {
            state.variables.extend(set);
            return Stream::Nothing;
        }
        let output = self.run(&words, state, &redirected.input);
        if redirected.outputs.is_empty() {
            return output;
        }
        if output == Stream::Remote {
            state.fetched.extend(redirected.outputs);
        }
        Stream::Nothing
    }

    fn item<'r>(
        &mut self,
        item: &'r Item,
        state: &mut State,
        words: &mut Vec<Word>,
        redirects: &mut Vec<&'r IoRedirect>,
    ) {
        match item {
            Item::IoRedirect(redirect) => redirects.push(redirect),
            Item::Word(word) => words.extend(self.words(&word.value, state)),
            // A word of `export`, `env` or any other program.
            Item::AssignmentWord(assignment, word) => {
                if let AssignmentValue::Array(_) = assignment.value {
                    self.assignment(assignment, state);
                    words.push(Word::anything());
                } else {
                    words.extend(self.words(&word.value, state));
                }
            }
            Item::ProcessSubstitution(kind, inner) => {
                let stream = self.process(kind, inner, state, &Stream::Unknown);
                let text = match stream {
                    Stream::Remote => REMOTE,
                    _ => UNKNOWN,
                };
                words.push(Word::literal(format!("/dev/fd/{text}")));
            }
        }
    }

    /// The variable that an assignment sets, and to what.
    fn assignment(&mut self, assignment: &ast::Assignment, state: &mut State) -> (String, String) {
        let value = match &assignment.value {
            AssignmentValue::Scalar(word) => self.value(&word.value, state),
            AssignmentValue::Array(elements) => {
                for (index, word) in elements {
                    if let Some(index) = index {
                        self.runs_inside(&index.value, state);
                    }
                    self.words(&word.value, state);
                }
                UNKNOWN.to_string()
            }
        };
        match &assignment.name {
            AssignmentName::ArrayElementName(name, index) => {
                self.runs_inside(index, state);
                (name.clone(), UNKNOWN.to_string())
            }
            AssignmentName::VariableName(name) if assignment.append => {
                let before = state.variables.get(name).cloned();
                let before = before.unwrap_or_else(|| UNKNOWN.to_string());
                (name.clone(), before + &value)
            }
            AssignmentName::VariableName(name) => (name.clone(), value),
        }
    }

    /// A variable that programs take for a command, or load code by.
    pub(crate) fn variable(&mut self, name: &str, value: &str, state: &mut State) {
        if value.is_empty() {
            return;
        }
        let runs = RUN_BY_PROGRAMS.contains(&name);
        let loads = LOADED_BY_PROGRAMS.contains(&name);
        if loads || runs && is_unknown(value) {
            self.opaque(value, &[]);
        } else if runs {
            self.script(value, &mut state.clone(), &Stream::Unknown);
        }
    }
}

/// Variables whose value some program runs.
const RUN_BY_PROGRAMS: [&str; 17] = [
    "BASH_ENV",
    "ENV",
    "PROMPT_COMMAND",
    "PAGER",
    "MANPAGER",
    "EDITOR",
    "VISUAL",
    "BROWSER",
    "GIT_PAGER",
    "GIT_EDITOR",
    "GIT_SEQUENCE_EDITOR",
    "GIT_SSH_COMMAND",
    "GIT_SSH",
    "GIT_ASKPASS",
    "GIT_EXTERNAL_DIFF",
    "GIT_PROXY_COMMAND",
    "SSH_ASKPASS",
];

/// Variables that make programs load code.
const LOADED_BY_PROGRAMS: [&str; 6] = [
    "LD_PRELOAD",
    "LD_AUDIT",
    "PERL5OPT",
    "RUBYOPT",
    "PYTHONSTARTUP",
    "GIT_CONFIG_COUNT",
];
