//! What a person sees of a question: made by us from the action as it was
//! parsed; the agent's own words stand apart.

use std::fmt::Write as _;

use stockade_approval::{Action, Departure, Input};
use stockade_gateway::Looks;
use stockade_types::{Reversible, visible};

use super::{Asked, now};
use crate::print::{Printer, Tone};

/// A question as it is shown.
pub(super) struct Card {
    /// What would happen, as a clause.
    pub(super) title: String,
    /// The word that approves it.
    pub(super) word: String,
    lines: Vec<(&'static str, String)>,
}

/// Characters of a command that are shown.
const COMMAND_MAX: usize = 2048;

impl Card {
    pub(super) fn of(asked: &Asked) -> Self {
        let waiting = &asked.waiting;
        let mut card = Self::action(&waiting.question.action, &waiting.id.short());
        let action = &waiting.question.action;
        let class = match (action.outward(), action.reversible()) {
            (false, Reversible::Yes) => "asks for something, and leaves nothing behind",
            (false, Reversible::Undo) => "stays on this machine, and can be made up for",
            (false, Reversible::No) => "stays on this machine, and cannot be taken back",
            (true, Reversible::Yes) => "leaves the machine, and can be taken back",
            (true, Reversible::Undo) => "leaves the machine, and can be made up for",
            (true, Reversible::No) => "leaves the machine, and cannot be taken back",
        };
        card.line("class", class);
        card.line("bytes", format!("{} wait to leave", waiting.question.bytes));
        let (people, have) = waiting.people;
        let needs = match (action.is_grave(), people) {
            (true, 1) => Some("a security key that somebody touches".to_owned()),
            (true, _) => Some(format!(
                "security keys of {people} people, of whom {have} have approved"
            )),
            (false, 1) => None,
            (false, _) => Some(format!(
                "the approval of {people} people, of whom {have} have approved"
            )),
        };
        if let Some(needs) = needs {
            card.line("needs", needs);
        }
        if let Some(because) = &waiting.question.because {
            let reason = visible::line(because.reason.as_bytes());
            card.line("rule", format!("{}: {reason}", because.rule));
        }
        let status = &asked.task.status;
        card.line("task", format!("{} {}", status.slug, status.id));
        let left = waiting.expires.saturating_sub(now());
        card.line(
            "waits",
            format!("{} min {} s, then no", left / 60, left % 60),
        );
        if let Some(said) = &waiting.question.said {
            let said = visible::line(said.as_bytes());
            card.line(
                "agent says",
                format!("“{said}” (its own words, which nobody checked)"),
            );
        }
        card
    }

    fn action(action: &Action, short: &str) -> Self {
        match action {
            Action::Push(departure) => Self::push(departure, short),
            Action::Request {
                method,
                scheme,
                host,
                port,
                path,
            } => {
                let looks = Looks::of(host);
                let method = visible::line(method.as_bytes());
                let scheme = visible::line(scheme.as_bytes());
                let domain = looks.domain.clone().unwrap_or_else(|| host.to_string());
                let mut card = Self {
                    title: format!(
                        "{method} {scheme}://{host}:{port}{}",
                        path.as_deref().map(shortened).unwrap_or_default()
                    ),
                    word: domain.clone(),
                    lines: Vec::new(),
                };
                // Who owns the host comes first.
                card.line("domain", domain);
                if let Some(mark) = looks.mark() {
                    card.line("looks", mark);
                }
                let what = match path {
                    Some(path) => format!("send {method} {} to", shown(path)),
                    None => format!("send {method} requests to"),
                };
                card.line("would", format!("{what} {host}, port {port}, by {scheme}"));
                card
            }
            Action::Command {
                argv,
                cwd,
                env,
                input,
                effects,
            } => {
                let words: Vec<_> = argv.iter().map(|word| shown(word)).collect();
                let mut card = Self {
                    title: words.join(" "),
                    word: short.to_owned(),
                    lines: Vec::new(),
                };
                card.line("would run", words.join(" "));
                card.line("in", shown(cwd));
                for (name, value) in env {
                    card.line("with", format!("{}={}", shown(name), shown(value)));
                }
                match input {
                    None => {}
                    Some(Input::Given { bytes, begins, .. }) => {
                        card.line("reads", format!("{bytes} bytes: {}", shown(begins)));
                    }
                    Some(Input::Later) => {
                        card.line(
                            "reads",
                            "what it is sent once it runs, which nobody has seen",
                        );
                    }
                }
                for effect in effects {
                    card.line(
                        "effect",
                        format!("{} {}", effect.kind, shown(&effect.target)),
                    );
                }
                card
            }
        }
    }

    /// What goes where, and what is there now.
    fn push(departure: &Departure, short: &str) -> Self {
        let reference = departure.reference.as_str();
        let branch = shown(reference.strip_prefix("refs/heads/").unwrap_or(reference));
        let remote = shown(&departure.remote);
        let mut card = Self {
            title: format!("push to {remote} {branch}"),
            word: short.to_owned(),
            lines: Vec::new(),
        };
        card.line("would push", format!("{branch} to {remote}"));
        card.line("at", shown(&departure.url));
        let old = departure.old.as_deref();
        card.line(
            "from",
            old.map_or_else(|| "nothing: it is new".to_owned(), shown),
        );
        card.line("to", shown(&departure.new));
        card.line("manifest", format!("sha256:{}", shown(&departure.manifest)));
        for path in &departure.ci {
            card.line("builds run", shown(path));
        }
        for effect in &departure.effects {
            let marks = effect.marks.iter().map(|mark| format!(" +{mark}"));
            let marks: String = marks.collect();
            let target = shown(&effect.target);
            card.line("effect", format!("{} {target}{marks}", effect.kind));
        }
        card
    }

    fn line(&mut self, label: &'static str, text: impl Into<String>) {
        self.lines.push((label, text.into()));
    }

    /// The lines, for people.
    pub(super) fn render(&self, ids: &[String], printer: Printer) -> String {
        let ids = ids.join(" #");
        let mut text = format!("#{ids}  {}\n", printer.paint(Tone::Strong, &self.title));
        for (label, line) in &self.lines {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "  {label:<10}  {line}");
        }
        text
    }
}

/// A word of a command, with quotes where it would not be told from others.
fn shown(word: &str) -> String {
    let text = shortened(word);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{text}'")
    }
}

/// A text from inside on one line, of which no more is shown than a person reads.
fn shortened(text: &str) -> String {
    let mut text = visible::line(text.as_bytes());
    if text.len() > COMMAND_MAX {
        let cut = (0..=COMMAND_MAX)
            .rev()
            .find(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or_default());
        text.push('…');
    }
    text
}
