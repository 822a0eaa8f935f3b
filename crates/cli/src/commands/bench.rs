//! `stockade bench`: what Stockade costs on this machine, beside others.

mod exec;
mod peers;
mod samples;

use std::process::ExitCode;

use serde_json::{Value, json};

use self::samples::Samples;
use crate::{
    arguments::Bench,
    failure::Failure,
    print::{Printer, Tone},
};

/// One way to run the program.
struct Row {
    name: &'static str,
    outcome: Outcome,
    /// Plain spawns in turns with it.
    spawns: Samples,
}

impl Row {
    fn ratio_of_p10(&self) -> Option<f64> {
        match &self.outcome {
            Outcome::Measured(samples) => Some(samples.percentile(10) / self.spawns.percentile(10)),
            Outcome::Missing(_) => None,
        }
    }
}

enum Outcome {
    Measured(Samples),
    /// It is not here, or does not work, for this reason.
    Missing(String),
}

/// Commands a second, many at once.
struct Rate {
    name: &'static str,
    /// `None` if it is not here, or does not work.
    a_second: Option<f64>,
}

pub(crate) fn run(arguments: &Bench, printer: Printer) -> Result<ExitCode, Failure> {
    let Bench::Exec(arguments) = arguments;
    let before = load();
    let measured = exec::measure(arguments, printer)?;
    show(&measured.rows, &measured.rates, printer);
    let rows = measured.rows.iter().map(to_json);
    let rates = measured.rates.iter();
    printer.json(&json!({
        "program": exec::PROGRAM,
        "machine": machine(),
        "load_before": before,
        "load_after": load(),
        "rows": rows.collect::<Vec<_>>(),
        "at_once": rates
            .map(|rate| json!({
                "name": rate.name,
                "a_second": rate.a_second,
                "ratio_to_spawns": ratio(rate, &measured.rates),
            }))
            .collect::<Vec<_>>(),
    }));
    let note = format!("{}; load {before} before, {} after", machine(), load());
    printer.line(&printer.paint(Tone::Faint, &note));
    for (name, most) in [
        (exec::CAPTURED, arguments.most),
        (exec::FRESH, arguments.most_fresh),
    ] {
        if let Some(most) = most {
            refuse_above(most, name, &measured.rows)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails if the row of this name took longer than `most` spawns.
fn refuse_above(most: f64, name: &str, rows: &[Row]) -> Result<(), Failure> {
    let row = rows.iter().find(|row| row.name == name);
    let ratio = row.and_then(Row::ratio_of_p10).unwrap_or(f64::INFINITY);
    if ratio <= most {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "a command {name}: {ratio:.2} spawns, more than {most}; try again with nothing beside it"
    )))
}

fn show(rows: &[Row], rates: &[Rate], printer: Printer) {
    let heading = format!(
        "{:43} {:>9} {:>9} {:>9} {:>9} {:>11}",
        format!("{}, in ms", exec::PROGRAM),
        "p10",
        "median",
        "p90",
        "runs",
        "× a spawn"
    );
    printer.line(&printer.paint(Tone::Strong, &heading));
    for row in rows {
        printer.line(&match &row.outcome {
            Outcome::Measured(samples) => format!(
                "{:43} {:9.3} {:9.3} {:9.3} {:9} {:11.2}",
                row.name,
                samples.percentile(10),
                samples.median(),
                samples.percentile(90),
                samples.count(),
                samples.median() / row.spawns.median(),
            ),
            Outcome::Missing(reason) => format!("{:43} {reason}", row.name),
        });
    }
    let heading = format!(
        "{:43} {:>9} {:>11}",
        format!("{} at once", exec::AT_ONCE),
        "a second",
        "× a spawn"
    );
    printer.line(&printer.paint(Tone::Strong, &heading));
    for rate in rates {
        printer.line(&match (rate.a_second, ratio(rate, rates)) {
            (Some(a_second), Some(ratio)) => {
                format!("{:43} {a_second:9.0} {ratio:11.2}", rate.name)
            }
            _ => format!("{:43} does not work here", rate.name),
        });
    }
}

/// Against the first one, which is of plain spawns.
fn ratio(rate: &Rate, rates: &[Rate]) -> Option<f64> {
    let spawns = rates.first().and_then(|rate| rate.a_second);
    Some(rate.a_second? / spawns?)
}

fn to_json(row: &Row) -> Value {
    match &row.outcome {
        Outcome::Measured(samples) => json!({
            "name": row.name,
            "milliseconds": samples.to_json(),
            "spawn_milliseconds": row.spawns.to_json(),
            "ratio_of_medians": samples.median() / row.spawns.median(),
            "ratio_of_p10": row.ratio_of_p10(),
        }),
        Outcome::Missing(reason) => json!({ "name": row.name, "missing": reason }),
    }
}

fn machine() -> String {
    let system = rustix::system::uname();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{} {}, {cores} cores, uid {}",
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        rustix::process::geteuid().as_raw()
    )
}

/// The load of the last minute, as the kernel prints it.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_the_values_in_proportion() {
        let mut samples = Samples::default();
        assert!(samples.median().abs() < 1e-9);
        for value in [3.0, 1.0, 2.0, 4.0] {
            samples.push(value);
        }
        for (percent, value) in [(0, 1.0), (50, 2.5), (100, 4.0), (10, 1.3)] {
            assert!((samples.percentile(percent) - value).abs() < 1e-9);
        }
    }
}
