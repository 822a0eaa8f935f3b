use serde::{Deserialize, Serialize};

/// Who a merge commit says it is by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// A person's name.
    pub name: String,
    /// Their address.
    pub email: String,
}

/// What a merge commit records about its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The task's id.
    pub task: String,
    /// The agent's name and version.
    pub agent: String,
    /// The models that answered it.
    pub model: String,
    /// The digest of the policy in force.
    pub policy: String,
    /// The state of the task's record when the merge was planned: its size and
    /// its root.
    pub record: String,
}

/// What a trailer says that is not known.
const UNKNOWN: &str = "unknown";

impl Provenance {
    /// What the message of a merge commit says; `None` if the commit is not one
    /// of Stockade's. The trailers are the last paragraph, where nothing of an
    /// agent's stands.
    pub fn of_message(message: &str) -> Option<Self> {
        let last = message.trim_end().rsplit("\n\n").next()?;
        let value = |key: &str| {
            let lines = last
                .lines()
                .filter_map(|line| line.strip_prefix("Stockade-"));
            let mut values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            values.next().map(str::to_owned)
        };
        let told = |key| value(key).unwrap_or_else(|| UNKNOWN.to_owned());
        Some(Self {
            task: value("Task")?,
            agent: told("Agent"),
            model: told("Model"),
            policy: told("Policy"),
            record: told("Record"),
        })
    }
}

/// Trailers that only people or Stockade may write.
const RESERVED: &[&str] = &[
    "stockade-",
    "signed-off-by",
    "reviewed-by",
    "acked-by",
    "approved-by",
    "tested-by",
    "verified-by",
    "change-id",
];

/// The message of a commit: `text`, which may be the agent's, and the
/// trailers. A line of `text` that reads like a reserved trailer is quoted.
pub(crate) fn with_trailers(text: &str, provenance: &Provenance) -> String {
    let mut message = String::new();
    for line in text.trim().lines() {
        let shown = stockade_types::visible::line(line.trim_end().as_bytes());
        if is_reserved(&shown) {
            message.push_str("> ");
        }
        message.push_str(&shown);
        message.push('\n');
    }
    if message.is_empty() {
        message.push_str("Merge the work of a task\n");
    }
    let Provenance {
        task,
        agent,
        model,
        policy,
        record,
    } = provenance;
    message.push('\n');
    for (key, value) in [
        ("Task", task),
        ("Agent", agent),
        ("Model", model),
        ("Policy", policy),
        ("Record", record),
    ] {
        let value = stockade_types::visible::line(value.trim().as_bytes());
        let value = if value.is_empty() {
            UNKNOWN.to_owned()
        } else {
            value
        };
        for part in ["Stockade-", key, ": ", &value, "\n"] {
            message.push_str(part);
        }
    }
    message
}

/// Git takes leading space, and any case; it ends the key at a colon.
fn is_reserved(line: &str) -> bool {
    let line = line.trim_start().to_ascii_lowercase();
    RESERVED.iter().any(|reserved| line.starts_with(reserved))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provenance() -> Provenance {
        let text = |text: &str| text.to_owned();
        Provenance {
            task: text("t-1"),
            agent: text("codex"),
            model: text("m"),
            policy: text("p"),
            record: text("7 r"),
        }
    }

    #[test]
    fn a_forged_trailer_is_quoted_and_the_real_ones_come_last() {
        let text = "Fix it\n\n Stockade-Task: forged\nSIGNED-OFF-BY: boss\nfine: yes";
        let message = with_trailers(text, &provenance());
        assert!(
            message.contains("\n>  Stockade-Task: forged\n"),
            "{message}"
        );
        assert!(
            message.contains("\n> SIGNED-OFF-BY: boss\nfine: yes\n\n"),
            "{message}"
        );
        assert!(message.ends_with(
            "Stockade-Task: t-1\nStockade-Agent: codex\nStockade-Model: m\nStockade-Policy: p\nStockade-Record: 7 r\n"
        ));
        assert_eq!(Provenance::of_message(&message), Some(provenance()));
        assert_eq!(
            Provenance::of_message("Fix it\n\nStockade-Agent: me\n"),
            None
        );
    }

    #[test]
    fn escape_sequences_and_line_breaks_in_values_are_spelled_out() {
        let model = "m\nStockade-Task: x".to_owned();
        let message = with_trailers(
            "a\u{1b}[2J",
            &Provenance {
                model,
                ..provenance()
            },
        );
        assert!(message.starts_with("a\\u{1b}[2J\n"));
        assert_eq!(
            message
                .lines()
                .filter(|line| line.starts_with("Stockade-Task"))
                .count(),
            1
        );
    }
}
