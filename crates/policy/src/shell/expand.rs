//! Words, as the shell makes them of what is written.

use brush_parser::{
    ParserOptions, ast,
    word::{
        self, Parameter, ParameterExpr, ParameterTestType, TildeExpr, WordPiece,
        WordPieceWithSource,
    },
};

use super::{Reader, State, Stream, ansi, braces::without_braces};
use crate::{
    files::is_pattern,
    text::{REMOTE, UNKNOWN, Word, is_unknown},
};

/// A value of a part of a word.
struct Value {
    text: String,
    assumed: bool,
}

impl Value {
    fn unknown() -> Self {
        Self::known(UNKNOWN)
    }

    fn known(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            assumed: false,
        }
    }
}

/// Puts words together out of parts.
#[derive(Default)]
struct Builder {
    done: Vec<Word>,
    current: Option<Word>,
}

impl Builder {
    fn current(&mut self) -> &mut Word {
        self.current.get_or_insert_default()
    }

    /// A part that stays one word whatever it holds.
    fn quoted(&mut self, value: &Value) {
        let current = self.current();
        current.text.push_str(&value.text);
        current.assumed |= value.assumed;
    }

    /// A part that is split and may be a pattern.
    fn unquoted(&mut self, value: &Value, separators: &str) {
        let mut pieces = value.text.split(|c| separators.contains(c)).peekable();
        let mut first = true;
        while let Some(piece) = pieces.next() {
            if !first {
                self.done.extend(self.current.take());
            }
            first = false;
            if piece.is_empty() && (pieces.peek().is_some() || self.current.is_none()) {
                continue;
            }
            let current = self.current();
            current.text.push_str(piece);
            current.pattern |= is_pattern(piece);
            current.several |= is_unknown(piece);
            current.assumed |= value.assumed;
        }
    }

    fn finish(mut self) -> Vec<Word> {
        self.done.extend(self.current.take());
        self.done
    }
}

/// Whether a word stands for itself, which most do.
fn is_plain(raw: &str) -> bool {
    !raw.is_empty()
        && raw
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte))
}

