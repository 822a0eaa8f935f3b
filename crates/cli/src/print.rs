//! Everything that is printed passes here.

use std::io::{IsTerminal, Write};

use serde::Serialize;
use serde_json::json;

use crate::failure::{Failure, Kind};

/// Prints for people or for programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    json: bool,
    silent: bool,
    colours: bool,
}

/// What a colour means; everything reads well without.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    /// As wanted.
    Good,
    /// Not as wanted.
    Bad,
    /// Worth a look.
    Notice,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        let wanted =
            std::env::var_os(stockade_types::env::NO_COLOR).is_none_or(|value| value.is_empty());
        Self {
            json,
            silent: false,
            colours: wanted && std::io::stdout().is_terminal(),
        }
    }

    /// The same, but it prints nothing: for a verb that is part of another.
    pub(crate) fn silent(self) -> Self {
        Self {
            silent: true,
            ..self
        }
    }

    /// Whether a program reads.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// `text` in the colour of `tone`, where colours are shown.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Notice => "33",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A line for people; programs do not get it.
    pub(crate) fn line(self, text: &str) {
        if !self.json && !self.silent {
            Self::write(text);
        }
    }

    /// Text that is itself the result, in either form.
    pub(crate) fn text(self, text: &str) {
        if !self.silent {
            Self::write(text);
        }
    }

    /// A line beside the result: progress, warnings.
    pub(crate) fn note(self, text: &str) {
        if !self.json {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// A result for programs; people do not get it.
    pub(crate) fn json(self, value: &impl Serialize) {
        if self.json && !self.silent {
            Self::write(&serde_json::to_string_pretty(value).unwrap_or_default());
        }
    }

    /// Text that is itself the result; programs get it under `name`.
    pub(crate) fn named_text(self, name: &str, text: &str) {
        if self.json {
            self.json(&json!({ name: text }));
        } else {
            self.text(text.trim_end());
        }
    }

    /// Refuses `--json` to a verb whose result is no document; `instead` is one that has it.
    pub(crate) fn needs_no_json(self, reason: &str, instead: &str) -> Result<(), Failure> {
        if self.json {
            return Err(Failure::new(Kind::Usage, format!("--json: {reason}")).hint(instead));
        }
        Ok(())
    }

    fn write(text: &str) {
        // A reader that went away, as `head` does, is no failure.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    pub(crate) fn failure(self, failure: &Failure) {
        let mut stderr = std::io::stderr().lock();
        if self.json {
            let mut value = json!({ "error": failure.message, "kind": format!("{:?}", failure.kind).to_lowercase(), "hints": failure.hints });
            if let Some(denial) = &failure.denial {
                value["denial"] = json!(denial);
            }
            let _ = writeln!(stderr, "{value}");
            return;
        }
        let _ = writeln!(stderr, "stockade: {}", failure.message);
        for hint in &failure.hints {
            let _ = writeln!(stderr, "  {hint}");
        }
    }
}
