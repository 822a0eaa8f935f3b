//! The report in the form that CI systems read.

use std::fmt::Write as _;

use crate::verdict::{Outcome, Report, Verdict};

/// The report as a JUnit document: a suite for each class.
pub fn junit(report: &Report) -> String {
    let all: Vec<&Verdict> = report.probes.iter().chain(&report.needs).collect();
    let mut classes: Vec<_> = all.iter().map(|verdict| verdict.class).collect();
    classes.sort_unstable();
    classes.dedup();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuites name=\"stockade attack: {}\"{}>",
        escaped(&report.target),
        counts(&all)
    );
    for class in classes {
        let of_class: Vec<&Verdict> = all
            .iter()
            .copied()
            .filter(|verdict| verdict.class == class)
            .collect();
        let name = format!("{class} {}", class.title());
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\"{}>",
            escaped(&name),
            counts(&of_class)
        );
        for verdict in of_class {
            case(&mut text, verdict);
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn counts(verdicts: &[&Verdict]) -> String {
    let count = |outcome| {
        let of = verdicts.iter().filter(|verdict| verdict.outcome == outcome);
        of.count()
    };
    format!(
        " tests=\"{}\" failures=\"{}\" skipped=\"{}\"",
        verdicts.len(),
        count(Outcome::Escaped),
        count(Outcome::Skipped)
    )
}

fn case(text: &mut String, verdict: &Verdict) {
    let _ = write!(
        text,
        "    <testcase classname=\"{}\" name=\"{} {}\"",
        verdict.class,
        verdict.id,
        escaped(verdict.title)
    );
    let reason = escaped(&verdict.reason);
    let _ = match verdict.outcome {
        Outcome::Held => writeln!(text, "/>"),
        Outcome::Escaped => writeln!(text, "><failure message=\"{reason}\"/></testcase>"),
        Outcome::Skipped => writeln!(text, "><skipped message=\"{reason}\"/></testcase>"),
    };
}

/// Text for an attribute; what XML cannot hold is replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other if other.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Class;

    #[test]
    fn what_has_a_meaning_in_xml_is_escaped_and_each_outcome_has_its_element() {
        let verdict = |id, outcome, reason: &str| Verdict {
            id,
            class: Class::of('G'),
            title: "a <title>",
            outcome,
            reason: reason.to_owned(),
            witness: None,
        };
        let report = Report {
            target: "env & \"x\"".to_owned(),
            probes: vec![
                verdict(1, Outcome::Held, ""),
                verdict(2, Outcome::Escaped, "it <worked>\u{1b}"),
                verdict(3, Outcome::Skipped, "no \"perl\""),
            ],
            needs: Vec::new(),
        };
        let text = junit(&report);
        for part in [
            "name=\"stockade attack: env &amp; &quot;x&quot;\" tests=\"3\" failures=\"1\" skipped=\"1\"",
            "<failure message=\"it &lt;worked&gt; \"/>",
            "<skipped message=\"no &quot;perl&quot;\"/>",
            "name=\"1 a &lt;title&gt;\"/>",
        ] {
            assert!(text.contains(part), "{part} not in {text}");
        }
    }
}