impl Reader<'_> {
    /// The words that `raw` becomes.
    pub(crate) fn words(&mut self, raw: &str, state: &mut State) -> Vec<Word> {
        if is_plain(raw) {
            return vec![Word::literal(raw)];
        }
        let Some(variants) = without_braces(raw) else {
            return vec![Word::anything()];
        };
        let mut words = Vec::new();
        for variant in variants {
            let Ok(pieces) = word::parse(&variant, &ParserOptions::default()) else {
                words.push(Word::anything());
                continue;
            };
            let mut builder = Builder::default();
            self.pieces(&pieces, false, state, &mut builder);
            words.extend(builder.finish());
        }
        words
    }

    /// The one text that `raw` becomes where nothing is split, as in `x=raw`.
    pub(crate) fn value(&mut self, raw: &str, state: &mut State) -> String {
        if is_plain(raw) {
            return raw.to_owned();
        }
        match word::parse(raw, &ParserOptions::default()) {
            Ok(pieces) => self.joined(&pieces, state),
            Err(_) => UNKNOWN.to_string(),
        }
    }

    /// The text of a here-document, or of anything else where quotes are letters.
    pub(super) fn unquoted_text(&mut self, raw: &str, state: &mut State) -> String {
        if let Ok(pieces) = word::parse_heredoc(raw, &ParserOptions::default()) {
            self.joined(&pieces, state)
        } else {
            self.opaque("sh", &[]);
            UNKNOWN.to_string()
        }
    }

    /// The pieces as one text.
    fn joined(&mut self, pieces: &[WordPieceWithSource], state: &mut State) -> String {
        let mut builder = Builder::default();
        self.pieces(pieces, true, state, &mut builder);
        builder
            .finish()
            .pop()
            .map_or(String::new(), |word| word.text)
    }

    fn pieces(
        &mut self,
        pieces: &[WordPieceWithSource],
        quoted: bool,
        state: &mut State,
        builder: &mut Builder,
    ) {
        for piece in pieces {
            match &piece.piece {
                WordPiece::Text(text) => {
                    builder.quoted(&Value::known(text.as_str()));
                    builder.current().pattern |= !quoted && is_pattern(text);
                }
                WordPiece::SingleQuotedText(text) => builder.quoted(&Value::known(text.as_str())),
                WordPiece::AnsiCQuotedText(raw) => {
                    builder.quoted(&ansi::decoded(raw).map_or_else(Value::unknown, Value::known));
                }
                WordPiece::EscapeSequence(escape) => {
                    let text = escape.strip_prefix('\\').unwrap_or(escape);
                    builder.quoted(&Value::known(text.trim_start_matches('\n')));
                }
                WordPiece::DoubleQuotedSequence(inner)
                | WordPiece::GettextDoubleQuotedSequence(inner) => {
                    builder.current();
                    self.pieces(inner, true, state, builder);
                }
                other => {
                    let value = self.expansion(other, state);
                    if quoted {
                        builder.quoted(&value);
                    } else {
                        let separators = state.variables.get("IFS").map_or(" \t\n", |ifs| ifs);
                        builder.unquoted(&value, separators);
                    }
                }
            }
        }
    }

    fn expansion(&mut self, piece: &WordPiece, state: &mut State) -> Value {
        match piece {
            WordPiece::TildeExpansion(tilde) => match tilde {
                TildeExpr::Home => Value::known(self.around.home.as_str()),
                TildeExpr::UserHome(user) if user == "root" => Value::known("/root"),
                TildeExpr::UserHome(user) => Value::known(format!("/home/{user}")),
                _ => Value::known(
                    state
                        .variables
                        .get("PWD")
                        .cloned()
                        .unwrap_or(UNKNOWN.into()),
                ),
            },
            WordPiece::CommandSubstitution(text) => self.substitution(text, state),
            WordPiece::BackquotedCommandSubstitution(text) => {
                self.substitution(&without_backslashes(text), state)
            }
            WordPiece::ArithmeticExpression(expression) => {
                self.arithmetic(expression, state);
                Value::unknown()
            }
            WordPiece::ParameterExpansion(expression) => self.parameter(expression, state),
            _ => Value::unknown(),
        }
    }

    /// What a command substitution prints.
    fn substitution(&mut self, text: &str, state: &State) -> Value {
        let mut inner = state.clone();
        match self.script(text, &mut inner, &Stream::Nothing) {
            Stream::Text(text) => Value::known(text.trim_end_matches('\n')),
            Stream::Nothing | Stream::Unknown => Value::unknown(),
            Stream::Remote => Value::known(REMOTE),
        }
    }

    /// Arithmetic runs the substitutions in it, and those in the values of the
    /// variables that it names.
    pub(super) fn arithmetic(
        &mut self,
        expression: &ast::UnexpandedArithmeticExpr,
        state: &mut State,
    ) {
        self.runs_inside(&expression.value, state);
        let names = expression
            .value
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let values: Vec<_> = names
            .filter_map(|name| state.variables.get(name).cloned())
            .collect();
        for value in values {
            self.runs_inside(&value, state);
        }
    }

    /// Follows the substitutions in a text that is not a word.
    pub(crate) fn runs_inside(&mut self, raw: &str, state: &mut State) {
        if raw.contains(['$', '`']) {
            self.unquoted_text(raw, state);
        }
    }

    fn parameter(&mut self, expression: &ParameterExpr, state: &mut State) -> Value {
        use ParameterExpr as Expr;
        match expression {
            Expr::Parameter {
                parameter,
                indirect: false,
            } => self.lookup(parameter, state),
            Expr::UseDefaultValues {
                parameter,
                indirect: false,
                test_type,
                default_value,
            }
            | Expr::AssignDefaultValues {
                parameter,
                indirect: false,
                test_type,
                default_value,
            } => {
                let raw = default_value.as_deref().unwrap_or_default();
                let default = self.value(raw, state);
                match self.set_to(parameter, state) {
                    Some(value)
                        if matches!(test_type, ParameterTestType::Unset) || !value.is_empty() =>
                    {
                        Value::known(value)
                    }
                    Some(_) => Value::known(default),
                    None => Value {
                        text: default,
                        assumed: true,
                    },
                }
            }
            Expr::IndicateErrorIfNullOrUnset {
                parameter,
                indirect: false,
                error_message,
                ..
            } => {
                self.runs_inside(error_message.as_deref().unwrap_or_default(), state);
                self.lookup(parameter, state)
            }
            Expr::UseAlternativeValue {
                parameter,
                indirect: false,
                alternative_value,
                ..
            } => {
                let raw = alternative_value.as_deref().unwrap_or_default();
                let alternative = self.value(raw, state);
                match self.set_to(parameter, state) {
                    Some(value) if !value.is_empty() && !is_unknown(&value) => {
                        Value::known(alternative)
                    }
                    _ => Value::unknown(),
                }
            }
            other => {
                for raw in raw_parts(other) {
                    self.runs_inside(raw, state);
                }
                Value::unknown()
            }
        }
    }

    /// A parameter's value, if it was set.
    fn set_to(&mut self, parameter: &Parameter, state: &mut State) -> Option<String> {
        match parameter {
            Parameter::Named(name) => state.variables.get(name).cloned(),
            Parameter::Positional(place) => {
                let place = usize::try_from(*place).ok()?;
                let known = state.positional.as_ref()?;
                // Past the last it is not set, which is known.
                known.get(place.checked_sub(1)?).cloned()
            }
            Parameter::NamedWithIndex { index, .. } => {
                self.runs_inside(index, state);
                Some(UNKNOWN.to_string())
            }
            _ => Some(UNKNOWN.to_string()),
        }
    }

    fn lookup(&mut self, parameter: &Parameter, state: &mut State) -> Value {
        if let Parameter::Special(word::SpecialParameter::AllPositionalParameters { .. }) =
            parameter
            && let Some(known) = &state.positional
        {
            return Value::known(known.join(" "));
        }
        let set = self.set_to(parameter, state);
        match (set, parameter) {
            (Some(value), _) => Value::known(value),
            (None, Parameter::Positional(place)) if *place > 0 && state.positional.is_some() => {
                Value::known("")
            }
            _ => Value::unknown(),
        }
    }
}

