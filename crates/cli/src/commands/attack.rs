//! `stockade attack`: probes that must fail, against Stockade's own sandbox or
//! any other.

mod own;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use serde_json::json;
use stockade_attack::{
    AttackError, Field, Outcome, Probe, Report, Selection, Suite, Target, Verdict, Wrapper, junit,
};

use self::own::Own;
use crate::{
    arguments::Attack,
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
};

/// How often progress is told, and after how long for the first time.
const BETWEEN: Duration = Duration::from_secs(1);

pub(crate) fn run(arguments: &Attack, printer: Printer) -> Result<ExitCode, Failure> {
    let selection = Selection {
        classes: arguments.class.clone(),
        probes: arguments.probe.clone(),
    };
    let probes = selection.probes()?;
    if arguments.list {
        list(&probes, printer);
        return Ok(ExitCode::SUCCESS);
    }
    let clock = Instant::now();
    let mut field = Field::make(&host::search_path())?;
    let ground = field.ground().clone();
    let mut target: Box<dyn Target> = match &arguments.target {
        Some(command) => Box::new(Wrapper::new(command, &ground)?),
        None => Box::new(Own::new(
            &ground,
            arguments.nested,
            arguments.own.isolation(),
        )?),
    };
    let mut told = clock;
    let report = Suite::new(&mut field, target.as_mut())?.run(&probes, |number, probe| {
        if told.elapsed() >= BETWEEN {
            told = Instant::now();
            printer.note(&format!(
                "{number} of {} tried; now {} {}: {}",
                probes.len(),
                probe.class,
                probe.id,
                probe.title
            ));
        }
    })?;
    if let Some(path) = &arguments.junit {
        std::fs::write(path, junit(&report))
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    }
    show(&report, clock.elapsed(), printer);
    judge(&report)
}

fn list(probes: &[&'static Probe], printer: Printer) {
    let mut class = None;
    for probe in probes {
        if class.replace(probe.class) != Some(probe.class) {
            let heading = format!("{}  {}", probe.class, probe.class.title());
            printer.line(&printer.paint(Tone::Strong, &heading));
        }
        printer.line(&format!("  {:>3}  {}", probe.id, probe.title));
    }
    let rows = probes
        .iter()
        .map(|probe| json!({ "id": probe.id, "class": probe.class, "title": probe.title }));
    printer.json(&json!({ "probes": rows.collect::<Vec<_>>() }));
}

fn show(report: &Report, elapsed: Duration, printer: Printer) {
    let [held, escaped, skipped] =
        [Outcome::Held, Outcome::Escaped, Outcome::Skipped].map(|outcome| report.count(outcome));
    let seconds = elapsed.as_secs_f64();
    printer.json(&json!({
        "target": report.target,
        "probes": report.probes,
        "needs": report.needs,
        "totals": {
            "held": held,
            "escaped": escaped,
            "skipped": skipped,
            "needs_broken": report.broken(),
        },
        "seconds": seconds,
    }));
    let mut class = None;
    for verdict in &report.probes {
        if class.replace(verdict.class) != Some(verdict.class) {
            let heading = format!("{}  {}", verdict.class, verdict.class.title());
            printer.line(&printer.paint(Tone::Strong, &heading));
        }
        row(verdict, ["held", "ESCAPED", "skipped"], printer);
    }
    if !report.needs.is_empty() {
        printer.line(&printer.paint(Tone::Strong, "What programs need"));
        for verdict in &report.needs {
            row(verdict, ["works", "BROKEN", "skipped"], printer);
        }
    }
    printer.line("");
    printer.line(&format!(
        "{}: {held} held, {escaped} escaped, {skipped} skipped, in {seconds:.1} s",
        report.target
    ));
}

fn row(verdict: &Verdict, [held, escaped, skipped]: [&str; 3], printer: Printer) {
    let (word, tone) = match verdict.outcome {
        Outcome::Held => (held, Tone::Good),
        Outcome::Escaped => (escaped, Tone::Bad),
        Outcome::Skipped => (skipped, Tone::Notice),
    };
    printer.line(&format!(
        "  {}  {:>3}  {}  {}",
        printer.paint(tone, &format!("{word:<7}")),
        verdict.id,
        verdict.title,
        printer.paint(Tone::Faint, &visible(&verdict.reason)),
    ));
}

/// A reason may name files as an attempt found them.
fn visible(reason: &str) -> String {
    stockade_types::visible::line(reason.as_bytes())
}

fn judge(report: &Report) -> Result<ExitCode, Failure> {
    let named = |verdicts: &[Verdict]| {
        let escaped = verdicts
            .iter()
            .filter(|verdict| verdict.outcome == Outcome::Escaped);
        let names: Vec<String> = escaped
            .map(|verdict| format!("{} {}", verdict.class, verdict.id))
            .collect();
        names.join(", ")
    };
    match (report.count(Outcome::Escaped), report.broken()) {
        (0, 0) => Ok(ExitCode::SUCCESS),
        (0, broken) => Err(Failure::failed(format!(
            "{broken} things that programs need do not work: {}",
            named(&report.needs)
        ))),
        (escaped, _) => Err(Failure::new(
            Kind::Escaped,
            format!("{escaped} probes went through: {}", named(&report.probes)),
        )
        .hint("the table says of each what was seen")),
    }
}

impl From<AttackError> for Failure {
    fn from(error: AttackError) -> Self {
        let kind = match &error {
            AttackError::UnknownClass(_)
            | AttackError::UnknownProbe(_)
            | AttackError::Command { .. } => Kind::Usage,
            _ => Kind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}