/// The texts inside an expansion that is not followed otherwise.
fn raw_parts(expression: &ParameterExpr) -> Vec<&str> {
    use ParameterExpr as Expr;
    match expression {
        Expr::UseDefaultValues { default_value, .. }
        | Expr::AssignDefaultValues { default_value, .. } => {
            default_value.as_deref().into_iter().collect()
        }
        Expr::UseAlternativeValue {
            alternative_value, ..
        } => alternative_value.as_deref().into_iter().collect(),
        Expr::IndicateErrorIfNullOrUnset { error_message, .. } => {
            error_message.as_deref().into_iter().collect()
        }
        Expr::RemoveSmallestSuffixPattern { pattern, .. }
        | Expr::RemoveLargestSuffixPattern { pattern, .. }
        | Expr::RemoveSmallestPrefixPattern { pattern, .. }
        | Expr::RemoveLargestPrefixPattern { pattern, .. }
        | Expr::UppercaseFirstChar { pattern, .. }
        | Expr::UppercasePattern { pattern, .. }
        | Expr::LowercaseFirstChar { pattern, .. }
        | Expr::LowercasePattern { pattern, .. } => pattern.as_deref().into_iter().collect(),
        Expr::Substring { offset, length, .. } => {
            let length = length.as_ref().map(|length| length.value.as_str());
            [Some(offset.value.as_str()), length]
                .into_iter()
                .flatten()
                .collect()
        }
        Expr::ReplaceSubstring {
            pattern,
            replacement,
            ..
        } => [Some(pattern.as_str()), replacement.as_deref()]
            .into_iter()
            .flatten()
            .collect(),
        Expr::Parameter { .. }
        | Expr::ParameterLength { .. }
        | Expr::Transform { .. }
        | Expr::VariableNames { .. }
        | Expr::MemberKeys { .. } => Vec::new(),
    }
}

/// In backquotes a backslash before these is not part of the text.
fn without_backslashes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if character == '\\' && rest.peek().is_some_and(|next| "$`\\".contains(*next)) {
            out.extend(rest.next());
        } else {
            out.push(character);
        }
    }
    out
}
